#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_adopt
short_description: Writes the inventory that describes clients that run already
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description: V(read) reads a host; the others write the inventory of all hosts of the play, save settings backups, and display the report.
    type: str
    choices: [read, write, backup, report]
    required: true
  readings: {description: 'The variable that V(read) was registered in, for V(write), or V(backup), for V(report).', type: str}
  written: {description: 'The result of V(write), for V(report).', type: dict}
  names: {description: 'The names in the new inventory that V(backup) is for.', type: list, elements: str}
  api_password: {description: 'The password with which a multiconnect client is asked for its nodes, for V(read).', type: str}
  api_key: {description: 'The key with which it is asked where the environment of its Webapp has none, for V(read).', type: str}
  dest: {description: The folder of the new inventory on the controller., type: path}
extends_documentation_fragment: [waba.onprem.docker]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_adopt:
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files, evidence
from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._compose import declared as compose_declared
from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import inspection as docker_inspection
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._host import autostart


def survey(engine: docker_engine.Docker, run: compose_declared.Run) -> dict[str, t.Any]:
    """Returns how the containers were created, what else acts on them, and their env files, with secrets."""
    found = docker_inspection.read(engine)
    read_compose_files([*found["containers"], *found["sidecars"]], run)
    found["autostart"] = [*autostart.read(docker_inspection.search_terms(found)), *found.pop("watchers")]
    found["files"] = docker_inspection.read_files(compose_files.complete_env_files(found))
    return found


def read_compose_files(created: t.Iterable[dict[str, t.Any]], run: compose_declared.Run) -> None:
    """Adds what the Compose files of each container declare: `env_files`, `own_keys`, or why Compose cannot read them, with or without variables."""
    reader = compose_declared.Reader(run)
    for one in created:
        own = [path for path in one["files"] if client_files.is_own(path)]
        # After ours they only add to a client that the collection describes.
        theirs = [] if own[:1] == one["files"][:1] else [path for path in one["files"] if path not in own]
        # Compose leaves the labels as they are of a container that it need not recreate: a file may be gone, and not be missed.
        one["interpolation_files"] = [path for path in one["interpolation_files"] if not client_files.is_own(path)]
        one["files_gone"] = [path for path in (*theirs, *one["interpolation_files"]) if not os.path.exists(path)]
        one["operators_files"] = [path for path in theirs if path not in one["files_gone"]] or theirs
        paths = tuple(one["operators_files"] or one["files"])
        variables = tuple(path for path in one["interpolation_files"] if path not in one["files_gone"])
        files = compose_declared.Files(one["project"], one["folder"], paths, variables)
        one.update(dict.fromkeys(("compose_problem", "variables_problem", "next_image"), ""))
        one.update(env_files=[], own_keys=[], declared={}, document={}, image_files=[])
        if not files.paths:
            continue
        try:
            keys, env_files = reader.environment(files, one["service"])
        except WaError as error:
            one["compose_problem"] = error.found
            continue
        one.update(env_files=list(dict.fromkeys(env_files)), own_keys=sorted({*keys}))
        one["document"] = reader.document(files, interpolated=False)
        one["declared"] = (one["document"].get("services") or {}).get(one["service"], {})
        if "image" in one["declared"]:
            texts = {file["path"]: file["text"] or "" for file in docker_inspection.read_files(one["operators_files"])}
            one["image_files"] = compose_version.places(str(one["declared"]["image"]), texts)
        try:
            services = reader.document(files).get("services") or {}
            one["next_image"] = str((services.get(one["service"]) or {}).get("image") or "")
        except WaError as error:  # mostly a variable that no env file sets
            one["variables_problem"] = error.found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "choices": ["read", "write", "backup", "report"], "required": True},
            "readings": {"type": "str"},
            "written": {"type": "dict"},
            "names": {"type": "list", "elements": "str"},
            "api_password": {"type": "str", "no_log": True},
            "api_key": {"type": "str", "no_log": True},
            "dest": {"type": "path"},
            **docker_options.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    with Result(module) as result:
        if not module.no_log:
            raise WaError("task", "its result is displayed", "a task with no_log: true, since the result has secrets")
        engine = docker_engine.Docker(module.params)
        found = survey(engine, module.run_command)
        found["evidence"] = evidence.read(engine, module.params, found["containers"])
        result.unmasked["survey"] = found


if __name__ == "__main__":
    main()
