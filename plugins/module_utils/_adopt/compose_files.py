# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describes how a client was started: its env files, and the operator's own Compose files with their profiles. Pure rules."""

from __future__ import annotations

import errno
import os
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

Mapping = t.Mapping[str, t.Any]
_ENV_FILE_OPTION = re.compile(r"--env-file[= ]+(\S+)")


def applies(containers: t.Sequence[Mapping]) -> bool:
    """Returns whether the containers of a project were made from the operator's Compose files."""
    return all(one["project"] and one["operators_files"] for one in containers)


def newest(containers: t.Sequence[Mapping]) -> Mapping:
    """Returns the container that was created last: Compose leaves the labels of those that it need not recreate as they are."""
    return max(containers, key=_created)


def _created(container: Mapping) -> str:
    return str(container["created"])


def interpolation_files(container: Mapping) -> list[str]:
    """Returns the files with the variables of a container's Compose files, of which `.env` may not exist."""
    default = [os.path.join(container["folder"], ".env")] if container["folder"] else []
    return container["interpolation_files"] or default


def complete_env_files(survey: Mapping) -> list[str]:
    """Completes the `env_files` of a survey's containers, and returns all of them.

    Outside Compose the engine does not know the file; the unit or script that runs the container may name it.
    """
    everything = [*survey["containers"], *survey["sidecars"]]
    for one in everything:
        if not one["project"]:
            name = re.compile(rf"\b{re.escape(one['name'])}\b")
            lines = [line["line"] for line in survey["autostart"] if name.search(line["line"])]
            found = [match[1].strip("'\"") for line in lines for match in _ENV_FILE_OPTION.finditer(line)]
            one["env_files"] = list(dict.fromkeys(found))
        elif one["compose_problem"] and one["folder"]:
            one["env_files"] = [os.path.join(one["folder"], "db.env")]  # what the vendor calls it; there may be none
    paths = {path for one in everything for path in one["env_files"]}
    paths |= {path for one in survey["containers"] if one["operators_files"] for path in interpolation_files(one)}
    return sorted(paths)


def version_files(container: Mapping, files: t.Iterable[Mapping]) -> list[str]:
    """Returns the files of the operator that may have the version of a container; none where only the environment at its start had it.

    `files` are those that were read of the host, with their `path` and `text`.
    """
    texts = {one["path"]: one["text"] for one in files if one["text"] is not None or not _is_missing(one)}
    variables = [*compose_version.VARIABLE.finditer(str(container["declared"].get("image") or ""))]
    if variables:
        name = variables[-1]["name"] or variables[-1]["plain"]
        for path in reversed(interpolation_files(container)):
            text = texts.get(path, "")
            if text is None or any(entry.key == name for entry in env_file.read_compose(text)):
                return [path]
        if not compose_version.DEFAULT.fullmatch(variables[-1]["rest"] or ""):
            return []
    return list(container["operators_files"])


def _is_missing(file: Mapping) -> bool:
    return file["text"] is None and file["problem"] == os.strerror(errno.ENOENT)


def profiles(containers: t.Iterable[Mapping]) -> list[str]:
    """Returns the profiles without which Compose would not know the services that run in a project: the first of each."""
    return sorted({str(name) for one in containers for name in (one["declared"].get("profiles") or [])[:1]})


def variables(containers: t.Sequence[Mapping], sidecars: t.Sequence[Mapping]) -> dict[str, t.Any]:
    """Returns the variables of the roles for the operator's Compose files; `sidecars` are beside the client in the project."""
    last, enabled = newest(containers), profiles([*containers, *sidecars])
    found: dict[str, t.Any] = {
        "wa_client_compose_dir": last["folder"],
        "wa_client_compose_files": last["operators_files"],
    }
    if last["interpolation_files"]:
        found["wa_client_compose_env_files"] = last["interpolation_files"]
    if enabled:
        found["wa_client_compose_profiles"] = enabled
    # What differs from the files is reported, and waits for an upgrade or for the operator's word.
    return {**found, "wa_client_restart": "report"}
