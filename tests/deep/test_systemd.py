# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host whose first process is systemd: cron is installed, started now and at boot; with Docker and the client it outlives a reboot."""

from __future__ import annotations

import getpass
import platform
import typing as t

import commands
import pytest
from observer import Lab

NAME = "deep-systemd"
STATES = "systemctl is-active docker cron; systemctl is-enabled docker cron"
GOOD = ["active", "active", "enabled", "enabled"]


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    """A host with Docker, without cron."""
    found = Lab(NAME, "h1")
    try:
        found.lab("up", "--hosts", "h1@bullseye@systemd@compose-2.26", "--db", "mariadb")
        yield found
    finally:
        found.lab("down")


def test_cron_is_installed_and_started_by_systemd(lab: Lab) -> None:
    first = lab.play("provision", {})
    assert first.code == 0, first.output
    assert lab.host(STATES, check=False).split() == GOOD
    again = lab.play("provision", {})
    assert (again.code, again.changed) == (0, 0), again.output


def test_syslog_says_who_has_changed_what_and_from_where(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_CALLBACKS_ENABLED", "waba.onprem.wa_runs")
    lab.host("rm /etc/cron.d/wa-h1-log-cleanup")
    repaired = lab.play("provision", {})
    assert (repaired.code, repaired.changed) == (0, 1), repaired.output
    who = f"copy: {getpass.getuser()} at {platform.node()}, waba.onprem.provision: "
    lines = [one for one in lab.host("logread").splitlines() if who in one]  # of the lab host's syslogd
    assert [one for one in lines if "Invoked with" in one and "dest=/etc/cron.d/wa-h1-log-cleanup" in one], lines


@pytest.mark.parametrize(
    ("plant", "line"),
    [
        ("systemctl disable cron", "host: cron is not started at boot"),
        ("systemctl stop cron", "host: cron does not run"),
    ],
)
def test_a_service_that_was_switched_off_is_switched_on(lab: Lab, plant: str, line: str) -> None:
    lab.host(plant)
    before = lab.host("docker ps --no-trunc --quiet")
    predicted = lab.play("provision", {}, "--check")
    assert (predicted.code, line in predicted.output) == (0, True), predicted.output
    assert lab.host(STATES, check=False).split() != GOOD
    repaired = lab.play("provision", {})
    assert (repaired.code, repaired.changed) == (0, predicted.changed), repaired.output
    assert lab.host(STATES, check=False).split() == GOOD
    assert lab.host("docker ps --no-trunc --quiet") == before


def test_an_engine_that_something_else_starts_is_left_alone(lab: Lab) -> None:
    lab.host("systemctl disable docker")
    warned = lab.play("provision", {})
    assert (warned.code, warned.changed) == (0, 0), warned.output
    assert "warning: docker is not started at boot, and so the client is not: systemctl enable docker" in warned.output
    lab.host("systemctl enable docker")


def test_the_client_is_back_after_a_reboot(lab: Lab) -> None:
    commands.docker("restart", f"walab-{NAME}-h1")
    lab.lab("up")  # waits for SSH
    lab.wait_healthy()
    again = lab.play("provision", {})
    assert (again.code, again.changed) == (0, 0), again.output
