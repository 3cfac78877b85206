# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describes how a client was started: its env files, and the operator's own Compose files with their profiles and variables. Pure rules."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._compose import declared
from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

Mapping = t.Mapping[str, t.Any]
_WHOLE = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)[^}]*\}|\$(?P<plain>[A-Za-z_]\w*)")
_ENV_FILE_OPTION = re.compile(r"--env-file[= ]+(\S+)")
_ALWAYS = ("COMPOSE_PROJECT_NAME", "HOME", "PWD")  # set by Compose, by every shell, or by `_compose.call`
_HAS_OTHERWISE = re.compile(r":?[-+].*")  # of ${NAME:-default} and ${NAME:+replacement}


def applies(containers: t.Sequence[Mapping]) -> bool:
    """Returns whether the containers of a project were made from Compose files of the operator that are still there."""
    return all(one["project"] and one["operators_files"] and not one["files_gone"] for one in containers)


def newest(containers: t.Sequence[Mapping]) -> Mapping:
    """Returns the container that was created last: Compose leaves the labels of those that it need not recreate as they are."""
    return max(containers, key=lambda one: str(one["created"]))


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


def profiles(containers: t.Iterable[Mapping]) -> list[str]:
    """Returns the profiles without which Compose would not know the services that run in a project: the first of each."""
    return sorted({str(name) for one in containers for name in (one["declared"].get("profiles") or [])[:1]})


@dataclass
class Interpolation:
    """The variables of Compose files that no file sets: their values as the containers show them, and those not found."""

    values: dict[str, str] = field(default_factory=dict, repr=False)
    differ: list[str] = field(default_factory=list)  # names of those for which the files have another default
    unknown: list[str] = field(default_factory=list)


def interpolation(containers: t.Iterable[Mapping], texts: t.Mapping[str, str]) -> Interpolation:
    """Returns the variables of a project's Compose files that whoever started it had in the environment.

    `texts` are the contents of env files by path. A value is found where a variable alone is the value of an environment variable,
    where one is passed through (`environment: [TZ]`), or in the image's name.
    """
    found, missing = Interpolation(), dict[str, None]()
    for one in containers:
        body = one["declared"]
        known = {entry.key for path in interpolation_files(one) for entry in env_file.read_compose(texts.get(path, ""))}
        shown: dict[str, tuple[str, str]] = {}
        for key, text in declared.environment(body).items():
            if text is None and key not in known and "\n" not in one["environment"].get(key, "\n"):
                found.values[key] = one["environment"][key]
            whole = _WHOLE.fullmatch(str(text))
            # An env file takes no value of several lines.
            if whole and "\n" not in one["environment"].get(key, "\n"):
                shown[whole["name"] or whole["plain"]] = (str(text), one["environment"][key])
        for name, value in compose_version.values(str(body.get("image") or ""), one["image"]).items():
            shown[name] = (str(body["image"]), value)
        for variable in compose_version.VARIABLE.finditer("\n".join(_texts(body))):
            name = variable["name"] or variable["plain"]
            if name in known:
                continue
            default = compose_version.DEFAULT.fullmatch(variable["rest"] or "")
            if name in shown:
                if default is None or default["value"].replace("$$", "$") != shown[name][1]:
                    found.differ += [name] if default and name not in found.differ else []
                    found.values[name] = shown[name][1]
            elif name not in _ALWAYS and not _HAS_OTHERWISE.fullmatch(variable["rest"] or ""):
                missing[name] = None
    found.unknown = [name for name in missing if name not in found.values]
    return found


def _texts(value: t.Any) -> t.Iterator[str]:
    """Returns the texts in a service's definition, in which Compose replaces variables."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)


def variables(
    containers: t.Sequence[Mapping], sidecars: t.Sequence[Mapping], files: t.Iterable[Mapping]
) -> tuple[dict[str, t.Any], Interpolation]:
    """Returns the variables of the roles for the operator's Compose files, and the variables of these files.

    `containers` are the client's, `sidecars` those beside them in the project, `files` those that were read of the host, with their
    `path` and `text`.
    """
    last = newest(containers)
    texts = {one["path"]: one["text"] for one in files if one["text"] is not None}
    given = interpolation(containers, texts)
    env_files = [path for path in interpolation_files(last) if path in texts]
    enabled = profiles([*containers, *sidecars])
    found: dict[str, t.Any] = {
        "wa_client_compose_dir": last["folder"],
        "wa_client_compose_files": last["operators_files"],
    }
    if last["interpolation_files"] or (env_files and given.values):
        found["wa_client_compose_env_files"] = env_files
    if enabled:
        found["wa_client_compose_profiles"] = enabled
    # What differs from the files is reported, and waits for an upgrade or for the operator's word.
    return {**found, "wa_client_restart": "report", "wa_upgrade_update_compose_files": False}, given
