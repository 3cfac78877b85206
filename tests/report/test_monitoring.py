# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics, alerts and schedules of docs/monitoring, read by promtool, node_exporter, systemd and cron."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import commands
import fleets
import pytest
import yaml
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._logs import job
from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_metrics as fleet_metrics

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "monitoring"
ALERTS = DOCS / "alerts.yml"
HOSTILE = 'a"b\\c\nd'


def nightly(tmp_path: Path) -> str:
    """What the nightly cleanup writes on a host, here one without Docker."""
    path = tmp_path / "cleanup.prom"
    job.main(
        ["-p", HOSTILE, "-m", str(path), "-s", str(tmp_path / "status.json"), "-H", f"unix://{tmp_path}/none.sock"]
    )
    return path.read_text(encoding="utf-8")


@pytest.fixture
def everything(tmp_path: Path) -> str:
    """The metrics of a fleet with each state, and of the nightly cleanup."""
    fleet = fleets.fleet([*fleets.mixed(40)["deployments"], fleets.deployment(HOSTILE, "h1")])
    return fleet_metrics.metrics(fleet) + nightly(tmp_path)


def test_promtool_accepts_the_metrics(everything: str) -> None:
    assert commands.run("promtool", "check", "metrics", stdin=everything) == ""


def test_promtool_accepts_the_alerts_and_each_is_raised_where_it_should() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    assert f"SUCCESS: {len(group['rules'])} rules found" in commands.run("promtool", "check", "rules", ALERTS)
    commands.run("promtool", "test", "rules", ROOT / "tests" / "report" / "alerts_test.yml")


def test_every_alert_is_tested_and_every_metric_in_it_exists(everything: str) -> None:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    test = yaml.safe_load((ROOT / "tests" / "report" / "alerts_test.yml").read_text(encoding="utf-8"))["tests"][0]
    raised = " ".join(one["labels"] for one in test["promql_expr_test"][0]["exp_samples"])
    assert {*re.findall('alertname="([^"]+)"', raised)} == {rule["alert"] for rule in group["rules"]}
    used = {name for rule in group["rules"] for name in re.findall(r"\bwa_\w+", rule["expr"])}
    assert used - {*re.findall(r"# HELP (\w+)", everything)} == set()


def test_the_guide_names_every_alert_and_file() -> None:
    guide = (ROOT / "docs" / "guides" / "monitoring.md").read_text(encoding="utf-8")
    alerts = {rule["alert"] for rule in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"][0]["rules"]}
    assert {*re.findall("`(Wa[A-Z][A-Za-z]+)`", guide)} == alerts
    linked = {*re.findall(r"\]\(\.\./monitoring/([^)]+)\)", guide)}
    assert linked == {path.name for path in DOCS.iterdir()}
    assert all((ROOT / "docs" / "images" / name).is_file() for name in re.findall(r"\.\./images/([^)]+)", guide))


def test_node_exporter_reads_the_files_through_a_link(everything: str, tools: Path, tmp_path: Path) -> None:
    reports, folder = tmp_path / "reports", tmp_path / "textfile"
    reports.mkdir()
    folder.mkdir()
    (reports / "metrics.prom").write_text(everything, encoding="utf-8")
    (folder / "waba.prom").symlink_to(reports / "metrics.prom")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    program = tools / "prometheus-node-exporter" / "usr" / "bin" / "prometheus-node-exporter"
    options = ("--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={folder}")

    def answer() -> str:
        try:
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
                return str(response.read().decode())
        except urllib.error.URLError:
            return ""

    with subprocess.Popen(
        [program, *options, f"--web.listen-address={address}"], stderr=subprocess.DEVNULL
    ) as exporter:
        try:
            found = {line for line in until(answer).splitlines() if not line.startswith("#")}
        finally:
            exporter.terminate()
    assert "node_textfile_scrape_error 0" in found
    ours = [line for line in everything.splitlines() if not line.startswith("#")]
    assert sum(line.startswith("wa_") for line in found) == len(ours)
    assert 'wa_host_reached{deployment="a\\"b\\\\c\\nd",host="h1"} 1' in found


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units, with the program of this machine."""
    program = shutil.which("ansible-playbook")
    assert program
    made = []
    for path in sorted(DOCS.glob("wa-*.*")):
        text = path.read_text(encoding="utf-8")
        made.append(tmp_path / path.name)
        made[-1].write_text(
            text.replace("ExecStart=/usr/bin/ansible-playbook", f"ExecStart={program}"), encoding="utf-8"
        )
    assert [path.name for path in made] == [
        "wa-check.service",
        "wa-check.timer",
        "wa-status.service",
        "wa-status.timer",
    ]
    return made


def verify(units: t.Sequence[Path]) -> str:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.returncode}{done.stdout}{done.stderr}"


def test_systemd_accepts_the_units(units: list[Path]) -> None:
    assert verify(units) == "0"


def test_systemd_finds_a_wrong_unit(units: list[Path]) -> None:
    units[1].write_text(units[1].read_text().replace("05:30:00", "25:30:00"))
    assert "Failed to parse calendar specification" in verify(units)


def test_cron_accepts_the_lines_and_finds_a_wrong_one(tools: Path, tmp_path: Path) -> None:
    program, file = tools / "cronie" / "usr" / "bin" / "crontab", DOCS / "crontab"
    # It wants its folder, which this machine need not have.
    folder = "mount -t tmpfs none /var/spool && mkdir -p /var/spool/cron/crontabs"
    check = ("unshare", "--map-root-user", "--mount", "sh", "-c", f'{folder} && exec "$@"', "sh", program, "-T")
    commands.run(*check, file)
    wrong = tmp_path / "crontab"
    wrong.write_text(file.read_text().replace("30 5 *", "30 25 *"))
    with pytest.raises(AssertionError, match="bad hour"):
        commands.run(*check, wrong)


def test_units_and_cron_call_the_same() -> None:
    services = [
        re.findall("ExecStart=/usr/bin/(.*)", (DOCS / f"wa-{name}.service").read_text()) for name in ("status", "check")
    ]
    lines = re.findall("/srv/waba && (.*?) >", (DOCS / "crontab").read_text())
    assert [one for (one,) in services] == lines
