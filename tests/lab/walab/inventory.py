# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Ansible inventory of a lab: the hosts, their connection variables, and the settings of the client on them."""

from __future__ import annotations

import json
from typing import Any

from .databases import port, wa_engine
from .model import MEDIA, REGISTRY_USER, Lab, write_private

GROUP = "lab"
DEPLOYMENT = "waba"
# Switches of the simulated client by profile; each is in the README's tables.
SIMULATION: dict[str, dict[str, str]] = {
    "ordinary": {},
    "hostile": {
        "SIM_SHELL_STAYS": "1",
        "SIM_CORE_UID": "0",
        "SIM_WEB_UID": "33",
        "SIM_FEW_PROGRAMS": "1",
        "SIM_COMMON_NAME_ONLY": "1",
        "SIM_START_SECONDS": "90",
        "SIM_DATABASE_RETRY": "8",
        "SIM_DEAD_NODE_SECONDS": "10",
        "SIM_CLEANUP_STATUS": "1",
        "SIM_VENDOR_LOGS": "1",
        "SIM_CASCADE": "1",
        "SIM_MIXED_CHARSETS": "1",
        "SIM_ODD_LOGIN": "1",
        "SIM_ODD_CODES": "1",
        "SIM_PROBE_LOG": "1",
        "SIM_ROOT_PAGE": "1",
        "SIM_UNREACHABLE_TEXT": "Communication failure",
        "SIM_MESSAGE_STORES": "2",
        "SIM_LOGIN_ROWS": "1",
        "SIM_DEFAULT_COMMAND_LOOPS": "1",
        "SIM_GC_DELAY": "120",
        "SIM_GC_PAUSE": "90",
    },
}
# The databases of a client with that profile, without their prefix.
STORES = (
    *(f"{name}Store" for name in ("axolotl", "callback", "cluster", "config", "contact", "jobqueue", "media")),
    *("messageStore", "messageStore1", "webStore"),
)


def _yaml(value: Any, depth: int = 0) -> str:
    """Mappings in block style, all other values as JSON, which is valid YAML."""
    if not isinstance(value, dict):
        return f" {json.dumps(value)}\n"
    if not value:
        return " {}\n"
    lines = "".join(f"{'  ' * depth}{key}:{_yaml(inner, depth + 1)}" for key, inner in value.items())
    return ("\n" if depth else "") + lines


def host_vars(lab: Lab, name: str) -> dict[str, Any]:
    """The variables of one host."""
    host = lab.host(name)
    engine = lab.engine_of(host)
    own: dict[str, Any] = {
        "ansible_port": lab.ports[f"{name}-ssh"],
        "lab_api_url": f"https://127.0.0.1:{lab.ports[f'{name}-api']}",
        "wa_db_env_engine": wa_engine(engine),
        "wa_db_env_hostname": f"{engine}.lab",
        "wa_db_env_port": port(engine),
        "wa_db_env_name_prefix": lab.prefix_of(host),
        # The address of the same server for the controller.
        "lab_db_port": lab.ports[engine],
    }
    if lab.options.shared:
        own["wa_client_address"] = f"{name}.lab"
    if lab.hostile and not own["wa_db_env_name_prefix"]:
        # What an operator has to name where no prefix distinguishes the client's databases from the neighbours'.
        own["wa_message_gc_databases"] = list(STORES)
    return own


def simulation(lab: Lab) -> dict[str, str]:
    """The environment variables of the simulated client that a real one does not have."""
    shards = {"SIM_SHARDS": str(lab.options.shards)} if lab.options.shared else {}
    return {**shards, **SIMULATION[lab.options.profile]}


def build(lab: Lab) -> dict[str, Any]:
    """The inventory without its secrets."""
    names = [host.name for host in lab.options.hosts]
    ssh = [f"-o UserKnownHostsFile='\"{lab.known_hosts}\"'", "-o IdentitiesOnly=yes", "-o StrictHostKeyChecking=yes"]
    shared: dict[str, Any] = {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(lab.key),
        "ansible_ssh_common_args": " ".join(ssh),
        "ansible_python_interpreter": "/usr/bin/python3",
        "wa_registry": "registry.lab:5000/whatsapp",
        "wa_version": lab.options.versions[0][0],
        "wa_db_env_username": lab.user,
        # The simulated client pauses for tenths of a second between its deletes, with this profile as long as a real one may.
        "__wa_message_gc_quiet_period": "180s" if lab.hostile else "5s",
        "__wa_message_gc_poll_interval": "2s",
        "lab_name": lab.name,
        "lab_versions": [version for version, _expires in lab.options.versions],
        "lab_webhook_url": "http://control.lab:8000/webhook",
        "lab_control_url": f"http://127.0.0.1:{lab.ports['control']}",
        "lab_registry_port": lab.ports["registry"],
        "lab_tls_folder": str(lab.tls),
        "wa_backup_dir": str(lab.folder / "backups"),
    }
    if lab.options.shared:
        shared |= {
            "wa_deployment": DEPLOYMENT,
            # One directory that is mounted on all hosts, as an NFS share would be.
            "wa_media_volume_driver_options": {"type": "none", "o": "bind", "device": MEDIA},
            "wa_topology": "multiconnect" if lab.options.shards > 1 else "high_availability",
            "wa_shards": lab.options.shards,
        }
    if simulation(lab):
        shared["wa_db_env_extra"] = simulation(lab)
    if lab.options.registry_auth:
        shared["lab_registry_user"] = REGISTRY_USER
    group = DEPLOYMENT if lab.options.shared else GROUP
    return {"all": {"vars": shared, "children": {group: {"hosts": {name: host_vars(lab, name) for name in names}}}}}


def secret_vars(lab: Lab) -> str:
    """The passwords, tagged so that Ansible never evaluates them as templates."""
    words = lab.secrets()
    pairs = {
        "wa_db_env_password": words["db_password"],
        "wa_api_password": words["api_password"],
        "wa_backup_password": words["backup_password"],
        "lab_dba_password": words["dba_password"],
    }
    if lab.options.registry_auth:
        pairs["lab_registry_password"] = words["registry_password"]
    lines = [f"{name}: !unsafe {json.dumps(value)}\n" for name, value in pairs.items()]
    if lab.options.shared:
        lines.append(f"wa_db_env_extra_secrets:\n  WA_WEB_JWT_CRYPTO_KEY: !unsafe {json.dumps(words['jwt_key'])}\n")
    return "".join(lines)


def write(lab: Lab) -> None:
    """Write the inventory, and its passwords into a separate file that only the owner can read."""
    secret = lab.folder / "group_vars" / "all" / "secrets.yml"
    secret.parent.mkdir(parents=True, exist_ok=True)
    write_private(secret, secret_vars(lab))
    head = (
        "# Made by tests/lab/lab, which writes it again at every `up`. Passwords are in group_vars/all/secrets.yml.\n"
    )
    write_private(lab.inventory, head + _yaml(build(lab)))
