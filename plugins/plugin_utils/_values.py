# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks values of variables beyond what argument specs can express, before a host is changed. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import starts as client_starts
from ansible_collections.waba.onprem.plugins.module_utils._core import units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import paths, topology

Rule = t.Callable[[str, t.Any], t.Any]  # called with a variable's name and value; raises WaError


def _count(name: str, value: t.Any) -> int:
    return units.whole_number(name, value, 0)


def _size(name: str, value: t.Any) -> None:
    if units.parse_size(name, value) < 1:
        raise WaError(name, f"{value!r}", "a size above nothing, such as 20M")


def _text_list(name: str, value: t.Any) -> list[str]:
    return units.text_list(value, name)


def _window(_name: str, value: t.Any) -> tuple[int, int]:
    return units.parse_window(str(value))


def _restart(_name: str, value: t.Any) -> str:
    return client_starts.restart_mode(str(value))


def login_files(name: str, value: t.Any) -> None:
    """Raises WaError for a value of `wa_db_login_tls` with other files than those of a login."""
    if not isinstance(value, t.Mapping) or value.keys() - {"ca_cert", "client_cert", "client_key"}:
        raise WaError(name, repr(value), "a mapping of ca_cert, client_cert and client_key to paths")


def _reason(name: str, value: t.Any) -> None:
    if not isinstance(value, str):
        raise WaError(name, f"{value!r}", "the reason as text; an empty one is no hold", "Quote it in YAML")


def _hour(name: str, value: t.Any) -> str:
    return units.clock_field(name, value, 23)


def _state_dir(name: str, value: t.Any) -> None:
    if paths.normalise(name, value) != topology.STATE_DIR:
        cure = "Move what is in that folder there, and remove the variable"
        raise WaError(name, f"{value}, which is no longer read", f"lock and states in {topology.STATE_DIR}", cure)


def _gone_environment(name: str, value: t.Any) -> None:
    if value:
        cure = "Put its variables into .env beside your Compose files, or into a file in wa_client_compose_env_files, and remove it"
        raise WaError(name, "set, and no longer read", "variables of Compose files in env files", cure)


def _optional(rule: Rule) -> Rule:
    """Returns `rule` for a variable that may be empty or unset."""
    return lambda name, value: None if value is None or value == "" else rule(name, value)


def _gone(cure: str) -> Rule:
    def rule(name: str, _value: t.Any) -> None:
        raise WaError(name, "set, and no longer read", "a variable of this version", cure)

    return rule


# Variables that went, and without which a playbook would do harm: an unfinished upgrade would not be seen, a client get empty values.
GONE: dict[str, Rule] = {
    "wa_api_ca_path": _gone(
        "Have the host trust that authority (update-ca-certificates, update-ca-trust), set wa_api_url, and remove it"
    ),
    "wa_client_compose_environment": _gone_environment,
    "wa_client_registry_username": _gone(
        "Log in to the registry on each host as root, see the README of wa_client, and remove it"
    ),
    "wa_db_login_ca_cert": _gone("Give the path as ca_cert in wa_db_login_tls"),
    "wa_db_login_client_cert": _gone("Give the paths as client_cert and client_key in wa_db_login_tls"),
    "wa_client_skip": _gone(
        "Describe the other number's client as a deployment of its own, which adopt.yml does, and remove it"
    ),
    "wa_restore_drill_user": _gone(
        "Make the client's user of db.env on the server of drills, with its password and the right to make databases"
    ),
    "wa_state_dir": _state_dir,
    "wa_upgrade_dump_dir": _gone(
        "Dumps are in /var/lib/waba/dumps: mount your file system there, move what you have, and remove it"
    ),
    "wa_upgrade_waves": _gone("Set wa_provision_waves, which counts for upgrades, too"),
}
RULES: dict[str, Rule] = {
    **GONE,
    "wa_backup_keep": _optional(units.whole_number),
    "wa_client_container_names": _text_list,
    "wa_client_core_port": units.parse_port,
    "wa_client_hold": _reason,
    "wa_client_health_timeout": units.whole_seconds,
    "wa_client_log_max_size": _size,
    "wa_client_restart": _restart,
    "wa_client_web_port": units.parse_port,
    "wa_db_login_tls": login_files,
    "wa_log_cleanup_hour": _hour,
    "wa_log_cleanup_metrics_file": _optional(paths.normalise),
    "wa_message_gc_max_messages": _count,
    "wa_upgrade_dump_timeout": units.whole_seconds,
    "wa_upgrade_hook_timeout": units.whole_seconds,
    "wa_upgrade_skip": _text_list,
    "wa_upgrade_soak": units.parse_duration,
    "wa_upgrade_window": _optional(_window),
}


def checked(names: t.Iterable[str]) -> list[str]:
    """Returns the sorted `names` that have a rule."""
    return sorted(RULES.keys() & {*names})


def refusals(values: t.Mapping[str, t.Any]) -> list[str]:
    """Returns a message for each invalid value, beginning with the variable's name."""
    found = []
    for name, value in sorted(values.items()):
        try:
            RULES[name](name, value)
        except WaError as error:
            found.append(str(WaError(name, error.found, error.expected, error.cure)).rstrip("."))
    return found
