# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describes how a client was started: its env files, and the operator's own Compose files with their profiles and variables. Pure rules."""

from __future__ import annotations

import errno
import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._compose import declared
from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

Mapping = t.Mapping[str, t.Any]
_ENV_FILE_OPTION = re.compile(r"--env-file[= ]+(\S+)")
_ALWAYS = ("COMPOSE_PROJECT_NAME", "PWD")  # set by Compose, or by `_compose.call`
_HAS_OTHERWISE = re.compile(r":?[-+].*")  # of ${NAME:-default} and ${NAME:+replacement}


def applies(containers: t.Sequence[Mapping]) -> bool:
    """Returns whether the operator's Compose files, from which the containers of a project were made, still describe them.

    Some may be gone, unless Compose cannot read the service from those that are left.
    """
    return all(
        one["project"]
        and {*one["operators_files"]} - {*one["files_gone"]}
        and not (one["files_gone"] and one["compose_problem"])
        for one in containers
    )


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


@dataclass
class Interpolation:
    """The variables of Compose files that no file sets: their values as the containers show them, and those not found."""

    values: dict[str, str] = field(default_factory=dict, repr=False)
    differ: list[str] = field(default_factory=list)  # names of those for which the files have another default
    unknown: list[str] = field(default_factory=list)
    of_user: dict[str, str] = field(default_factory=dict)  # those of which the collection's user has another value


def interpolation(containers: t.Sequence[Mapping], texts: t.Mapping[str, str]) -> Interpolation:
    """Returns the variables of a project's Compose files that whoever started it had in the environment.

    Of `containers`, the last one counts where two show different values, and in how Compose was called. `texts` are the contents of
    env files by path. A value is found where a text of the files has one variable, and the container has what became of it, or
    where an environment variable is passed through (`environment: [TZ]`).
    """
    found, missing = Interpolation(), dict[str, None]()
    files, callers = interpolation_files(containers[-1]), containers[-1]["caller"]
    known = {entry.key for path in files for entry in env_file.read_compose(texts.get(path, ""))}
    shown: dict[str, str] = {}
    for one in containers:
        passed = [
            key for key, text in declared.environment(one["declared"]).items() if text is None and key not in known
        ]
        given = {key: one["environment"][key] for key in passed if key in one["environment"]}
        shown.update({key: value for key, value in given.items() if key in callers})
        found.values.update({key: value for key, value in given.items() if key not in callers})
        for text, became in _pairs(one):
            matches = [values for values in (compose_version.values(text, value) for value in became) if values]
            shown.update(matches[0] if len(matches) == 1 else {})
    # An env file takes no value of several lines.
    shown, found.values = (
        {key: value for key, value in one.items() if "\n" not in value} for one in (shown, found.values)
    )
    for variable in (one for text in _read(containers) for one in compose_version.VARIABLE.finditer(text)):
        name = variable["name"] or variable["plain"]
        if name in callers or name in known or name in _ALWAYS:
            continue
        default = compose_version.DEFAULT.fullmatch(variable["rest"] or "")
        if name in shown:
            value = default["value"].replace("$$", "$") if default else ""
            if not _is(shown[name], value, containers[-1]):
                found.differ += [name] if default and name not in found.differ else []
                found.values[name] = shown[name]
        elif not _HAS_OTHERWISE.fullmatch(variable["rest"] or ""):
            missing[name] = None
    found.unknown = [name for name in missing if name not in found.values]
    found.of_user = {name: shown[name] for name, value in callers.items() if shown.get(name, value) != value}
    return found


def _is(shown: str, value: str, container: Mapping) -> bool:
    """Returns whether a container shows a value, as it is or as a path."""
    paths = [f"{home}{value[1:]}" for home in container["homes"]] if value.startswith("~/") else [value]
    return shown in (value, *(os.path.normpath(os.path.join(container["folder"], path)) for path in paths))


