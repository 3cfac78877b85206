# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks values of variables beyond what argument specs can express, before a host is changed. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import starts as client_starts
from ansible_collections.waba.onprem.plugins.module_utils._core import units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import paths

Rule = t.Callable[[str, t.Any], t.Any]  # called with a variable's name and value; raises WaError


def _size(name: str, value: t.Any) -> None:
    if units.parse_size(name, value) < 1:
        raise WaError(name, f"{value!r}", "a size above nothing, such as 20M")


def login_files(name: str, value: t.Any) -> None:
    """Raises WaError for a value of `wa_db_login_tls` with other files than those of a login."""
    if not isinstance(value, t.Mapping) or value.keys() - {"ca_cert", "client_cert", "client_key"}:
        raise WaError(name, repr(value), "a mapping of ca_cert, client_cert and client_key to paths")


def _reason(name: str, value: t.Any) -> None:
    if not isinstance(value, str):
        raise WaError(name, f"{value!r}", "the reason as text; an empty one is no hold", "Quote it in YAML")


def _optional(rule: Rule) -> Rule:
    """Returns `rule` for a variable that may be empty or unset."""
    return lambda name, value: None if value is None or value == "" else rule(name, value)


RULES: dict[str, Rule] = {
    "wa_backup_keep": _optional(units.whole_number),
    "wa_client_container_names": lambda name, value: units.text_list(value, name),
    "wa_client_core_port": units.parse_port,
    "wa_client_hold": _reason,
    "wa_client_health_timeout": units.whole_seconds,
    "wa_client_log_max_size": _size,
    "wa_client_restart": lambda _name, value: client_starts.restart_mode(str(value)),
    "wa_client_web_port": units.parse_port,
    "wa_db_login_tls": login_files,
    "wa_log_cleanup_hour": lambda name, value: units.clock_field(name, value, 23),
    "wa_log_cleanup_metrics_file": _optional(paths.normalise),
    "wa_message_gc_max_messages": lambda name, value: units.whole_number(name, value, 0),
    "wa_upgrade_dump_timeout": units.whole_seconds,
    "wa_upgrade_hook_timeout": units.whole_seconds,
    "wa_upgrade_skip": lambda name, value: units.text_list(value, name),
    "wa_upgrade_soak": units.parse_duration,
    "wa_upgrade_window": _optional(lambda _name, value: units.parse_window(str(value))),
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
