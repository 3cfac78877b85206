# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which starts would run two Coreapps of one single client."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client.starts import (
    active,
    orphan_migration,
    orphan_migrations,
    restart_allowed,
    second_coreapp,
)
from ansible_collections.waba.onprem.plugins.module_utils._compose import document

OURS = "mariadb.lab:3306/"


def core(name: str, state: str = "running", project: str = "wa-h1", **other: t.Any) -> dict[str, t.Any]:
    return {
        "id": f"id-{name}",
        "name": name,
        "state": state,
        "project": project,
        "service": "wacore",
        "role": "core",
        "one_shot": False,
        "restart": "unless-stopped",
        "database": OURS,
        "env_keys": ["WA_DB_HOSTNAME"],
        **other,
    }


MIGRATION = core("wa-h1-dbupgrade-1", one_shot=True, env_keys=["WA_DB_UPGRADE"])
WEB = core("wa-h1-waweb-1", role="web")
NORMAL = core("wa-h1-wacore-1")


@pytest.mark.parametrize(
    ("containers", "refused"),
    [
        ([], []),
        ([NORMAL, WEB], []),
        ([core("wa-h1-wacore-1", "exited"), WEB, MIGRATION], []),
        ([NORMAL, core("wa-h1-wacore-run-1", one_shot=True)], ["wa-h1-wacore-run-1"]),
        ([core("wa-h1-wacore-run-1", "exited", one_shot=True)], []),
        ([core("other", project="wa-two")], ["other"]),
        ([core("other", "restarting", project="wa-two")], ["other"]),
        ([core("other", "paused", project="")], ["other"]),
        ([core("other", "exited", project="wa-two")], []),
        ([core("other", project="wa-two", database="mariadb.lab:3306/two_")], []),
        ([core("other", project="wa-two", database="")], []),
        ([core("web", project="wa-two", role="web")], []),
        # A renamed container, or one with another number, belongs to the same service. The application of the project starts one of them.
        ([core("old"), core("wa-h1-wacore-2", "exited")], []),
    ],
)
def test_compose_must_not_start_a_second_coreapp(containers: list[dict[str, t.Any]], refused: list[str]) -> None:
    message = second_coreapp(containers, "wa-h1", OURS)
    assert bool(message) == bool(refused)
    assert all(name in message for name in refused)
    assert "wa-h1-waweb-1" not in message


@pytest.mark.parametrize(
    ("database", "project", "other", "refused"),
    [
        ("db:3306/", "wa-h1", "two", False),  # each project has a service of that name
        ("db:3306/", "wa-h1", "nobody", True),  # a project that no deployment of the machine describes
        ("db:3306/", "wa-h1", "", True),
        ("db:3306/", "", "two", True),  # what `docker run` has started may be in that project's network
        (OURS, "wa-h1", "two", True),
        ("10.0.0.5:3306/", "wa-h1", "two", True),
        ("localhost:3306/", "wa-h1", "two", True),
        ("::1:3306/", "wa-h1", "two", True),
    ],
)
def test_the_database_of_another_deployment_s_project_may_have_the_same_name(
    database: str, project: str, other: str, refused: bool
) -> None:
    containers = [core("ours", project=project, database=database), core("theirs", project=other, database=database)]
    assert bool(second_coreapp(containers, project, database, neighbours=["two"])) is refused


@pytest.mark.parametrize(
    ("other", "services", "refused"),
    [
        ({}, ["wacore", "waweb"], False),
        ({"service": "old"}, ["wacore", "waweb"], True),  # by an operator's files it is not removed
        ({"service": "old", "own": True}, ["wacore", "waweb"], False),  # of a former service: it is removed
        ({"service": "old"}, [], False),
        ({"service": "old", "state": "restarting"}, ["wacore"], True),
        ({"service": "old", "state": "exited"}, ["wacore"], False),
        ({"service": "old", "role": "web"}, ["wacore"], False),
    ],
)
def test_a_coreapp_of_another_service_runs_beside_that_of_an_operators_files(
    other: dict[str, t.Any], services: list[str], refused: bool
) -> None:
    message = second_coreapp([NORMAL, core("other", **other)], "wa-h1", OURS, services)
    state = other.get("state", "running")
    named = f"Coreapp of a single client: other ({state}, project wa-h1) would run beside the Coreapp of wa-h1;"
    assert message.startswith(named) if refused else message == ""


@pytest.mark.parametrize(
    ("containers", "refused"),
    [
        ([core("wacore", "running", "")], False),
        ([core("wacore", "running", ""), core("wacore-old", "exited", "")], False),
        ([core("wacore", "exited", ""), core("biz-wacore-1", "running", "biz")], True),
        ([core("wacore", "exited", ""), core("biz-wacore-1", "running", "biz", database="x:1/")], False),
        ([core("wacore", "running", ""), core("two", "running", "", database="x:1/")], True),
    ],
)
def test_two_coreapps_must_not_run_outside_compose(containers: list[dict[str, t.Any]], refused: bool) -> None:
    message = second_coreapp(containers, "")
    assert ("would run side by side; expected one Coreapp" in message) == bool(message) == refused