def _pairs(one: Mapping) -> t.Iterator[tuple[str, t.Iterable[str]]]:
    """Returns the image of a container's definition, and of `_settings` those with one variable."""
    image = str(one["declared"].get("image") or "")
    yield image, [one["image"]]
    for text, became in _settings(one):
        variables = [variable["rest"] or "" for variable in compose_version.VARIABLE.finditer(text)]
        if len(variables) == 1 and not variables[0].startswith((":+", "+")):
            yield text, became


def _settings(one: Mapping) -> t.Iterator[tuple[str, t.Iterable[str]]]:
    """Returns texts of a container's definition, each with what it may have become in the container."""
    body, document, settings = one["declared"], one["document"], one["settings"]
    mounts = {path: source for _kind, source, path in one["mounts"]}
    yield str(body.get("container_name") or ""), [one["name"]]
    for option, has in (("environment", one["environment"]), ("labels", settings.get("labels", {}))):
        for key, text in declared.environment({"environment": body.get(option)}).items():
            yield str(text), [has[key]] if key in has else []
    for mount in body.get("volumes") or []:
        source, became = str(mount.get("source") or ""), mounts.get(mount.get("target"), "")
        home = one["caller"].get("HOME", "")
        if source.startswith(f"{home}/") and became in [f"{other}{source[len(home) :]}" for other in one["homes"]]:
            source = f"$HOME{source[len(home) :]}"  # Compose has replaced a `~`
        volumes = {
            key: str((volume or {}).get("name") or key) for key, volume in (document.get("volumes") or {}).items()
        }
        # A variable in the mount has the key, not the name.
        keys = [key for key, name in volumes.items() if name == became]
        yield (volumes[source], [became]) if source in volumes else (source, keys or [became])
    for port in body.get("ports") or []:
        parts = [port.get("host_ip"), port.get("published"), port.get("target")] if isinstance(port, dict) else [port]
        yield ":".join(str(part) for part in parts if part).removesuffix("/tcp"), settings.get("ports", [])
    for key in body.get("networks") or ():
        name = ((document.get("networks") or {}).get(key) or {}).get("name")
        yield str(name or ""), settings.get("networks", {})


def _read(containers: t.Iterable[Mapping]) -> t.Iterator[str]:
    """Returns the texts in which Compose replaces variables: of the containers' services, and of what is outside of services.

    Of services without a container the variables count that must be set, without which Compose reads nothing.
    """
    documents: list[Mapping] = []
    for one in containers:
        yield from _texts(one["declared"])
        if one["document"] not in documents:
            documents.append(one["document"])
    for document in documents:
        yield from _texts({key: value for key, value in document.items() if key != "services"})
        for text in _texts(document.get("services")):
            yield from (one[0] for one in compose_version.VARIABLE.finditer(text) if "?" in (one["rest"] or "")[:2])
        for kind in ("secrets", "configs"):  # their content may be that of a variable
            bodies = [body for body in (document.get(kind) or {}).values() if body]
            yield from (f"${body['environment']}" for body in bodies if body.get("environment"))


def _texts(value: t.Any) -> t.Iterator[str]:
    """Returns the texts in a service's definition, in which Compose replaces variables."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)


def variables(
    containers: t.Sequence[Mapping], sidecars: t.Sequence[Mapping], files: t.Sequence[Mapping]
) -> tuple[dict[str, t.Any], Interpolation]:
    """Returns the variables of the roles for the operator's Compose files, and the variables of these files.

    `containers` are the client's, `sidecars` those beside them in the project, `files` those that were read of the host, with their
    `path` and `text`.
    """
    last = newest(containers)
    texts = {one["path"]: one["text"] for one in files if one["text"] is not None}
    beside = [one for one in sidecars if one["operators_files"] == last["operators_files"]]
    by_age = [*sorted(beside, key=_created), *sorted(containers, key=_created)]
    given = interpolation(by_age, texts)
    there = {one["path"] for one in files if not _is_missing(one)}
    env_files = last["interpolation_files"] or [path for path in interpolation_files(last) if path in there]
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
