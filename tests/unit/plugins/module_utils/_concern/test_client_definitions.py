# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How containers differ from services: the differing attribute is named, and kept containers wait."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from unittest.mock import Mock

import pytest
from fake_compose import FakeCompose

from ansible_collections.waba.onprem.plugins.module_utils._compose.definitions import Recorded
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import DEFINITION_LABEL
from ansible_collections.waba.onprem.plugins.module_utils._compose.plan import Found, Network
from ansible_collections.waba.onprem.plugins.module_utils._compose.program import Compose
from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project
from ansible_collections.waba.onprem.plugins.module_utils._concern import client
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding

Given = dict[str, t.Any]
NOT_RECORDED = (
    "is not in the record of this host as its Compose files are read now: it was created, or Compose upgraded, since "
    "provision.yml last ended. provision.yml compares it with these files, and records it"
)
CORE, WEB = "wa-a-wacore-1", "wa-a-waweb-1"
NET = "wa-a_default"
IMAGES = {"wacore": "r/coreapp:v2.53.4", "waweb": "r/web:v2.53.4"}
RECORDED = Recorded({"wacore": {"hash": "h0,h1"}, "waweb": {"hash": "h2"}})
FOUND = Found(CORE, "wacore", "running", "h1", IMAGES["wacore"], "sha256:1", 1, ("n1",), "d1", CORE, compose="2.40.3")
FOUND_WEB = replace(FOUND, name=WEB, id=WEB, service="waweb", image=IMAGES["waweb"], hash="h2")
OTHER = replace(FOUND, definition="d0")
FOREIGN: Given = {"own": False, "definition": ""}
OTHER_FILE = f"{CORE} was made from other Compose files than there are now"
SETTINGS = f"{CORE} was created with other settings than the inventory has"
NO_NETWORK = f"{CORE} is not on the network {NET}"
EXITED = f"{CORE} has exited"
POLICY = f"{CORE} has the restart policy no, expected unless-stopped"


def compare(
    services: t.Mapping[str, int],
    found: t.Sequence[Found],
    policy: str = "unless-stopped",
    health: str = "healthy",
    compare_record: bool = True,
    network: str = "n1",
    image_id: str = "sha256:1",
    current: t.Sequence[str] = (),
    diverged: bool = False,
    **fields: t.Any,
) -> Finding:
    """Compares with `services`, a number of containers each.

    `policy` and `health` are those of all that are found, `current` Compose's hashes of the Coreapp.
    """
    bodies = {
        name: {
            "image": IMAGES[name],
            "labels": {DEFINITION_LABEL: "d1"},
            "scale": count,
            "restart": "unless-stopped",
            "networks": ["default"],
        }
        for name, count in services.items()
    }
    document = {"services": bodies, "networks": {"default": {"name": NET}}}
    engine = Mock(image=lambda _name: {"Id": image_id}, rows=lambda *_query, **_options: [])
    given: Given = {"recorded": RECORDED, **fields}
    project = Project(engine, Compose(FakeCompose(), "", "wa-a", "", document=document), **given)
    project.found, project.networks = [*found], [Network("default", NET, network, diverged=diverged)]
    project.current_hashes = {"wacore": {*current}}
    state = {"Health": {"Status": health, "FailingStreak": 3}}
    project._records = {
        one.id: {"Config": {}, "HostConfig": {"RestartPolicy": {"Name": policy}}, "State": state} for one in found
    }
    return client.compare(project, compare_record)


BESIDE = Recorded({"wacore": {"init": "1", "hash": "h1", "inputs": "i"}, "waweb": {"hash": "h0"}})
# With a container, what else is given, the reasons to recreate it, and what is changed without that.
ROWS: list[tuple[Given, Given, list[str], list[str]]] = [
    ({}, {}, [], []),
    ({"hash": "h0"}, {}, [], []),
    ({"networks": ("n1", "n2")}, {}, [], []),
    ({"image_id": "sha256:0"}, {"image_id": ""}, [], []),  # the host has no image of that name
    ({}, {"health": "starting"}, [], []),
    ({"image": "r/coreapp:v2.51.2"}, {}, [f"{CORE} runs r/coreapp:v2.51.2, expected {IMAGES['wacore']}"], []),
    (
        {"image_id": "sha256:0"},
        {},
        [f"{CORE} runs another build of {IMAGES['wacore']}: sha256:0, expected sha256:1"],
        [],
    ),
    ({"definition": "d0"}, {}, [SETTINGS], []),
    ({"definition": "d0", "state": "exited"}, {}, [SETTINGS], [EXITED]),
    # The file was edited manually and then applied with Compose.
    ({"hash": "h9"}, {}, [OTHER_FILE], []),
    ({"hash": "h9"}, {"current": ["h8", "h9"]}, [], []),  # recreated from the file
    # It was made with an operator's file beside the collection's, which is no more.
    ({}, {"recorded": BESIDE}, [OTHER_FILE], []),
    ({}, {"recorded": BESIDE, "current": ["h1"]}, [], []),
    ({"hash": "h9", "compose": "2.26.1"}, {}, [], []),  # its hash says nothing here
    ({"hash": "h9"}, {"stale": [CORE]}, [], []),  # another db.env explains it and is reported there
    ({}, {"recorded": Recorded()}, [], [f"{CORE} {NOT_RECORDED}"]),
    ({}, {"recorded": Recorded(), "compare_record": False}, [], []),
    ({"networks": ("n0",)}, {}, [NO_NETWORK], []),
    ({}, {"network": ""}, [NO_NETWORK], []),
    ({}, {"policy": "no"}, [], [POLICY]),
    ({"definition": "d0"}, {"policy": "no"}, [SETTINGS], [POLICY]),
    ({"state": "paused"}, {}, [], [f"{CORE} is paused"]),
    ({"state": "created"}, {}, [], [f"{CORE} was never started"]),
    ({"state": "exited"}, {"health": "unhealthy"}, [], [EXITED]),
    ({"state": "dead"}, {}, [], [f"{CORE} is dead"]),
    ({"state": "removing"}, {}, [], [f"{CORE} is being removed"]),
    (
        {"state": "restarting"},
        {},
        [],
        [f"{CORE} restarts again and again. Look into its log (docker logs {CORE})"],
    ),
    ({}, {"health": "unhealthy"}, [], [f"{CORE} is unhealthy. Look into its log (docker logs {CORE})"]),
    (FOREIGN, {"policy": "always"}, [SETTINGS], []),  # its policy is that of the operator's file
    ({**FOREIGN, "definition": "d0"}, {}, [SETTINGS], []),
]


