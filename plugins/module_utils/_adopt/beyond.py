# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the collection cannot go on with what runs, and what to change there: pairs of both. Pure rules."""

from __future__ import annotations

import errno
import json
import os
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Client
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


def start(client: Client) -> Problems:
    """How it was started, and what starts it again."""
    for one in client.containers:
        files, gone = ", ".join(one["operators_files"]), ", ".join(one["files_gone"])
        if _SWARM in one["labels"]:
            yield f"Docker Swarm runs {one['name']}", "Start the client by docker compose in place of docker stack"
        elif client.project and not one["files"]:
            yield (
                f"the engine does not know from which Compose files {one['name']} was started, as with old versions of docker-compose",
                "Start it once by docker compose v2",
            )
        elif gone:
            yield f"it was started from {gone}, which is not on {client.host} any more", "Put the file back as it was"
        elif files and one["compose_problem"]:
            yield (
                f"Compose cannot read {files} with --no-interpolate: {one['compose_problem']}",
                "Correct that; where Compose reads them otherwise, write values in place of variables there, as in include",
            )
        elif any(path.endswith(".json") for path in one["operators_files"]):
            yield f"{files} is JSON, in which no version can be set", "Write it as YAML"
        elif files and any(each["files"] and not each["operators_files"] for each in client.containers):
            yield (
                f"{one['name']} was started from {files}, and others from the role's file",
                "Start all of them from the same files",
            )
    own = {text for one in client.containers for text in (one["name"], one["folder"], one["image"], *one["files"])}
    for one in client.survey["autostart"]:
        if one["kind"] == "template" and own & {*one["line"].split("\n")}:
            yield (
                f"{one['path']} is a unit of a template, and which containers it starts is not read",
                "Write a unit of its own with the names in place of %i, enable that, and disable the template's",
            )
    paths = {path for one in client.containers for path in (*one["env_files"], *compose_files.interpolation_files(one))}
    for file in client.survey["files"]:
        # Compose need not find each of them.
        if file["path"] in paths and file["problem"] not in ("", os.strerror(errno.ENOENT)):
            yield f"{file['path']} cannot be read ({file['problem']})", "Write it in UTF-8, and run adopt.yml as root"


def containers(client: Client) -> Problems:
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
    identity = [env_rules.OPTIONS[name] for name in client_identity.DATABASE]
    for one in client.containers:
        for path in one["env_files"]:
            held = client.keys_of(path)
            # With another password that its Compose file sets it is the same client.
            keys = [key for key in env_rules.OPTIONS.values() if key in identity or key not in one["own_keys"]]
            differing = [key for key in keys if held.get(key) and held[key] != one["environment"].get(key)]
            if differing:
                yield (
                    f"{one['name']} does not run with {', '.join(differing)} of {path}: it was edited since, or is set elsewhere, too",
                    "Put back what runs or recreate the containers, and set each value in one file",
                )


def variables(client: Client, found: t.Sequence[Client]) -> Problems:
    """Where the variables of its Compose files are set; one of them may have the version. `found` are all clients."""
    files = compose_files.interpolation_files(compose_files.newest(client.containers))
    known = {*_ALWAYS, *(key for path in files for key in client.keys_of(path))}
    unset = ", ".join(name for name in _used(client.containers) if name not in known)
    env_file = files[-1] if files else "the file .env"
    if unset:
        yield (
            f"its Compose files use {unset}, which no env file sets: only the shell of whoever started it had the value",
            f"Set it in {env_file} as when the client was started, empty if it was not set (for HOME or USER write the value into the file)",
        )
        return
    # A variable of another service, which is no part of the client.
    unreadable = {one["variables_problem"]: one for one in client.containers if one["variables_problem"]}
    for problem, one in unreadable.items():
        yield (
            f"Compose cannot read {', '.join(one['operators_files'])}: {problem}",
            f"Correct that: a variable that is missing a value, also of another service, is set in {env_file}",
        )
    if unreadable:
        return
    images = {str(one["declared"].get("image") or one["image"]) for one in client.containers}
    tagged = dict.fromkeys(path for one in client.containers for path in one["image_files"])
    version = compose_version.variable(images)
    if version is None or (version[0] not in known if version[0] else len(tagged) > 1):
        where = f", in {', '.join(tagged)}" if tagged else ""
        yield f"its version is not in one place: {', '.join(sorted(images))}{where}", compose_version.ONE_PLACE
    for one in client.containers:
        if image_reference.parse(one["next_image"] or one["image"]).tag != image_reference.parse(one["image"]).tag:
            yield (
                f"`docker compose up` in {one['folder']} would start {one['next_image']}, and {one['name']} runs {one['image']}",
                "Set there what runs; upgrade.yml is the way to another version",
            )
    # An upgrade of one client would set the version of the other, too.
    for other in (one for one in found if one is not client and one.host == client.host):
        for path in sorted(_files(client) & _files(other)):
            yield (
                f"{path} is also a file of project {other.project}, another client",
                "Give each client files of its own",
            )


def _files(client: Client) -> set[str]:
    newest = compose_files.newest(client.containers)
    return {*newest["operators_files"], *filter(client.file, compose_files.interpolation_files(newest))}


def _used(containers: t.Sequence[Mapping]) -> t.Iterable[str]:
    """Returns the variables without which a project's Compose files mean something else."""
    found: dict[str, None] = {}
    for one in containers:
        outside = {key: value for key, value in one["document"].items() if key != "services"}
        used = compose_version.VARIABLE.finditer(json.dumps([one["declared"], outside]))
        names = [each["name"] or each["plain"] for each in used if not _HAS_OTHERWISE.fullmatch(each["rest"] or "")]
        passed = [key for key, text in declared.environment(one["declared"]).items() if text is None]
        found.update(dict.fromkeys([*names, *(key for key in passed if key in one["environment"])]))
    return found


def together(members: t.Sequence[Client]) -> Problems:
    """Which containers a client has on all of its hosts, and of which versions."""
    ours = [(one, client.host) for client in members for one in client.containers]
    every = ", ".join(f"{one['name']} on {host} ({one['state']}, {one['image']})" for one, host in ours)
    roles = sorted(one["role"] for one, _host in ours)
    if members[0].multiconnect and {*roles} != {"web", "core", "master"}:
        yield (
            f"with WA_APP_MULTICONNECT=1 a client has a Webapp, a Coreapp and a master; this one has {every}",
            "Start what is missing, or run adopt.yml for the host that has it",
        )
    elif not members[0].multiconnect and roles != ["core", "web"]:
        yield (
            f"without WA_APP_MULTICONNECT=1 a client has one Webapp and one Coreapp; this one has {every}",
            "Start what is missing, remove what belongs to none (docker rm), and put the two containers of a client, and no others, into one "
            "Compose project",
        )
    webs = [host for one, host in ours if one["role"] == "web"]
    if len({*webs}) < len(webs) or len({client.host for client in members}) < len(members):
        yield (
            f"on one host a client is one project with at most one Webapp; this one has {every}",
            "Put its containers into one project, with one Webapp (docker rm the other one)",
        )
    references = {(one["role"] == "web", image_reference.parse(one["image"])) for one, _host in ours}
    repositories = {(web, reference.repository) for web, reference in references}
    tags = {"" if reference.digest else reference.tag for _web, reference in references}
    if len(repositories) > 2 or len(tags) > 1 or not _TAG.fullmatch(min(tags)):
        yield (
            f"a client has one image for Webapps and one for Coreapps, with one version as their tag, such as v2.53.4; this one has {every}",
            "Tag them so (docker tag), name these where the containers are defined, and recreate them when that suits you",
        )
