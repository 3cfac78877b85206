# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planned action for each container of a Compose project, with its reasons."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose.plan import (
    AUTO,
    LATER,
    NEVER,
    Found,
    Network,
    Service,
    Step,
)

CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SERVICE = Service("wacore", CORE, OLD, networks=("default",))
RUNS = Found("wa-h1-wacore-1", "wacore", "running", "h1", CORE, OLD, networks=("n1",))
NETWORK = Network("default", "wa-h1_default", "n1")
Action = tuple[str, list[str], list[str]]  # what is done, why, and what waits
SAME: Action = ("none", [], [])
MISSING: Action = ("create", ["is missing"], [])
EXITED: Action = ("start", ["has exited"], [])
LOST = "is not on the network wa-h1_default"
UNMOUNTED = ("does not mount the volume b", "does not mount the volume c")
BUILD = f"runs another build of {CORE}: {OLD[:19]}, expected {NEW[:19]}"


def started(reason: str, *pending: str) -> Action:
    return ("unpause" if reason == "is paused" else "start", [reason], [*pending])


def recreated(*reasons: str) -> Action:
    return ("recreate", [*reasons], [])


def kept(*pending: str) -> Action:
    return ("none", [], [*pending])


def actions(steps: t.Sequence[Step]) -> dict[str, Action]:
    found = {step.container: (step.action, step.reasons, step.pending) for step in steps}
    assert len(found) == len(steps)
    return found


@pytest.mark.parametrize(
    ("one", "given", "auto", "later"),
    [
        ({}, {}, SAME, SAME),
        ({"state": "restarting"}, {}, SAME, SAME),
        ({"state": "removing"}, {}, SAME, SAME),
        ({"state": "exited"}, {}, EXITED, EXITED),
        ({"state": "created"}, {}, started("was never started"), started("was never started")),
        ({"state": "dead"}, {}, started("is dead"), started("is dead")),
        ({"state": "paused"}, {}, started("is paused"), started("is paused")),
        ({}, {"reasons": "ports"}, recreated("ports"), kept("ports")),
        ({"state": "exited"}, {"reasons": "ports"}, recreated("ports", "has exited"), started("has exited", "ports")),
        ({"state": "paused"}, {"reasons": "ports"}, recreated("ports", "is paused"), started("is paused", "ports")),
        ({}, {"service": {"image_id": NEW}}, recreated(BUILD), kept(BUILD)),
        ({}, {"service": {"image": "", "image_id": ""}}, SAME, SAME),  # it only builds
        (
            {},
            {"service": {"image": "r/coreapp:v3", "image_id": NEW}, "reasons": "ports"},
            recreated(f"runs {CORE}, expected r/coreapp:v3", "ports"),
            kept(f"runs {CORE}, expected r/coreapp:v3", "ports"),
        ),
        # An image missing on this host is pulled where it is needed. Whether it is the same build, `other_builds` decides.
        ({}, {"service": {"image_id": ""}}, SAME, SAME),
        ({}, {"network": {"id": "n2"}}, recreated(LOST), kept(LOST)),
        ({"networks": ()}, {"reasons": "ports"}, recreated("ports", LOST), kept("ports", LOST)),
        ({"state": "exited", "networks": ("n0",)}, {}, recreated(LOST, "has exited"), started("has exited", LOST)),
        ({"state": "exited", "networks": ()}, {}, recreated(LOST, "has exited"), started("has exited", LOST)),
        # One that was never started has no network yet.
        ({"state": "created", "networks": ("",)}, {}, started("was never started"), started("was never started")),
        ({"state": "created", "networks": ()}, {}, started("was never started"), started("was never started")),
        # The network was removed since.
        ({"state": "created", "networks": ("",)}, {"network": {"id": ""}}, recreated(LOST, "was never started"), started("was never started", LOST)),
        ({}, {"network": {"diverged": True}}, SAME, SAME),  # `refused_networks` tells of it
        ({"volumes": ("a", "b")}, {"service": {"volumes": ("b",)}}, SAME, SAME),
        ({"volumes": ("a",)}, {"service": {"volumes": ("b", "a", "c")}}, recreated(*UNMOUNTED), kept(*UNMOUNTED)),
        ({}, {"service": {"volumes": ("b", "c")}, "reasons": "ports"}, recreated("ports", *UNMOUNTED), kept("ports", *UNMOUNTED)),
    ],
)  # fmt: skip
def test_what_is_done_with_one_container(
    one: dict[str, t.Any], given: dict[str, t.Any], auto: Action, later: Action
) -> None:
    container = replace(RUNS, **one)
    steps = {
        recreate: compose_plan.plan(
            "wa-h1",
            [replace(SERVICE, **given.get("service", {}))],
            [container],
            [replace(NETWORK, **given.get("network", {}))],
            recreate,
            {RUNS.name: [given["reasons"]] if "reasons" in given else []},
        )
        for recreate in (AUTO, LATER, NEVER)
    }
    expected = {AUTO: auto, LATER: later, NEVER: kept(*later[1], *later[2])}
    running = container.state == "running"
    assert steps == {name: [Step(RUNS.name, "wacore", *one, running=running)] for name, one in expected.items()}


