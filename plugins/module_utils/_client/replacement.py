# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Replaces unmanaged containers: they are renamed and kept until the new ones are healthy. Pure rules."""

from __future__ import annotations

import posixpath
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

SUFFIX = "-replaced"
_PLACE, _ON_DB = "on {}", f"in the database ({env_state.CONFIG_ON_DB}=1)"


def set_aside(containers: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Returns each container with its name, its temporary name, and the state to restore.

    A container renamed by an interrupted run already has the temporary name, and is restored as running.
    """
    found = []
    for one in containers:
        name = str(one["name"])
        earlier = name.endswith(SUFFIX)
        found.append(
            {
                "id": one["id"],
                "name": name[: -len(SUFFIX)] if earlier else name,
                "aside": name if earlier else name + SUFFIX,
                "rename": not earlier,
                "runs": earlier or one["state"] in ("running", "restarting", "paused"),
                "restart": one["restart"],
            }
        )
    return found


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


def left_out_mounts(
    document: t.Mapping[str, t.Any], containers: t.Sequence[t.Mapping[str, t.Any]], media_path: str
) -> list[str]:
    """Returns why containers that another Compose file made must not be recreated from a resolved one that lacks their mounts."""
    found = []
    for one in containers:
        body = (document.get("services") or {}).get(one["service"]) or {}
        there = {posixpath.normpath(str(mount.get("target", ""))) for mount in body.get("volumes") or []}
        named = [
            mount for mount in one["mounts"] if mount["kind"] != "tmpfs" and not _NAMELESS.fullmatch(mount["name"])
        ]
        mounts = ((mount["name"], posixpath.normpath(mount["destination"])) for mount in named)
        left = [
            f"{name} at {place}"
            for name, place in mounts
            if place not in there and place != posixpath.normpath(media_path)
        ]
        if left and not one["one_shot"]:
            found.append(
                f"{one['name']} mounts {', '.join(left)}, and its service in the Compose file does not. Mount it there in a Compose "
                "file of yours (wa_client_compose_files); or set wa_client_skip: [mounts] if it is not needed"
            )
    return found


def _mounted(mount: t.Mapping[str, t.Any], volumes: t.Mapping[str, t.Any]) -> str:
    """Returns the volume or folder of a mount in a resolved Compose file."""
    source = str(mount.get("source") or "")
    return str((volumes.get(source) or {}).get("name") or source)


def lost_by_replacement(containers: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Returns why containers of `wa_info` must not be replaced by those of the rendered file; empty if they may.

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


def removed_by_a_stop(containers: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Returns why containers cannot be kept (Docker removes those with --rm when they stop); empty if they can."""
    names = [str(one["name"]) for one in containers if one["auto_remove"]]
    return (
        f"{', '.join(names)}: made by docker run --rm, so that a stop removes it with its volumes that have no name, and it could "
        "not be brought back; expected containers that can be set aside. Nothing was changed. See what its volumes hold "
        "(docker inspect NAME), then stop it yourself"
        if names
        else ""
    )


def other_media(containers: t.Sequence[t.Mapping[str, t.Any]], volume: str, path: str, device: str = "") -> str:
    """Returns why containers cannot be replaced (their media are on another volume); empty if they can.

    `path` is the mount path of media; mounts above or below it hold media, too. A bound folder counts as the volume if it
    is the volume's `device`.
    """
    path = posixpath.normpath(path)
    found = []
    for one in containers:
        mounts = [(mount, posixpath.normpath(mount["destination"])) for mount in one["mounts"]]
        there = [place for _mount, place in mounts if place == path]
        for mount, place in mounts:
            above = f"{path}/".startswith(f"{place.rstrip('/')}/")
            if not f"{place}/".startswith(f"{path}/") and (there or not above):
                continue
            wanted = device if mount["kind"] == "bind" else volume
            if place != path or mount["name"].rstrip("/") != wanted.rstrip("/"):
                at = "" if place == path else f" at {place}"
                found.append(f"{one['name']} has its media on {mount['kind']} {mount['name']}{at}")
    if not found:
        return ""
    return (
        f"media volume {volume}: {'; '.join(found)}; expected {volume}, because the present media would not be used. "
        "Nothing was changed. Set wa_media_volume_name to that volume, or wa_media_volume_driver_options to "
        "{type: none, o: bind, device: FOLDER} for a folder; or copy the media there (docker cp) and confirm with "
        f'wa_confirm_identity: {{"media_volume": "{volume}"}}'
    )
