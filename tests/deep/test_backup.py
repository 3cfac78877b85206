# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""backup.yml on two hosts that are one deployment: what it keeps is what is there, it changes nothing, and what it says is true."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from observer import Lab, Run, changes  # noqa: E402 - needs the path above

NAME = "deep-backup"
BACKUPS = ROOT / ".lab" / NAME / "backups" / "waba"
EVERYTHING = {"wa_backup_include": ["images", "database"]}
MEDIA = "/srv/media"
WEBAPP = "$(docker ps --all --quiet --filter label=com.docker.compose.service=waweb1)"


class Pair:
    """Two hosts that are one deployment."""

    def __init__(self) -> None:
        self.leader, self.other = Lab(NAME, "h1"), Lab(NAME, "h2")
        self.secrets = json.loads((ROOT / ".lab" / NAME / "secrets.json").read_text())

    def snapshot(self) -> list[str]:
        return [f"{one.at} {line}" for one in (self.leader, self.other) for line in one.snapshot()]

    def backup(self, *arguments: str, **variables: t.Any) -> Run:
        """Back up; nothing on the hosts is another, and no secret is shown."""
        before = self.snapshot()
        done = self.leader.play("backup", variables, *arguments)
        assert changes(before, self.snapshot()) == []
        assert [name for name, secret in self.secrets.items() if secret in done.output] == []
        return done

    def decrypted(self, path: Path) -> str:
        """The text of a file of a backup, by the command of the guide."""
        password = BACKUPS.parent / "password"
        password.write_text(self.secrets["backup_password"])
        argv = ["ansible-vault", "view", "--vault-password-file", str(password), str(path)]
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def processes() -> list[int]:
    """The processes of the runs of backup.yml in this lab."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            words = path.read_bytes()
            if b"waba.onprem.backup" in words and f"/{NAME}/".encode() in words:
                found.append(int(path.parent.name))
    return found


def newest() -> Path:
    return sorted(BACKUPS.iterdir())[-1]


def manifest(folder: Path) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.fixture(scope="module")
def pair() -> t.Iterator[Pair]:
    lab = str(ROOT / "tests/lab/lab")
    subprocess.run(
        [lab, "up", "--name", NAME, "--hosts", "h1:ready,h2:ready", "--shared", "--db", "mariadb"], check=True
    )
    found = Pair()
    try:
        done = found.leader.play("provision", {})
        assert done.code == 0, done.output
        assert "warning: there is no settings backup" not in done.output  # nothing ran before it
        found.leader.host(
            f"mkdir -p {MEDIA}/in && head -c 1000 /dev/urandom >{MEDIA}/in/one && touch '{MEDIA}/two words'"
        )
        found.leader.host("mkdir -m 700 /var/lib/waba/dumps")  # where a copy is made first
        found.leader.host("apt-get install --yes --quiet mariadb-client >/dev/null")
        yield found
    finally:
        found.leader.lab("down")


def test_check_mode_says_what_would_be_kept_and_a_run_keeps_it(pair: Pair) -> None:
    due = pair.leader.play("provision", {})
    assert "there is no settings backup. Run backup.yml" in due.output
    predicted = pair.backup("--check", **EVERYTHING)
    assert (predicted.code, BACKUPS.exists()) == (0, False)
    done = pair.backup("-vvv", **EVERYTHING)
    assert done.code == 0, done.output
    for line in (
        "settings backup",
        "registration: in the database",
        "copy of the database, made while the client runs",
    ):
        assert f"would keep: {line}" in predicted.output
        assert line in done.output
    assert "no settings backup" not in pair.leader.play("provision", {}).output


def test_check_mode_names_a_dump_tool_that_is_missing(pair: Pair) -> None:
    tools = "/usr/bin/mariadb-dump /usr/bin/mysqldump"
    pair.leader.host(f"mkdir /root/aside; mv {tools} /root/aside/")
    try:
        predicted = pair.backup("--check", **EVERYTHING)
    finally:
        pair.leader.host("mv /root/aside/* /usr/bin/")
    assert predicted.code == 2, predicted.output
    assert "no copy of the database was made: database dump: mariadb-dump is not on this host" in predicted.message
    assert "Install mariadb-client" in predicted.message
    assert predicted.message.endswith("Nothing was changed.")


def test_everything_that_is_kept_is_what_is_there(pair: Pair) -> None:
    folder = newest()
    found = manifest(folder)
    assert (found["deployment"], found["leader"], found["version"], found["missing"]) == ("waba", "h1", "2.51.2", [])
    entries = [found["settings"], found["media"], found["images"], found["database"]]
    entries += [one for host in found["hosts"].values() for one in host["files"]]
    for one in entries:
        data = (folder / one["file"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (one["bytes"], one["sha256"]), one
    for lab in (pair.leader, pair.other):
        files = found["hosts"][lab.at]["files"]
        assert [one["path"] for one in files] == ["/opt/waba/waba/db.env", "/opt/waba/waba/compose.yml"]
        for one in files:
            assert pair.decrypted(folder / one["file"]).strip() == lab.host(f"cat {one['path']}").strip()
            assert lab.host(f"stat -c '%a %U' {one['path']}").split() == [one["mode"].lstrip("0"), one["owner"]]
    assert json.loads((folder / "settings.json").read_text())["settings"]["data"]
    media = sorted(gzip.decompress((folder / "media.tsv.gz").read_bytes()).decode().splitlines())
    assert {"0\ttwo words", "1000\tin/one"} <= set(media)
    assert found["media"]["count"] == len(media)
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*")} == {"0o700", "0o600"}
    text = b"".join(
        path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix not in (".tar", ".gz", ".zst")
    )
    assert [name for name, secret in pair.secrets.items() if secret.encode() in text] == []


def test_the_copy_of_a_running_client_is_not_put_back_unasked(pair: Pair) -> None:
    """Its encryption state is older than that of the client that went on."""
    kept = manifest(newest())["database"]
    for name in (kept["file"], kept["manifest"]):
        argv = ["-i", pair.leader.inventory, "h1", "--become", "-m", "ansible.builtin.copy"]
        argv += ["-a", f"src={newest() / name} dest=/var/lib/waba/dumps/ mode=0600"]
        subprocess.run(["ansible", *argv], check=True)
    given = {"wa_restore": f"/var/lib/waba/dumps/{kept['manifest']}"}
    refused = pair.leader.play("restore", given, "--check")
    assert (refused.code, "the client has run since the copy was made" in refused.message) == (2, True), refused.output
    meant = pair.leader.play("restore", {**given, "wa_restore_accept_lost": True}, "--check")
    assert meant.code == 0, meant.output


def test_the_oldest_goes_and_a_member_that_is_lost_is_named(pair: Pair) -> None:
    first = newest()
    time.sleep(1)  # the name has seconds
    done = pair.leader.play("backup", {"wa_backup_keep": 1, "wa_hosts": "h1"})
    assert done.code == 0, done.output
    assert manifest(newest())["missing"] == ["h2"]
    # The newest copy of the database stays.
    assert (len(list(BACKUPS.iterdir())), first.exists()) == (2, True)


def test_a_client_that_does_not_answer_has_the_rest_kept_and_fails_the_run(pair: Pair) -> None:
    pair.leader.host("docker pause " + "$(docker ps --quiet --filter ancestor=registry.lab:5000/whatsapp/web:v2.51.2)")
    try:
        done = pair.backup()
    finally:
        pair.leader.host("docker unpause $(docker ps --quiet --filter status=paused)")
    assert done.code == 2, done.output
    assert "no settings backup was made: " in done.message
    assert (manifest(newest())["settings"], len(manifest(newest())["hosts"])) == (None, 2)


def test_a_run_that_is_killed_leaves_nothing_that_counts(pair: Pair) -> None:
    before = sorted(BACKUPS.iterdir())
    argv = ["ansible-playbook", "-i", pair.leader.inventory, "waba.onprem.backup", "-e", json.dumps(EVERYTHING)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        deadline = time.monotonic() + 120
        while not list(BACKUPS.glob("*.part/*.tar")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for pid in processes():  # a worker has a session of its own, and would go on
            os.kill(pid, signal.SIGKILL)
    assert [one for one in sorted(BACKUPS.iterdir()) if not one.name.endswith(".part")] == before
    assert pair.leader.play("backup", {}).code == 0
    assert list(BACKUPS.glob("*.part")) == []
    # What a killed run has made on the host goes with the next copy.
    assert pair.leader.play("backup", EVERYTHING).code == 0
    assert pair.leader.host("ls /var/lib/waba/dumps | grep -c '^waba[.]backup-.*[.]tar'", check=False).strip() == "0"