SECOND = replace(RUNS, name="wa-h1-wacore-2", number=2)
MASTER = replace(RUNS, name="wa-h1-master-1", service="master")
TWO = replace(SERVICE, count=2)
MORE, GONE = "is more than the 1 that the service has", "belongs to a service that this host no longer has"


def removed(reason: str) -> Action:
    return ("remove", [reason], [])


@pytest.mark.parametrize(
    ("service", "containers", "auto", "later"),
    [
        (SERVICE, [], {RUNS.name: MISSING}, {RUNS.name: MISSING}),
        (replace(SERVICE, container_name="core"), [], {"core": MISSING}, {"core": MISSING}),
        (
            replace(SERVICE, count=3),
            [SECOND],
            {SECOND.name: SAME, RUNS.name: MISSING, "wa-h1-wacore-3": MISSING},
            {SECOND.name: SAME, RUNS.name: MISSING, "wa-h1-wacore-3": MISSING},
        ),
        (
            SERVICE,
            [SECOND, RUNS],
            {RUNS.name: SAME, SECOND.name: removed(MORE)},
            {RUNS.name: SAME, SECOND.name: kept(MORE)},
        ),
        # What runs is kept, whatever its number: none is started beside it.
        (
            SERVICE,
            [SECOND, replace(RUNS, state="exited")],
            {SECOND.name: SAME, RUNS.name: removed(MORE)},
            {SECOND.name: SAME, RUNS.name: removed(MORE)},
        ),
        # A recreation that was cut off.
        (
            SERVICE,
            [RUNS, replace(RUNS, name="0f3a_wa-h1-wacore-1", state="created")],
            {RUNS.name: SAME, "0f3a_wa-h1-wacore-1": removed(MORE)},
            {RUNS.name: SAME, "0f3a_wa-h1-wacore-1": removed(MORE)},
        ),
        (SERVICE, [MASTER], {RUNS.name: MISSING, MASTER.name: removed(GONE)}, {RUNS.name: MISSING, MASTER.name: kept(GONE)}),
        (SERVICE, [RUNS, replace(MASTER, state="exited")], {RUNS.name: SAME, MASTER.name: removed(GONE)}, {RUNS.name: SAME, MASTER.name: removed(GONE)}),
        (SERVICE, [RUNS, replace(MASTER, state="paused")], {RUNS.name: SAME, MASTER.name: removed(GONE)}, {RUNS.name: SAME, MASTER.name: kept(GONE)}),
        # Of another Compose file, to be replaced; or an additional service that the inventory no longer has.
        (SERVICE, [RUNS, replace(MASTER, own=False)], {RUNS.name: SAME, MASTER.name: removed(GONE)}, {RUNS.name: SAME, MASTER.name: kept(GONE)}),
        (SERVICE, [RUNS, replace(MASTER, client=False)], {RUNS.name: SAME, MASTER.name: removed(GONE)}, {RUNS.name: SAME, MASTER.name: kept(GONE)}),
        # The operator's, beside the client.
        (SERVICE, [RUNS, replace(MASTER, own=False, client=False)], {RUNS.name: SAME}, {RUNS.name: SAME}),
        # All containers of a service are recreated together.
        (
            TWO,
            [RUNS, replace(SECOND, networks=("n2",))],
            {RUNS.name: recreated(f"goes with {SECOND.name}"), SECOND.name: recreated(LOST)},
            {RUNS.name: SAME, SECOND.name: kept(LOST)},
        ),
        (
            TWO,
            [replace(RUNS, networks=("n2",)), replace(SECOND, state="exited")],
            {RUNS.name: recreated(LOST), SECOND.name: recreated("has exited", f"goes with {RUNS.name}")},
            {RUNS.name: kept(LOST), SECOND.name: EXITED},
        ),
    ],
)  # fmt: skip
def test_what_is_done_with_several_containers(
    service: Service, containers: list[Found], auto: dict[str, Action], later: dict[str, Action]
) -> None:
    steps = {
        recreate: compose_plan.plan("wa-h1", [service], containers, [NETWORK], recreate)
        for recreate in (AUTO, LATER, NEVER)
    }
    assert actions(steps[AUTO]) == auto
    assert actions(steps[LATER]) == later
    assert actions(steps[NEVER]) == {name: kept(*one[1], *one[2]) for name, one in later.items()}


