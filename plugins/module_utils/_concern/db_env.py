# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implements `wa_db_env`: writes db.env, compares it with the containers, and checks the login. See the module."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import options as database_options
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env import apply as env_apply
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env import plan as env_plan
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker

# Seconds that a run waits for another one, which may be checking a slow database.
LOCK_TIMEOUT = 60.0
Entries = t.List[t.Dict[str, t.Any]]  # noqa: UP006  # Python 3.9 evaluates it

SPEC: dict[str, dict[str, t.Any]] = {
    **database_options.ARGUMENT_SPEC,
    **docker_options.ARGUMENT_SPEC,
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "engine": {"type": "str", "choices": ["MYSQL", "PGSQL"]},
    "hostname": {"type": "raw"},
    "port": {"type": "int"},
    "username": {"type": "raw"},
    "password": {"type": "raw", "no_log": True},
    "name_prefix": {"type": "raw"},
    "extra": {"type": "dict", "default": {}},
    "extra_secrets": {"type": "dict", "default": {}, "no_log": True},
    "format": {"type": "str", "choices": list(env_file.FORMATS), "default": "portable"},
    "check_connection": {"type": "str", "choices": ["false", "true", "always"], "default": "true"},
    "containers": {"type": "bool", "default": False},
    "project": {"type": "str"},
    "confirm_identity": {"type": "dict", "default": {}},
    "keep_previous": {"type": "bool", "default": False},
    "mode": {"type": "raw", "default": "0600"},
}


def check_connection(
    module: AnsibleModule, result: Result, plan: env_plan.Plan, environments: dict[str, dict[str, str]]
) -> None:
    """Logs in as the client will, if `check_connection` requires it. Raises WaError when the client could not work.

    `environments` are the environments of the running containers, by id.
    """
    stale = result.values["stale_containers"]
    requested = module.params["check_connection"]
    if requested == "false" or (requested == "true" and not env_plan.reconnects(plan, stale)):
        return
    from ansible_collections.waba.onprem.plugins.module_utils._db_env import login_check

    for environment in environments.values():
        result.redact.add(value for key, value in environment.items() if env_plan.is_secret(module.params, key, value))
    check = login_check.LoginCheck(module.params, result.warn)
    result.values["server"] = check.found
    differing = [*stale, *result.values["overridden_containers"]]
    for values in login_check.variants(plan.values, environments, differing):
        check(values)


def check_identity(module: AnsibleModule, plan: env_plan.Plan, docker: Docker) -> None:
    """Raises WaError if the file would name another database than the Coreapps use, unless that is confirmed."""
    from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
    from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
    from ansible_collections.waba.onprem.plugins.module_utils._client import listing

    path, project = module.params["path"], module.params["project"]
    before = client_inspection.database(plan.before or "", module.params["format"])
    wanted = client_identity.database(plan.values)
    if wanted == before:
        return
    records = ((one, docker.inspect(one)) for one in docker.client_containers(project))
    found = [listing.describe(one, record) for one, record in records if record is not None]
    cores = [one for one in found if one["role"] in ("core", "master")]
    clients = [client for name in {one["project"] for one in cores} for client in client_identity.services(cores, name)]
    current = {name: client_identity.by_containers(clients, name) for name in client_identity.DATABASE}
    differences = client_identity.differences(current, wanted, module.params["confirm_identity"])
    client_identity.refuse(path, differences, "confirm_identity")


def _compare(
    module: AnsibleModule, result: Result, docker: Docker, text: str, gone: t.Iterable[str] = ()
) -> tuple[list[Container], Entries, Entries]:
    """Returns the running containers, those that were created with other values than `text` has, and those that override it."""
    from ansible_collections.waba.onprem.plugins.module_utils._compose import environment as compose_environment
    from ansible_collections.waba.onprem.plugins.module_utils._db_env import stale_containers

    running = docker.client_containers(module.params["project"], stopped=False)
    compose = compose_environment.Compose(module.params["path"], result.warn, module.run_command)
    held = env_file.held(text, module.params["format"])
    return running, *stale_containers.find(docker, running, held, gone, compose)


