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
    Difference,
    Found,
    Network,
    Service,
)

CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SERVICE = Service("wacore", CORE, "h1", image_id=OLD, networks=("default",), volumes=("media",))
RUNS = Found("wa-h1-wacore-1", "wacore", "running", "h1", CORE, OLD, OLD, networks=("n1",), volumes=("media",))
NETWORK = Network("default", "wa-h1_default", "n1")
MOVED = replace(NETWORK, diverged=True)
PORTS = Difference(definition="compose.yml changed: ports")
LOG_LEVEL = Difference("db.env changed: WA_LOG_LEVEL", ("WA_LOG_LEVEL",))


def only(**arguments: t.Any) -> compose_plan.Step:
    steps = compose_plan.plan(
        "wa-h1",
        [arguments.pop("service", SERVICE)],
        [arguments.pop("one", RUNS)],
        [arguments.pop("network", NETWORK)],
        **arguments,
    )
    assert len(steps) == 1
    return steps[0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({}, ""),
        ({"one": replace(RUNS, state="restarting")}, ""),
        ({"one": replace(RUNS, state="exited")}, "start wa-h1-wacore-1 (has exited)"),
        ({"one": replace(RUNS, state="created")}, "start wa-h1-wacore-1 (was never started)"),
        ({"one": replace(RUNS, state="paused")}, "unpause wa-h1-wacore-1 (is paused)"),
        ({"one": replace(RUNS, hash="h0")}, "recreate wa-h1-wacore-1 (the definition in compose.yml changed)"),
        (
            {"one": replace(RUNS, hash="h0"), "differences": {RUNS.name: PORTS}},
            "recreate wa-h1-wacore-1 (compose.yml changed: ports)",
        ),
        # A db.env that is not written: its changed keys are known, and nothing else differs.
        ({"one": replace(RUNS, hash="h0"), "differences": {RUNS.name: Difference()}, "env_changes": {}}, ""),
        (
            {"env_changes": {RUNS.name: ["WA_DB_PORT", "WA_DB_PASSWORD"]}},
            "recreate wa-h1-wacore-1 (db.env changes: WA_DB_PORT, WA_DB_PASSWORD)",
        ),
        (
            {"one": replace(RUNS, state="exited", hash="h0")},
            "recreate wa-h1-wacore-1 (the definition in compose.yml changed; has exited)",
        ),
        (
            {"service": replace(SERVICE, image_id=NEW)},
            f"recreate wa-h1-wacore-1 (runs another build of {CORE}: {OLD[:19]}, expected {NEW[:19]})",
        ),
        ({"service": replace(SERVICE, image="", image_id="")}, ""),  # it only builds
        (  # Compose v1 sets no such label
            {"one": replace(RUNS, image_label="")},
            f"recreate wa-h1-wacore-1 (has no label of Compose with its build of {CORE})",
        ),
        (
            {"service": replace(SERVICE, image="r/coreapp:v3", hash="h2"), "differences": {RUNS.name: Difference()}},
            f"recreate wa-h1-wacore-1 (runs {CORE}, expected r/coreapp:v3)",
        ),
        # An image missing on this host is pulled. Whether it is the same build, `other_builds` decides.
        ({"service": replace(SERVICE, image_id="")}, ""),
        (
            {"service": replace(SERVICE, hash="x", unknown="it shares service:b")},
            "unknown wa-h1-wacore-1 (it shares service:b)",
        ),
        # Older Compose versions do not compare networks and volumes.
        ({"network": MOVED, "version": "2.26.1-4"}, ""),
        (
            {"network": MOVED, "version": "2.40.3-3"},
            "recreate wa-h1-wacore-1 (Compose makes the network wa-h1_default anew: its definition changed)",
        ),
        (
            {"network": replace(NETWORK, id="n2"), "version": "2.40.3"},
            "recreate wa-h1-wacore-1 (is not on the network wa-h1_default)",
        ),
        (
            {"network": replace(NETWORK, id="n2"), "version": "2.26.1"},
            "recreate wa-h1-wacore-1 (is not on the network wa-h1_default)",
        ),
        (
            {"one": replace(RUNS, volumes=("other",)), "version": "2.40.3"},
            "recreate wa-h1-wacore-1 (does not mount the volume media)",
        ),
    ],
)
def test_the_action_for_one_container(arguments: dict[str, t.Any], line: str) -> None:
    step = only(**arguments)
    assert line == ("" if step.action == "none" else compose_plan.line(step))
    assert step.pending == []


