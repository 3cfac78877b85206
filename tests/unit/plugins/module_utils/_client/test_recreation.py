# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would be lost if containers were recreated."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client.recreation import (
    left_out_mounts,
    lost_by_compose_files,
    lost_by_rendered_file,
    lost_with_layers,
)

PATH = "/usr/local/wamedia"


def container(name: str = "wacore", state: str = "running", *mounts: tuple[str, str, str]) -> dict[str, t.Any]:
    keys = ("kind", "name", "destination")
    return {
        "name": name,
        "state": state,
        "role": "core",
        "mounts": [dict(zip(keys, mount)) for mount in mounts],
        "keeps_configuration": True,
        "configuration_mount": "",
        "layer_media": "",
    }


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("", ""),
        (f"{PATH}/a", f"wacore holds {PATH}/a in its own writable layer; expected no media there"),
        (None, "wacore holds media that were not looked for in its own writable layer"),
    ],
)
@pytest.mark.parametrize("rule", [lost_with_layers, lost_by_rendered_file])
def test_media_in_a_container_layer_prevent_the_recreation(
    rule: t.Callable[..., str], layer: str | None, message: str
) -> None:
    found = rule([{**container(), "layer_media": layer}, container("waweb")])
    assert found.startswith(message) if message else found == ""


BESIDE = (
    ", which the rendered Compose file does not mount: the registration would not be used. Move the configuration into the "
    "database first: start the container with WA_CONFIG_ON_DB=1; or start it from a Compose file of yours that mounts it, and run "
    "adopt.yml again."
)


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ({}, ""),
        ({"wacore": ""}, ""),
        ({"wacore": "wadata"}, f"wacore has its configuration, registration included, on wadata{BESIDE}"),
        ({"wacore": "wadata", "waweb": ""}, f"wacore has its configuration, registration included, on wadata{BESIDE}"),
        (
            {"core1": "/srv/a", "core2": "wadata"},
            "core1 has its configuration, registration included, on /srv/a, core2 has its configuration, registration included, "
            f"on wadata{BESIDE}",
        ),
    ],
)
def test_a_registration_on_a_volume_prevents_the_recreation(mounts: dict[str, str], found: str) -> None:
    containers = [{**container(name), "configuration_mount": mount} for name, mount in mounts.items()]
    assert lost_by_rendered_file(containers) == found
    assert lost_with_layers(containers) == ""


@pytest.mark.parametrize("rule", [lost_with_layers, lost_by_rendered_file])
def test_a_registration_in_a_container_layer_prevents_the_recreation(rule: t.Callable[..., str]) -> None:
    lost = {**container(), "keeps_configuration": False, "layer_media": f"{PATH}/a"}
    mounted = {**container("core2"), "configuration_mount": "wadata"}
    assert rule([mounted, lost, container("waweb")]).startswith(
        "wacore keeps its configuration, registration included, in its own writable layer; recreating it loses both. "
    )


ON_DB = {"environment": {"WA_CONFIG_ON_DB": "1"}}
MOUNTED = {"volumes": [{"type": "bind", "source": "/srv/x", "target": "/usr/local/waent/data"}]}
NAMED = {"volumes": [{"type": "volume", "source": "data", "target": "/usr/local/waent/data"}]}
HERE = "in the database (WA_CONFIG_ON_DB=1)"


