# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Compose would do to a client's project that it must not do; its options are documented in the fragment `project`."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection, listing, recreation
from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
from ansible_collections.waba.onprem.plugins.module_utils._compose.program import Compose, Run
from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project, sharing
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference, redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

Containers = t.Sequence[t.Mapping[str, t.Any]]  # as `_client.listing` reads them
ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = dict(
    docker_options.ARGUMENT_SPEC,
    project={"type": "str"},
    project_dir={"type": "path"},
    content={"type": "str", "no_log": True},
    compose_files={"type": "list", "elements": "path"},
    interpolation_files={"type": "list", "elements": "path", "default": []},
    profiles={"type": "list", "elements": "str", "default": []},
    services={"type": "list", "elements": "str", "default": []},
    version={"type": "str"},
    confirm_identity={"type": "dict", "default": {}},
    media_folder={"type": "path"},
    env_file={"type": "path"},
    env_format={"type": "str", "choices": list(env_file.FORMATS), "default": "portable"},
    identity_file={"type": "path"},
    compose_file={"type": "path"},
    env_changes={"type": "dict"},
    declared_keys={"type": "list", "elements": "str", "no_log": False},
)


def open_project(
    run: Run, params: t.Mapping[str, t.Any], engine: docker_engine.Docker | None = None, **more: t.Any
) -> Project:
    """Returns the project that the options describe; `more` are fields of it. Raises WaError."""
    document = json.loads(params["content"] or '{"services": {}}')
    files, selected = params["compose_files"] or ["-"], params["services"]
    if files[0] == "-" and not any(os.path.exists(params[one] or "") for one in ("compose_file", "env_file")):
        files, selected = ["-"], []  # a new host, where Compose cannot read db.env yet
    engine, recorded = engine or docker_engine.Docker(params), inspection.record(params["identity_file"] or "")
    compose = Compose(
        run=run,
        host=engine.transport.host,
        project=params["project"],
        folder=params["project_dir"],
        files=files,
        document=document,
        interpolation=params["interpolation_files"],
        profiles=params["profiles"],
    )
    text = (Store(params["env_file"]).read() if params["env_file"] else "") or ""
    held = env_file.held(text, params["env_format"])
    compose.secrets += [value for key, values in held.items() if redact.is_secret(key) for value in values if value]
    return Project(
        engine,
        compose,
        selected=selected,
        recorded=definitions.recorded(recorded),
        env_file=params["env_file"] or "",
        compose_file=params["compose_file"] or "",
        held=held if params["env_changes"] is None else {},  # which tell all that a db.env to be written changes
        undeclared=[key for key in held if key not in (params["declared_keys"] or held)],
        **more,
    )


def refusals(
    project: Project,
    params: t.Mapping[str, t.Any],
    steps: t.Sequence[compose_plan.Step],
    calls: t.Sequence[t.Mapping[str, t.Any]],
) -> dict[str, list[str]]:
    """Returns why `calls` of Compose, which do `steps`, must not be made, each with what to do, by what it is about."""
    client = [one for one in project.services if one.name in project.names]
    containers = listing.read(project.engine, project.compose.project, [])
    # What db.env says is compared before.
    confirmed = params["confirm_identity"], params["media_folder"] or ""
    different = client_identity.rendered(project.resolved, containers, *confirmed)
    found: dict[str, t.Iterable[WaError | str]] = {
        "networks": project.refused_networks(calls),
        "builds": compose_plan.other_builds(client, project.found, steps, project.migrations),
        "identity": client_identity.refusals(f"compose.yml of project {project.compose.project}", different),
        "losses": _losses(project, steps, containers),
        "services": [
            *_undefined(project),
            *(compose_plan.refuse_scaled(steps) if project.selected else ()),
            *sharing(
                project.resolved["services"], project.names, {one.service for one in steps if one.action == "recreate"}
            ),
        ],
        "versions": _other_versions(project, params["version"]),
    }
    return {about: [str(one) for one in ones] for about, ones in found.items() if ones}


def _undefined(project: Project) -> list[WaError]:
    """Returns the services of the client that only the collection's file names, which gives them an image and nothing else."""
    services = project.resolved.get("services") or {}
    return [
        WaError(
            f"service {name}",
            "the operator's Compose files do not define it",
            "each service of the client there",
            "Set its name there in wa_client_service_names, or add it to these files",
        )
        for name in project.selected
        if not {key for key, value in (services.get(name) or {}).items() if value} - {"image", "networks"}
    ]


def _other_versions(project: Project, version: str | None) -> list[WaError]:
    """Returns why the operator's Compose files, which may come after the role's, give a service another version."""
    return [
        WaError(
            f"service {one.name}",
            f"the Compose files give it the image {one.image}",
            f"version {version}",
            "Take the image out of the file that wa_client_compose_files names",
        )
        for one in project.services
        if version and one.name in project.selected and image_reference.parse(one.image).version != version
    ]


def _losses(project: Project, steps: t.Iterable[compose_plan.Step], containers: Containers) -> list[str]:
    """Returns why containers must not be recreated or removed."""
    leaving = {step.container for step in steps if step.action in ("recreate", "remove")}
    found = [
        {**one, "layer_media": listing.layer_media(project.engine, one)} for one in containers if one["name"] in leaving
    ]
    inside = recreation.lost_with_layers(found).rstrip(".")
    return [*([inside] if inside else []), *recreation.lost_by_compose_files(project.resolved, found)]