def test_a_container_goes_with_the_recreation_of_its_service() -> None:
    steps = compose_plan.plan("wa-h1", [TWO], [RUNS, SECOND], [NETWORK], differences={SECOND.name: ["ports"]})
    assert actions(steps) == {RUNS.name: recreated(f"goes with {SECOND.name}"), SECOND.name: recreated("ports")}


@pytest.mark.parametrize(
    ("recreate", "expected"),
    [(AUTO, MISSING), (LATER, kept("moves here from another host")), (NEVER, kept("is missing"))],
)
def test_a_service_that_moves_between_hosts_waits_for_the_window(recreate: str, expected: Action) -> None:
    steps = compose_plan.plan("wa-h1", [SERVICE], [], recreate=recreate, moving=["wacore"])
    assert actions(steps) == {RUNS.name: expected}


OTHER = replace(RUNS, name="wa-h1-core2-1", service="core2")


@pytest.mark.parametrize(
    ("service", "found", "recreate", "refused"),
    [
        ({}, [RUNS], AUTO, []),
        ({"image_id": NEW}, [RUNS], AUTO, [RUNS.name]),
        ({"image_id": NEW}, [RUNS], LATER, []),  # it stays as it is
        ({"image_id": NEW}, [replace(RUNS, state="exited")], LATER, []),
        ({"image_id": NEW}, [replace(RUNS, state="exited")], AUTO, [RUNS.name]),
        ({"image_id": NEW, "count": 2}, [RUNS], LATER, [SECOND.name]),
        ({"image_id": NEW, "count": 2}, [RUNS], AUTO, [f"{RUNS.name}, {SECOND.name}"]),
        # The same build under the name of another registry, and another build.
        ({"image": "mirror/coreapp:v2.51.2"}, [RUNS], AUTO, []),
        ({"image": "mirror/coreapp:v2.51.2", "image_id": NEW}, [RUNS], AUTO, [RUNS.name]),
        # Another version is not checked here.
        ({"image": "mirror/coreapp:v2.53.4", "image_id": NEW}, [RUNS], AUTO, []),
        # If the host lacks the image, nothing shows that it is the same; but what is kept needs none.
        ({"image_id": ""}, [RUNS], AUTO, []),
        ({"image_id": ""}, [replace(RUNS, networks=("n2",))], AUTO, [RUNS.name]),
        ({"image_id": "", "count": 2}, [RUNS], AUTO, [SECOND.name]),
        ({"image_id": ""}, [], AUTO, []),
        # A missing container is created from the image that its counterparts run.
        ({"image_id": NEW}, [OTHER], AUTO, [RUNS.name]),
        ({"image_id": NEW}, [OTHER], LATER, [RUNS.name]),
        ({"image_id": NEW}, [OTHER], NEVER, []),
        ({}, [OTHER], AUTO, []),
    ],
)
def test_another_build_of_the_same_version_is_refused(
    service: dict[str, t.Any], found: list[Found], recreate: str, refused: list[str]
) -> None:
    services = [replace(SERVICE, **service)]
    steps = compose_plan.plan("wa-h1", services, found, [NETWORK], recreate)
    errors = compose_plan.other_builds(services, found, steps)
    assert [error.subject for error in errors] == refused


MIGRATED = replace(RUNS, name="wa-h1-dbupgrade-1", service="dbupgrade", state="exited")


@pytest.mark.parametrize(
    ("image_id", "found", "migration", "refused"),
    [
        # The tag was moved after the migration: before the start, and after one.
        (NEW, [], MIGRATED, [RUNS.name]),
        ("", [], MIGRATED, [RUNS.name]),
        (NEW, [replace(RUNS, image_id=NEW, networks=())], MIGRATED, [RUNS.name]),
        # What was started from the wrong one is made again from the right one.
        (OLD, [replace(RUNS, image_id=NEW)], MIGRATED, []),
        # That of an earlier version does not count.
        (NEW, [], replace(MIGRATED, image="registry.lab:5000/whatsapp/coreapp:v2.49.1"), []),
    ],
)
def test_the_build_that_has_migrated_the_database_is_started(
    image_id: str, found: list[Found], migration: Found, refused: list[str]
) -> None:
    services = [replace(SERVICE, image_id=image_id)]
    steps = compose_plan.plan("wa-h1", services, found, [NETWORK])
    errors = compose_plan.other_builds(services, found, steps, [migration])
    assert [error.subject for error in errors] == refused
    assert all("docker tag" in str(error) and "has migrated" in str(error) for error in errors)


