# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would be lost if containers were recreated: configuration, media. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

_PLACE, _ON_DB = "on {}", f"in the database ({env_state.CONFIG_ON_DB}=1)"


def lost_with_layers(containers: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Returns why containers of `wa_info` must not be removed (data in their writable layers); empty if they may."""
    inside = [str(one["name"]) for one in containers if not one["keeps_configuration"]]
    if inside:
        lost = "keeps its configuration, registration included, in its own writable layer; recreating it loses both"
        return f"{', '.join(inside)} {lost}. {env_state.CONFIG_CURE}."
    media = [f"{one['name']} holds {one['layer_media']}" for one in containers if one["layer_media"]]
    if not media:
        return ""
    return (
        f"{'; '.join(media)} in its own writable layer; expected no media there, because they are lost when the container is "
        "removed. Copy them to the media volume (docker cp NAME:FOLDER .), then remove them in the "
        "container; or remove the container yourself (docker rm)."
    )


def lost_by_compose_files(document: t.Mapping[str, t.Any], containers: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Returns why containers must not be recreated from a resolved Compose file that leaves out where their configuration is."""
    found = []
    for one in containers:
        body = (document.get("services") or {}).get(one["service"])
        if body is None or one["one_shot"] or not one["keeps_configuration"]:
            continue
        environment = {key: str(value) for key, value in (body.get("environment") or {}).items()}
        volumes = document.get("volumes") or {}
        mounts = [(_mounted(mount, volumes), str(mount.get("target", ""))) for mount in body.get("volumes") or []]
        kept = env_state.keeps_configuration(one["role"], environment, [target for _name, target in mounts])
        there = env_state.configuration_mount(one["role"], environment, mounts)
        if not kept or there != one["configuration_mount"]:
            has, wants = (_PLACE.format(place) if place else _ON_DB for place in (one["configuration_mount"], there))
            found.append(
                f"{one['name']} has its configuration, registration included, {has}, and its Compose file has it "
                f"{wants if kept else 'nowhere'}: a new container would start unregistered. Set it there as it is"
            )
    return found


def _mounted(mount: t.Mapping[str, t.Any], volumes: t.Mapping[str, t.Any]) -> str:
    """Returns the volume or folder of a mount in a resolved Compose file."""
    source = str(mount.get("source") or "")
    return str((volumes.get(source) or {}).get("name") or source)
