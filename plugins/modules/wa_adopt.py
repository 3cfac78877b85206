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
    description: Whether to read a host or to write what was read of all hosts of the play.
    type: str
    choices: [read, write]
    required: true
  readings: {description: 'The variable that V(read) was registered in, for V(write).', type: str}
  dest: {description: 'The folder of the new inventory on the controller, for V(write).', type: path}
  vault_password: {description: What secrets are encrypted with; by default the vault password that the run was started with., type: str}
  overwrite: {description: Whether values that were edited in O(dest) are replaced by those of the hosts., type: bool, default: false}
extends_documentation_fragment: [waba.onprem.docker]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_adopt:
"""

import contextlib
import json
import os
import pwd
import re
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files
from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._compose import declared as compose_declared
from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import inspection as docker_inspection
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._host import autostart

_NAME = re.compile(r"[A-Za-z_]\w*")


def survey(engine: docker_engine.Docker, run: compose_declared.Run) -> dict[str, t.Any]:
    """Returns how the containers were created, what else acts on them, and their env files, with secrets."""
    found = docker_inspection.read(engine)
    read_compose_files([*found["containers"], *found["sidecars"]], run)
    lines, found["unreadable_paths"] = autostart.read(docker_inspection.search_terms(found))
    found["autostart"] = [*lines, *found.pop("watchers")]
    found["files"] = docker_inspection.read_files(compose_files.complete_env_files(found))
    return found


def read_compose_files(created: t.Iterable[dict[str, t.Any]], run: compose_declared.Run) -> None:
    """Adds what the Compose files of each container declare: `env_files`, `own_keys`, or why Compose cannot read them."""
    reader = compose_declared.Reader(run)
    homes = sorted({user.pw_dir for user in pwd.getpwall()})
    for one in created:
        own = [path for path in one["files"] if client_files.is_own(path)]
        # After ours they only add to a client that the collection describes.
        theirs = [] if own[:1] == one["files"][:1] else [path for path in one["files"] if path not in own]
        # Compose leaves the labels as they are of a container that it need not recreate: a file may be gone, and not be missed.
        one["files_gone"] = [path for path in theirs if not os.path.exists(path)]
        one["operators_files"] = [path for path in theirs if path not in one["files_gone"]] or theirs
        one["interpolation_files"] = [path for path in one["interpolation_files"] if not client_files.is_own(path)]
        if one["folder"] and one["operators_files"] and not one["interpolation_files"]:
            one["interpolation_files"] = env_files_above(one["folder"], one["operators_files"][0])
        paths = tuple(one["operators_files"] or one["files"])
        variables = tuple(path for path in one["interpolation_files"] if os.path.exists(path))
        files = compose_declared.Files(one["project"], one["folder"], paths, variables)
        one.update(env_files=[], own_keys=[], compose_problem="", declared={}, document={}, caller={}, homes=homes)
        if not files.paths:
            continue
        try:
            keys, env_files = reader.environment(files, one["service"])
        except WaError as error:
            one["compose_problem"] = error.found
            with contextlib.suppress(WaError):
                reader.document(files)
                one["compose_problem"] += (
                    ". Compose reads them with the values of variables, and not with --no-interpolate, which the collection needs: write values in "
                    "place of variables there"
                )
            continue
        one.update(env_files=list(dict.fromkeys(env_files)), own_keys=sorted({*keys}))
        one["document"] = reader.document(files, interpolated=False)
        one["declared"] = (one["document"].get("services") or {}).get(one["service"], {})
        # Every call has the operator's PWD.
        names = {"HOME", *_NAME.findall(json.dumps(one["document"]))} - {"PWD"}
        one["caller"] = {name: os.environ[name] for name in sorted(names) if name in os.environ}


def env_files_above(folder: str, compose_file: str) -> list[str]:
    """Returns the files with variables of a client that was started above its folder, where `.env` has COMPOSE_FILE; else none.

    Compose then takes the variables of both, and those of the folder above first. The engine does not know it.
    """
    above = os.path.dirname(folder)
    while above != os.path.dirname(above):
        path = os.path.join(above, ".env")
        try:
            entries = {entry.key: entry.value or "" for entry in env_file.read_compose(files.read_text(path))}
        except (OSError, UnicodeDecodeError):
            entries = {}
        first = entries.get("COMPOSE_FILE", "").split(entries.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)[0]
        if first and os.path.normpath(os.path.join(above, first)) == compose_file:
            return [*filter(os.path.exists, [os.path.join(folder, ".env")]), path]
        above = os.path.dirname(above)
    return []


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "choices": ["read", "write"], "required": True},
            "readings": {"type": "str"},
            "dest": {"type": "path"},
            "vault_password": {"type": "str", "no_log": True},
            "overwrite": {"type": "bool", "default": False},
            **docker_options.ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    with Result(module) as result:
        if not module.no_log:
            raise WaError("task", "its result is displayed", "a task with no_log: true, since the result has secrets")
        result.unmasked["survey"] = survey(docker_engine.Docker(module.params), module.run_command)


if __name__ == "__main__":
    main()
