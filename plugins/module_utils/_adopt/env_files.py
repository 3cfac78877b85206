# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files gave containers their environment, by their Compose files and what those extend and include. Pure rules."""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

Documents = t.Mapping[str, t.Any]  # Compose files by path: what YAML made of them; a project's .env as its text
DEEPEST = 8  # files may extend and include files
_ENV_FILE_OPTION = re.compile(r"--env-file[= ]+(\S+)")
_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)(?P<how>:?-(?P<default>[^}]*))?\}|(?P<plain>\w+))")


@dataclass
class _Found:
    """What the Compose files say of one service: its own keys, its env files, and the files that were looked for."""

    keys: list[str] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)


def note(survey: t.Mapping[str, t.Any], documents: Documents) -> list[str]:
    """Note in each container of a survey its `env_files`, `own_keys` and `named_files`.

    `own_keys` are the variables that its Compose file sets itself, `named_files` what its files extend and include.
    `documents` are the files that were read; the answer is which others they name. Outside Compose the engine does not
    know the file; the unit or script that runs the container may name it.
    """
    wanted: list[str] = []
    for one in [*survey["containers"], *survey["sidecars"]]:
        found = _Found()
        for path in one["files"]:
            _collect(documents, path, one["service"], one["folder"], found, 0)
        paths = found.paths
        if not one["project"]:
            lines = [
                line["line"]
                for line in survey["autostart"]
                if re.search(rf"\b{re.escape(one['name'])}\b", line["line"])
            ]
            paths = [match[1].strip("'\"") for line in lines for match in _ENV_FILE_OPTION.finditer(line)]
        elif not any(documents.get(path) for path in one["files"]) and one["folder"]:
            paths = [os.path.join(one["folder"], "db.env")]  # what the vendor calls it; there may be none
        one["env_files"] = list(dict.fromkeys(paths))
        one["own_keys"] = sorted(set(found.keys))
        one["named_files"] = sorted({*found.wanted} - {*one["files"]})
        wanted += [path for path in found.wanted if path not in documents]
    return list(dict.fromkeys(wanted))


def _collect(documents: Documents, path: str, service: str, folder: str, found: _Found, depth: int) -> None:
    """What the file at `path`, whose relative paths start at `folder`, says of a service."""
    found.wanted.append(path)
    document = documents.get(path)
    for source, base in _included(document, folder, documents, found) if depth < DEEPEST else ():
        _collect(documents, source, service, base, found, depth + 1)
    keys, files, extends = env_state.service_settings(document, service)
    if extends and depth < DEEPEST:
        other = {"service": extends} if isinstance(extends, str) else extends
        source, base = path, folder
        if other.get("file"):
            source = _joined(folder, str(other["file"]), documents, found)
            base = os.path.dirname(source)
        _collect(documents, source, str(other.get("service", "")), base, found, depth + 1)
    found.keys.extend(keys)
    found.paths.extend(_joined(folder, name, documents, found) for name in files)


def _included(document: t.Any, folder: str, documents: Documents, found: _Found) -> list[tuple[str, str]]:
    """The files that a Compose file includes, each with the folder at which its relative paths start."""
    entries = document.get("include") if isinstance(document, dict) else None
    sources = []
    for entry in entries if isinstance(entries, list) else []:
        words = entry.get("path", []) if isinstance(entry, dict) else entry
        paths = [
            _joined(folder, str(word), documents, found) for word in (words if isinstance(words, list) else [words])
        ]
        base = str(entry.get("project_directory") or "") if isinstance(entry, dict) else ""
        base = _joined(folder, base, documents, found) if base else os.path.dirname(paths[0]) if paths else ""
        sources += [(path, base) for path in paths]
    return sources


def _joined(folder: str, name: str, documents: Documents, found: _Found) -> str:
    """A path in a Compose file made whole, with the variables of the project's .env."""
    if "$" in name:
        path = os.path.join(folder, ".env")
        found.wanted.append(path)
        text = documents.get(path)
        entries = env_file.read_compose(text) if isinstance(text, str) else []
        values = {entry.key: entry.value or "" for entry in entries if entry.key}
        name = _VARIABLE.sub(lambda match: _value(match, values), name)
    return os.path.normpath(os.path.join(folder, name))


def _value(match: re.Match[str], values: t.Mapping[str, str]) -> str:
    key = match["braced"] or match["plain"]
    empty = (match["how"] or "").startswith(":") and not values.get(key)
    return (match["default"] or "") if empty or key not in values else values[key]
