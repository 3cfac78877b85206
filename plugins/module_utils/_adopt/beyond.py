# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is beyond the collection in how a client was started, and what to change there. Pure rules."""

from __future__ import annotations

import collections
import errno
import os
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Client
from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._compose import declared
from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules

Mapping = t.Mapping[str, t.Any]
Problems = t.Iterator[tuple[str, str]]  # what was found, and what to change
_SWARM = "com.docker.swarm.service.name"  # a label
_ALWAYS = ("COMPOSE_PROJECT_NAME", "PWD")  # set by Compose, or by `_compose.call`
_HAS_OTHERWISE = re.compile(r":?[-+].*")  # of ${NAME:-default} and ${NAME:+replacement}
_TAG = re.compile(r"v\d+(?:\.\d+)+")
_ROLES = {"web": "Webapp", "core": "Coreapp", "master": "master"}


def client(one: Client, found: t.Sequence[Client]) -> Action | None:
    """Returns why the collection cannot go on with what one host runs, and what to change there; None if it can.

    `found` are all clients.
    """
    others = [each for each in found if each is not one and each.host == one.host]
    return _action([*_start(one), *_containers(one)]) or _action(_variables(one, others) if one.operators else ())


def deployment(members: t.Sequence[Client]) -> Action | None:
    """Returns why a client on all of its hosts is none that the collection knows."""
    return _action(_members([(one, client.host) for client in members for one in client.containers], members[0]))


def _action(problems: t.Iterable[tuple[str, str]]) -> Action | None:
    found = dict(problems)
    step = f"{'. '.join(dict.fromkeys(found.values()))}. Then run adopt.yml again"
    return Action((*found, "it was left alone"), (step,)) if found else None


def _start(client: Client) -> Problems:
    """How it was started, and what starts it again."""
    swarm = ", ".join(one["name"] for one in client.containers if _SWARM in one["labels"])
    if swarm:
        yield (
            f"Docker Swarm runs {swarm}, and starts what is stopped again, on any of its hosts",
            "Start the client by docker compose in place of docker stack",
        )
    unknown = ", ".join(one["name"] for one in client.containers if client.project and not one["files"])
    if unknown:
        yield (
            f"the engine does not know from which Compose files {unknown} was started, as with old versions of docker-compose",
            "Start it once by docker compose v2",
        )
    own = {text for one in client.containers for text in (one["name"], one["folder"], one["image"])}
    for one in client.survey["autostart"]:
        if one["kind"] == "template" and own & {*one["line"].split("\n")}:
            yield (
                f"{one['path']} is a unit of a template, and which containers it starts is not read",
                "Write a unit of its own with the names in place of %i, enable that, and disable the template's",
            )
    for one in client.containers if client.operators else ():
        files, gone = ", ".join(one["operators_files"]), ", ".join(one["files_gone"])
        if gone:
            yield f"it was started from {gone}, which is not on {client.host} any more", "Put the file back as it was"
        elif one["compose_problem"]:
            yield f"`docker compose` cannot read {files}: {one['compose_problem']}", "Correct that"
        elif any(path.endswith(".json") for path in one["operators_files"]):
            yield f"{files} is JSON, in which no version can be set", "Write it as YAML"
    needed = {path for one in client.containers if client.operators for path in one["interpolation_files"]}
    env_files = {path for one in client.containers for path in one["env_files"]}
    for file in client.survey["files"]:
        # Compose need not find an env file; one that has gone is no reason to leave the client alone.
        missing = file["path"] not in needed and file["problem"] == os.strerror(errno.ENOENT)
        if file["path"] in needed | env_files and file["text"] is None and not missing:
            yield (
                f"the variables of the client are in {file['path']}, which cannot be read ({file['problem']})",
                "Put it there as when the client was started, in UTF-8, and run adopt.yml as root",
            )


def _containers(client: Client) -> Problems:
    """What its containers are."""
    for one in client.one_shots:
        if one["environment"].get("WA_DB_UPGRADE") != "1" and one["role"] != "web" and one["state"] == "running":
            yield (
                f"{one['name']} is a second Coreapp of the number, run by `docker compose run`",
                "Stop it, and start its service instead",
            )
    if len(client.media) > 1 or "nothing" in client.media:
        mounts = "; ".join(f"{', '.join(names)}: {what}" for what, names in sorted(client.media.items()))
        yield (
            f"not every container has the same media at {MEDIA_FOLDER}: {mounts}",
            f"Mount one volume at {MEDIA_FOLDER} in all of them",
        )
    coreapps = [one for one in client.containers if one["role"] != "web"]
    if len({image_reference.parse(one["image"]).repository for one in coreapps}) > 1:
        every = ", ".join(f"{one['name']} {one['image']}" for one in coreapps)
        yield f"its Coreapps are of different repositories: {every}", "Give all of them the image of one repository"
    for one in client.containers:
        reference = image_reference.parse(one["image"])
        if reference.digest or not _TAG.fullmatch(reference.tag):
            yield (
                f"the image of {one['name']} is {one['image']}, and the collection looks for {reference.written}:vVERSION",
                f"Give the image its version as a tag (docker tag), name that where {one['name']} is defined, and recreate it when that "
                "suits you",
            )
        held = {key: value for path in one["env_files"] for key, value in client.keys_of(path).items()}
        edited = [
            key
            for key in env_rules.OPTIONS.values()
            if held.get(key) and key not in one["own_keys"] and one["environment"].get(key) != held[key]
        ]
        if edited:
            yield (
                f"{', '.join(one['env_files'])}: {', '.join(edited)} was edited after {one['name']} was created",
                "Put back the values that run, or recreate the containers when that suits you",
            )
        path = (client.env_file or {"path": ""})["path"]
        chosen = client.keys_of(path) if path in one["env_files"] else {}
        overridden = ", ".join(
            key
            for key in (env_rules.OPTIONS[name] for name in client_identity.DATABASE)
            if chosen.get(key) and key not in edited and one["environment"].get(key) != chosen[key]
        )
        if overridden:
            yield (
                f"{one['name']} does not run with {overridden} of {path}: its Compose files or another env file set it, too",
                "Set it in one file",
            )


