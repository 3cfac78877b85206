# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What would be lost if containers were recreated: configuration, media, mounts. Pure rules."""

from __future__ import annotations

import posixpath
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

_PLACE, _ON_DB = "on {}", f"in the database ({env_state.CONFIG_ON_DB}=1)"


def lost_with_layers(containers: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Returns why containers of `wa_info` must not be removed (data in their writable layers); empty if they may."""
    inside = [str(one["name"]) for one in containers if not one["keeps_configuration"]]
    if inside:
        lost = "keeps its configuration, registration included, in its own writable layer; recreating it loses both"
        return f"{', '.join(inside)} {lost}. {env_state.CONFIG_CURE}."
    layers = ((one["name"], one["layer_media"]) for one in containers)
    media = [
        f"{name} holds {'media that were not looked for' if path is None else path}"
        for name, path in layers
        if path != ""
    ]
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


_NAMELESS = re.compile(r"[0-9a-f]{64}")  # a volume that the image declares; the new container has one, too


def left_out_mounts(document: t.Mapping[str, t.Any], containers: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Returns why containers that another Compose file made must not be recreated from a resolved one that lacks their mounts."""
    found = []
    for one in containers:
        body = (document.get("services") or {}).get(one["service"]) or {}
        there = {posixpath.normpath(str(mount.get("target", ""))) for mount in body.get("volumes") or []}
        named = [
            mount for mount in one["mounts"] if mount["kind"] != "tmpfs" and not _NAMELESS.fullmatch(mount["name"])
        ]
        mounts = ((mount["name"], posixpath.normpath(mount["destination"])) for mount in named)
        left = [f"{name} at {place}" for name, place in mounts if place not in there and place != MEDIA_FOLDER]
        if left and not one["one_shot"]:
            found.append(
                f"{one['name']} mounts {', '.join(left)}, and its service in the Compose file does not. Mount it there in a Compose "
                "file of yours (wa_client_compose_files)"
            )
    return found


def _mounted(mount: t.Mapping[str, t.Any], volumes: t.Mapping[str, t.Any]) -> str:
    """Returns the volume or folder of a mount in a resolved Compose file."""
    source = str(mount.get("source") or "")
    return str((volumes.get(source) or {}).get("name") or source)


def lost_by_rendered_file(containers: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Returns why containers of `wa_info` must not be recreated from the rendered file; empty if they may.

    Their registration or media would be lost: the rendered file mounts no configuration.
    """
    beside = [
        f"{one['name']} has its configuration, registration included, on {one['configuration_mount']}"
        for one in containers
        if one["configuration_mount"]
    ]
    inside = lost_with_layers(containers)
    if inside or not beside:
        return inside
    return (
        f"{', '.join(beside)}, which the rendered Compose file does not mount: the registration would not be used. Move the "
        "configuration into the database first: start the container with WA_CONFIG_ON_DB=1; or start it from a Compose file of "
        "yours that mounts it, and run adopt.yml again."
    )
