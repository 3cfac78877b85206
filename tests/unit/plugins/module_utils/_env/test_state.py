# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a db.env is in force in a container."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

HELD = {"WA_DB_HOSTNAME": {"db"}, "WA_DB_PASSWORD": {"new"}}


def test_equal_values_do_not_differ() -> None:
    assert env_state.differing({"WA_DB_HOSTNAME": "db", "WA_DB_PASSWORD": "new", "PATH": "/bin"}, HELD) == []


def test_changed_values_and_removed_keys_differ() -> None:
    environment = {"WA_DB_HOSTNAME": "db", "WA_DB_PASSWORD": "old", "WA_DB_NAME_PREFIX": "a", "X": "1", "Y": "1"}
    assert env_state.differing(environment, HELD, ["X"]) == ["WA_DB_PASSWORD", "WA_DB_NAME_PREFIX", "X"]
    assert env_state.differing({"WA_DB_HOSTNAME": "db"}, HELD) == ["WA_DB_PASSWORD"]


def test_an_empty_key_missing_in_the_file_does_not_differ() -> None:
    environment = {"WA_DB_HOSTNAME": "db", "WA_DB_PASSWORD": "new", "WA_DB_NAME_PREFIX": ""}
    assert env_state.differing(environment, HELD) == []


def test_a_key_set_by_compose_is_overridden() -> None:
    environment = {"WA_DB_HOSTNAME": "other", "WA_DB_PASSWORD": "old", "WA_DB_NAME_PREFIX": "a"}
    keys = ["WA_DB_HOSTNAME", "WA_DB_PASSWORD", "WA_DB_NAME_PREFIX"]
    result = env_state.check(environment, keys, HELD, {}, {"WA_DB_HOSTNAME", "WA_DB_NAME_PREFIX"})
    assert result.stale == ["WA_DB_PASSWORD"]
    assert result.overridden == ["WA_DB_HOSTNAME"]


def test_a_key_set_by_the_image_is_not_stale() -> None:
    environment = {"WA_DB_NAME_PREFIX": "a"}
    assert env_state.check(environment, ["WA_DB_NAME_PREFIX"], {}, {"WA_DB_NAME_PREFIX": "a"}, ()).stale == []
    assert env_state.check(environment, ["WA_DB_NAME_PREFIX"], {}, {"WA_DB_NAME_PREFIX": "b"}, ()).stale != []


@pytest.mark.parametrize(
    ("role", "environment", "mounted", "keeps"),
    [
        ("web", {}, [], True),
        ("core", {}, [], False),
        ("master", {}, ["/usr/local/wamedia"], False),
        ("core", {"WA_CONFIG_ON_DB": "1"}, [], True),
        ("core", {"WA_CONFIG_ON_DB": "0"}, [], False),
        ("core", {}, ["/usr/local/waent/data"], True),
        ("core", {}, ["/usr/local/waent/"], True),
        ("core", {}, ["/usr/local/waent/data/more"], False),
    ],
)
def test_keeps_configuration_depends_on_role_environment_and_mounts(
    role: str, environment: dict[str, str], mounted: list[str], keeps: bool
) -> None:
    assert env_state.keeps_configuration(role, environment, mounted) is keeps
