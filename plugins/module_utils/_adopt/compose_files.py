# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describes how a client was started: its env files, and the operator's own Compose files with their profiles. Pure rules."""

from __future__ import annotations

import os
import re
import typing as t

Mapping = t.Mapping[str, t.Any]
_ENV_FILE_OPTION = re.compile(r"--env-file[= ]+(\S+)")


def newest(containers: t.Sequence[Mapping]) -> Mapping:
    """Returns the container that was created last: Compose leaves the labels of those that it need not recreate as they are."""
    return max(containers, key=lambda one: str(one["created"]))


def interpolation_files(container: Mapping) -> list[str]:
    """Returns the files with the variables of a container's Compose files, of which `.env` may not exist."""
    return container["interpolation_files"] or [os.path.join(one, ".env") for one in (container["folder"],) if one]


def complete_env_files(survey: Mapping) -> list[str]:
    """Completes the `env_files` of a survey's containers, and returns all of them.

    Outside Compose the engine does not know the file; the unit or script that runs the container may name it.
    """
    everything = [*survey["containers"], *survey["sidecars"]]
    for one in everything:
        if not one["project"]:
            name = re.compile(rf"\b{re.escape(one['name'])}\b")
            lines = "\n".join(line["line"] for line in survey["autostart"] if name.search(line["line"]))
            one["env_files"] = list(dict.fromkeys(path.strip("'\"") for path in _ENV_FILE_OPTION.findall(lines)))
    paths = {path for one in everything for path in one["env_files"]}
    paths |= {path for one in survey["containers"] if one["operators_files"] for path in interpolation_files(one)}
    return sorted(paths)


def variables(containers: t.Sequence[Mapping], sidecars: t.Sequence[Mapping]) -> dict[str, t.Any]:
    """Returns the variables of the roles for the operator's Compose files; `sidecars` are beside the client in the project."""
    last = newest(containers)
    # Without them Compose would not know the services that run: the first of each.
    enabled = sorted(
        {str(name) for one in (*containers, *sidecars) for name in (one["declared"].get("profiles") or [])[:1]}
    )
    found: dict[str, t.Any] = {
        "wa_client_compose_dir": last["folder"],
        "wa_client_compose_files": last["operators_files"],
    }
    if last["interpolation_files"]:
        found["wa_client_compose_env_files"] = last["interpolation_files"]
    if enabled:
        found["wa_client_compose_profiles"] = enabled
    # What differs from the files is reported by provision.yml, and waits for an upgrade or for the operator's word.
    return {**found, "wa_client_restart": "report"}
