# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How containers differ from services: the differing attribute is named, and kept containers wait."""

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
FOREIGN = replace(SYNCED, own=False, definition="")
OTHERS = "wa-a-wacore-1 was created from another Compose file"


def compare(
    services: t.Sequence[Service],
    containers: t.Sequence[Container],
    kept: bool = False,
    network: Network = NETWORK,
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
@pytest.mark.parametrize(
    ("container", "kept", "pending"), [(SYNCED, False, []), (SYNCED, True, []), (FOREIGN, True, [OTHERS])]
)
def test_a_container_that_does_not_run_is_a_change(
    state: str, text: str, container: Container, kept: bool, pending: list[str]
) -> None:
    found = compare([WANTED], [replace(container, state=state)], kept)
    assert found == Differences(changes=[text], pending=pending, kept=kept)


def test_a_stopped_container_with_other_settings_is_no_restart() -> None:
    stopped = replace(SYNCED, state="exited", definition="d0")
    settings = "wa-a-wacore-1 was created with other settings than the inventory has"
    assert compare([WANTED], [stopped]) == Differences(changes=[settings, "wa-a-wacore-1 has exited"])
    assert compare([WANTED], [stopped], kept=True) == Differences(
        changes=["wa-a-wacore-1 has exited"], pending=[settings], kept=True
    )


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
    ],
)
def test_the_differing_attribute_is_named(
    service: dict[str, t.Any], container: dict[str, t.Any], expected: Differences
) -> None:
    wanted, found = replace(WANTED, **service), replace(SYNCED, **container)
    assert compare([wanted], [found]) == expected
    waits = Differences(changes=expected.changes, pending=expected.restarts + expected.pending, kept=True)
    assert compare([wanted], [found], kept=True) == waits


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
    waits = Differences(changes=expected.changes, pending=expected.restarts, kept=True)
    assert compare([replace(WANTED, count=count)], there, kept=True) == waits


@pytest.mark.parametrize(("own", "client", "reported"), [(True, True, 1), (True, False, 1), (False, False, 0)])
def test_a_container_of_a_removed_service_is_reported(own: bool, client: bool, reported: int) -> None:
    """What the operator runs beside the client in its project is none of its services."""
    removed = replace(SYNCED, name="wa-a-proxy-1", service="proxy", own=own, client=client)
    lines = ["wa-a-proxy-1 belongs to a service that this host no longer has"] * reported
    assert compare([WANTED], [SYNCED, removed]) == Differences(restarts=lines)
    assert compare([WANTED], [SYNCED, removed], kept=True) == Differences(pending=lines, kept=True)


IMAGE_DIFFERS = f"wa-a-wacore-1 runs s/coreapp:v2.53.4, expected {IMAGE}"
VERSION_DIFFERS = f"wa-a-wacore-1 runs r/coreapp:v2.51.2, expected {IMAGE}"
BUILD_DIFFERS = f"wa-a-wacore-1 runs another build of {IMAGE}: sha256:0, expected sha256:1"
NO_NETWORK = "wa-a-wacore-1 is not on the network wa-a_default"
UNHEALTHY = "wa-a-wacore-1 is unhealthy. Look into its log (docker logs wa-a-wacore-1)"


@pytest.mark.parametrize(
    ("container", "changes", "pending"),
    [
        ({}, [], [OTHERS]),
        ({"image": "s/coreapp:v2.53.4", "image_label": "sha256:0"}, [], [IMAGE_DIFFERS, OTHERS]),
        ({"image": "r/coreapp:v2.51.2"}, [], [VERSION_DIFFERS, OTHERS]),
        ({"image_id": "sha256:0", "image_label": "sha256:0"}, [], [BUILD_DIFFERS, OTHERS]),
        ({"networks": ()}, [], [OTHERS, NO_NETWORK]),
        ({"definition": "d0"}, [], ["wa-a-wacore-1 was created with other settings than the inventory has"]),
        # Its restart policy is that of the operator's file.
        ({"restart": "always"}, [], [OTHERS]),
        ({"health": "unhealthy"}, [UNHEALTHY], [OTHERS]),
        ({"state": "exited"}, ["wa-a-wacore-1 has exited"], [OTHERS]),
        ({"state": "exited", "image": "r/coreapp:v2.51.2"}, ["wa-a-wacore-1 has exited"], [VERSION_DIFFERS, OTHERS]),
        ({"state": "paused", "stale": True}, ["wa-a-wacore-1 is paused"], [OTHERS]),
    ],
)
def test_differences_of_a_container_of_another_compose_file_wait(
    container: dict[str, t.Any], changes: list[str], pending: list[str]
) -> None:
    expected = Differences(changes=changes, pending=pending, kept=True)
    assert compare([WANTED], [replace(FOREIGN, **container)], kept=True) == expected


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({}, Differences(restarts=[OTHERS])),
        ({"hash": "h0", "stale": True}, Differences(restarts=[OTHERS])),
        ({"restart": "always"}, Differences(restarts=[OTHERS])),
        ({"state": "exited"}, Differences(changes=[OTHERS, "wa-a-wacore-1 has exited"])),
        ({"state": "paused"}, Differences(changes=[OTHERS, "wa-a-wacore-1 is paused"])),
        (
            {"definition": "d0"},
            Differences(restarts=["wa-a-wacore-1 was created with other settings than the inventory has"]),
        ),
        ({"image": "s/coreapp:v2.53.4"}, Differences(restarts=[IMAGE_DIFFERS, OTHERS])),
        ({"image": "r/coreapp:v2.51.2"}, Differences(restarts=[VERSION_DIFFERS, OTHERS])),
        ({"image_id": "sha256:0", "image_label": "sha256:0"}, Differences(restarts=[BUILD_DIFFERS, OTHERS])),
        ({"networks": ()}, Differences(restarts=[OTHERS, NO_NETWORK])),
        (
            {"image": "s/coreapp:v2.53.4", "state": "exited"},
            Differences(changes=[IMAGE_DIFFERS, OTHERS, "wa-a-wacore-1 has exited"]),
        ),
        (
            {"image": "s/coreapp:v2.53.4", "health": "unhealthy"},
            Differences(changes=[UNHEALTHY], restarts=[IMAGE_DIFFERS, OTHERS]),
        ),
    ],
)
def test_a_container_of_another_compose_file_to_be_replaced_is_compared_completely(
    container: dict[str, t.Any], expected: Differences
) -> None:
    assert compare([WANTED], [replace(FOREIGN, **container)]) == expected
    assert compare([replace(WANTED, hash="")], [replace(FOREIGN, **container)]) == expected


