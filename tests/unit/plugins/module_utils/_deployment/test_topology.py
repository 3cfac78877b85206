# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, members, versions and paths of deployments."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology

GROUPS = {"all": ["a1", "a2", "b1"], "support": ["a1", "a2"], "sales": ["b1"]}


@given(st.text(min_size=1))
def test_a_slug_has_only_characters_that_compose_and_cron_accept(name: str) -> None:
    try:
        part = topology.slug(name)
    except WaError:
        assert not any(letter.isascii() and (letter.isalnum() or letter == "_") for letter in name.lower())
        return
    assert part
    assert set(part) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


def test_the_leader_comes_from_the_inventory() -> None:
    found = topology.deployment("a2", GROUPS, "support")
    assert (found["leader"], found["is_leader"], found["members"]) == ("a1", False, ["a1", "a2"])
    assert topology.deployment("a2", GROUPS, "support", leader="a2")["is_leader"]


def test_a_host_without_a_deployment_is_its_own_deployment() -> None:
    found = topology.deployment("a1", GROUPS)
    assert (found["members"], found["project"], found["is_leader"]) == (["a1"], "wa-a1", True)


@pytest.mark.parametrize(
    ("host", "name", "leader", "text"),
    [
        ("a1", "nobody", None, "'nobody' is no group"),
        ("b1", "support", None, "not in its own deployment support"),
        ("a1", "support", "b1", "'b1' is not a member"),
    ],
)
def test_a_wrong_deployment_is_refused(host: str, name: str, leader: str | None, text: str) -> None:
    with pytest.raises(WaError, match=text):
        topology.deployment(host, GROUPS, name, leader)


def test_a_recreated_node_must_be_listed() -> None:
    nodes = {
        "h1:aaaaaaaaaaaa": {"gateway_status": "connected", "role": "coreapp"},
        "h1:bbbbbbbbbbbb": {"gateway_status": "disconnected", "role": "primary_master"},
    }
    containers = ["a" * 64, "b" * 64]
    assert topology.check_health("high_availability", nodes, containers=containers)[0]
    good, reason = topology.check_health("high_availability", nodes, containers=[*containers, "c" * 64])
    assert not good
    assert reason.startswith("not among the nodes yet: cccccccccccc; there are h1:aaaaaaaaaaaa")
    assert topology.check_health("single", {"gateway_status": "connected"}, containers=["c" * 64])[0]


def neighbours(first: dict[str, t.Any] | None = None, **second: t.Any) -> list[str]:
    hostvars: dict[str, dict[str, t.Any]] = {
        "one": {"ansible_host": "192.0.2.1", **(first or {})},
        "two": dict({"ansible_host": "192.0.2.1", "wa_client_web_port": 9091}, **second),
        "far": {"ansible_host": "192.0.2.2"},
    }
    return topology.projects_at(hostvars, "one", {"all": list(hostvars)})


def test_deployments_on_one_machine_are_neighbours() -> None:
    assert neighbours() == ["wa-two"]
    assert neighbours(ansible_host="192.0.2.3") == []


def test_neighbours_must_not_share_port_or_project() -> None:
    with pytest.raises(WaError, match="the same API port 9090"):
        neighbours(wa_client_web_port=9090)
    with pytest.raises(WaError, match="the same project wa-one"):
        neighbours(wa_project="wa-one")


def test_adopted_neighbours_publish_what_their_own_files_say() -> None:
    adopted = {"wa_client_compose_dir": "/srv/one"}
    assert neighbours(adopted, wa_client_web_port=9090, wa_client_compose_dir="/srv/two") == ["wa-two"]
    with pytest.raises(WaError, match="the same API port 9090"):
        neighbours(adopted, wa_client_web_port=9090)


@pytest.mark.parametrize("text", ["2.53.4", "v2.53.4", "vv2.53.4", " v2.53.4 ", "V2.53.4"])
def test_a_version_is_normalised(text: str) -> None:
    assert topology.normalise_version(text) == "2.53.4"


@pytest.mark.parametrize("text", ["", "latest", "2", "2.x", "2.53.4-rc1", "v"])
def test_an_invalid_version_is_refused(text: str) -> None:
    with pytest.raises(WaError, match="no version of the client"):
        topology.normalise_version(text)


