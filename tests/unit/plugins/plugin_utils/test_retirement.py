# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The deployment that retire.yml is asked to end, and the options of the module."""

from __future__ import annotations

import typing as t

import pytest
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _retirement as retirement

GROUPS = {"all": ["a1", "a2", "b", "c"], "a": ["a1", "a2"]}
HOSTVARS: dict[str, dict[str, t.Any]] = {
    "a1": {"wa_deployment": "a"},
    "a2": {"wa_deployment": "a"},
    "b": {},
    "c": {"wa_deployment": ["no", "name"]},
}


@pytest.mark.parametrize(("name", "expected"), [("a", ["a1", "a2"]), ("b", ["b"])])
def test_the_members_of_a_deployment(name: str, expected: list[str]) -> None:
    assert retirement.members(HOSTVARS, GROUPS, name, GROUPS["all"]) == expected


@pytest.mark.parametrize(
    ("name", "run_hosts", "changes", "message"),
    [
        ("", GROUPS["all"], {}, "wa_retire: no name; expected one of: a, b. Nothing was changed. "),
        ("all", GROUPS["all"], {"c": {}}, "wa_retire: 'all' is no deployment; expected one of: a, b, c. "),
        ("a1", GROUPS["all"], {}, "wa_retire: 'a1' is no deployment; expected one of: a, b. "),
        ("a*", GROUPS["all"], {}, "wa_retire: 'a*' is no deployment; "),
        (
            "a",
            ["a1", "b"],
            {},
            "deployment a: not in this run: a2; expected all members. Nothing was changed. Run without",
        ),
        ("a", GROUPS["all"], {"a2": {}}, "deployment a: a2 of that group has another wa_deployment; expected one"),
        ("c", GROUPS["all"], {}, "host c: wa_deployment: ['no', 'name'] is no name; "),
    ],
)
def test_another_name_is_refused(name: str, run_hosts: list[str], changes: dict[str, t.Any], message: str) -> None:
    with pytest.raises(WaError) as refused:
        retirement.members({**HOSTVARS, **changes}, GROUPS, name, run_hosts)
    assert str(refused.value).startswith(message)


def test_the_options_of_a_host() -> None:
    found = retirement.desired(inventory())
    names = found.pop("names")  # type: ignore[misc]
    assert found == {
        "env_format": "portable",
        "container_names": [],
        "compose_files": [],
        "database": "db.example.com:3306/",
        "without_backup": False,
    }
    assert names["volume"] == "wa-support_whatsappMedia"
    assert (names["metrics_file"], names["dump_dir"], names["projects_dir"]) == ("", "/var/lib/waba/dumps", "/opt/waba")


def test_a_client_that_the_inventory_holds_is_refused() -> None:
    with pytest.raises(WaError, match=r"^The client is held by wa_client_hold in the inventory: moves. "):
        retirement.desired(inventory(wa_client_hold="moves"))


def test_the_options_of_another_inventory() -> None:
    given = {
        "wa_project_dir": "/srv/wa/",
        "wa_log_cleanup_metrics_file": "/srv//metrics/wa.prom",
        "wa_retire_without_backup": "true",
    }
    found = retirement.desired(inventory(**given))
    names = {key: found["names"][key] for key in ("project_dir", "projects_dir", "state_dir", "metrics_file")}
    assert names == {
        "project_dir": "/srv/wa",
        "projects_dir": "",
        "state_dir": "/var/lib/waba",
        "metrics_file": "/srv/metrics/wa.prom",
    }
    assert found["without_backup"] is True
