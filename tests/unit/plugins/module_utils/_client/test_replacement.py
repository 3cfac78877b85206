# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers may be replaced, and under which names they wait, by table."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client.replacement import (
    lost_registration,
    other_media,
    removed_by_a_stop,
    set_aside,
)

PATH = "/usr/local/wamedia"


def container(name: str = "wacore", state: str = "running", *mounts: tuple[str, str, str]) -> dict[str, t.Any]:
    keys = ("kind", "name", "destination")
    return {
        "id": f"id-{name}",
        "name": name,
        "state": state,
        "restart": "always",
        "role": "core",
        "mounts": [dict(zip(keys, mount)) for mount in mounts],
    }


@pytest.mark.parametrize(
    ("mounts", "device", "refused"),
    [
        ([], "", True),
        ([("volume", "wa_media", PATH)], "", False),
        ([("volume", "wa_media", PATH + "/")], "", False),
        ([("volume", "other", PATH)], "", True),
        ([("volume", "wa_media", PATH), ("volume", "other", "/var/log/whatsapp")], "", False),
        ([("volume", "other", "/var/log/whatsapp")], "", True),
        ([("bind", "/srv/media", PATH)], "", True),
        ([("bind", "/srv/media", PATH)], "/srv/media/", False),
        ([("bind", "/srv/other", PATH)], "/srv/media", True),
        ([("volume", "other", PATH)], "/srv/media", True),
    ],
)
def test_media_stay_in_sight(mounts: list[tuple[str, str, str]], device: str, refused: bool) -> None:
    said = other_media([container("wacore", "running", *mounts)], "wa_media", PATH, device)
    assert bool(said) == refused
    assert not said or (mounts[-1][1] if mounts and mounts[-1][2] == PATH else "writable layer") in said


def test_a_master_needs_no_media() -> None:
    assert other_media([{**container(), "role": "master"}], "wa_media", PATH) == ""


@pytest.mark.parametrize(
    ("services", "volumes", "lost"),
    [
        (None, None, True),
        ({"wacore": {"volumes": ["wadata:/usr/local/waent/data"]}}, {}, False),
        ({"wacore": {"volumes": [{"type": "volume", "source": "wadata", "target": "/x"}]}}, None, False),
        (
            {"wacore": {"volumes": ["data:/usr/local/waent/data"]}},
            {"data": {"name": "wadata", "external": True}},
            False,
        ),
        ({"wacore": {"volumes": ["wadata:/usr/local/waent/data"]}}, {"wadata": {"name": "other"}}, True),
        ({"wacore": None, "waweb": {}}, {}, True),
    ],
)
def test_a_registration_on_a_volume_stays_in_sight(services: t.Any, volumes: t.Any, lost: bool) -> None:
    one = {**container(), "keeps_configuration": True, "configuration_mount": "wadata"}
    said = lost_registration([one, {**one, "configuration_mount": ""}], services, volumes)
    assert bool(said) == lost
    assert not lost or said.startswith("wacore has its configuration, registration included, on wadata, which")


def test_a_container_that_a_stop_removes_is_not_set_aside() -> None:
    assert removed_by_a_stop([{**container(), "auto_remove": False}]) == ""
    assert removed_by_a_stop([{**container(), "auto_remove": True}]).startswith("wacore: made by docker run --rm")


def test_containers_wait_under_another_name() -> None:
    found = set_aside([container(), container("waweb", "exited"), container("old-replaced", "exited")])
    assert [(one["name"], one["aside"], one["rename"], one["runs"]) for one in found] == [
        ("wacore", "wacore-replaced", True, True),
        ("waweb", "waweb-replaced", True, False),
        ("old", "old-replaced", False, True),
    ]