def _variables(client: Client, others: t.Sequence[Client]) -> Problems:
    """Where the variables of its Compose files are set; one of them may have the version."""
    newest = compose_files.newest(client.containers)
    files = compose_files.interpolation_files(newest)
    known = {*_ALWAYS, *(key for path in files for key in client.keys_of(path))}
    place = f"Set it in {files[-1] if files else 'the file .env'} as when the client was started"
    unset = ", ".join(name for name in _used(client.containers) if name not in known)
    tagged = dict.fromkeys(path for one in client.containers for path in one["image_files"])
    version = compose_version.variable(compose_files.images(client.containers))
    if unset:
        yield (
            f"its Compose files use {unset}, which no env file sets: only the shell of whoever started it had the value",
            f"{place}, empty if it was not set (for HOME or USER write the value into the file)",
        )
        return
    if version is None:
        images = ", ".join(sorted(compose_files.images(client.containers)))
        yield f"its version is in more than one place: {images}", compose_version.ONE_PLACE
    elif not version[0] and len(tagged) > 1:
        yield f"its version is in more than one Compose file: {', '.join(tagged)}", compose_version.ONE_PLACE
    elif version[0] and version[0] not in known:
        yield f"its version is the default of {version[0]}, which no env file sets", place
    for one in client.containers:
        if image_reference.parse(one["next_image"] or one["image"]).tag != image_reference.parse(one["image"]).tag:
            yield (
                f"`docker compose up` in {one['folder']} would start {one['next_image']}, and {one['name']} runs {one['image']}",
                "Set there what runs; upgrade.yml is the way to another version",
            )
    # An upgrade of one client would set the version of the other, too.
    for other in others:
        theirs = compose_files.newest(other.containers)
        shared = {*files, *newest["operators_files"]} & {
            *compose_files.interpolation_files(theirs),
            *theirs["operators_files"],
        }
        for path in sorted(path for path in shared if client.file(path) or path in newest["operators_files"]):
            yield (
                f"{path} is also a file of project {other.project}, another client",
                "Give each client files of its own",
            )


def _used(containers: t.Sequence[Mapping]) -> t.Iterable[str]:
    """Returns the variables without which a project's Compose files mean something else."""
    found: dict[str, None] = {}
    for one in containers:
        outside = {key: value for key, value in one["document"].items() if key != "services"}
        for variable in compose_version.VARIABLE.finditer("\n".join((*_texts(one["declared"]), *_texts(outside)))):
            if not _HAS_OTHERWISE.fullmatch(variable["rest"] or ""):
                found[variable["name"] or variable["plain"]] = None
        passed = [key for key, text in declared.environment(one["declared"]).items() if text is None]
        found.update(dict.fromkeys(key for key in passed if key in one["environment"]))
    return found


def _texts(value: t.Any) -> t.Iterator[str]:
    """Returns the texts in a service's definition, in which Compose replaces variables."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(one)


def _members(containers: t.Sequence[tuple[Mapping, str]], first: Client) -> Problems:
    """Which containers it has on its hosts, and of which versions."""
    has = collections.Counter(one["role"] for one, _host in containers)
    for role in _ROLES if first.multiconnect else ("web", "core"):
        if not has[role]:
            elsewhere = (
                "on a host that was not read, run adopt.yml again with that host"
                if first.multiconnect
                else "in another project or on another host, put both into one Compose project"
            )
            yield f"no container is its {_ROLES[role]}", f"If it is {elsewhere}; otherwise start it"
    if not first.multiconnect and (max(has.values()) > 1 or has["master"]):
        every = ", ".join(f"{one['name']} ({one['state']})" for one, _host in containers)
        yield (
            f"it has more than one Coreapp and one Webapp without WA_APP_MULTICONNECT=1: {every}",
            "Give each of several clients a Compose project of its own, and remove the containers that belong to none (docker rm)",
        )
    versions = {image_reference.parse(one["image"]).version for one, _host in containers}
    if len(versions) > 1:
        where = ", ".join(f"{one['name']} on {host} {one['image']}" for one, host in containers)
        yield f"more than one version runs: {where}", "Bring all containers to one version"