@pytest.mark.parametrize(
    ("arguments", "action", "pending"),
    [
        ({}, "none", []),
        ({"one": replace(RUNS, hash="h0")}, "none", ["the definition in compose.yml changed"]),
        ({"one": replace(RUNS, state="exited")}, "start", []),
        (
            {"one": replace(RUNS, hash="h0", state="exited")},
            "start",
            ["the definition in compose.yml changed"],
        ),
        ({"one": replace(RUNS, state="paused")}, "unpause", []),
        (
            {"one": replace(RUNS, hash="h0", state="paused")},
            "unpause",
            ["the definition in compose.yml changed"],
        ),
        (
            {"network": MOVED, "version": "2.40.3"},
            "none",
            ["Compose makes the network wa-h1_default anew: its definition changed"],
        ),
        ({"network": MOVED, "version": "2.26.1"}, "none", []),
        (
            {"service": replace(SERVICE, hash="x", unknown="it shares service:b")},
            "none",
            [],
        ),
        (
            {
                "service": replace(SERVICE, hash="x", unknown="it shares service:b"),
                "env_changes": {RUNS.name: ["WA_DB_PORT"]},
            },
            "none",
            ["db.env changes: WA_DB_PORT"],
        ),
        (
            {
                "service": replace(SERVICE, hash="x", unknown="it shares service:b"),
                "one": replace(RUNS, state="exited"),
            },
            "start",
            [],
        ),
        (
            {"one": replace(RUNS, networks=("n0",)), "version": "2.26.1"},
            "none",
            ["is not on the network wa-h1_default"],
        ),
        ({"env_changes": {RUNS.name: ["WA_DB_PORT"]}}, "none", ["db.env changes: WA_DB_PORT"]),
    ],
)
def test_outside_the_window_containers_are_started_and_recreations_wait(
    arguments: dict[str, t.Any], action: str, pending: list[str]
) -> None:
    step = only(recreate=LATER, **arguments)
    assert (step.action, step.pending) == (action, pending)
    assert step.reasons == [] or action in ("start", "unpause")


FOREIGN = replace(RUNS, own=False, hash="h0", image="mirror/coreapp:v2.51.2")
SIDECAR = replace(RUNS, name="wa-h1-proxy-1", service="proxy", own=False, client=False)
SECOND: dict[str, t.Any] = {"name": "wa-h1-wacore-2", "number": 2}
MASTER: dict[str, t.Any] = {"name": "wa-h1-master-1", "service": "master"}
DIFFERS = [f"runs mirror/coreapp:v2.51.2, expected {CORE}", "the definition in compose.yml changed"]
SAME: tuple[str, list[str], list[str]] = ("none", [], [])
MORE, GONE = ["is more than the 1 that the service has"], ["belongs to a service that this host no longer has"]