def check_containers(
    module: AnsibleModule, result: Result, plan: env_plan.Plan, docker: Docker
) -> dict[str, dict[str, str]]:
    """Records which containers are stale. Returns the environments of all running containers, by id."""
    from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

    running, found, overridden = _compare(module, result, docker, plan.after or "", plan.edited.removed)
    for entry in found:
        entry["undeclared_keys"] = plan.shown(key for key in entry["stale_keys"] if key in plan.undeclared)
        entry["stale_keys"] = plan.shown(key for key in entry["stale_keys"] if key not in plan.undeclared)
    stale = [entry for entry in found if entry["stale_keys"]]
    result.values.update(
        stale_containers=stale,
        overridden_containers=overridden,
        undeclared_containers=[entry for entry in found if entry["undeclared_keys"]],
    )
    for entry in stale:
        if not entry["keeps_configuration"]:
            result.warn(
                f"container {entry['name']} must not be recreated: its configuration, registration included, lies in its "
                f"own writable layer. {env_state.CONFIG_CURE}"
            )
    return {one.id: one.environment or {} for one in running}


def is_in_force(module: AnsibleModule, result: Result, before: str, docker: t.Callable[[], Docker]) -> bool:
    """Returns whether the running containers were created with the file's content and none is unhealthy."""
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import health

    try:
        engine = docker()
        running, stale, _overridden = _compare(module, result, engine, before)
        unhealthy = [one for one in running if health(engine.inspect(one) or {"State": {}}) == "unhealthy"]
    except WaError:
        return False  # without an engine, or with several projects, it is unknown whether the file is in force
    return bool(running) and not stale and not unhealthy


def run(module: AnsibleModule, result: Result, engine: t.Callable[[], Docker] | None = None) -> None:
    """Observes, plans, checks and applies. `engine` connects to the Docker Engine when containers are to be read."""

    def docker() -> Docker:
        from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

        return engine() if engine else Docker(module.params)

    path = os.path.abspath(module.params["path"])
    module.params["path"] = path
    result.values.update(
        path=path,
        changed_keys=[],
        removed_keys=[],
        undeclared_keys=[],
        undeclared_containers=[],
        stale_containers=[],
        overridden_containers=[],
        server={},
        previous_kept=False,
    )
    store = Store(path)
    missing = not os.path.isdir(store.folder)
    if missing and not module.check_mode and module.params["state"] == "present":
        cure = "Make it (role wa_host does), readable by root and whoever runs docker compose"
        found = "no folder" if os.path.lexists(store.folder) else "does not exist"
        raise WaError(f"folder {store.folder}", found, "the folder of db.env", cure)
    if missing and module.params["state"] == "present":
        # No warning: in check mode of provision.yml the role wa_host has just predicted this folder.
        result.record_change(f"folder {store.folder} has to be made first")
    timeout = LOCK_TIMEOUT + parse_duration("connect_timeout", module.params["connect_timeout"])
    with contextlib.nullcontext() if module.check_mode or missing else store.lock(timeout):
        before = store.read()
        result.redact.add(env_plan.secrets(module.params, before))
        plan = env_plan.make(module.params, path, before)
        for warning in plan.warnings:
            result.warn(warning)
        result.values["undeclared_keys"] = plan.shown(plan.undeclared)
        if plan.after is not None:
            if module.params["containers"]:
                check_identity(module, plan, docker())
            running = check_containers(module, result, plan, docker()) if module.params["containers"] else {}
            check_connection(module, result, plan, running)
        keeps = module.params["keep_previous"] and not module.check_mode and plan.after not in (None, plan.before)
        if keeps and plan.before is not None and is_in_force(module, result, plan.before, docker):
            result.values["previous_kept"] = store.keep(plan.before)
        env_apply.apply(module, result, store, plan)
