# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's variables of one host: given, omitted or default; refused values, unknown names."""

from __future__ import annotations

import collections
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.template import trust_as_template
from inventory_samples import PASSWORD, inventory

from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as collection_inventory

ROOT = Path(__file__).resolve().parents[4]
OMIT = trust_as_template("{{ omit }}")
JSON = """On the command line give all of it as JSON: -e '{"wa_db_env_extra": {"NAME": "value"}}'"""


@pytest.mark.parametrize(
    ("name", "value", "given", "used"),
    [
        ("wa_client_web_port", None, None, 9090),
        ("wa_client_web_port", 9091, 9091, 9091),
        ("wa_client_web_port", OMIT, None, 9090),
        ("wa_client_web_port", trust_as_template("{{ wa_shards + 9090 }}"), 9092, 9092),
        ("wa_db_env_name_prefix", OMIT, None, None),
        ("wa_db_env_name_prefix", "", "", ""),  # given as an empty string, not omitted
        ("wa_upgrade_dump", False, False, False),
        ("wa_db_env_extra", {"A": trust_as_template("{{ wa_shards }}"), "B": OMIT}, {"A": 2}, {"A": 2}),
        ("wa_confirm_identity", None, None, None),
    ],
)
def test_given_values_and_defaults(name: str, value: t.Any, given: t.Any, used: t.Any) -> None:
    ours = inventory(wa_shards=2, **{name: value})
    assert (ours.given(name), ours.get(name)) == (given, used)


def test_a_variable_without_default_and_value_is_missing() -> None:
    with pytest.raises(KeyError):
        inventory()["wa_db_env_name_prefix"]
    assert inventory().get("wa_db_env_name_prefix") is None


def test_a_value_is_templated_once() -> None:
    read: list[t.Any] = []

    def template(value: t.Any) -> t.Any:
        read.append(value)
        return value

    ours = collection_inventory.Inventory({"inventory_hostname": "a", "wa_version": "1.2"}, template)
    assert [ours.given("wa_version") for _each in range(3)] == ["1.2"] * 3
    assert read == [["1.2"]]
    assert ours.host == "a"


class Failing(collections.UserDict[str, t.Any]):
    """Variables of a host as Ansible has them, of which the template of one, `other`, fails."""

    def __getitem__(self, name: str) -> t.Any:
        if name == "other":
            raise AnsibleError("no facts")
        return super().__getitem__(name)


def test_a_variable_that_nobody_needs_may_fail() -> None:
    hostvars = {"h": Failing(wa_version="1.2", other="{{ ansible_facts.default_ipv4.address }}")}
    ours = collection_inventory.Inventory.of_host("h", hostvars, {}, lambda value: value)
    assert (ours.given("wa_version"), ours.host, "other" in ours.variables) == ("1.2", "h", True)


# Names