@pytest.mark.parametrize(
    ("containers", "recreate", "expected"),
    [
        ([FOREIGN], LATER, {RUNS.name: ("none", [], DIFFERS)}),
        ([FOREIGN], AUTO, {RUNS.name: ("recreate", DIFFERS, [])}),
        ([replace(FOREIGN, state="exited")], LATER, {RUNS.name: ("start", ["has exited"], DIFFERS)}),
        ([replace(FOREIGN, state="exited")], AUTO, {RUNS.name: ("recreate", [*DIFFERS, "has exited"], [])}),
        ([replace(FOREIGN, state="paused")], LATER, {RUNS.name: ("unpause", ["is paused"], DIFFERS)}),
        ([], LATER, {RUNS.name: ("create", ["is missing"], [])}),
        ([], NEVER, {RUNS.name: ("none", [], ["is missing"])}),
        ([RUNS], NEVER, {RUNS.name: SAME}),
        ([replace(RUNS, state="exited")], NEVER, {RUNS.name: ("none", [], ["has exited"])}),
        ([replace(FOREIGN, state="exited")], NEVER, {RUNS.name: ("none", [], ["has exited", *DIFFERS])}),
        ([FOREIGN], NEVER, {RUNS.name: ("none", [], DIFFERS)}),
        (
            [replace(RUNS, state="paused"), replace(RUNS, **MASTER)],
            NEVER,
            {RUNS.name: ("none", [], ["is paused"]), "wa-h1-master-1": ("none", [], GONE)},
        ),
        ([RUNS, replace(FOREIGN, **SECOND)], NEVER, {RUNS.name: SAME, "wa-h1-wacore-2": ("none", [], MORE)}),
        (
            [replace(FOREIGN, **MASTER)],
            LATER,
            {RUNS.name: ("create", ["is missing"], []), "wa-h1-master-1": ("none", [], GONE)},
        ),
        ([RUNS, replace(FOREIGN, **SECOND)], LATER, {RUNS.name: SAME, "wa-h1-wacore-2": ("none", [], MORE)}),
        ([RUNS, replace(FOREIGN, **SECOND)], AUTO, {RUNS.name: SAME, "wa-h1-wacore-2": ("remove", MORE, [])}),
        (
            [FOREIGN, replace(RUNS, **MASTER)],
            LATER,
            {RUNS.name: ("none", [], DIFFERS), "wa-h1-master-1": ("none", [], GONE)},
        ),
        ([RUNS, replace(RUNS, **MASTER)], AUTO, {RUNS.name: SAME, "wa-h1-master-1": ("remove", GONE, [])}),
        ([FOREIGN, SIDECAR], LATER, {RUNS.name: ("none", [], DIFFERS)}),
        ([FOREIGN, replace(SIDECAR, state="exited")], LATER, {RUNS.name: ("none", [], DIFFERS)}),
        ([RUNS, SIDECAR], AUTO, {RUNS.name: SAME}),
    ],
)
def test_containers_of_another_compose_file_are_recreated_only_when_they_may(
    containers: list[Found], recreate: str, expected: dict[str, tuple[str, list[str], list[str]]]
) -> None:
    steps = compose_plan.plan("wa-h1", [SERVICE], containers, [NETWORK], recreate)
    assert {step.container: (step.action, step.reasons, step.pending) for step in steps} == expected
    assert len(steps) == len(expected)


DEFINITION = ["compose.yml changed: ports"]


@pytest.mark.parametrize(
    ("state", "recreate", "expected"),
    [
        ("running", AUTO, ("recreate", DEFINITION, [])),
        ("exited", AUTO, ("recreate", [*DEFINITION, "has exited"], [])),
        ("running", LATER, ("none", [], DEFINITION)),
        ("exited", LATER, ("start", ["has exited"], DEFINITION)),
    ],
)
@pytest.mark.parametrize("proven", [{}, {SERVICE.name: "h0"}, {SERVICE.name: "h9"}])
@pytest.mark.parametrize("undeclared", [None, [], ["WA_LOG_LEVEL"]])
def test_a_container_of_another_compose_file_that_differs_in_its_definition_only_is_recreated(
    undeclared: list[str] | None,
    proven: dict[str, str],
    state: str,
    recreate: str,
    expected: tuple[str, list[str], list[str]],
) -> None:
    step = only(
        one=replace(RUNS, own=False, hash="h0", state=state),
        service=replace(SERVICE, definition="d1"),
        differences={RUNS.name: PORTS},
        undeclared=undeclared,
        proven=proven,
        recreate=recreate,
    )
    assert (step.action, step.reasons, step.pending) == expected


