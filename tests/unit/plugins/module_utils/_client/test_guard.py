# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forbids that a client is started, or that its Coreapps are restarted, from the containers of a host."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client import guard

OWN = "db.lab:3306/"


def core(name: str, project: str = "wa-a", **more: t.Any) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {
        "id": name,
        "name": name,
        "image": "r/coreapp:v2.53.4",
        "project": project,
        "service": name,
        "state": "running",
        "role": "core",
        "own": project == "wa-a",
        "one_shot": False,
        "restart": "no",
        "env_keys": [],
        "database": OWN,
    }
    return {**found, **more}


def check(
    containers: list[dict[str, t.Any]], single: bool = True, project: str = "wa-a", **more: t.Any
) -> dict[str, t.Any]:
    unmanaged = {"project": project, "neighbours": [], "database": OWN}
    facts = {"unmanaged": unmanaged, "adopt": "ADOPT", "single": single, "rendered": True, **more}
    return guard.check(containers, facts)


def test_nothing_forbids_the_start_of_a_client_that_is_alone() -> None:
    nothing = {"refusal": "", "second_coreapp": ""}
    assert check([]) == nothing
    web, stopped = core("web", role="web"), core("old", state="exited")
    assert check([core("wacore"), web, stopped]) == nothing


@pytest.mark.parametrize("single", [True, False])
def test_a_client_outside_the_project_and_a_second_coreapp_are_refused(single: bool) -> None:
    found = check([core("wacore"), core("other", "biz")], single)
    assert found["refusal"].startswith(
        "other (r/coreapp:v2.53.4, project biz, running): containers of this client outside"
    )
    assert found["second_coreapp"].startswith("Coreapp of a single client: other (running, project biz)") is single


@pytest.mark.parametrize(
    ("services", "refused"), [(["wacore"], True), (["wacore", "old"], False), ([], False), (None, False)]
)
def test_a_coreapp_of_no_service_in_an_operators_files_is_a_second_one(
    services: list[str] | None, refused: bool
) -> None:
    more: dict[str, t.Any] = {} if services is None else {"services": services}
    found = check([core("wacore", own=False), core("old", own=False)], rendered=False, **more)
    assert found["refusal"] == ""
    start = "Coreapp of a single client: old (running, project wa-a) would run beside the Coreapp of wa-a;"
    assert found["second_coreapp"].startswith(start) if refused else found["second_coreapp"] == ""


def test_a_neighbours_service_of_the_same_name_is_another_database() -> None:
    containers = [core("wacore", database="db:3306/"), core("other", "biz", database="db:3306/")]
    for neighbours, refused in ([], True), (["biz"], False):
        unmanaged = {"project": "wa-a", "neighbours": neighbours, "database": "db:3306/"}
        found = check(containers, unmanaged=unmanaged)
        assert (bool(found["refusal"]), bool(found["second_coreapp"])) == (refused, refused)


def test_the_containers_of_another_number_are_kept() -> None:
    found = check([core("wacore"), core("other", "biz", database="db.lab:3306/x_")])
    assert (found["refusal"], found["second_coreapp"]) == ("", "")


@pytest.mark.parametrize(
    ("container", "more", "refused"),
    [
        (core("wacore", own=False), {}, True),
        (core("wacore", own=False, state="exited"), {}, True),
        (core("wacore", own=False), {"services": ["wacore"]}, True),
        (core("wacore", own=False), {"rendered": False}, False),
        # What is no service of the client says nothing about its Compose file.
        (core("spare", own=False, role="other"), {}, False),
        (core("spare", own=False), {"services": ["wacore"]}, False),
        (core("dbupgrade", own=False), {}, False),
        (core("run", own=False, one_shot=True), {}, False),
    ],
)
def test_containers_of_another_compose_file_than_the_roles_are_refused(
    container: dict[str, t.Any], more: dict[str, t.Any], refused: bool
) -> None:
    state = container["state"]
    assert check([core("waweb", role="web"), container], single=False, **more)["refusal"] == (
        f"wacore (r/coreapp:v2.53.4, project wa-a, {state}): made from another Compose file than the role's; expected "
        "wa_client_compose_dir, with which a client runs from its own Compose files. Have adopt.yml take it as it is (ADOPT), or remove "
        "the containers (docker compose down), whose client is then started from the role's file"
        if refused
        else ""
    )
