# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How containers differ from services: the differing attribute is named, and an adopted container never drifts."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client import service_drift
from ansible_collections.waba.onprem.plugins.module_utils._client.service_drift import Container, Differences, Service
from ansible_collections.waba.onprem.plugins.module_utils._compose.plan import Network

IMAGE = "r/coreapp:v2.53.4"
NETWORK = Network("wa-a_default", "wa-a_default", "n1")
WANTED = Service("wacore", IMAGE, "h1", "sha256:1", networks=("wa-a_default",), definition="d1")
SYNCED = Container(
    name="wa-a-wacore-1",
    service="wacore",
    state="running",
    image=IMAGE,
    image_id="sha256:1",
    image_label="sha256:1",
    hash="h1",
    definition="d1",
    health="healthy",
    networks=("n1",),
)
OLD = "wa-a-wacore-1 was created by an older version of the collection"
KEPT = "wa-a-wacore-1 is kept as it was created until the next upgrade"


def compare(
    services: t.Sequence[Service], containers: t.Sequence[Container], kept: bool = False, network: Network = NETWORK
) -> Differences:
    return service_drift.compare("wa-a", services, containers, [network], kept)


def test_a_container_that_matches_its_service_has_no_difference() -> None:
    assert compare([WANTED], [SYNCED]) == Differences()
    assert compare([], []) == Differences()


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("paused", "wa-a-wacore-1 is paused"),
        ("created", "wa-a-wacore-1 was never started"),
        ("exited", "wa-a-wacore-1 has exited"),
        ("dead", "wa-a-wacore-1 is dead"),
        ("restarting", "wa-a-wacore-1 restarts again and again. Look into its log (docker logs wa-a-wacore-1)"),
        ("removing", "wa-a-wacore-1 is being removed"),
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_a_container_that_does_not_run_is_a_change(state: str, text: str, own: bool) -> None:
    found = compare([WANTED], [replace(SYNCED, state=state, own=own)], kept=True)
    assert found.changes == [text]
    assert found.restarts == []


def test_a_stopped_container_with_other_settings_is_no_restart() -> None:
    found = compare([WANTED], [replace(SYNCED, state="exited", definition="d0")])
    settings = "wa-a-wacore-1 was created with other settings than the inventory has"
    assert found == Differences(changes=[settings, "wa-a-wacore-1 has exited"])


@pytest.mark.parametrize(
    ("service", "container", "expected"),
    [
        (
            {},
            {"image": "s/coreapp:v2.53.4"},
            Differences(restarts=[f"wa-a-wacore-1 runs s/coreapp:v2.53.4, expected {IMAGE}"]),
        ),
        (
            {},
            {"image": "r/coreapp:v2.51.2", "image_id": "sha256:0"},
            Differences(restarts=[f"wa-a-wacore-1 runs r/coreapp:v2.51.2, expected {IMAGE}"]),
        ),
        (
            {},
            {"image_id": "sha256:0", "image_label": "sha256:0"},
            Differences(
                restarts=[f"wa-a-wacore-1 runs another build of {IMAGE}: sha256:0, expected sha256:1"],
            ),
        ),
        ({"image_id": ""}, {"image_label": "sha256:0"}, Differences()),  # the host has no image of that name
        (
            {},
            {"definition": "d0"},
            Differences(restarts=["wa-a-wacore-1 was created with other settings than the inventory has"]),
        ),
        ({}, {"definition": ""}, Differences(pending=[OLD])),
        (
            {},
            {"hash": "h0"},  # the file was edited manually and then applied with Compose
            Differences(restarts=["wa-a-wacore-1 was created from another Compose file than the one that was applied"]),
        ),
        ({}, {"hash": "h0", "stale": True}, Differences()),  # another db.env explains it and is reported there
        (
            {"hash": ""},
            {},
            Differences(changes=["wa-a-wacore-1 is not recorded as created from the Compose file"]),
        ),
        ({"hash": ""}, {"definition": ""}, Differences(pending=[OLD])),
        ({}, {"health": "unhealthy", "state": "exited"}, Differences(changes=["wa-a-wacore-1 has exited"])),
        ({}, {"networks": ()}, Differences(restarts=["wa-a-wacore-1 is not on the network wa-a_default"])),
        (
            {},
            {"networks": ("n0",)},  # the network was recreated
            Differences(restarts=["wa-a-wacore-1 is not on the network wa-a_default"]),
        ),
        ({}, {"networks": ("n1", "n2")}, Differences()),
        (
            {},
            {"health": "unhealthy"},
            Differences(changes=["wa-a-wacore-1 is unhealthy. Look into its log (docker logs wa-a-wacore-1)"]),
        ),
        ({}, {"health": "starting"}, Differences()),
        (
            {},
            {"restart": "no"},
            Differences(changes=["wa-a-wacore-1 has the restart policy no, expected unless-stopped"]),
        ),
        ({"restart": "no"}, {"restart": "no"}, Differences()),
        (
            {},
            {"log_capped": False},
            Differences(),
        ),  # the definition covers the log options of the collection's containers
    ],
)
def test_the_differing_attribute_is_named(
    service: dict[str, t.Any], container: dict[str, t.Any], expected: Differences
) -> None:
    wanted, found = replace(WANTED, **service), replace(SYNCED, **container)
    assert compare([wanted], [found]) == expected
    assert compare([wanted], [found], kept=True) == expected  # no container is adopted


