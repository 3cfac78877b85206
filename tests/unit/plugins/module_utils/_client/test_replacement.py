# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers may be replaced, and under which names they wait, by table."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client.replacement import other_media, set_aside

PATH = "/usr/local/wamedia"


def container(name: str = "wacore", state: str = "running", *mounts: tuple[str, str, str]) -> dict[str, t.Any]:
    keys = ("kind", "name", "destination")
    return {
        "id": f"id-{name}",
        "name": name,
        "state": state,
        "restart": "always",
        "mounts": [dict(zip(keys, mount)) for mount in mounts],
    }


@pytest.mark.parametrize(
    ("mounts", "device", "refused"),
    [
        ([], "", False),
        ([("volume", "wa_media", PATH)], "", False),
        ([("volume", "wa_media", PATH + "/")], "", False),
        ([("volume", "other", PATH)], "", True),
        ([("volume", "other", "/var/log/whatsapp")], "", False),
        ([("bind", "/srv/media", PATH)], "", True),
        ([("bind", "/srv/media", PATH)], "/srv/media/", False),
        ([("bind", "/srv/other", PATH)], "/srv/media", True),
        ([("volume", "other", PATH)], "/srv/media", True),
    ],
)
def test_media_stay_in_sight(mounts: list[tuple[str, str, str]], device: str, refused: bool) -> None:
    said = other_media([container("wacore", "running", *mounts)], "wa_media", PATH, device)
    assert bool(said) == refused
    assert not said or (mounts[0][1] in said and "wa_media" in said)


def test_containers_wait_under_another_name() -> None:
    found = set_aside([container(), container("waweb", "exited"), container("old-replaced", "exited")])
    assert [(one["name"], one["aside"], one["rename"], one["runs"]) for one in found] == [
        ("wacore", "wacore-replaced", True, True),
        ("waweb", "waweb-replaced", True, False),
        ("old", "old-replaced", False, True),
    ]
