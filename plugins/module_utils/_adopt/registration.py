# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registration that exists only inside a container, and the steps that move it out without registering again. Pure rules."""

from __future__ import annotations

import posixpath
import shlex
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import REGISTRATION, Action, Client
from ansible_collections.waba.onprem.plugins.module_utils._compose import call
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

_PASSWORDS = (
    "Add wa_api_password, wa_backup_password and wa_backup_dir to the vault.yml of the client (ansible-vault edit)"
)
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
            backup = f"`ansible-playbook -i inventory.yml{OPTIONS} waba.onprem.backup --limit {client.deployment}`"
            steps = (_PASSWORDS, f"Save a settings backup: {backup}", *_move(client, one, api), _AGAIN)
            found.append(Action(_facts(one), steps, _OTHERWISE, REGISTRATION))
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


def _move(client: Client, container: t.Mapping[str, t.Any], api: tuple[str, str]) -> tuple[str, ...]:
    """Copy the configuration onto the host while the container is stopped, then create it with that folder mounted."""
    words = (
        f"topology={'high_availability' if client.multiconnect else 'single'} wait_timeout=5m api_url={api[1]} api_validate_certs=false "
        "api_password={{wa_api_password}}"
    )
    health = (
        f"ansible {api[0]} -i inventory.yml{OPTIONS} --become -m waba.onprem.wa_webapp_info -a {shlex.quote(words)}"
    )
    check = f"See that the client is connected: `{health}`"
    name, files = container["name"], container["operators_files"] or container["files"]
    copy = posixpath.join(container["folder"] or "/opt", f"{name}-data")
    mount = f"{copy}:{env_state.CONFIG_FOLDER}"
    aside = (
        f"On {client.host}, in a quiet hour: `docker stop {name}`",
        f"On {client.host}: `docker cp --archive {name}:{env_state.CONFIG_FOLDER} {copy}`",
    )
    if not files:
        return (
            *aside,
            f"On {client.host}: `docker update --restart no {name} && docker rename {name} {name}-old`",
            f"On {client.host}, create {name} with the command that you created it with, and add: `--volume {mount}`",
            check,
            f"On {client.host}: `docker rm {name}-old`",
        )
    options = call.options(container["project"], container["folder"], files, container["interpolation_files"])
    config, up = (
        shlex.join(["docker", "compose", *options, *command, container["service"]])
        for command in (("config", "--images"), ("up", "--detach", "--no-deps"))
    )
    return (
        f"On {client.host}: go on only if `{config}` shows {container['image']}",
        *aside,
        f"In {files[-1]}, add to the volumes of the service {container['service']}: `- {mount}`",
        f"On {client.host}: `{up}`",
        check,
    )
