# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Only a container with the same database is this client's. Those of another client stay."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._client import unmanaged

OWN = "db.lab:3306/"


def container(database: str = OWN, **more: t.Any) -> dict[str, t.Any]:
    one: dict[str, t.Any] = {
        "name": "biz-wacore-1",
        "image": "r.lab/coreapp:v2.53.4",
        "project": "biz",
        "state": "running",
        "role": "core",
        "one_shot": False,
    }
    return {**one, "database": database, **more}


def names(one: dict[str, t.Any], **more: t.Any) -> tuple[list[str], str]:
    """How `sort` classifies a container beside one of the deployment: own, refused."""
    own = container(name="wa-a-wacore-1", project="wa-a")
    found = unmanaged.sort([own, one], **{"project": "wa-a", "neighbours": [], "database": OWN, **more})
    assert found["unknown"] == []
    return [each["name"] for each in found["own"]], ". ".join(found["refused"])


@pytest.mark.parametrize(
    ("found", "own", "same"),
    [
        (OWN, OWN, True),
        ("db.lab:3306/x_", OWN, False),
        ("db.lab:3307/", OWN, False),
        ("10.0.0.1:3306/", "10.0.0.2:3306/", False),
        ("10.0.0.1:3306/", OWN, None),  # may be the same server
        ("db:3306/", OWN, None),
        ("10.0.0.1:3306/x_", OWN, False),
        ("db.lab:/", OWN, True),
        ("db.lab:/x_", OWN, False),
        ("[::1]:3306/", "[::2]:3306/", False),
        ("", OWN, None),
        (OWN, "", None),
    ],
)
def test_the_same_database_identifies_the_same_client(found: str, own: str, same: bool | None) -> None:
    assert unmanaged.same_client(found, own) is same


def test_a_container_with_the_same_database_is_of_this_client() -> None:
    assert names(container()) == (["biz-wacore-1"], "")
    assert names(container(project="")) == (["biz-wacore-1"], "")


def test_a_container_with_a_name_that_compose_would_give_is_of_this_client() -> None:
    one = container("db.lab:3307/", name="wa-a-waweb-1", project="")
    assert names(one, names=["wa-a-wacore-1", "wa-a-waweb-1"]) == (["wa-a-waweb-1"], "")
    assert names(one, names=["wa-a-wacore-1"]) == ([], "")


@pytest.mark.parametrize("database", ["db.lab:3306/x_", "10.0.0.1:3306/", ""])
def test_an_unadopted_client_is_unknown_to_a_deployment_without_containers(database: str) -> None:
    one = container(database)
    for own in ([], [container(name="wa-a-wacore-run-1", project="wa-a", one_shot=True)]):
        found = unmanaged.sort([one, *own], "wa-a", [], OWN)
        assert found == {"own": [], "unknown": [one], "refused": []}


def test_another_client_of_the_inventory_is_left_alone() -> None:
    one = container("db.lab:3306/x_")
    known = unmanaged.sort([one], "wa-a", [], OWN, known=[("biz", "db.lab:3306/x_")])
    assert (known["unknown"], known["refused"]) == ([], [])


def test_a_client_with_another_database_is_kept() -> None:
    assert names(container("db.lab:3306/x_")) == ([], "")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"database": ""}, "no database that its environment names; expected db.lab:3306/, which would prove"),
        ({"database": "10.0.0.1:3306/"}, "is connected to 10.0.0.1:3306/; expected db.lab:3306/"),
        ({"role": "other", "database": ""}, "is no container of the client and has the name of one"),
    ],
)
def test_a_conflicting_container_is_refused(more: dict[str, t.Any], message: str) -> None:
    own_ones, refusal = names(container(**more))
    assert own_ones == []
    assert message in refusal


def test_containers_of_the_deployment_and_its_neighbours_are_ignored() -> None:
    assert names(container(project="wa-a")) == ([], "")
    assert names(container("", neighbours=[]), neighbours=["biz"]) == ([], "")
    assert names(container("db:3306/"), known=[("biz", "db:3306/")]) == ([], "")
    assert names(container("db:3306/"), known=[("biz", "other:3306/")])[1] != ""
    assert names(container("", one_shot=True, state="exited")) == ([], "")


@given(
    database=st.sampled_from(["", OWN, "db.lab:3306/x_", "10.0.0.1:3306/", "db:3306/"]),
    role=st.sampled_from(["core", "web", "master", "other"]),
    own=st.sampled_from(["", OWN]),
)
def test_nothing_is_of_this_client_without_the_same_database(database: str, role: str, own: str) -> None:
    own_ones, refusal = names(container(database, role=role), database=own)
    assert not (own_ones and refusal)
    assert not own_ones or (database == own == OWN and role != "other")


CORE = "wacore (r.lab/coreapp:v2.53.4, outside Compose, running)"
OTHER = "biz-wacore-1 (r.lab/coreapp:v2.53.4, project biz, running)"


@pytest.mark.parametrize(
    ("groups", "project", "message"),
    [
        ({}, "wa-a", ""),
        (
            {"own": [container(name="wacore", project=""), container()]},
            "wa-a",
            f"{CORE}; {OTHER}: containers of this client outside the Compose project wa-a; expected none, because two clients of one "
            "number disconnect each other. Have adopt.yml take the client as it is (ADOPT), or move it into a Compose project by "
            "five commands (docs/guides/adopt.md, Move a client into a Compose project)",
        ),
        (
            {"unknown": [container("x:3306/"), container(""), container("")], "refused": ["refused"]},
            "",
            f"refused. {OTHER}; {OTHER}; {OTHER}: a client that no deployment of the inventory describes, connected to x:3306/, no "
            "database; expected a container of this deployment. Adopt what runs (ADOPT) and use the inventory that it "
            "writes, also if it is another number's",
        ),
    ],
)
def test_the_refusal_names_the_containers_and_what_to_do(groups: dict[str, t.Any], project: str, message: str) -> None:
    found = {"own": [], "unknown": [], "refused": [], **groups}
    assert unmanaged.refusal(found, project, "ADOPT") == message