@pytest.mark.parametrize(("container", "given", "reasons", "changes"), ROWS)
def test_the_differing_attribute_is_named(
    container: Given, given: Given, reasons: list[str], changes: list[str]
) -> None:
    found = replace(FOUND, **container)
    running = found.state == "running"
    assert compare({"wacore": 1}, [found], **given) == Finding(
        containers=changes if running else [*reasons, *changes], restarts=reasons if running else []
    )


MISSING = "wa-a-wacore-2 is missing"
SURPLUS = "wa-a-wacore-2 is more than the 1 that the service has"
GONE = "wa-a-proxy-1 belongs to a service that this host no longer has"
SECOND = replace(FOUND, name="wa-a-wacore-2", id="2", number=2)
PROXY = replace(FOUND, name="wa-a-proxy-1", id="3", service="proxy")


@pytest.mark.parametrize(
    ("services", "found", "changes", "due"),
    [
        ({}, [], [], []),
        ({"wacore": 2}, [], [f"{CORE} is missing", MISSING], []),
        ({"wacore": 2}, [FOUND], [MISSING], []),
        ({"wacore": 2}, [FOUND, SECOND], [], []),
        ({"wacore": 1}, [FOUND, SECOND], [], [SURPLUS]),
        ({"wacore": 1, "waweb": 1}, [OTHER], [f"{WEB} is missing"], [SETTINGS]),
        ({"wacore": 1, "waweb": 1}, [OTHER, replace(FOUND_WEB, state="exited")], [f"{WEB} has exited"], [SETTINGS]),
        ({"wacore": 1}, [FOUND, PROXY], [], [GONE]),
        ({"wacore": 1}, [FOUND, replace(PROXY, client=False)], [], [GONE]),
        ({"wacore": 1}, [FOUND, replace(PROXY, own=False)], [], [GONE]),
        # What the operator runs beside the client in its project is none of its services.
        ({"wacore": 1}, [FOUND, replace(PROXY, own=False, client=False, state="exited")], [], []),
    ],
)
def test_containers_of_several_services(
    services: dict[str, int], found: list[Found], changes: list[str], due: list[str]
) -> None:
    one = compare(services, found)
    assert (one.containers, one.restarts, len(one.alarms)) == (changes, due, due.count(SURPLUS))


def test_containers_of_one_service_are_recreated_together() -> None:
    assert compare({"wacore": 2}, [OTHER, SECOND]) == Finding(restarts=[SETTINGS, f"wa-a-wacore-2 goes with {CORE}"])


def test_to_remove_what_stands_still_interrupts_nothing() -> None:
    gone = replace(PROXY, own=False, state="exited")
    assert compare({"wacore": 1}, [FOUND, gone]) == Finding(containers=[GONE])


RENEWED = (
    f"network {NET}: was made with other options than the Compose files have; Compose would recreate it, and disconnect what is on it; "
    "expected the options that it has. Declare it "
    "as external in a Compose file of yours ({networks: {default: {external: true}}}), or renew it yourself"
)


@pytest.mark.parametrize(
    ("found", "diverged", "pending"),
    [
        ([FOUND], True, [RENEWED]),
        ([FOUND], False, []),
        ([replace(FOUND, state="created", networks=())], True, []),  # none is on it
    ],
)
def test_a_network_of_other_options_waits(found: list[Found], diverged: bool, pending: list[str]) -> None:
    changes = [f"{CORE} was never started" for one in found if one.state == "created"]
    assert compare({"wacore": 1}, found, diverged=diverged) == Finding(containers=changes, pending=pending)
