# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is reported at the end of an upgrade that did not fail; that of a failed one is tested in test_failure_report.py."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import report

COMMAND = "ansible-playbook -i hosts.yml waba.onprem.provision -e wa_version=2.53.4"
JOURNAL: dict[str, t.Any] = {
    "schema": "done",
    "notes": {
        "down_at": 100.0,
        "migrating_at": 110.0,
        "migrated_at": 115.0,
        "up_at": 122.5,
        "copy_at": 103.0,
        "copied_at": 107.0,
        "dump": "/b/eu.sql.gz",
    },
}


def closing(**facts: t.Any) -> dict[str, t.Any]:
    known: dict[str, t.Any] = {
        "deployment": "eu",
        "leader": "h1",
        "members": ["h1"],
        "before": "2.51.2",
        "target": "2.53.4",
        "after": ["2.53.4", "2.53.4"],
        "journal": JOURNAL,
        "messages": {"messages_before": 300, "messages_after": 200},
        "check_mode": False,
        "lets_traffic_come": False,
        "still_locked": [],
        "skipped": [],
    }
    return report.closing({**known, **facts}, COMMAND)


def table(lines: list[str]) -> list[list[str]]:
    """The rows of the report, without their alignment."""
    return [line.split() for line in lines]


def test_an_upgrade() -> None:
    found = closing()
    assert table(found["lines"]) == [
        ["eu", "before", "after"],
        ["messages", "(rows)", "~300", "200"],
        ["version", "2.51.2", "2.53.4"],
        ["API", "down", "(seconds)", "18.5"],
        ["stop", "6.0"],
        ["migration", "5.0"],
        ["start", "7.5"],
        ["dump", "and", "snapshot", "4.0"],
        ["Database", "dump:", "/b/eu.sql.gz", "(on", "h1)"],
    ]
    assert {len(line) for line in found["lines"][:8]} == {60}
    assert {name: found[name] for name in ("outcome", "before", "target", "stage", "dump", "next")} == {
        "outcome": "upgraded",
        "before": "2.51.2",
        "target": "2.53.4",
        "stage": "verifying",
        "dump": "/b/eu.sql.gz",
        "next": [COMMAND],
    }
    assert found["outage"] == {
        "down": 18.5,
        "database_copy": 4.0,
        "steps": [("stop", 6.0), ("migration", 5.0), ("start", 7.5)],
    }


@pytest.mark.parametrize(
    ("facts", "outcome", "version"),
    [
        ({"after": [], "journal": {}}, "not_needed", "2.51.2 2.51.2"),
        ({"after": [], "journal": {}, "target": ""}, "prepared", "2.51.2 2.51.2"),
        ({"after": [], "journal": {}, "check_mode": True}, "predicted", "2.51.2 2.51.2"),
        ({"after": ["2.53.4", "2.51.2"]}, "upgraded", "2.51.2 2.51.2, 2.53.4"),
    ],
)
def test_the_outcome(facts: dict[str, t.Any], outcome: str, version: str) -> None:
    found = closing(**facts)
    assert (found["outcome"], " ".join(found["lines"][2].split())) == (outcome, f"version {version}")
    assert bool(found["next"]) == (outcome == "upgraded")


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"members": ["h1", "h2"]}, "Hosts: h1, h2"),
        (
            {"journal": {**JOURNAL, "notes": {**JOURNAL["notes"], "backup": "/c/s.json"}}},
            "Settings backup: /c/s.json (on the controller)",
        ),
        (
            {"still_locked": ["h2: cannot be reached"]},
            "Still locked: h2: cannot be reached. provision.yml ends it there.",
        ),
        ({"skipped": ["expiry"]}, "Check skipped on request: expiry"),
    ],
)
def test_further_lines(facts: dict[str, t.Any], line: str) -> None:
    assert set(closing(**facts)["lines"]) - set(closing()["lines"]) == {line}


@pytest.mark.parametrize(
    ("messages", "shown"),
    [
        ({}, "- -"),
        ({"messages_before": 200, "messages_after": 200}, "200 200"),
        ({"messages_before": 300}, "~300 -"),
        ({"messages_before": 0, "messages_after": 0}, "0 0"),
        ({"messages_before": None, "messages_after": None}, "- -"),
        ({"rows": 200, "large": False, "unknown": ""}, "200 200"),
        ({"rows": 300, "large": True, "unknown": ""}, "~300 -"),
        ({"rows": None, "large": True, "unknown": "no database"}, "- -"),
    ],
)
def test_the_rows_of_messages(messages: dict[str, t.Any], shown: str) -> None:
    assert closing(messages=messages)["lines"][1].split()[2:] == shown.split()


@pytest.mark.parametrize("lets_come", [True, False])
def test_traffic_that_nothing_lets_come_is_named(lets_come: bool) -> None:
    journal = {**JOURNAL, "notes": {**JOURNAL["notes"], "traffic_away_at": 90.0}}
    said = "Traffic may be kept away since 1970-01-01 00:01:30 UTC, by wa_upgrade_before_outage: wa_upgrade_after_outage is not set."
    assert (said in closing(journal=journal, lets_traffic_come=lets_come)["lines"]) is not lets_come
    assert said not in closing()["lines"]
