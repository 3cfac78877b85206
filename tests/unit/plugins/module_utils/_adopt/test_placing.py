# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a value is, by table; how it moves: test_adopt_files.py."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt import placing


def host(
    deployment: str, variables: dict[str, t.Any], connection: dict[str, t.Any] | None = None, **guesses: str
) -> dict[str, t.Any]:
    return {"deployment": deployment, "connection": connection or {}, "variables": variables, "guesses": guesses}


def test_no_host_has_no_file() -> None:
    assert placing.place({}, {}) == placing.Placed()


def test_each_value_is_in_one_place() -> None:
    hosts = {
        "h1": host(
            "biz", {"wa_registry": "r", "wa_project": "biz", "wa_client_services": ["web"]}, {"ansible_user": "ops"}
        ),
        "h2": host(
            "biz", {"wa_registry": "r", "wa_project": "biz", "wa_client_services": ["web"]}, {"ansible_user": "ops"}
        ),
        "h3": host(
            "h3", {"wa_registry": "r", "wa_project": "biz"}, {"ansible_user": "ops", "ansible_host": "192.0.2.3"}
        ),
    }
    secrets: dict[str, dict[str, t.Any]] = {
        "h1": {"wa_db_env_password": "a", "ansible_password": "x"},
        "h2": {"wa_db_env_password": "a", "ansible_password": "x"},
        "h3": {"wa_db_env_password": "a", "ansible_password": "x"},
    }
    found = placing.place(hosts, secrets)
    assert found.documents == {
        "inventory.yml": {
            "all": {
                "hosts": {"h1": {}, "h2": {}, "h3": {"ansible_host": "192.0.2.3"}},
                "children": {"biz": {"hosts": {"h1": {}, "h2": {}}}},
            }
        },
        "group_vars/all/vars.yml": {"ansible_user": "ops", "wa_registry": "r"},
        "group_vars/biz/vars.yml": {"wa_project": "biz"},
        "host_vars/h1/vars.yml": {"wa_client_services": ["web"]},
        "host_vars/h2/vars.yml": {"wa_client_services": ["web"]},
        "host_vars/h3/vars.yml": {"wa_project": "biz"},
    }
    # That two clients have one password of the database is no reason to share it.
    assert found.secrets == {
        "group_vars/all/vault.yml": {"ansible_password": "x"},
        "group_vars/biz/vault.yml": {"wa_db_env_password": "a"},
        "host_vars/h3/vault.yml": {"wa_db_env_password": "a"},
    }


def test_a_comment_is_where_its_value_is() -> None:
    hosts = {name: host("biz", {"a": 1, "b": name}, a="guessed", c="not there") for name in ("h1", "h2")}
    assert placing.place(hosts, {}).comments == {"group_vars/biz/vars.yml": {"a": "guessed"}}
