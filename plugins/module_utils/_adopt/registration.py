# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registration that exists only inside a container, and the steps that move it out without registering again. Pure rules."""

from __future__ import annotations

import posixpath
import shlex
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Client
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

_MODULE = "ansible {host} -i inventory.yml{options} --become -m waba.onprem.{module} -a {arguments}"
_AGAIN = "Run adopt.yml again: this entry is then gone"
_OTHERWISE = (
    f"if the number may be registered again, set {env_state.CONFIG_ON_DB}=1 instead of the volume, create the container, and "
    "register the number: it is then in the database"
)
OPTIONS = "{options}"  # in a step: the options of this run that decrypt the inventory and log in to hosts


def actions(client: Client, api: tuple[str, str]) -> list[Action]:
    """One action for each container that would lose its registration; `api` is the Webapp's host and address."""
    found = []
    for one in client.containers:
        mounted = [path for kind, _source, path in one["mounts"] if kind != "tmpfs"]
        if not env_state.keeps_configuration(one["role"], one["environment"], mounted):
            found.append(Action(_facts(one), (*_backup(client, api), *_move(client, one, api), _AGAIN), _OTHERWISE))
    return found


def _facts(container: t.Mapping[str, t.Any]) -> tuple[str, ...]:
    name = container["name"]
    by = "docker compose up after a change, docker compose down, docker rm" if container["project"] else "docker rm"
    return (
        f"the registration of the number exists only inside the container {name}",
        f"{env_state.CONFIG_ON_DB} is not set, and nothing is mounted at {env_state.CONFIG_FOLDER}",
        f"whatever recreates or removes {name} loses it: {by}, an upgrade by hand",
        "what is then lost: the registration and all settings; the number must be registered again",
        f"the collection does not recreate {name}, and upgrade.yml refuses this client, until this is done",
    )


def _backup(client: Client, api: tuple[str, str]) -> t.Iterator[str]:
    if not api[0]:
        yield "Save a settings backup by the API of its Webapp (POST /v1/settings/backup)"
        return
    yield "Add wa_api_password, wa_backup_password and wa_backup_dir to the vault.yml of the client (ansible-vault edit)"
    yield f"Save a settings backup: `ansible-playbook -i inventory.yml{OPTIONS} waba.onprem.backup --limit {client.deployment}`"


def _move(client: Client, container: t.Mapping[str, t.Any], api: tuple[str, str]) -> t.Iterator[str]:
    """Copy the configuration onto the host while the container is stopped, then create it with that folder mounted."""
    options = f"topology={'high_availability' if client.multiconnect else 'single'} wait_timeout=5m"
    check = f"`{_call('wa_webapp_info', *api, options)}`" if api[0] else "GET /v1/health of its Webapp"
    name, files = container["name"], container["operators_files"] or container["files"]
    copy = posixpath.join(container["folder"] or "/opt", f"{name}-data")
    mount = f"{copy}:{env_state.CONFIG_FOLDER}"
    if container["project"] and files:
        program = "docker-compose" if container["compose_version"].startswith("1.") else "docker compose"
        argv = ["--project-directory", container["folder"], "--project-name", container["project"]]
        for path in container["interpolation_files"]:
            argv += ["--env-file", path]
        for file in files:
            argv += ["--file", file]
        config = shlex.join(
            [*argv, *(["config"] if program == "docker-compose" else ["config", "--images", container["service"]])]
        )
        yield f"On {client.host}: go on only if `{program} {config}` shows {container['image']}"
    yield f"On {client.host}, in a quiet hour: `docker stop {name}`"
    yield f"On {client.host}: `docker cp --archive {name}:{env_state.CONFIG_FOLDER} {copy}`"
    if container["project"] and files:
        up = shlex.join([*argv, "up", "--detach", "--no-deps", container["service"]])
        yield f"In {files[-1]}, add to the volumes of the service {container['service']}: `- {mount}`"
        yield f"On {client.host}: `{program} {up}`"
        yield f"See that the client is connected: {check}"
    else:
        yield f"On {client.host}: `docker update --restart no {name} && docker rename {name} {name}-old`"
        yield f"On {client.host}, create {name} with the command that you created it with, and add: `--volume {mount}`"
        yield f"See that the client is connected: {check}"
        yield f"On {client.host}: `docker rm {name}-old`"


def _call(module: str, host: str, url: str, arguments: str) -> str:
    words = f"{arguments} api_url={url} api_validate_certs=false api_password={{{{wa_api_password}}}}"
    return _MODULE.format(module=module, host=host, options=OPTIONS, arguments=shlex.quote(words))