@pytest.mark.parametrize(
    ("label", "wanted", "difference", "undeclared", "action", "pending"),
    [
        # Another version of the collection or of Compose writes the same settings differently: no reason for a restart.
        ("d1", "d1", PORTS, [], "none", ["compose.yml changed: ports"]),
        ("", "d1", PORTS, [], "none", ["compose.yml changed: ports"]),
        ("d1", "d2", PORTS, [], "recreate", []),
        ("d1", "d1", PORTS, None, "recreate", []),
        ("d1", "d1", LOG_LEVEL, ["WA_LOG_LEVEL"], "none", ["db.env changed: WA_LOG_LEVEL"]),
        ("d1", "d1", LOG_LEVEL, [], "recreate", []),
        ("d1", "d1", LOG_LEVEL, ["WA_OTHER"], "recreate", []),
        ("d1", "d1", LOG_LEVEL, None, "recreate", []),
    ],
)
def test_a_change_not_requested_by_the_inventory_is_pending(
    label: str,
    wanted: str,
    difference: Difference,
    undeclared: list[str] | None,
    action: str,
    pending: list[str],
) -> None:
    step = only(
        one=replace(RUNS, hash="h0", definition=label),
        service=replace(SERVICE, definition=wanted),
        differences={RUNS.name: difference},
        undeclared=undeclared,
        proven={SERVICE.name: "h0"},
    )
    assert (step.action, step.pending, step.forced) == (action, pending, False)


@pytest.mark.parametrize("proven", [{}, {SERVICE.name: "h9"}, {"waweb": "h0"}])
def test_a_container_from_a_manually_changed_file_is_recreated(proven: dict[str, str]) -> None:
    step = only(
        one=replace(RUNS, hash="h0", definition="d1"),
        service=replace(SERVICE, definition="d1"),
        differences={RUNS.name: PORTS},
        undeclared=[],
        proven=proven,
    )
    assert (step.action, step.reasons) == ("recreate", ["compose.yml changed: ports"])


@pytest.mark.parametrize(
    ("state", "networks", "action", "forced"),
    [
        ("running", ("n0",), "recreate", True),
        ("running", (), "recreate", True),
        ("exited", ("n0",), "recreate", True),
        ("created", ("",), "start", False),
        ("created", (), "start", False),
    ],
)
def test_a_container_that_lost_its_network_is_recreated_by_force(
    state: str, networks: tuple[str, ...], action: str, forced: bool
) -> None:
    step = only(one=replace(RUNS, state=state, networks=networks), version="2.26.1")
    assert (step.action, step.forced) == (action, forced)
    known = only(one=replace(RUNS, state=state, networks=networks, hash="h0"), version="2.26.1")
    assert (known.action, known.forced) == ("recreate", False)


def test_missing_containers_are_created_with_the_names_of_compose() -> None:
    services = [replace(SERVICE, count=3), replace(SERVICE, name="waweb", container_name="web")]
    found = [replace(RUNS, name="wa-h1-wacore-2", number=2)]
    steps = compose_plan.plan("wa-h1", services, found)
    assert {step.container: step.action for step in steps} == {
        "wa-h1-wacore-2": "none",
        "wa-h1-wacore-1": "create",
        "wa-h1-wacore-3": "create",
        "web": "create",
    }


def test_surplus_containers_are_removed() -> None:
    second = replace(RUNS, name="wa-h1-wacore-2", number=2)
    surplus = replace(RUNS, name="wa-h1-master-1", service="master")
    steps = compose_plan.plan("wa-h1", [SERVICE], [RUNS, second, surplus])
    assert [(step.container, step.action) for step in steps] == [
        (RUNS.name, "none"),
        (second.name, "remove"),
        (surplus.name, "remove"),
    ]
    assert compose_plan.surplus(steps, [SERVICE]) == [surplus.name]  # the second one Compose removes
    waits = compose_plan.plan("wa-h1", [SERVICE], [RUNS, second, surplus], recreate=LATER)
    assert compose_plan.surplus(waits, [SERVICE]) == []
    assert [(step.container, step.action) for step in waits if step.pending] == [
        (second.name, "none"),
        (surplus.name, "none"),
    ]


