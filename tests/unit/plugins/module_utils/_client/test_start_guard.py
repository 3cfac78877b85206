# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a Coreapp may be started on its database: by its users, its content, and the other hosts of the run."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client import start_guard

OLD, NEW = "2.51.2", "2.53.4"
SERVER = {"identity": "a", "started": 100, "cluster": False}


def found(*origins: str, **more: t.Any) -> dict[str, t.Any]:
    sessions = [{"from": one, "database": "messageStore", "seconds": 5} for one in origins]
    return {**SERVER, "unknown": sessions, "unreadable": "", "holds": True, "definitions": "d51", **more}


@pytest.mark.parametrize(
    ("read", "unseen", "refused", "noted"),
    [
        (found(), 0, False, False),
        (found("10.0.0.6"), 0, True, False),
        (found("10.0.0.6", "10.0.0.7"), 1, False, True),  # may be those of a member that was not reached
        (found("10.0.0.6", unreadable="no right"), 0, True, False),
        (found(unreadable="no right"), 0, False, True),
    ],
)
def test_unknown_sessions_refuse_a_start(read: dict[str, t.Any], unseen: int, refused: bool, noted: bool) -> None:
    refusal, note = start_guard.unknown_sessions(read, unseen)
    assert (bool(refused), bool(noted)) == (bool(refusal), bool(note))
    if refused:
        assert "10.0.0.6" in refusal
        assert "wa_db_shared_origins" in refusal


def record(version: str = "", recorded: str = "2026-01-01T00:00:00Z", **schemas: str) -> dict[str, str]:
    digests = " ".join(f"{name.replace('_', '.')[1:]}={digest}" for name, digest in schemas.items())
    return {"project": "wa-a", "version": version, "recorded": recorded, "schemas": digests}


@pytest.mark.parametrize(
    ("records", "versions", "wanted", "said", "noted"),
    [
        ([record(OLD)], [], OLD, "", False),
        ([record(OLD)], [], NEW, f"version {OLD} ran last", False),
        ([record(NEW)], [], OLD, f"version {NEW} ran last", False),
        ([], [OLD], OLD, "", False),
        ([{}], [], OLD, "neither a container nor a record", False),
        ([record("")], [], OLD, "neither a container nor a record", False),
        # The newest record of the members counts.
        ([record(NEW), record(OLD, "2026-02-01T00:00:00Z")], [], OLD, "", False),
        ([record(OLD), record(NEW, "2026-02-01T00:00:00Z")], [], OLD, f"version {NEW} ran last", False),
        ([record(OLD, _2_51_2="d51")], [], OLD, "", False),
        ([record(OLD, _2_51_2="other")], [], OLD, "", True),
        # A newer version has migrated the tables, or the copy of an older one was put back, whatever runs now.
        ([record(OLD, _2_51_2="d50", _2_53_4="d51")], [OLD], OLD, f"those of version {NEW}", False),
        ([record(NEW, _2_51_2="d51", _2_53_4="d53")], [NEW], NEW, f"those of version {OLD}", False),
        ([record(OLD, _2_51_2="d51", _2_53_4="d51")], [], OLD, "", False),  # a version that changed no table
    ],
)
def test_what_the_database_holds_decides_about_a_version(
    records: list[dict[str, str]], versions: list[str], wanted: str, said: str, noted: bool
) -> None:
    refusal, note = start_guard.content(found(), records, versions, wanted, None, 1)
    assert said in refusal if said else not refusal, refusal
    assert bool(note) is noted


def test_a_restored_database_is_of_the_version_that_is_confirmed() -> None:
    records = [record(NEW)]
    refusal, _note = start_guard.content(found(), records, [], OLD, None, 1)
    assert f'confirm it for this run: -e \'{{"wa_confirm_identity": {{"version": "{OLD}"}}}}' in refusal
    assert start_guard.content(found(), records, [], OLD, {"version": OLD}, 1) == ("", "")


def test_an_empty_database_is_no_question() -> None:
    assert start_guard.content(found(holds=False), [], [], OLD, None, 3) == ("", "")
    assert start_guard.content({}, [], [], OLD, None, 1) == ("", "")


@pytest.mark.parametrize(
    ("confirmed", "deployments", "said"),
    [
        ({"version": OLD}, 1, ""),
        ({"version": f"v{OLD}"}, 1, ""),
        ({"version": NEW}, 1, f"gives version {NEW}"),
        ({"version": OLD}, 2, "--limit"),
        ({"port": "3307"}, 1, "neither a container nor a record"),
        (None, 1, f'{{"wa_confirm_identity": {{"version": "{OLD}"}}}}'),
    ],
)
def test_unknown_tables_are_confirmed_for_one_deployment_by_version(
    confirmed: dict[str, str] | None, deployments: int, said: str
) -> None:
    refusal, _note = start_guard.content(found(), [], [], OLD, confirmed, deployments)
    assert said in refusal if said else not refusal, refusal


def test_two_deployments_on_one_running_server_are_refused() -> None:
    assert start_guard.one_database("h1", found(), {}) == ""
    assert start_guard.one_database("h1", found(), {"h2": {}}) == ""
    assert start_guard.one_database("h1", found(), {"h2": {**SERVER, "started": 900}}) == ""
    refusal = start_guard.one_database("h1", found(), {"h2": SERVER})
    assert "h1 and h2 are different deployments" in refusal
    assert "wa_db_env_name_prefix" in refusal


PLACE = {"machine": "boot engine", "project": "wa-a", "database": "db.lab:3306/"}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({**PLACE, "project": "wa-b"}, "the same database: db.lab:3306/"),
        ({**PLACE, "database": "other:3306/"}, "the same project: wa-a"),
        ({**PLACE, "project": "wa-b", "database": ""}, ""),
        ({**PLACE, "machine": "clone engine"}, ""),
    ],
)
def test_two_names_of_one_machine_share_no_project_and_no_database(other: dict[str, str], said: str) -> None:
    refusal = start_guard.one_machine("h1", PLACE, {"h1b": other})
    assert said in refusal if said else not refusal, refusal
    assert start_guard.one_machine("h1", {**PLACE, "machine": ""}, {"h1b": {**other, "machine": ""}}) == ""


@pytest.mark.parametrize(("project", "refused"), [("wa-b", False), ("", True), ("wa-a", True)])
def test_a_service_of_a_project_is_no_database_of_another_one(project: str, refused: bool) -> None:
    place = {**PLACE, "database": "db:3306/"}
    assert bool(start_guard.one_machine("h1", place, {"h1b": {**place, "project": project}})) is refused


def test_that_the_servers_of_equal_names_were_not_compared_is_noted() -> None:
    assert start_guard.not_compared("h1", SERVER, {}) == ""
    assert start_guard.not_compared("h1", SERVER, {"h1b": SERVER}) == ""
    unread = {**SERVER, "identity": ""}
    for ours, theirs in ((SERVER, {}), (SERVER, unread), ({}, SERVER), (unread, SERVER)):
        note = start_guard.not_compared("h1", ours, {"h1b": theirs})
        assert note.startswith("hosts h1, h1b: one machine and databases of the same name, in a Compose project each;")
