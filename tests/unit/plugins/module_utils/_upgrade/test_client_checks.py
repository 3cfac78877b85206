# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each check of `client_checks` fails."""

from __future__ import annotations

import typing as t

import pytest
from preflight_samples import DEPLOYMENT, GOOD, UNREAD, assert_failed, container, names

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import client_checks

FAILED: list[tuple[str, dict[str, t.Any], str]] = [
    ("the host can be read", UNREAD, "h1: no daemon with <hidden>"),
    ("the host can be read", {"found": {}}, "h1: it was not read"),
    ("the client is the one of the inventory", {"identity": "h1: another client"}, "h1: another client"),
    (
        "the containers belong to a Compose project",
        {"deployment": {**DEPLOYMENT, "project": ""}},
        "h1: its containers were adopted outside Compose (wa_project is empty). Move them into a project first, by five "
        "commands: docs/guides/adopt.md, Move a client into a Compose project.",
    ),
    (
        "the containers belong to a Compose project",
        {
            "clients": [container("wa-waba-wacore-1", own=False)],
            "compose": {**GOOD["compose"], "compose": {**GOOD["compose"]["compose"], "repositories": {}}},
        },
        "h1: made from another Compose file than the role's: wa-waba-wacore-1. Run provision.yml, which says what to do.",
    ),
    (
        "the client runs",
        {"clients": [container("wa-waba-wacore2-1"), container("wa-waba-wacore-1")]},
        "h1: of a service that the inventory does not have: wa-waba-wacore2-1. Run provision.yml with wa_client_restart: now, which ",
    ),
    (
        "the client runs",
        {"clients": []},
        "h1: no container of the client in project wa-waba: run provision.yml first.",
    ),
    (
        "the client runs",
        {"clients": [container("wa-waba-waweb-1", state="exited"), container("wa-waba-wacore-1")]},
        "h1: not running: wa-waba-waweb-1. Run provision.yml, which starts the version that they have; then run upgrade.yml again.",
    ),
    (
        "no registration and no media are lost",
        {"loss": "web keeps its configuration"},
        "h1: web keeps its configuration",
    ),
    (
        "the target can be reached from the running version",
        {"version": "2.9.1"},
        "waba: target version: 2.9.1 is older than the running 2.51.2; expected a newer version.",
    ),
    (
        "the target can be reached from the running version",
        {"everywhere": []},
        "waba: running version: no client container",
    ),
    (
        "the leader has a Coreapp for the migration",
        {"compose": {"compose": {**GOOD["compose"]["compose"], "coreapp": ""}, "services": [], "refusal": ""}},
        "h1: it leads waba, and has no Coreapp; expected one, because the migration is made from the leader's Coreapp in your Compose "
        "files. Set wa_leader to a member that has one.",
    ),
    (
        "the version may be set in the operator's Compose files",
        {"operators_files": {"actions": [".env: VERSION=2.51.2 becomes VERSION=2.53.4"]}},
        "h1: after the upgrade docker compose up in /srv/wa would start the old version on the migrated database; expected your "
        "permission to set the new one there (.env: VERSION=2.51.2 becomes VERSION=2.53.4). Give it with "
        "wa_upgrade_update_compose_files: true.",
    ),
    (
        "the version may be set in the operator's Compose files",
        {"operators_files": {"msg": "no such file"}},
        "h1: no such file",
    ),
    ("the client is healthy", {"health": {"msg": "not registered", "healthy": False}}, "h1: not registered"),
    ("the client is healthy", {"health": {"skipped": True}}, "h1: it was not read"),
    (
        "db.env and the media volume are in sync",
        {"drift": {"drift": ["db_env: set WA_DB_PORT", "media_volume: a"]}},
        "h1: db_env: set WA_DB_PORT; media_volume: a. Run provision.yml, which corrects what the inventory can correct; then run "
        "upgrade.yml again.",
    ),
    ("db.env and the media volume are in sync", {"drift": {"msg": "invalid"}}, "h1: invalid"),
    ("the members share the media volume", {"marker": {"msg": "not mounted", "actions": []}}, "h1: not mounted"),
    (
        "the members share the media volume",
        {"check_only": True, "markers": {"h1": "a", "h2": "b"}, "split_volume": "the hosts do not share one"},
        "h1: the hosts do not share one",
    ),
]


def test_the_table_has_every_check() -> None:
    assert names(client_checks) == {name for name, _changes, _message in FAILED}


@pytest.mark.parametrize(("name", "changes", "message"), FAILED)
def test_a_check_fails(name: str, changes: dict[str, t.Any], message: str) -> None:
    assert_failed(name, changes, message)