@pytest.mark.parametrize(
    ("recreate", "own", "client", "action"),
    [
        (AUTO, True, False, "remove"),  # an additional service that the inventory no longer has
        (AUTO, False, True, "remove"),  # of another Compose file, to be replaced
        (AUTO, False, False, ""),  # the operator's, beside the client
        (LATER, True, False, "none"),
        (LATER, True, True, "none"),
        (LATER, False, True, "none"),
        (LATER, False, False, ""),
    ],
)
def test_only_the_clients_containers_are_surplus(recreate: str, own: bool, client: bool, action: str) -> None:
    other = replace(RUNS, name="wa-h1-proxy-1", service="proxy", own=own, client=client)
    steps = compose_plan.plan("wa-h1", [SERVICE], [RUNS, other], recreate=recreate)
    found = [step for step in steps if step.container == other.name]
    assert [step.action for step in found] == ([action] if action else [])
    assert [step.pending for step in found] == ([GONE if recreate == LATER else []] if action else [])


def test_a_service_that_moves_between_hosts_waits_for_the_window() -> None:
    assert [step.action for step in compose_plan.plan("wa-h1", [SERVICE], [], recreate=LATER)] == ["create"]
    (step,) = compose_plan.plan("wa-h1", [SERVICE], [], recreate=LATER, moving=["wacore"])
    assert compose_plan.pending_line(step) == "wa-h1-wacore-1 (moves here from another host)"
    assert [step.action for step in compose_plan.plan("wa-h1", [SERVICE], [], moving=["wacore"])] == ["create"]


def test_nothing_is_started_if_compose_would_also_restart_containers() -> None:
    web = replace(SERVICE, name="waweb")
    steps = compose_plan.plan("wa-h1", [SERVICE, web], [RUNS], [MOVED], LATER, "2.40.3")
    assert [(step.action, step.pending[0][:25]) for step in steps] == [
        ("none", "Compose makes the network"),
        ("none", "is missing"),
    ]


@pytest.mark.parametrize(
    ("service", "found", "recreate", "refused"),
    [
        ({}, [RUNS], AUTO, []),
        ({"image_id": NEW}, [RUNS], AUTO, ["wa-h1-wacore-1"]),
        ({"image_id": NEW}, [RUNS], LATER, []),  # it stays as it is
        ({"image_id": NEW}, [replace(RUNS, state="exited")], LATER, []),
        ({"image_id": NEW}, [replace(RUNS, state="exited")], AUTO, ["wa-h1-wacore-1"]),
        ({"image_id": NEW, "count": 2}, [RUNS], LATER, ["wa-h1-wacore-2"]),
        ({"image_id": NEW, "count": 2}, [RUNS], AUTO, ["wa-h1-wacore-1, wa-h1-wacore-2"]),
        # The same build under the name of another registry, and another build.
        ({"image": "mirror/coreapp:v2.51.2"}, [RUNS], AUTO, []),
        ({"image": "mirror/coreapp:v2.51.2", "image_id": NEW}, [RUNS], AUTO, ["wa-h1-wacore-1"]),
        # Another version is not checked here.
        ({"image": "mirror/coreapp:v2.53.4", "image_id": NEW}, [RUNS], AUTO, []),
        # If the host lacks the image, nothing shows that it is the same.
        ({"image_id": ""}, [RUNS], AUTO, ["wa-h1-wacore-1"]),
        ({"image_id": ""}, [], AUTO, []),
        # A missing container is created from the image that its counterparts run.
        ({"image_id": NEW}, [replace(RUNS, name="wa-h1-core2-1", service="core2")], AUTO, ["wa-h1-wacore-1"]),
        ({"image_id": NEW}, [replace(RUNS, name="wa-h1-core2-1", service="core2")], LATER, ["wa-h1-wacore-1"]),
        ({"image_id": OLD}, [replace(RUNS, name="wa-h1-core2-1", service="core2")], AUTO, []),
    ],
)
def test_another_build_of_the_same_version_is_refused(
    service: dict[str, t.Any], found: list[Found], recreate: str, refused: list[str]
) -> None:
    services = [replace(SERVICE, **service)]
    steps = compose_plan.plan("wa-h1", services, found, recreate=recreate)
    errors = compose_plan.other_builds(services, found, steps, recreate)
    assert [error.subject for error in errors] == refused
    assert all(OLD[:19] in str(error) and "docker tag" in str(error) for error in errors)


