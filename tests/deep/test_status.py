# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""status.yml on two hosts with real drifts, and one that is away: what it says, how it ends, and that it writes nothing on a host.

The commands of its guide are run as they stand there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import typing as t
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from observer import Lab, changes  # noqa: E402 - needs the path above

NAME = "status"
GUIDE = ROOT / "docs" / "guides" / "status.md"
SCHEMA_FILE = ROOT / "docs" / "fleet.schema.json"
SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
CRON = "for user in $(cut -d: -f1 /etc/passwd); do crontab -l -u $user 2>/dev/null; done; ls -lR --full-time /etc/cron* /var/spool/cron"
AWAY = {"all": {"children": {"lab": {"hosts": {"away": {"ansible_port": 1, "wa_db_env_hostname": "db.example.com"}}}}}}


class Fleet:
    """The hosts, each observed independently of the collection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts = [Lab(NAME, "h1"), Lab(NAME, "h2")]
        self.inventories = [self.hosts[0].inventory]

    def snapshot(self) -> list[str]:
        """Containers, volumes, networks, images, files, crontabs and databases of both hosts."""
        return [f"{one.at} {line}" for one in self.hosts for line in [*one.snapshot(), *one.host(CRON).splitlines()]]

    def status(self, *arguments: str, code: int = 0, **variables: t.Any) -> str:
        """What status.yml prints; it has to end with `code`, and to change nothing on a host."""
        sources = [word for one in self.inventories for word in ("-i", one)]
        argv = ["ansible-playbook", *sources, "waba.onprem.status", *arguments, "-e", json.dumps(variables)]
        before = self.snapshot()
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
        )
        output = done.stdout + done.stderr
        assert done.returncode == code, output
        assert changes(before, self.snapshot()) == []
        return output

    def report(self) -> dict[str, t.Any]:
        """The newest report, by deployment."""
        found = json.loads((self.folder / "fleet.json").read_text(encoding="utf-8"))
        Draft202012Validator(SCHEMA).validate(found)
        return {one["name"]: one for one in found["deployments"]}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    found = Fleet(tmp_path_factory.mktemp("status") / "reports")
    lab = found.hosts[0]
    try:
        lab.lab("up", "--hosts", "h1:ready,h2:ready", "--db", "mariadb")
        first = lab.play("provision", {})
        assert first.code == 0, first.output
        yield found
    finally:
        lab.lab("down")


def last_line(output: str) -> str:
    return str(re.findall(r"(?m)^\d+ deployments?: .*$", output)[0])


def test_a_healthy_fleet_is_green_and_its_figures_are_there(fleet: Fleet) -> None:
    output = fleet.status(wa_report_dir=str(fleet.folder), wa_backup_dir="")
    assert last_line(output) == (
        "2 deployments: 0 unreachable, 0 unhealthy, 0 not known, 0 drifted, 0 to be looked at, 2 in sync."
    )
    for name, one in fleet.report().items():
        assert (one["state"], one["version"], one["health"]["state"]) == ("in_sync", "2.51.2", "healthy")
        assert one["database"]["product"] == "MariaDB"
        assert 0 < one["database"]["connections_used"] < one["database"]["connections_allowed"]
        assert [table["database"] for table in one["messages"]["tables"]] == [f"{name}_messageStore"]
        assert one["expiry"]["seconds"] > 0
        assert [(image["on_host"], image["pullable"]) for image in one["images"]] == [(True, True)] * 2
        (member,) = one["members"]
        assert [disk["error"] for disk in member["disk"].values()] == [None] * 3
        errors = [part["error"] for part in one.values() if isinstance(part, dict) and "error" in part]
        assert [error for error in errors if error] == ["wa_backup_dir is not set"]


def test_a_dry_run_and_a_part_of_the_fleet_write_no_report(fleet: Fleet, tmp_path: Path) -> None:
    assert "2 in sync." in last_line(fleet.status("--check", wa_report_dir=str(tmp_path / "r"), wa_backup_dir=""))
    assert "1 in sync." in last_line(fleet.status("--limit", "h2", wa_report_dir=str(tmp_path / "r"), wa_backup_dir=""))
    assert list(tmp_path.iterdir()) == []


def test_drifts_and_a_host_that_is_away(fleet: Fleet, tmp_path: Path) -> None:
    h1, h2 = fleet.hosts
    away = tmp_path / "away.yml"
    away.write_text(json.dumps(AWAY))
    fleet.inventories.append(str(away))
    told = tmp_path / "told"
    given: dict[str, t.Any] = {
        "wa_report_dir": str(fleet.folder),
        "wa_backup_dir": "",
        "wa_notify_command": f"cat >>{told}; echo >>{told}",
    }
    h1.host("docker stop wa-h1-waweb-1; sed -i 's/^WA_DB_PORT=.*/WA_DB_PORT=3999/' /opt/waba/h1/db.env")
    h2.host("cp -p /etc/cron.d/wa-h2-log-cleanup /root/kept; echo '# x' >>/etc/cron.d/wa-h2-log-cleanup")
    try:
        output = fleet.status(code=4, **given)
        assert last_line(output) == (
            "3 deployments: 1 unreachable, 1 unhealthy, 0 not known, 1 drifted, 0 to be looked at, 0 in sync."
        )
        inventories = f"-i {h1.inventory} -i {away}"
        for line in (
            f"    ansible {inventories} away --become -m ansible.builtin.ping",
            "  wa-h1-waweb-1 has exited",
            "  db_env: set WA_DB_PORT",
            f"    ansible-playbook {inventories} --limit h1 waba.onprem.provision",
            "  log_cleanup: /etc/cron.d/wa-h2-log-cleanup has another content",
        ):
            assert line in output
        found = fleet.report()
        assert {name: one["state"] for name, one in found.items()} == {
            "away": "unreachable",
            "h1": "unhealthy",
            "h2": "drifted",
        }
        (diff,) = found["h1"]["members"][0]["concerns"]["db_env"]["diff"]
        assert "-WA_DB_PORT=3999" in diff["text"]
        secrets = (ROOT / ".lab" / NAME / "group_vars" / "all" / "secrets.yml").read_text(encoding="utf-8")
        written = (fleet.folder / "fleet.json").read_text(encoding="utf-8") + output + told.read_text()
        assert [one for one in re.findall(r': "?([^"\n]{8,})', secrets) if one in written] == []
        # Nothing has changed since: nobody is told again, also by another playbook.
        sources = [word for one in fleet.inventories for word in ("-i", one)]
        subprocess.run(
            ["ansible-playbook", *sources, "waba.onprem.provision", "--check", "-e", json.dumps(given)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        assert len(told.read_text().splitlines()) == 1
        for fail_on, code in (("", 0), ("unreachable", 4), ("unhealthy,drift", 2), ("expiry,backup", 0)):
            fleet.status(code=code, **{**given, "wa_notify_command": "", "wa_status_fail_on": fail_on})
    finally:
        fleet.inventories.pop()
        h1.host("docker start wa-h1-waweb-1; sed -i 's/^WA_DB_PORT=.*/WA_DB_PORT=3306/' /opt/waba/h1/db.env")
        h2.host("mv /root/kept /etc/cron.d/wa-h2-log-cleanup")
    h1.wait_healthy()
    fleet.status(**given)
    better = json.loads(told.read_text().splitlines()[-1])["changes"]
    assert [(one["name"], one["state"]) for one in better] == [("h1", "in_sync"), ("h2", "in_sync")]


def test_a_refused_password_is_tried_once(fleet: Fleet, tmp_path: Path) -> None:
    wrong: dict[str, t.Any] = {"wa_api_password": "Canary-67-Pw", "wa_backup_dir": ""}
    for folder, texts in (
        ("", ("HTTP 401", "set wa_report_dir")),
        (str(tmp_path / "r"), ("HTTP 401",)),
        (str(tmp_path / "r"), ("this password was refused at",)),
    ):
        output = fleet.status("--limit", "h1", code=2, wa_report_dir=folder, **wrong)
        assert "it is not known whether the client serves" in output
        assert [text for text in texts if text not in output] == []
        assert "Canary" not in output
    fleet.status("--limit", "h1", wa_report_dir=str(tmp_path / "r"), wa_backup_dir="")


def commands_of_the_guide() -> list[str]:
    blocks = re.findall(
        r"(?m)^```\n((?:ansible-playbook|check-jsonschema) [^`]*)^```$", GUIDE.read_text(encoding="utf-8")
    )
    return [line for block in blocks for line in block.splitlines()]


def test_the_commands_of_the_guide_run(fleet: Fleet, tmp_path: Path) -> None:
    lines = commands_of_the_guide()
    assert len(lines) == 6
    here = {"inventory.yml": fleet.hosts[0].inventory, "globex": "h1", "docs/fleet.schema.json": str(SCHEMA_FILE)}
    for line in lines:
        words = [here.get(word, word) for word in shlex.split(line)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        # No backup was made: only the word for that fails a run.
        assert done.returncode == (2 if "backup" in line else 0), done.stdout + done.stderr
    (bundle,) = (tmp_path / "bundles").iterdir()
    with tarfile.open(bundle) as archive:
        content = {one.name: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]
    assert len([name for name in content if name.endswith("/h1/docker.json")]) == 1
    assert "Canary" not in str(content)
    assert "WA_DB_PASSWORD" not in str(content)
