# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How containers that are not the project's are replaced: set aside under another name until the new ones are proven. Pure rules."""

from __future__ import annotations

import posixpath
import typing as t

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


def other_media(containers: t.Sequence[t.Mapping[str, t.Any]], volume: str, path: str, device: str = "") -> str:
    """Why containers cannot be replaced, or an empty text: their media are not on the volume that the new ones mount.

    `path` is where media are mounted in a container. A folder is the volume's when the volume stands on it (`device`).
    """
    found = []
    for one in containers:
        for mount in one["mounts"]:
            if posixpath.normpath(mount["destination"]) != posixpath.normpath(path):
                continue
            wanted = device if mount["kind"] == "bind" else volume
            if mount["name"].rstrip("/") != wanted.rstrip("/"):
                found.append(f"{one['name']} has its media on {mount['kind']} {mount['name']}")
    if not found:
        return ""
    return (
        f"media volume {volume}: {'; '.join(found)}; expected {volume}, because the media would be lost from sight. "
        "Nothing was changed. Set wa_media_volume_name to that volume, or wa_media_volume_driver_options to "
        "{type: none, o: bind, device: FOLDER} for a folder"
    )
