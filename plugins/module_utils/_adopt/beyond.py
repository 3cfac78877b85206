# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is beyond the collection in how a client was started, and what to change there. Pure rules."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Client
from ansible_collections.waba.onprem.plugins.module_utils._compose import declared
from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

Mapping = t.Mapping[str, t.Any]
_ALWAYS = ("COMPOSE_PROJECT_NAME", "PWD")  # set by Compose, or by `_compose.call`
_HAS_OTHERWISE = re.compile(r":?[-+].*")  # of ${NAME:-default} and ${NAME:+replacement}


def action(client: Client) -> Action | None:
    """Returns why the collection cannot go on with the Compose files of a client, and what to change in them; None if it can."""
    ours = client.containers if client.operators else []
    found: dict[str, str] = {}
    for one in ours:
        files = ", ".join(one["operators_files"])
        if one["files_gone"]:
            gone = f"it was started from {', '.join(one['files_gone'])}, which is not on {client.host} any more"
            found[gone] = "Put the file back as it was"
        elif one["compose_problem"]:
            found[f"`docker compose` cannot read {files}: {one['compose_problem']}"] = "Correct that"
        elif any(path.endswith(".json") for path in one["operators_files"]):
            found[f"{files} is JSON, in which no version can be set"] = "Write it as YAML"
    named = {path for one in ours for path in one["interpolation_files"]}
    for file in client.survey["files"] if not found else ():
        if file["path"] in named and file["text"] is None:
            fact = f"the variables of its Compose files are in {file['path']}, which cannot be read ({file['problem']})"
            found[fact] = "Put it there as when the client was started, in UTF-8"
    if ours and not found:
        texts = {one["path"]: one["text"] for one in client.survey["files"] if one["text"] is not None}
        unset = _unset(ours, texts)
        if unset:
            fact = f"its Compose files use {', '.join(unset)}, which no env file sets: only the shell of whoever started it had the value"
            place = compose_files.interpolation_files(compose_files.newest(ours))[-1]
            found[fact] = (
                f"Set it in {place} as when the client was started, empty if it was not set (for HOME or USER write the value into the file)"
            )
        names = {tuple(_variables(one)[-1:]) for one in ours}
        if len(names) > 1 and not unset:
            shown = ", ".join(sorted(f"{one['name']}: {one['declared'].get('image')}" for one in ours))
            found[f"its version is in more than one place: {shown}"] = (
                "Use one variable of .env, or tags alone, for all images of the client"
            )
    tries = [one["name"] for one in client.tries if one["role"] != "web" and one["state"] == "running"]
    if tries:
        found[f"{', '.join(tries)} is a second Coreapp of the number, run by `docker compose run`"] = (
            "Stop it, and start its service instead"
        )
    if not found:
        return None
    return Action(
        (*found, "it was left alone"), (f"{'. '.join(dict.fromkeys(found.values()))}. Then run adopt.yml again",)
    )


def _unset(containers: t.Sequence[Mapping], texts: t.Mapping[str, str]) -> list[str]:
    """Returns the variables of a project's Compose files that only a shell can have set."""
    files = compose_files.interpolation_files(containers[-1])
    known = {*_ALWAYS, *(entry.key for path in files for entry in env_file.read_compose(texts.get(path, "")))}
    found: dict[str, None] = {}
    for one in containers:
        outside = {key: value for key, value in one["document"].items() if key != "services"}
        for text in (*_texts(one["declared"]), *_texts(outside)):
            for variable in compose_version.VARIABLE.finditer(text):
                if not _HAS_OTHERWISE.fullmatch(variable["rest"] or ""):
                    found[variable["name"] or variable["plain"]] = None
        passed = [key for key, text in declared.environment(one["declared"]).items() if text is None]
        found.update(dict.fromkeys(key for key in passed if key in one["environment"]))
    return [name for name in found if name not in known]


def _variables(container: Mapping) -> list[str]:
    """Returns the variables of an image that an env file sets."""
    found = compose_version.VARIABLE.finditer(str(container["declared"].get("image") or ""))
    return [one["name"] or one["plain"] for one in found if not compose_version.DEFAULT.fullmatch(one["rest"] or "")]


def _texts(value: t.Any) -> t.Iterator[str]:
    """Returns the texts in a service's definition, in which Compose replaces variables."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)