def test_containers_of_one_image_share_one_refusal() -> None:
    services = [replace(SERVICE, name=name, image_id=NEW) for name in ("core1", "core2")]
    found = [replace(RUNS, name=f"wa-h1-{name}-1", service=name) for name in ("core1", "core2")]
    steps = compose_plan.plan("wa-h1", services, found)
    (error,) = compose_plan.other_builds(services, found, steps)
    assert str(error) == (
        f"wa-h1-core1-1, wa-h1-core2-1: would be made from another build of {CORE}, {NEW[:19]}; expected {OLD[:19]}, which "
        "runs under this version, because the start of another build may migrate the database. To keep what runs: docker "
        f"tag {OLD[:19]} {CORE} on this host. To take the other build, give it a version of its own and run upgrade.yml"
    )


@pytest.mark.parametrize(
    ("steps", "recreate", "expected"),
    [
        ([], AUTO, []),
        ([("none", {}), ("unpause", {})], AUTO, []),
        ([("none", {"pending": ["a"]})], LATER, []),
        ([("create", {}), ("none", {})], AUTO, [{"services": [], "recreate": "never"}]),
        ([("recreate", {}), ("none", {})], AUTO, [{"services": [], "recreate": "auto"}]),
        ([("unknown", {})], AUTO, [{"services": [], "recreate": "auto"}]),
        ([("restart", {})], AUTO, [{"services": [], "recreate": "auto"}]),
        ([("create", {}), ("start", {})], LATER, [{"services": [], "recreate": "never"}]),
        ([("start", {}), ("none", {"pending": ["a"]})], LATER, [{"services": ["s0"], "recreate": "never"}]),
        ([("recreate", {"forced": True})], AUTO, [{"services": ["s0"], "recreate": "always"}]),
        (
            [("recreate", {"forced": True}), ("recreate", {}), ("start", {})],
            AUTO,
            [{"services": ["s1", "s2"], "recreate": "auto"}, {"services": ["s0"], "recreate": "always"}],
        ),
        ([("remove", {"container": "gone"})], AUTO, []),
    ],
)
def test_calls_of_docker_compose_up(
    steps: list[tuple[str, dict[str, t.Any]]], recreate: str, expected: list[dict[str, t.Any]]
) -> None:
    made = [
        compose_plan.Step(**{"container": f"c{number}", "service": f"s{number}", "action": action, **more})
        for number, (action, more) in enumerate(steps)
    ]
    assert compose_plan.calls(made, ["gone"], recreate) == expected


@pytest.mark.parametrize(
    ("action", "reasons", "pending", "expected"),
    [
        ("none", [], [], ("none", [], [])),
        ("none", [], ["a"], ("none", [], ["a"])),
        ("create", ["is missing"], [], ("create", ["is missing"], [])),
        ("start", ["has exited"], ["a"], ("start", ["has exited"], ["a"])),
        ("unpause", ["is paused"], [], ("unpause", ["is paused"], [])),
        ("recreate", ["a", "b"], [], ("none", [], ["a", "b"])),
        ("restart", ["a"], [], ("none", [], ["a"])),
        ("remove", ["a"], [], ("none", [], ["a"])),
        # What only Compose can tell is nothing that waits.
        ("unknown", ["a"], [], ("none", [], [])),
        ("unknown", [], ["a"], ("none", [], [])),
    ],
)
def test_other_services_are_started_and_else_kept(
    action: str, reasons: list[str], pending: list[str], expected: tuple[str, list[str], list[str]]
) -> None:
    ours = compose_plan.Step("c-wacore", "wacore", action, reasons, pending, running=True, forced=True)
    other = replace(ours, container="c-db", service="db")
    first, second = compose_plan.keep_others([ours, other], ["db"])
    assert first == ours
    assert second == replace(other, action=expected[0], reasons=expected[1], pending=expected[2])