def test_without_a_container_the_database_identifies_the_project() -> None:
    other = core("biz-wacore-1", project="biz")
    assert "biz-wacore-1" in second_coreapp([other], "wa-h1", OURS)
    assert not second_coreapp([other], "wa-h1", "")


def test_the_refusal_names_the_containers_and_the_fix() -> None:
    message = second_coreapp([NORMAL, core("run", one_shot=True)], "wa-h1")
    assert message == (
        "Coreapp of a single client: run (running, left by docker compose run, project wa-h1) would run beside the "
        "Coreapp of wa-h1; expected one Coreapp, because two of one number get it banned. Nothing was started. Find out "
        "which one serves, and stop and remove the others (docker stop NAME, docker rm NAME)."
    )


@pytest.mark.parametrize(
    ("when", "zone", "now", "allowed"),
    [
        ("now", "", "02:30", True),
        ("report", "+0000", "02:30", False),
        ("01:00-05:00", "+0000", "02:30", True),
        ("01:00-05:00", "+0000", "01:00", True),
        ("01:00-05:00", "+0000", "05:00", False),
        ("01:00-05:00", "+0000", "00:59", False),
        ("23:00-05:00", "+0000", "23:10", True),
        ("23:00-05:00", "+0000", "04:59", True),
        ("23:00-05:00", "+0000", "12:00", False),
        ("01:00-05:00", "+0530", "23:00", True),  # 04:30 on the host
        ("01:00-05:00", "-0300", "02:30", False),  # 23:30
        ("01:00-05:00", "", "02:30", False),  # the host was not asked
    ],
)
def test_a_restart_is_allowed_now_or_in_its_window(when: str, zone: str, now: str, allowed: bool) -> None:
    hour, minute = now.split(":")
    assert restart_allowed(when, zone, 20000 * 86400 + int(hour) * 3600 + int(minute) * 60) is allowed


def test_services_that_run_are_named() -> None:
    containers = [
        core("a", restart="always"),
        core("b", "exited", restart="on-failure"),
        core("c", "restarting"),
        core("d", "paused", restart="no"),
        core("e", "created"),
        core("run", restart="always", one_shot=True),
    ]
    assert active(containers) == ["a", "c", "d"]


def ran(service: str, version: str, state: str, exit_code: int = 0, started_at: float = 0) -> dict[str, t.Any]:
    found = {
        "service": service,
        "env_keys": ["WA_DB_UPGRADE"] if service == "dbupgrade" else [],
        "version": version,
        "state": state,
        "exit_code": exit_code,
        "one_shot": service == document.MIGRATION,
        "database": "",
    }
    return {**found, "started_at": started_at or (100.0 if service == document.MIGRATION else 50.0)}


@pytest.mark.parametrize(
    ("client", "migration", "orphan"),
    [
        (("2.43.1", "exited"), ("2.45.1", "exited", 0), "2.45.1"),
        (("2.43.1", "exited"), ("2.45.1", "running"), "2.45.1"),
        # It may have changed a part of the schema.
        (("2.43.1", "exited"), ("2.45.1", "exited", 1), "2.45.1"),
        (("2.43.1", "exited", 0, 150), ("2.45.1", "exited", 1), ""),  # and the client has served since
        (("2.43.1", "exited", 0, 150), ("2.45.1", "exited", 0), "2.45.1"),
        (("2.43.1", "exited"), ("2.45.1", "created"), ""),
        (("2.43.1", "running"), ("2.45.1", "exited", 0), ""),
        (("2.45.1", "exited"), ("2.45.1", "exited", 0), ""),
        (("latest", "exited"), ("2.45.1", "exited", 0), ""),
    ],
)
def test_a_migration_without_a_journal(client: tuple[t.Any, ...], migration: tuple[t.Any, ...], orphan: str) -> None:
    here = [ran("wacore", *client), ran(document.MIGRATION, *migration)]
    assert orphan_migration(here) == orphan
    assert orphan_migration(here[1:]) == ""
    elsewhere = [{**one, "project": project} for one, project in zip([*here, here[1]], ["a", "a", "b"])]
    outside = {**here[0], "project": ""}
    assert orphan_migrations([*elsewhere, outside]) == ({"a": orphan} if orphan else {})


@pytest.mark.parametrize("place", [{"project": "biz"}, {"project": "", "service": ""}], ids=["vendor", "docker run"])
def test_a_migration_without_a_journal_outside_the_project(place: dict[str, str]) -> None:
    """It counts for the client of its database: until it is removed, nothing starts the old version."""
    wa = {"project": "wa", "database": OURS}
    client = {**ran("wacore", "2.43.1", "exited"), **wa}
    by_hand = {**ran(document.MIGRATION, "2.45.1", "exited", 0), **wa, "one_shot": True, **place}
    assert orphan_migrations([client, by_hand]) == {"wa": "2.45.1"}
    assert orphan_migrations([client, {**by_hand, "database": "other:3306/"}]) == {}
    assert orphan_migrations([client, {**by_hand, "env_keys": []}]) == {}
