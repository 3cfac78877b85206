#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_db_restore
short_description: Puts a dump of the client's databases back
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description:
      - V(check) looks for what would stop the restore, V(restore) makes it, V(remove_former) removes what it has put aside.
      - V(complete) says that nothing is left to be done after a restore.
      - V(drill) restores into another server, compares, and removes that again.
      - V(remove_older) removes older copies of the deployment beside this one, which may be gone.
    type: str
    choices: [check, restore, complete, remove_former, drill, remove_older]
    required: true
  manifest: {description: 'The manifest that M(waba.onprem.wa_db_dump) has written beside the dump.', type: path, required: true}
  deployment: {description: Whose dump it has to be., type: str}
  keep:
    description: >-
      How many copies of O(deployment) V(remove_older) keeps, besides those that the journal O(lease_file) needs, and that are read.
    type: int
  shared_origins: {description: 'Origins of sessions that others have, too, such as a proxy.', type: list, elements: str, default: []}
  drill_host: {description: 'The server of a drill, with a port or without, which has the client''s user.', type: str}
  drill_image: {description: 'The image of a database server, in whose place a drill starts one of its own.', type: str}
  run_id: {description: 'The run that has the lock O(lease_file), without which V(restore) and V(complete) do nothing.', type: str, default: ''}
  login_user: {description: A user who may do what the client's user may not., type: str}
  login_password: {description: The password of O(login_user)., type: str}
extends_documentation_fragment: [waba.onprem.database, waba.onprem.docker, waba.onprem.env, waba.onprem.lease]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_db_restore:
"""

import dataclasses
import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import DATABASE_PORTS
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database import guard as database_guard
from ansible_collections.waba.onprem.plugins.module_utils._database import options as database_options
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import LEASE_SPEC, JournalFile, Lease
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._dump import drill as drills
from ansible_collections.waba.onprem.plugins.module_utils._dump import folder, restore
from ansible_collections.waba.onprem.plugins.module_utils._dump import manifest as manifests
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import requirements

OPERATIONS = ("check", "restore", "complete", "remove_former", "drill", "remove_older")
_LEAST = 4 * 3600.0  # seconds for a restore
_SLOWER = 10.0  # seconds of it for each second that the dump took
_IDLE = 10.0  # seconds that sessions of a stopped client are given to end


def read_manifest(params: t.Mapping[str, t.Any]) -> manifests.Manifest:
    """Returns the manifest. Raises WaError if there is none, or if it is another deployment's."""
    path = params["manifest"]
    found = manifests.load(path)
    if found is None:
        raise WaError(f"manifest {path}", "does not exist", "the manifest of a dump on this host")
    whose = found["facts"].get("deployment")
    if params["deployment"] and whose != params["deployment"]:
        raise WaError(
            f"manifest {path}",
            f"of deployment {whose}" if whose else "of no deployment",
            params["deployment"],
            "Nothing was touched",
        )
    return found


def remove_older(params: t.Mapping[str, t.Any], result: Result, check_mode: bool) -> None:
    """Removes older copies of the deployment than those that are kept. One that cannot be removed is a warning."""
    lease = params["lease_file"]
    notes = ((JournalFile(lease).load_upgrade() if lease else None) or {"notes": {}})["notes"]
    needed = [params["manifest"], *(str(notes.get(key)) for key in ("manifest", upgrade_journal.RESTORES))]
    for path in folder.surplus(os.path.dirname(params["manifest"]), params["deployment"], params["keep"], needed):
        result.record_change(f"remove the older copy {path}")
        try:
            if not check_mode:
                folder.remove(path)
        except WaError as error:
            result.warn(str(error))


def refuse_sessions(config: database.Settings, names: t.Sequence[str], shared: t.Sequence[str]) -> None:
    """Raises WaError if somebody uses the databases: the client is stopped on all hosts of the inventory."""
    with database.connect(config) as session:
        used = database_guard.remaining(
            session, names, lambda those: database_guard.unknown(those, False, [], shared), _IDLE
        )
    if used:
        raise WaError.of(requirements.sessions(used))


def put_back(result: Result, work: restore.Restore) -> None:
    """Restores, and returns in any case whether something of what is there was `touched`. Raises WaError."""
    try:
        # A run that was killed goes on here: this one waits for it.
        with files.open_regular(work.dump) as file:
            if not files.acquire(file.fileno(), work.timeout):
                raise WaError(f"restore from {work.dump}", "another run restores it", "one at a time")
            work.renew()  # a run that has slept may have lost the lock
            work.run()
    finally:
        result.values["touched"] = work.touched


def drill(result: Result, work: restore.Restore, own: database.Settings) -> None:
    """Restores into another server than the client's `own`, or into one that it starts, and notes when that was. Raises WaError."""
    params, run = result.module.params, result.module.run_command
    container = None
    if params["drill_host"]:
        with database.connect(own) as ours, database.connect(work.config) as other:
            if database_guard.same_server(database_guard.server(ours), database_guard.server(other)):
                raise WaError(f"drill on {work.config.subject}", "the client's own server", "another one")
        where = work.config.subject
    else:
        engine = Docker(params)
        container = drills.Container(engine, params["drill_image"], params["deployment"] or "", work.manifest, run)
        result.redact.add([container.password])
        container.check()
        where = f"a server of {params['drill_image']}"
    result.record_change(f"restore {', '.join(work.names)} on {where}, compare, and remove them there")
    if result.module.check_mode:
        return
    begin = time.monotonic()
    manifests.verify(work.path, work.manifest)
    if container is None:
        work.drill()
    else:
        with files.open_regular(params["env_file"]) as alone:  # a container is the deployment's, of one drill at a time
            if not files.acquire(alone.fileno()):
                raise WaError(container.subject, "another drill of this deployment runs", "one at a time")
            with container.running(work.config) as work.config:
                work.drill()
    seconds = round(time.monotonic() - begin, 1)
    result.values["seconds"] = seconds
    server = params["drill_image"] or work.config.host
    noted = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "server": server, "seconds": seconds}
    files.write_json(f"{work.path[: -len('.json')]}.drill.json", noted)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **database_options.ARGUMENT_SPEC,
            **docker_options.ARGUMENT_SPEC,
            **env_options.ARGUMENT_SPEC,
            **LEASE_SPEC,
            "operation": {"type": "str", "choices": list(OPERATIONS), "required": True},
            "manifest": {"type": "path", "required": True},
            "deployment": {"type": "str"},
            "keep": {"type": "int"},
            "shared_origins": {"type": "list", "elements": "str", "default": []},
            "drill_host": {"type": "str"},
            "drill_image": {"type": "str"},
            "run_id": {"type": "str", "default": ""},
            "login_user": {"type": "str"},
            "login_password": {"type": "str", "no_log": True},
        },
        required_if=[
            ("operation", "drill", ("drill_host", "drill_image"), True),
            ("operation", "remove_older", ("deployment", "keep")),
        ],
        required_together=[["login_user", "login_password"]],
        supports_check_mode=True,
    )
    os.umask(0o077)
    params = module.params
    with Result(module) as result:
        env = env_options.read_env(params["env_file"], params["env_format"])
        result.redact.add([env.get("WA_DB_PASSWORD"), params["login_password"]])
        if params["operation"] == "remove_older":
            remove_older(params, result, module.check_mode)
            return
        found = read_manifest(params)
        config = database.settings(params, env)
        owner = config
        if params["operation"] == "drill" and params["drill_host"]:
            host, _colon, port = params["drill_host"].partition(":")
            port = int(port or DATABASE_PORTS[config.engine])
            config = dataclasses.replace(config, host=host, server_name=host, port=port)
        elif params["operation"] != "drill" and params["login_user"]:
            config = dataclasses.replace(config, user=params["login_user"], password=params["login_password"])
        if params["operation"] == "remove_former":
            for name in restore.remove_former(config, list(found["databases"]), module.check_mode):
                result.record_change(f"remove the database {name}")
            return
        is_drill = params["operation"] == "drill"
        timeout = max(_LEAST, _SLOWER * float(found["seconds"]))
        work = restore.Restore(
            config,
            params["manifest"],
            found,
            timeout,
            Lease(None if is_drill else params["lease_file"], params["run_id"]).renew,
            lambda command: str(module.run_command(command)[1]),
            owner.user,
            lambda: refuse_sessions(owner, list(found["databases"]), params["shared_origins"]),
        )
        if is_drill:
            drill(result, work, owner)
            return
        if params["operation"] == "complete":
            if not module.check_mode:
                work.renew()
                work.complete()
            return
        if params["operation"] == "restore":
            result.values["touched"] = False
        prefix = env.get("WA_DB_NAME_PREFIX", "")  # a deployment of another inventory may have the same name
        copied = found.get("prefix", prefix)
        if copied != prefix:
            expected = f"{prefix!r}, the client's (WA_DB_NAME_PREFIX)"
            raise WaError(
                f"manifest {params['manifest']}",
                f"of databases with prefix {copied!r}",
                expected,
                "Nothing was touched",
            )
        if params["operation"] == "check":  # the restore follows it, in the outage
            manifests.verify(params["manifest"], found)
        work.check()
        if params["operation"] == "check":
            result.values["messages"] = work.messages()
        result.values["manifest"] = {
            key: found[key] for key in ("databases", "facts", "left", "seconds", "source_bytes", "tool")
        }
        if params["operation"] == "restore":
            result.record_change(f"put {', '.join(found['databases'])} back as of {work.dump}")
            if not module.check_mode:
                put_back(result, work)


if __name__ == "__main__":
    main()
