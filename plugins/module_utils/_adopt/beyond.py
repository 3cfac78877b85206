# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is beyond the collection in how a client was started, and what to change there. Pure rules."""

from __future__ import annotations

import errno
import os
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Client
from ansible_collections.waba.onprem.plugins.module_utils._compose import declared
from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

Mapping = t.Mapping[str, t.Any]
_SWARM = "com.docker.swarm.service.name"  # a label
_ALWAYS = ("COMPOSE_PROJECT_NAME", "PWD")  # set by Compose, or by `_compose.call`
_HAS_OTHERWISE = re.compile(r":?[-+].*")  # of ${NAME:-default} and ${NAME:+replacement}


def action(client: Client) -> Action | None:
    """Returns why the collection cannot go on with the Compose files of a client, and what to change in them; None if it can."""
    ours = client.containers if client.operators else []
    found: dict[str, str] = {}
    swarm = [one["name"] for one in client.containers if _SWARM in one["settings"].get("labels", {})]
    if swarm:
        fact = f"Docker Swarm runs {', '.join(swarm)}, and starts what is stopped again, on any of its hosts"
        found[fact] = "Start the client by docker compose in place of docker stack"
    own = {text for one in client.containers for text in (one["name"], one["folder"], one["image"])}
    units = [one for one in client.survey["autostart"] if one["kind"] == "template"]
    for path in (one["path"] for one in units if own & {*one["line"].split("\n")}):
        found[f"{path} is a unit of a template, and which containers it starts is not read"] = (
            "Write a unit of its own with the names in place of %i, enable that, and disable the template's"
        )
    for one in ours:
        files = ", ".join(one["operators_files"])
        if one["files_gone"]:
            gone = f"it was started from {', '.join(one['files_gone'])}, which is not on {client.host} any more"
            found[gone] = "Put the file back as it was"
        elif one["compose_problem"]:
            found[f"`docker compose` cannot read {files}: {one['compose_problem']}"] = "Correct that"
        elif any(path.endswith(".json") for path in one["operators_files"]):
            found[f"{files} is JSON, in which no version can be set"] = "Write it as YAML"
    needed = {path for one in ours for path in one["interpolation_files"]}
    env_files = {path for one in client.containers for path in one["env_files"]}
    for file in client.survey["files"]:
        # Compose need not find an env file; one that has gone is no reason to leave the client alone.
        missing = file["path"] not in needed and file["problem"] == os.strerror(errno.ENOENT)
        if file["path"] in needed | env_files and file["text"] is None and not missing:
            fact = f"the variables of the client are in {file['path']}, which cannot be read ({file['problem']})"
            found[fact] = "Put it there as when the client was started, in UTF-8, and run adopt.yml as root"
    if ours and not found:
        texts = {one["path"]: one["text"] for one in client.survey["files"] if one["text"] is not None}
        unset = _unset(ours, texts)
        if unset:
            fact = f"its Compose files use {', '.join(unset)}, which no env file sets: only the shell of whoever started it had the value"
            place = compose_files.interpolation_files(compose_files.newest(ours))[-1]
            found[fact] = (
                f"Set it in {place} as when the client was started, empty if it was not set (for HOME or USER write the value into the file)"
            )
        if len({compose_files.version_variable(one) for one in ours}) > 1 and not unset:
            shown = ", ".join(sorted(f"{one['name']}: {one['declared'].get('image')}" for one in ours))
            found[f"its version is in more than one place: {shown}"] = (
                "Use one variable of .env, or tags alone, for all images of the client"
            )
    tries = [
        one["name"]
        for one in client.one_shots
        if one["environment"].get("WA_DB_UPGRADE") != "1" and one["role"] != "web" and one["state"] == "running"
    ]
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


def _texts(value: t.Any) -> t.Iterator[str]:
    """Returns the texts in a service's definition, in which Compose replaces variables."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)