@pytest.mark.parametrize(
    ("body", "role", "mount", "kept", "has", "wants"),
    [
        (ON_DB, "core", "", True, "", ""),
        (MOUNTED, "core", "/srv/x", True, "", ""),
        (NAMED, "core", "biz_data", True, "", ""),
        ({}, "core", "", True, HERE, "nowhere"),
        ({"environment": {"WA_CONFIG_ON_DB": None}}, "core", "", True, HERE, "nowhere"),
        (MOUNTED, "core", "", True, HERE, "on /srv/x"),
        (ON_DB, "core", "/srv/x", True, "on /srv/x", HERE),
        ({**MOUNTED, **ON_DB}, "core", "/srv/x", True, "on /srv/x", HERE),
        (MOUNTED, "core", "/srv/y", True, "on /srv/y", "on /srv/x"),
        ({}, "core", "biz_data", True, "on biz_data", "nowhere"),
        ({}, "core", "", False, "", ""),  # is refused for what is in its layer
        ({}, "web", "", True, "", ""),
        (None, "core", "", True, "", ""),
    ],
)
def test_compose_files_that_have_the_configuration_elsewhere_are_refused(
    body: dict[str, t.Any] | None, role: str, mount: str, kept: bool, has: str, wants: str
) -> None:
    one = {
        "name": "biz-wacore-1",
        "service": "wacore",
        "role": role,
        "one_shot": False,
        "configuration_mount": mount,
        "keeps_configuration": kept,
    }
    document = {"services": {} if body is None else {"wacore": body}, "volumes": {"data": {"name": "biz_data"}}}
    assert lost_by_compose_files(document, [one]) == (
        [
            f"biz-wacore-1 has its configuration, registration included, {has}, and its Compose file has it {wants}: a new container "
            "would start unregistered. Set it there as it is"
        ]
        if has
        else []
    )


NAMELESS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("mounts", "body", "one_shot", "left"),
    [
        ([], {}, False, ""),
        ([("volume", "certs", "/opt/certs")], {}, False, "certs at /opt/certs"),
        ([("bind", "/srv/x", "/opt/x/")], None, False, "/srv/x at /opt/x"),
        (
            [("volume", "certs", "/opt/certs"), ("bind", "/srv/x", "/opt/x")],
            {"volumes": [{"type": "bind", "source": "/srv/x", "target": "/opt/y"}]},
            False,
            "certs at /opt/certs, /srv/x at /opt/x",
        ),
        ([("volume", "certs", "/opt/certs")], {}, True, ""),
        # Its place is mounted, with whatever.
        ([("volume", "certs", "/opt/certs")], {"volumes": [{"source": "other", "target": "/opt/certs/"}]}, False, ""),
        # A volume that the image declares.
        ([("volume", NAMELESS, "/opt/data")], {}, False, ""),
        ([("volume", NAMELESS[1:], "/opt/data")], {}, False, f"{NAMELESS[1:]} at /opt/data"),
        ([("volume", f"{NAMELESS}0", "/opt/data")], {}, False, f"{NAMELESS}0 at /opt/data"),
        # The media have a rule of their own.
        ([("volume", "media", PATH)], {}, False, ""),
        ([("volume", "media", PATH + "/")], {}, False, ""),
        ([("volume", "media", PATH + "/incoming")], {}, False, f"media at {PATH}/incoming"),
    ],
)
def test_mounts_that_the_new_service_lacks_are_left_out(
    mounts: list[tuple[str, str, str]], body: dict[str, t.Any] | None, one_shot: bool, left: str
) -> None:
    one = {**container("biz-wacore-1", "running", *mounts), "service": "wacore", "one_shot": one_shot}
    document = {"services": {} if body is None else {"wacore": body}}
    assert left_out_mounts(document, [one]) == (
        [
            f"biz-wacore-1 mounts {left}, and its service in the Compose file does not. Mount it there in a Compose file of yours "
            "(wa_client_compose_files)"
        ]
        if left
        else []
    )


def test_the_media_and_what_is_in_memory_are_not_left_out() -> None:
    mounts = [("volume", "wa_media", PATH), ("tmpfs", "", "/run")]
    one = {**container("biz-wacore-1", "running", *mounts), "service": "wacore", "one_shot": False}
    assert left_out_mounts({"services": {"wacore": {}}}, [one]) == []


def test_each_container_is_compared_with_its_own_service() -> None:
    mount = ("volume", "certs", "/opt/certs")
    ours = [{**container(name, "running", mount), "service": name, "one_shot": False} for name in ("wacore", "waweb")]
    document = {"services": {"wacore": {"volumes": [{"source": "certs", "target": "/opt/certs"}]}, "waweb": {}}}
    assert [text.partition(" mounts ")[0] for text in left_out_mounts(document, ours)] == ["waweb"]
