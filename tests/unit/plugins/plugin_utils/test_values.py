# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values are refused before a host is changed. Role defaults never are."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml

from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _values as values

ROLES = pathlib.Path(__file__).resolve().parents[4] / "roles"
REFUSED: dict[str, dict[t.Any, str]] = {
    "wa_backup_keep": {0: "at least 1", "all": "at least 1"},
    "wa_client_container_names": {5: "5 is no list"},
    "wa_client_core_port": {0: "0 is no port", "x": "no port"},
    "wa_client_health_timeout": {0: "at least a second", "": "no duration", "500ms": "no duration"},
    "wa_client_log_max_size": {
        0: "a size above nothing",
        "0m": "above nothing",
        **dict.fromkeys(("-1", "10 M", "1d", "", None, "banana", "\u0665m"), "no size"),
    },
    "wa_client_hold": {True: "the reason as text", 4711: "the reason as text"},
    "wa_client_restart": dict.fromkeys(
        ("1-5", "05:00-05:00", 90, None, "window"), "no window; expected now, report, or a window such as 01:00-05:00"
    ),
    "wa_client_web_port": {65536: "no port"},
    "wa_db_login_tls": dict.fromkeys(("/ca.pem", None), "expected a mapping of ca_cert, client_cert and client_key"),
    "wa_log_cleanup_hour": {24: "from 0 to 23", "": "from 0 to 23", "3am": "from 0 to 23", None: "from 0 to 23"},
    "wa_log_cleanup_metrics_file": {"metrics.prom": "relative"},
    "wa_message_gc_max_messages": {-1: "at least 0", "many": "at least 0"},
    **{
        f"wa_upgrade_{name}_timeout": {0: "at least a second", **dict.fromkeys(("-1", "1w", "", None), "no duration")}
        for name in ("dump", "hook")
    },
    "wa_upgrade_skip": {5: "no list"},
    "wa_upgrade_soak": dict.fromkeys(("-1", "1w", "", None), "no duration"),
    "wa_upgrade_window": {"1-5": "no window", "05:00-05:00": "no window", 90: "no window"},
}
ACCEPTED: dict[str, list[t.Any]] = {
    "wa_backup_keep": [None, "", 1, "3"],
    "wa_client_container_names": [None, "a,b", ["a"]],
    "wa_client_core_port": ["6250"],
    "wa_client_hold": ["", "stopped by Ann"],
    "wa_client_restart": ["now", "report", "22:00-04:30"],
    "wa_db_login_tls": [{}, {"ca_cert": "/ca.pem"}],
    "wa_log_cleanup_hour": [0, "23", "2,14", "*/6"],
    "wa_log_cleanup_metrics_file": [None, "", "/var/lib/metrics/wa.prom"],
    "wa_message_gc_max_messages": [0],
    "wa_upgrade_soak": [0, "30m"],
    "wa_upgrade_window": [None, "", "22:00-04:30"],
}


@pytest.mark.parametrize("name", sorted(values.RULES))
def test_a_wrong_value_is_refused_with_its_name(name: str) -> None:
    for value, expected in REFUSED[name].items():
        (message,) = values.refusals({name: value})
        assert message.startswith(f"{name}: ")
        assert expected in message


@pytest.mark.parametrize("name", sorted(ACCEPTED))
def test_an_accepted_value_is_not_refused(name: str) -> None:
    for value in ACCEPTED[name]:
        assert values.refusals({name: value}) == []


def test_all_wrong_values_are_reported_together() -> None:
    messages = values.refusals(
        {"wa_message_gc_max_messages": -1, "wa_log_cleanup_hour": 24, "wa_client_container_names": []}
    )
    assert [one.partition(":")[0] for one in messages] == ["wa_log_cleanup_hour", "wa_message_gc_max_messages"]


def test_only_variables_with_a_rule_are_checked() -> None:
    assert values.checked(["wa_version", "wa_message_gc_max_messages", "wa_log_cleanup_hour"]) == [
        "wa_log_cleanup_hour",
        "wa_message_gc_max_messages",
    ]


def test_every_rule_has_a_variable_with_a_valid_default() -> None:
    known: set[str] = set()
    for role in ("wa_client", "wa_db_env", "wa_log_cleanup", "wa_media_volume", "wa_message_gc", "wa_upgrade"):
        known |= yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
            "options"
        ].keys()
        defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
        plain = {name: value for name, value in defaults.items() if "{{" not in str(value)}
        assert values.refusals({name: plain[name] for name in values.checked(plain)}) == []
    assert values.RULES.keys() - known - inventory.SHARED == set()