def documented() -> set[str]:
    """The variables in the tables of docs/variables.md that a person writes. A row may name two."""
    text = (ROOT / "docs" / "variables.md").read_text(encoding="utf-8").split("<!-- table: script/docs -->")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(wa_\w+)`", row)}


def test_shared_variables_are_documented() -> None:
    playbooks = {"wa_adopt_dir"}  # described in the guide to adopt.yml
    assert documented() | playbooks == {*collection_inventory.SHARED}
    guide = (ROOT / "docs" / "guides" / "adopt.md").read_text(encoding="utf-8")
    assert [name for name in sorted(playbooks) if name not in guide] == []


def test_every_variable_has_one_valid_example() -> None:
    parts = yaml.safe_load((ROOT / "docs" / "variables.yml").read_text(encoding="utf-8"))
    examples = {name: value for part in parts.values() for name, value in part.items()}
    assert sorted(name for part in parts.values() for name in part) == sorted(collection_inventory.known())
    assert collection_inventory.refusals(inventory(**examples)) == []


def test_every_default_belongs_to_a_documented_variable() -> None:
    assert {*collection_inventory.defaults()} - collection_inventory.known() == set()
    assert {*collection_inventory.main_specs()} == {*collection_inventory.PROVISIONED}


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("wa_db_env_enginee", ["no role knows the variable wa_db_env_enginee; do you mean wa_db_env_engine?"]),
        ("wa_versions", ["no role knows the variable wa_versions; do you mean wa_version?"]),
        ("wa_qqqq", ["no role knows the variable wa_qqqq"]),
        ("wa_db_env_engine", []),
        ("wa_adopt_dir", []),
        ("wa_upgrade_dump", []),  # of a role that provision.yml does not run
        *(
            (name, [])
            for name in ("wa_drift", "wa_drift_left", "wa_db_env_result", "wa_host_ready", "wa_provision_waves")
        ),
        ("__wa_client_next_version", []),
        ("wan_link", []),
    ],
)
def test_an_unknown_name_is_reported_with_the_closest_one(name: str, messages: list[str]) -> None:
    assert collection_inventory.unknown([name, "ansible_host", "wa_version"]) == messages


def test_unknown_names_are_reported_in_order() -> None:
    assert collection_inventory.unknown(["wa_zzzz", "wa_aaaaaaaaaaaaaaaaaaaa"]) == [
        "no role knows the variable wa_aaaaaaaaaaaaaaaaaaaa",
        "no role knows the variable wa_zzzz",
    ]


# Values


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ({}, []),
        ({"wa_db_env_extra": {"A": "1"}, "wa_images": {"web": "r/web"}}, []),
        ({"wa_db_env_extra": "A=1"}, [f"wa_db_env_extra is text, but must be a mapping. {JSON}"]),
        ({"wa_db_env_extra": '{"A": 1}'}, [f"wa_db_env_extra is text, but must be a mapping. {JSON}"]),
        ({"wa_db_env_extra": ["A"]}, [f"wa_db_env_extra is a list, but must be a mapping. {JSON}"]),
        (
            {"wa_images": "r/web", "wa_confirm_identity": "port=1", "wa_log_cleanup_hour": 24},
            [f"wa_confirm_identity is text, but must be a mapping; wa_images is text, but must be a mapping. {JSON}"],
        ),
        ({"wa_db_env_extra": OMIT}, []),
        (
            {"wa_db_env_engine": "ORACLE"},
            ["value of wa_db_env_engine must be one of: MYSQL, PGSQL, got: ORACLE"],
        ),
        (
            {"wa_log_cleanup_hour": 24},
            [
                "wa_log_cleanup_hour: 24; expected a number from 0 to 23, or what cron takes for several. Such as 3, or 2,14"
            ],
        ),
        ({"wa_client_web_port": "9090", "wa_message_gc_max_messages": "7"}, []),
        (
            {"wa_upgrade_hook_timeout": "soon"},
            ["wa_upgrade_hook_timeout: 'soon' is no duration; expected seconds, or text such as 30s, 10m, 24h"],
        ),
        ({"wa_client_restart": trust_as_template("{{ 're' ~ 'port' }}")}, []),
    ],
)
def test_refused_values_are_reported(given: dict[str, t.Any], messages: list[str]) -> None:
    assert sorted(collection_inventory.refusals(inventory(**given))) == messages


def test_all_refused_values_are_reported_together() -> None:
    found = collection_inventory.refusals(inventory(wa_client_web_port="many", wa_db_env_engine="x"))
    assert [[name for name in ("wa_client_web_port", "wa_db_env_engine") if name in one] for one in sorted(found)] == [
        ["wa_client_web_port"],
        ["wa_db_env_engine"],
    ]


def test_refusals_contain_no_secret() -> None:
    for given in (
        {"wa_db_env_extra_secrets": f"KEY={PASSWORD}"},
        {"wa_db_env_password": {"a": PASSWORD}, "wa_client_restart": "x"},
    ):
        assert PASSWORD not in str(collection_inventory.refusals(inventory(**given)))


def test_warm_fills_all_caches() -> None:
    for read in (collection_inventory.defaults, collection_inventory.main_specs, collection_inventory.known):
        read.cache_clear()
    collection_inventory.warm()
    for read in (collection_inventory.defaults, collection_inventory.main_specs, collection_inventory.known):
        assert read.cache_info().currsize == 1