def test_an_upgrade_must_be_to_a_higher_version() -> None:
    assert topology.check_jump(["v2.9.1", "2.9.1"], "2.10.0")
    assert not topology.check_jump(["2.53.4"], "v2.53.4")
    for running, target, text in [
        (["2.10.0"], "2.9.1", "older"),
        (["2.9.1", "2.10.0"], "2.10.0", "mixed"),
        ([], "2.1", "no client"),
    ]:
        with pytest.raises(WaError, match=text):
            topology.check_jump(running, target)


def node(status: str, role: str = "coreapp") -> dict[str, str]:
    return {"gateway_status": status, "role": role}


HEALTH = [
    ("single", {"gateway_status": "connected"}, 1, True, "coreapp connected"),
    ("single", {"gateway_status": "connecting"}, 1, True, "coreapp connecting"),
    ("single", {"gateway_status": "disconnected"}, 1, False, "expected one Coreapp connected: coreapp disconnected"),
    ("single", {"gateway_status": "uninitialized"}, 1, False, "starting or migrating: coreapp"),
    ("single", {"gateway_status": "unregistered"}, 1, False, "not registered: coreapp"),
    ("single", {}, 1, False, "the health answer names no node"),
    (
        "high_availability",
        {"m": node("disconnected", "primary_master"), "c1": node("connected"), "c2": node("disconnected")},
        1,
        True,
        "c1 connected, c2 disconnected, m disconnected",
    ),
    (
        "high_availability",
        {"m": node("connected", "primary_master"), "c1": node("connected"), "c2": node("disconnected")},
        1,
        False,
        "expected exactly one Coreapp connected: c1 connected, c2 disconnected, m connected",
    ),
    (
        "high_availability",
        {"m": node("disconnected", "primary_master"), "c1": node("connected"), "c2": node("connected")},
        1,
        False,
        "expected exactly one Coreapp connected: c1 connected, c2 connected, m disconnected",
    ),
    (
        "multiconnect",
        {"m": node("connected", "primary_master"), "c1": node("connected"), "c2": node("connected")},
        2,
        True,
        "c1 connected, c2 connected, m connected",
    ),
    (
        "multiconnect",
        {"m": node("connected", "primary_master"), "c1": node("connected"), "c2": node("disconnected")},
        2,
        False,
        "expected 2 Coreapps and the primary master connected: c1 connected, c2 disconnected, m connected",
    ),
    (
        "multiconnect",
        {"m": node("disconnected", "primary_master"), "c1": node("connected"), "c2": node("connected")},
        2,
        False,
        "expected 2 Coreapps and the primary master connected: c1 connected, c2 connected, m disconnected",
    ),
    (
        "multiconnect",
        {"m": node("connected", "primary_master"), "c1": node("connected"), "c2": node("uninitialized")},
        1,
        False,
        "starting or migrating: c2",
    ),
]


@pytest.mark.parametrize(("name", "health", "shards", "good", "reason"), HEALTH)
def test_health_depends_on_the_topology(
    name: str, health: dict[str, t.Any], shards: int, good: bool, reason: str
) -> None:
    assert topology.check_health(name, health, shards) == (good, reason)


@pytest.mark.parametrize(("port", "refused"), [(6250, True), (6290, False)])
def test_clusters_on_the_same_machines_need_different_coreapp_ports(port: int, refused: bool) -> None:
    groups = {"all": ["a1", "a2", "b1", "b2"], "a": ["a1", "a2"], "b": ["b1", "b2"]}
    hostvars = {
        name: {"wa_deployment": name[0], "ansible_host": f"192.0.2.{name[1]}", "wa_client_web_port": web}
        for name, web in (("a1", 9090), ("a2", 9090), ("b1", 9091), ("b2", 9091))
    }
    hostvars["b1"]["wa_client_core_port"] = hostvars["b2"]["wa_client_core_port"] = port
    if refused:
        with pytest.raises(WaError, match="one machine and the same Coreapp ports from 6250"):
            topology.projects_at(hostvars, "a1", groups)
    else:
        assert topology.projects_at(hostvars, "a1", groups) == ["wa-b"]