WEB = Service("waweb", "r/web:v2.53.4", "h2", networks=("wa-a_default",), definition="d2")
SIDECAR = replace(FOREIGN, name="wa-a-proxy-1", service="proxy", image="nginx:1", client=False)
MASTER: dict[str, t.Any] = {"name": "wa-a-master1-1", "service": "master1"}
GONE = "wa-a-master1-1 belongs to a service that this host no longer has"
OWN_WEB = replace(SYNCED, name="wa-a-waweb-1", service="waweb", image="r/web:v2.53.4", hash="h2", definition="d2")
WEB_DIFFERS = "wa-a-waweb-1 was created with other settings than the inventory has"


@pytest.mark.parametrize(
    ("containers", "changes", "pending"),
    [
        ([FOREIGN], ["wa-a-waweb-1 is missing"], [OTHERS]),
        ([FOREIGN, replace(OWN_WEB, state="exited")], ["wa-a-waweb-1 has exited"], [OTHERS]),
        ([FOREIGN, replace(OWN_WEB, definition="d0")], [], [OTHERS, WEB_DIFFERS]),
        (
            [FOREIGN, replace(OWN_WEB, restart="no")],
            ["wa-a-waweb-1 has the restart policy no, expected unless-stopped"],
            [OTHERS],
        ),
        ([FOREIGN, OWN_WEB, replace(SYNCED, **MASTER)], [], [OTHERS, GONE]),
        ([FOREIGN, OWN_WEB, replace(FOREIGN, **MASTER)], [], [OTHERS, GONE]),
        ([FOREIGN, OWN_WEB, replace(FOREIGN, **MASTER, state="exited")], [], [OTHERS, GONE]),
        ([FOREIGN, OWN_WEB, SIDECAR], [], [OTHERS]),
        ([FOREIGN, OWN_WEB, replace(SIDECAR, state="exited")], [], [OTHERS]),
    ],
)
def test_in_a_kept_project_containers_are_started_and_created(
    containers: list[Container], changes: list[str], pending: list[str]
) -> None:
    assert compare([WANTED, WEB], containers, kept=True) == Differences(changes=changes, pending=pending, kept=True)


@pytest.mark.parametrize(
    ("containers", "changes", "restarts"),
    [
        ([FOREIGN, OWN_WEB], [], [OTHERS]),
        ([FOREIGN], ["wa-a-waweb-1 is missing"], [OTHERS]),
        ([FOREIGN, OWN_WEB, replace(FOREIGN, **MASTER)], [], [OTHERS, GONE]),
        ([SYNCED, OWN_WEB, replace(FOREIGN, **MASTER)], [], [GONE]),
        ([SYNCED, OWN_WEB, replace(FOREIGN, **MASTER, state="exited")], [GONE], []),
        ([SYNCED, replace(OWN_WEB, definition="d0"), SIDECAR], [], [WEB_DIFFERS]),
        ([SYNCED, OWN_WEB, SIDECAR], [], []),
        ([SYNCED, OWN_WEB, replace(SIDECAR, state="exited")], [], []),
    ],
)
def test_in_a_project_that_is_not_kept_nothing_waits(
    containers: list[Container], changes: list[str], restarts: list[str]
) -> None:
    assert compare([WANTED, WEB], containers) == Differences(changes=changes, restarts=restarts)