@pytest.mark.parametrize(
    ("image_id", "text"),
    [
        (
            NEW,
            f"would be made from another build of {CORE}, {NEW[:19]}; expected {OLD[:19]}, which runs under this version, because the "
            f"start of another build may migrate the database. To keep what runs: docker tag {OLD[:19]} {CORE} on this host. To take "
            "the other build, give it a version of its own and run upgrade.yml",
        ),
        (
            "",
            f"{CORE} is not on this host, so that nothing shows whether it is the build that runs; expected {OLD[:19]}, because the "
            f"start of another build may migrate the database. To keep what runs: docker tag {OLD[:19]} {CORE} on this host. Or docker "
            f"pull {CORE}, which touches no container, and run again: then the ids are compared",
        ),
    ],
)
def test_containers_of_one_image_share_one_refusal(image_id: str, text: str) -> None:
    services = [replace(SERVICE, name=name, image_id=image_id) for name in ("core1", "core2")]
    found = [replace(RUNS, name=f"wa-h1-{name}-1", service=name) for name in ("core1", "core2")]
    differences = {one.name: ["ports"] for one in found}
    steps = compose_plan.plan("wa-h1", services, found, differences=differences)
    (error,) = compose_plan.other_builds(services, found, steps)
    assert str(error) == f"wa-h1-core1-1, wa-h1-core2-1: {text}"


def calls_of(services: list[str], recreate: str, dependencies: bool) -> dict[str, t.Any]:
    return {"services": services, "recreate": recreate, "dependencies": dependencies}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], []),
        ([("a", "none"), ("b", "start"), ("c", "unpause"), ("d", "remove"), ("e", "waits")], []),
        ([("b", "create"), ("a", "create"), ("b", "create"), ("c", "none")], [calls_of(["a", "b"], "never", True)]),
        ([("a", "create"), ("b", "waits")], [calls_of(["a"], "never", False)]),
        ([("b", "recreate"), ("a", "recreate"), ("b", "recreate")], [calls_of(["a", "b"], "always", False)]),
        (
            [("a", "recreate"), ("b", "create"), ("c", "start")],
            [calls_of(["b"], "never", True), calls_of(["a"], "always", False)],
        ),
    ],
)
def test_calls_of_docker_compose_up(steps: list[tuple[str, str]], expected: list[dict[str, t.Any]]) -> None:
    made = [
        Step(f"c-{service}", service, "none" if action == "waits" else action, pending=["a"] * (action == "waits"))
        for service, action in steps
    ]
    assert compose_plan.calls(made) == expected


@pytest.mark.parametrize(
    ("one", "reasons", "completed", "expected"),
    [
        ({}, (), (), SAME),
        ({}, ("a",), (), SAME),
        ({"state": "exited"}, ("a",), (), EXITED),
        ({"state": "paused"}, (), (), started("is paused")),
        ({"state": "exited"}, (), ("init",), EXITED),
        ({"state": "exited"}, (), ("db",), SAME),
        ({"number": 0}, (), (), SAME),
    ],
)
def test_other_services_are_started_and_else_left_alone(
    one: dict[str, t.Any], reasons: tuple[str, ...], completed: tuple[str, ...], expected: Action
) -> None:
    """Beside them a service of the client with the same difference is recreated."""
    there = [replace(RUNS, name=name, service=name, **one) for name in ("db", "wacore")]
    there.append(replace(RUNS, name="db-2", service="db", number=2, state=one.get("state", "running")))
    differences = dict.fromkeys(("db", "wacore"), reasons)
    services = [replace(SERVICE, name=name) for name in ("db", "wacore")]
    steps = compose_plan.plan(
        "p", services, there, [NETWORK], differences=differences, others=["db"], completed=completed
    )
    found = actions(steps)
    assert (found["db"], "db-2" in found) == (expected, False)
    assert (found["wacore"][0] == "recreate") == bool(reasons)


@pytest.mark.parametrize(("missing", "expected"), [("init", {}), ("wacore", {"init": "create", "wacore": "create"})])
def test_a_preparation_that_was_removed_is_made_again_only_for_one_that_needs_it(
    missing: str, expected: dict[str, str]
) -> None:
    services = [replace(SERVICE, name=name) for name in ("init", "wacore")]
    there = [replace(RUNS, name="p-wacore-1")] if missing == "init" else []
    steps = compose_plan.plan("p", services, there, [NETWORK], others=["init"], completed=["init"])
    assert {one.service: one.action for one in steps if one.action != "none"} == expected


@pytest.mark.parametrize(
    ("step", "running", "refused"),
    [
        (removed(MORE), True, True),
        (removed(MORE), False, False),
        (kept(MORE), True, False),
        (removed(GONE), True, False),
    ],
)
def test_running_containers_of_a_scaled_service_are_not_removed(step: Action, running: bool, refused: bool) -> None:
    text = (
        f"c-web-2: it {MORE}; expected as many containers as its service has in the Compose files. Stop the one that is too many, and "
        "run again, which removes it. If web may run more than once, set its scale there"
    )
    errors = compose_plan.refuse_scaled([Step("c-web-2", "web", *step, running=running)])
    assert [str(error) for error in errors] == ([text] if refused else [])