@pytest.mark.parametrize("action", ["recreate", "restart", "remove", "unknown"])
def test_without_others_all_steps_stay(action: str) -> None:
    steps = [compose_plan.Step("c-db", "db", action, ["a"]), compose_plan.Step("c-old", "old", "remove", ["b"])]
    assert compose_plan.keep_others(steps, ()) == steps
    assert compose_plan.keep_others(steps, ["queue"]) == steps


@pytest.mark.parametrize(
    ("recreates", "refused"),
    [
        ([], []),
        (["never"], []),
        (["never", "never"], []),
        ([AUTO], ["c-db"]),
        (["always"], ["c-db"]),
        (["never", "always"], ["c-db"]),
    ],
)
def test_another_service_is_not_recreated_together_with_the_client(recreates: list[str], refused: list[str]) -> None:
    steps = [
        compose_plan.Step("c-wacore", "wacore", "recreate", ["x"]),
        compose_plan.Step("c-waweb", "waweb", "none", pending=["y"]),
        compose_plan.Step("c-db", "db", "none", pending=["a", "b"]),
        compose_plan.Step("c-queue", "queue", "start", ["has exited"]),
    ]
    calls = [{"services": [], "recreate": one} for one in recreates]
    errors = compose_plan.refuse_others(steps, ["wacore", "waweb"], calls)
    assert [error.subject for error in errors] == refused


def test_the_refusal_names_the_reasons_and_the_cure() -> None:
    step = compose_plan.Step("biz-db-1", "db", "none", pending=["runs db:1, expected db:2", "is not on the network n"])
    (error,) = compose_plan.refuse_others([step], ["wacore"], [{"recreate": AUTO}])
    assert str(error) == (
        "biz-db-1: Compose would recreate it together with the client (runs db:1, expected db:2; is not on the network n); "
        "expected a service of yours that the client depends on, as its Compose file says. Bring it up to date yourself "
        "first: docker compose up --detach db"
    )


@pytest.mark.parametrize(
    ("reasons", "pending", "calls", "refused"),
    [
        (["is more than the 1 that the service has"], [], [{"recreate": "never"}], True),
        ([], ["is more than the 1 that the service has"], [{"recreate": "never"}], True),
        (["is more than the 1 that the service has"], [], [], False),
        (["belongs to a service that this host no longer has"], [], [{"recreate": "never"}], False),
    ],
)
def test_containers_of_a_scaled_service_are_not_removed(
    reasons: list[str], pending: list[str], calls: list[dict[str, str]], refused: bool
) -> None:
    step = compose_plan.Step("c-web-2", "web", "remove", reasons, pending)
    assert [str(error) for error in compose_plan.refuse_others([step], ["web"], calls)] == (
        [
            "c-web-2: Compose would remove it: it is more than the 1 that the service has; expected as many containers as its service "
            "has in the Compose files. Set scale of the service web there, or remove the container yourself"
        ]
        if refused
        else []
    )


@pytest.mark.parametrize(("completed", "action"), [((), "start"), (("init",), "none")])
def test_a_service_that_has_completed_is_not_started_again(completed: tuple[str, ...], action: str) -> None:
    step = compose_plan.Step("c-init-1", "init", "start", ["has exited"])
    (found,) = compose_plan.keep_others([step], ["init"], completed)
    assert (found.action, found.reasons) == (action, ["has exited"] if action == "start" else [])
