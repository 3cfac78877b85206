# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which services run on which member of a deployment."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout

HA, MULTI = "high_availability", "multiconnect"
MEMBERS = ("a1", "a2", "a3")
SHARE = {"type": "nfs", "o": "addr=192.0.2.9", "device": ":/media"}


def deployment(members: t.Sequence[str] = MEMBERS, leader: str | None = None) -> dict[str, t.Any]:
    return {"name": "support", "members": list(members), "leader": leader or members[0]}


def inventory(**own: dict[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Valid variables of three hosts, overridden by `own`."""
    group = {"wa_media_volume_driver_options": SHARE, "wa_db_env_extra_secrets": {layout.JWT_KEY: "Canary-key"}}
    return {m: {**group, "ansible_host": f"192.0.2.{n}", **own.get(m, {})} for n, m in enumerate(MEMBERS, 1)}


@pytest.mark.parametrize(
    ("members", "topology", "shards", "expected"),
    [
        (["a1"], "single", 1, {"a1": ["web", "core1"]}),
        (["a1"], HA, 1, {"a1": ["web", "core1", "core2", "master1", "master2"]}),
        (["a1", "a2"], HA, 1, {"a1": ["web", "core1", "master1"], "a2": ["web", "core2", "master2"]}),
        (
            MEMBERS,
            HA,
            1,
            {"a1": ["web", "core1", "master1"], "a2": ["web", "core2", "master2"], "a3": ["web", "core3"]},
        ),
        (
            MEMBERS,
            MULTI,
            2,
            {"a1": ["web", "core1", "master1"], "a2": ["web", "core2", "master2"], "a3": ["web", "core3"]},
        ),
        (
            MEMBERS,
            MULTI,
            3,
            {"a1": ["web", "core1", "core4", "master1"], "a2": ["web", "core2", "master2"], "a3": ["web", "core3"]},
        ),
    ],
)
def test_services_are_placed_by_position(
    members: list[str], topology: str, shards: int, expected: dict[str, list[str]]
) -> None:
    assert layout.place("support", members, topology, shards) == expected


@given(st.integers(1, 40), st.integers(1, 40))
def test_placed_services_form_a_client(hosts: int, shards: int) -> None:
    places = layout.place("x", [f"h{number}" for number in range(hosts)], MULTI, shards)
    services = [word for services in places.values() for word in services if word != "web"]
    assert len(services) == len(set(services))
    assert sum(word.startswith("core") for word in services) > shards


@pytest.mark.parametrize(
    ("topology", "shards", "declared", "text"),
    [
        (HA, 1, {"a1": ["web", "core1", "master1"]}, "not set for a2, a3"),
        (HA, 1, {"a1": ["web", "kernel"], "a2": ["core1"], "a3": ["master1"]}, "'kernel' is no service"),
        (HA, 1, {"a1": ["web", "core"], "a2": ["core1"], "a3": ["master1"]}, "'core' is no service"),
        (HA, 1, {"a1": ["web", "core0"], "a2": ["core1"], "a3": ["master1"]}, "'core0' is no service"),
        (HA, 1, {"a1": "web", "a2": ["core1"], "a3": ["master1"]}, "a list with one"),
        (HA, 1, {"a1": ["web"], "a2": [], "a3": ["core1", "master1"]}, "host a2: wa_client_services"),
        (HA, 1, {"a1": ["web", "core1"], "a2": ["core1"], "a3": ["master1"]}, r"core1 twice \(a1, a2\)"),
        (HA, 1, {"a1": ["web", "web"], "a2": ["core1"], "a3": ["master1"]}, r"web of a1 twice"),
        (HA, 1, {"a1": ["web", "core1"], "a2": ["core2"], "a3": ["core3"]}, "no master on any host"),
        (HA, 1, {"a1": ["web", "master1"], "a2": ["web"], "a3": ["master2"]}, "no Coreapp on any host"),
        (HA, 1, {"a1": ["core1", "master1"], "a2": ["core2"], "a3": ["core3"]}, "no Webapp on any host"),
        (MULTI, 3, {"a1": ["web", "core1", "master1"], "a2": ["core2"], "a3": ["web"]}, "at least 3 Coreapps"),
    ],
)
def test_an_incomplete_set_of_services_is_refused(
    topology: str, shards: int, declared: dict[str, t.Any], text: str
) -> None:
    with pytest.raises(WaError, match=text):
        layout.place("support", MEMBERS, topology, shards, declared)


@pytest.mark.parametrize(
    ("topology", "shards", "members", "text"),
    [
        ("single", 1, MEMBERS, "single, with the hosts a1, a2, a3"),
        ("cluster", 1, MEMBERS, "'cluster' is unknown; expected one of: single"),
        (HA, 2, MEMBERS, "2 with high_availability"),
        (MULTI, 0, MEMBERS, "0 with multiconnect"),
    ],
)
def test_a_wrong_topology_is_refused(topology: str, shards: int, members: list[str], text: str) -> None:
    with pytest.raises(WaError, match=text):
        layout.layout(inventory(), deployment(members), topology, shards)


def test_a_single_client_has_webapp_and_coreapp() -> None:
    hostvars = {"a1": {"wa_client_services": ["web", "core1", "master1"]}}
    with pytest.raises(WaError, match=r"expected \[web, core1\]"):
        layout.layout(hostvars, deployment(["a1"]))
    assert layout.layout({"a1": {}}, deployment(["a1"])) == {"a1": ["web", "core1"]}


def test_services_are_read_from_the_inventory() -> None:
    own = {"a1": ["core1", "web"], "a2": ["master1", "core10", "core9"], "a3": ["web"]}
    hostvars = inventory(**{member: {"wa_client_services": services} for member, services in own.items()})
    found = layout.layout(hostvars, deployment(), MULTI, 3)
    assert found == {"a1": ["web", "core1"], "a2": ["core9", "core10", "master1"], "a3": ["web"]}


def test_a_leader_needs_a_webapp_or_an_api_url() -> None:
    own = {"a1": ["core1", "web"], "a2": ["master1"], "a3": ["web"]}
    hostvars = inventory(**{member: {"wa_client_services": services} for member, services in own.items()})
    with pytest.raises(WaError, match="leader a2: has no Webapp"):
        layout.layout(hostvars, deployment(leader="a2"), HA)
    hostvars["a2"]["wa_api_url"] = "https://wa.example.com"
    assert layout.layout(hostvars, deployment(leader="a2"), HA)["a2"] == ["master1"]


@pytest.mark.parametrize(
    ("own", "text"),
    [
        ({"a2": {"wa_version": "2.53.4"}, "a1": {"wa_version": "2.51.2"}}, "wa_version: .*2.51.2 on a1; 2.53.4 on a2"),
        ({"a3": {"wa_topology": "single"}}, "wa_topology: .*single on a3"),
        ({"a3": {"wa_db_env_name_prefix": "x_"}}, "wa_db_env_name_prefix: .*one value for all members"),
        ({"a2": {"ansible_host": "127.0.0.1"}}, "wa_client_address of a2: 127.0.0.1; expected the address"),
        ({"a2": {"wa_client_address": "localhost"}}, "wa_client_address of a2: localhost"),
        ({"a2": {"wa_client_address": "192.0.2.3"}}, "of a2: 192.0.2.3, as of a3"),
        ({"a2": {"wa_media_volume_driver_options": {}}}, "media volume of a2: a plain local volume"),
        ({"a2": {"wa_db_env_extra_secrets": {}}}, "WA_WEB_JWT_CRYPTO_KEY: not set for a2"),
        ({"a2": {"wa_db_env_extra_secrets": {layout.JWT_KEY: "Canary-other"}}}, "KEY: not the same for all members"),
        (
            {"a2": {"wa_db_env_extra_secrets": {"A": "1"}, "wa_db_env_extra": {layout.JWT_KEY: "Canary-key"}}},
            "WA_WEB_JWT_CRYPTO_KEY: not set for a2; expected one key for the Webapps of a1, a2, a3",
        ),
        *(
            (
                {"a2": {"wa_db_env_extra_secrets": wrong}},
                f"host a2: wa_db_env_extra_secrets: a {kind}; expected a mapping from names to values",
            )
            for wrong, kind in (([layout.JWT_KEY, "Canary-key"], "list"), (f"{layout.JWT_KEY}=Canary-key", "str"))
        ),
    ],
)
def test_different_variables_of_members_are_refused(own: dict[str, dict[str, t.Any]], text: str) -> None:
    with pytest.raises(WaError, match=text) as caught:
        layout.layout(inventory(**own), deployment(), HA)
    assert "Canary" not in str(caught.value)


def test_versions_with_and_without_v_are_equal() -> None:
    versions = {m: {"wa_version": text} for m, text in zip(MEMBERS, ["2.53.4", "v2.53.4", " 2.53.4"])}
    assert len(layout.layout(inventory(**versions), deployment(), HA)) == 3


def test_one_webapp_needs_no_key_and_a_volume_driver_no_options() -> None:
    own = {"a1": ["web", "core1"], "a2": ["master1"], "a3": ["core2"]}
    bare = {"wa_db_env_extra_secrets": {}, "wa_media_volume_driver_options": {}, "wa_media_volume_driver": "glusterfs"}
    hostvars = inventory(**{member: {"wa_client_services": services, **bare} for member, services in own.items()})
    assert layout.layout(hostvars, deployment(), HA) == own


def test_an_operators_own_compose_files_are_not_asked_for_a_share_or_a_key() -> None:
    bare = {"wa_db_env_extra_secrets": {}, "wa_media_volume_driver_options": {}, "wa_client_compose_dir": "/srv/biz"}
    assert len(layout.layout(inventory(**dict.fromkeys(MEMBERS, bare)), deployment(), HA)) == 3


def test_the_services_of_a_single_client() -> None:
    core, web = layout.services(["web", "core1"], "single", "192.0.2.1")
    assert (core["name"], core["ports"], core["environment"]) == ("wacore", [], {})
    assert (web["name"], web["after"], web["environment"]) == ("waweb", ["wacore"], {"WACORE_HOSTNAME": "wacore"})
    assert web["ports"] == [{"outside": 9090, "inside": 443}]


def test_services_of_several_hosts_have_external_host_names_and_ports() -> None:
    found = {
        one["name"]: one
        for one in layout.services(["web", "core1", "core7", "master1", "master2"], MULTI, "h1.example.com", False)
    }
    ports = {name: [port["outside"] for port in one["ports"]] for name, one in found.items()}
    assert ports == {
        "wacore1": [6250, 6251, 6252, 6253],
        "master1": [6254, 6255, 6256, 6257],
        "wacore7": [6258, 6259, 6260, 6261],
        "master2": [6262, 6263, 6264, 6265],
        "waweb": [9090],
    }
    assert [port["inside"] for port in found["master2"]["ports"]] == [6250, 6251, 6252, 6253]
    assert found["master1"]["environment"] == {
        "WA_APP_MULTICONNECT": "1",
        "WA_MASTER_NODE": "1",
        "COREAPP_HOSTNAME": "h1.example.com",
        "COREAPP_EXTERNAL_PORTS": "6254,6255,6256,6257",
    }
    assert found["waweb"]["environment"] == {
        "WA_APP_MULTICONNECT": "1",
        "WEBAPP_HOSTNAME": "h1.example.com",
        "WEBAPP_EXTERNAL_PORTS": "9090",
    }
    assert list(found)[-1] == "waweb"


def test_the_ports_of_a_master_do_not_depend_on_a_coreapp() -> None:
    (master,) = layout.services(["master2"], HA, "192.0.2.1", False, core_port=6300)
    assert [port["outside"] for port in master["ports"]] == [6304, 6305, 6306, 6307]


def test_a_cluster_on_one_host_publishes_only_the_webapp() -> None:
    found = {one["name"]: one for one in layout.services(["web", "core1", "master1"], HA, "192.0.2.1")}
    assert {name: len(one["ports"]) for name, one in found.items()} == {"wacore1": 0, "master1": 0, "waweb": 1}
    assert found["wacore1"]["environment"]["COREAPP_HOSTNAME"] == "wacore1"
    assert found["master1"]["environment"]["COREAPP_EXTERNAL_PORTS"] == "6250,6251,6252,6253"


def test_the_address_of_a_member() -> None:
    assert layout.address({"a1": {}}, "a1") == "a1"
    assert layout.address({"a1": {"ansible_host": "192.0.2.1"}}, "a1") == "192.0.2.1"
    assert layout.address({"a1": {"ansible_host": "192.0.2.1", "wa_client_address": "a.lan"}}, "a1") == "a.lan"
