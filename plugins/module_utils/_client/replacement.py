# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How containers that are not the project's are replaced: set aside under another name until the new ones are proven. Pure rules."""

from __future__ import annotations

import posixpath
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

SUFFIX = "-replaced"


def set_aside(containers: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Each container with its name, the one that it bears while it is set aside, and what brings it back.

    What a run that was ended in the middle has set aside bears that name already, and is brought back running.
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
    """Why containers of `wa_info` must not be removed, or an empty text: what their own writable layers hold goes with them."""
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


def lost_by_recreation(
    containers: t.Sequence[t.Mapping[str, t.Any]],
    services: t.Mapping[str, t.Any] | None = None,
    volumes: t.Mapping[str, t.Any] | None = None,
) -> str:
    """Why containers of `wa_info` must not be recreated, or an empty text: registration or media of some would be lost.

    `services` and `volumes` are what the operator adds to the rendered file, which mounts no configuration by itself.
    """
    mounted = {
        str(((volumes or {}).get(source) or {}).get("name") or source)
        for service in (services or {}).values()
        for source in map(_source, (service or {}).get("volumes") or [])
    }
    beside = [
        f"{one['name']} has its configuration, registration included, on {one['configuration_mount']}"
        for one in containers
        if one["configuration_mount"] and one["configuration_mount"] not in mounted
    ]
    inside = lost_with_layers(containers)
    if inside or not beside:
        return inside
    return (
        f"{', '.join(beside)}, which the rendered Compose file does not mount: the registration would be lost from sight. Mount it "
        f"at {env_state.CONFIG_FOLDER} of the Coreapp with wa_client_extra_services, environment WA_CONFIG_ON_DB: null with it, as "
        "adopt.yml writes it; or move the configuration into the database first: start the container with WA_CONFIG_ON_DB=1."
    )


def _source(volume: t.Any) -> str:
    """What a volume of a Compose service mounts, in its short or its long form."""
    return str(volume.get("source", "")) if isinstance(volume, t.Mapping) else str(volume).partition(":")[0]


def removed_by_a_stop(containers: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Why containers cannot be set aside, or an empty text: Docker would remove some, with volumes, when they stop."""
    names = [str(one["name"]) for one in containers if one["auto_remove"]]
    return (
        f"{', '.join(names)}: made by docker run --rm, so that a stop removes it with its volumes that have no name, and it could "
        "not be brought back; expected containers that can be set aside. Nothing was changed. See what its volumes hold "
        "(docker inspect NAME), then stop it yourself"
        if names
        else ""
    )


def other_media(containers: t.Sequence[t.Mapping[str, t.Any]], volume: str, path: str, device: str = "") -> str:
    """Why containers cannot be replaced, or an empty text: their media are not on the volume that the new ones mount.

    `path` is where media are mounted in a container; what is mounted above or below it holds media, too. A folder is the
    volume's when the volume stands on it (`device`).
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
        f"media volume {volume}: {'; '.join(found)}; expected {volume}, because the media would be lost from sight. "
        "Nothing was changed. Set wa_media_volume_name to that volume, or wa_media_volume_driver_options to "
        "{type: none, o: bind, device: FOLDER} for a folder; or copy the media there (docker cp) and confirm with "
        f'wa_confirm_identity: {{"media_volume": "{volume}"}}'
    )
