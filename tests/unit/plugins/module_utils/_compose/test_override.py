# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's additions to the rendered Compose file."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose import override as compose_override
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout

BASE = {
    "name": "biz",
    "x-client": {},
    "services": {
        "wacore": {
            "image": "c:v1",
            "env_file": ["/db.env"],
            "networks": ["default"],
            "environment": {"A": "1", "B": "2"},
        },
        "dbupgrade": {"image": "c:v1", "networks": ["default"], "profiles": ["dbupgrade"]},
    },
    "networks": {"default": {"name": "biz_default"}},
    "volumes": {"media": {"name": "m", "external": True}},
}


def apply(services: dict[str, t.Any], **rest: t.Any) -> dict[str, t.Any]:
    options = {"networks": {}, "volumes": {}, "secret_files": {}, "cores": ["wacore"], **rest}
    return compose_override.apply(BASE, services, **options)


def test_mappings_are_merged_null_removes_a_key_and_other_values_are_replaced() -> None:
    added = {"environment": {"B": None, "C": "3"}, "networks": {"wa": {}}, "env_file": None, "labels": {"x": "y"}}
    assert apply({"wacore": added})["services"]["wacore"] == {
        "image": "c:v1",
        "networks": {"wa": {}},
        "environment": {"A": "1", "C": "3"},
        "labels": {"x": "y"},
    }
    assert BASE["services"]["wacore"]["env_file"] == ["/db.env"], "what was given is left as it was"  # type: ignore[index]


def test_labels_given_as_a_list_are_merged() -> None:
    base = {**BASE, "services": {"wacore": {"labels": {"onprem.waba.deployment": "a", "x": "1"}}}}
    found = compose_override.apply(base, {"wacore": {"labels": ["x=2", "y"]}}, {}, {}, {})
    assert found["services"]["wacore"]["labels"] == {"onprem.waba.deployment": "a", "x": "2", "y": ""}


def test_the_migration_gets_only_what_the_database_connection_needs() -> None:
    migration = apply({"wacore": {"networks": {"wa": {}}, "extra_hosts": ["db:1"], "mem_limit": 1}})["services"][
        "dbupgrade"
    ]
    assert migration == {
        "image": "c:v1",
        "networks": {"wa": {}},
        "profiles": ["dbupgrade"],
        "extra_hosts": ["db:1"],
    }


def test_an_additional_service_is_not_started_by_default() -> None:
    services = apply({"proxy": {"image": "nginx"}, "always": {"image": "nginx", "profiles": None}})["services"]
    assert services["proxy"] == {"image": "nginx", "profiles": ["beside"]}
    assert "profiles" not in services["always"]


@pytest.mark.parametrize(("name", "match"), [("wacor", "no service of this host"), ("dbupgrade", "one-shot migration")])
def test_an_unknown_service_is_refused(name: str, match: str) -> None:
    with pytest.raises(WaError, match=match):
        apply({name: {"environment": {}}})


def test_secret_files_come_last() -> None:
    assert apply({}, secret_files={"wacore": "/s.env", "other": "/o.env"})["services"]["wacore"]["env_file"] == [
        "/db.env",
        "/s.env",
    ]


def test_a_renamed_service_is_renamed_in_references() -> None:
    found = compose_override.rename(layout.services([], "single", "h"), {"wacore": "core", "waweb": "api"})
    assert [one["name"] for one in found] == ["core", "api"]
    assert (found[1]["after"], found[1]["environment"]) == (["core"], {"WACORE_HOSTNAME": "core"})


def test_services_with_one_name_become_one_scaled_service() -> None:
    services = ["core1", "core2", "master1", "web"]
    names = {"wacore1": "wacore", "wacore2": "wacore"}
    assert [one["name"] for one in compose_override.rename(layout.services(services, "multiconnect", "h"), names)] == [
        "wacore",
        "master1",
        "waweb",
    ]


def test_the_migration_reads_the_env_files_of_the_coreapp() -> None:
    found = apply({"wacore": {"env_file": ["/a.env", "/b.env"]}}, secret_files={"wacore": "/s.env"})["services"]
    assert found["dbupgrade"]["env_file"] == ["/a.env", "/b.env", "/s.env"] == found["wacore"]["env_file"]
    assert "env_file" not in apply({"wacore": {"env_file": None}})["services"]["dbupgrade"]


def test_a_hidden_secret_is_refused() -> None:
    with pytest.raises(WaError, match="a secret that adopt"):
        apply({"proxy": {"image": "proxy:1", "command": ["--token=<hidden>"]}})


def test_each_service_with_secrets_has_a_file() -> None:
    found = compose_override.secret_files({"waweb": {"WA_API_KEY": "x"}, "wacore.2": {}}, "/srv/wa")
    assert found == {"waweb": "/srv/wa/secret-waweb.env", "wacore.2": "/srv/wa/secret-wacore.2.env"}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("waweb", "a str; expected a mapping from services"),
        (["waweb"], "a list; expected a mapping"),
        ({"../../etc/x": {}}, "is no name of a service"),
        ({"a/b": {}}, "is no name of a service"),
        ({"": {}}, "is no name of a service"),
        ({"waweb": "WA_API_KEY=x"}, "wa_client_extra_secret_environment: waweb: a str"),
    ],
)
def test_secrets_of_an_invalid_service_are_refused(given: t.Any, text: str) -> None:
    with pytest.raises(WaError, match=text):
        compose_override.secret_files(given, "/srv/wa")


@pytest.mark.parametrize("extra", [None, "image", ["image"]])
def test_an_additional_service_must_be_a_mapping(extra: t.Any) -> None:
    with pytest.raises(WaError, match=r"wa_client_extra_services: wacore: .*; expected options of Compose"):
        compose_override.apply({"services": {"wacore": {}}}, {"wacore": extra}, {}, {}, {})