def test_a_missing_network_is_named() -> None:
    missing = replace(NETWORK, id="")
    expected = Differences(restarts=["wa-a-wacore-1 is not on the network wa-a_default"])
    assert compare([WANTED], [SYNCED], network=missing) == expected


@pytest.mark.parametrize(
    ("count", "numbers", "expected"),
    [
        (1, [], Differences(changes=["wa-a-wacore-1 is missing"])),
        (2, [], Differences(changes=["wa-a-wacore-1 is missing", "wa-a-wacore-2 is missing"])),
        (2, [1], Differences(changes=["wa-a-wacore-2 is missing"])),
        (1, [1, 2], Differences(restarts=["wa-a-wacore-2 is more than the 1 that the service has"])),
        (2, [1, 2], Differences()),
    ],
)
def test_a_wrong_number_of_containers_is_reported(count: int, numbers: list[int], expected: Differences) -> None:
    there = [replace(SYNCED, name=f"wa-a-wacore-{number}", number=number) for number in numbers]
    assert compare([replace(WANTED, count=count)], there) == expected


@pytest.mark.parametrize(("own", "client", "reported"), [(True, True, 1), (True, False, 1), (False, False, 0)])
def test_a_container_of_a_removed_service_is_reported(own: bool, client: bool, reported: int) -> None:
    """What the operator runs beside the client in its project is none of its services."""
    removed = replace(SYNCED, name="wa-a-proxy-1", service="proxy", own=own, client=client)
    lines = ["wa-a-proxy-1 belongs to a service that this host no longer has"] * reported
    assert compare([WANTED], [SYNCED, removed]) == Differences(restarts=lines)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({}, Differences(kept=True, pending=[KEPT])),
        ({"image": "mirror/coreapp:v2.53.4", "image_id": "sha256:0"}, Differences(kept=True, pending=[KEPT])),
        ({"definition": "d0", "networks": ()}, Differences(kept=True, pending=[KEPT])),
        ({"restart": "always"}, Differences(kept=True, pending=[KEPT])),
        ({"log_capped": False}, Differences(kept=True, pending=[f"{KEPT}; Docker keeps its log without a limit"])),
        (
            {"image": "r/coreapp:v2.51.2"},
            Differences(kept=True, restarts=["wa-a-wacore-1 runs version 2.51.2, expected 2.53.4"], pending=[KEPT]),
        ),
    ],
)
def test_an_adopted_container_is_kept_except_for_its_version(
    container: dict[str, t.Any], expected: Differences
) -> None:
    found = replace(SYNCED, own=False, **{"definition": "", "networks": (), **container})
    assert compare([WANTED], [found], kept=True) == expected


def test_an_adopted_project_keeps_additional_containers() -> None:
    adopted = replace(SYNCED, own=False)
    proxy = replace(adopted, name="wa-a-proxy-1", service="proxy")
    found = compare([WANTED], [adopted, proxy], kept=True)
    assert (found.changes, found.restarts) == ([], [])
    found = compare([WANTED], [proxy], kept=True)
    assert found.changes == ["wa-a-wacore-1 is missing"]


def test_an_adopted_container_to_be_replaced_is_compared_completely() -> None:
    adopted = replace(SYNCED, own=False, definition="", image="s/coreapp:v2.53.4")
    assert compare([WANTED], [adopted], kept=False) == Differences(
        restarts=[f"wa-a-wacore-1 runs s/coreapp:v2.53.4, expected {IMAGE}"]
    )
