# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would be lost if containers were recreated."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client.recreation import (
    lost_by_compose_files,
    lost_with_layers,
)

PATH = "/usr/local/wamedia"


def container(name: str = "wacore") -> dict[str, t.Any]:
    return {
        "name": name,
        "keeps_configuration": True,
        "configuration_mount": "",
        "layer_media": "",
    }


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("", ""),
        (f"{PATH}/a", f"wacore holds {PATH}/a in its own writable layer; expected no media there"),
    ],
)
def test_media_in_a_container_layer_prevent_the_recreation(layer: str, message: str) -> None:
    found = lost_with_layers([{**container(), "layer_media": layer}, container("waweb")])
    assert found.startswith(message) if message else found == ""


def test_a_registration_in_a_container_layer_prevents_the_recreation() -> None:
    lost = {**container(), "keeps_configuration": False, "layer_media": f"{PATH}/a"}
    mounted = {**container("core2"), "configuration_mount": "wadata"}
    assert lost_with_layers([mounted, lost, container("waweb")]).startswith(
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
