# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator adds to the rendered Compose file."""

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


def test_mappings_are_merged_null_takes_away_and_the_rest_is_replaced() -> None:
    added = {"environment": {"B": None, "C": "3"}, "networks": {"wa": {}}, "env_file": None, "labels": {"x": "y"}}
    assert apply({"wacore": added})["services"]["wacore"] == {
        "image": "c:v1",
        "networks": {"wa": {}},
        "environment": {"A": "1", "C": "3"},
        "labels": {"x": "y"},
    }
    assert BASE["services"]["wacore"]["env_file"] == ["/db.env"], "what was given is left as it was"  # type: ignore[index]


def test_labels_as_a_list_add_to_ours() -> None:
    base = {**BASE, "services": {"wacore": {"labels": {"onprem.waba.deployment": "a", "x": "1"}}}}
    found = compose_override.apply(base, {"wacore": {"labels": ["x=2", "y"]}}, {}, {}, {})
    assert found["services"]["wacore"]["labels"] == {"onprem.waba.deployment": "a", "x": "2", "y": ""}


def test_the_migration_gets_what_leads_to_the_database_and_nothing_else() -> None:
    migration = apply({"wacore": {"networks": {"wa": {}}, "extra_hosts": ["db:1"], "mem_limit": 1}})["services"][
        "dbupgrade"
    ]
    assert migration == {
        "image": "c:v1",
        "networks": {"wa": {}},
        "profiles": ["dbupgrade"],
        "extra_hosts": ["db:1"],
    }


def test_a_service_beside_the_client_is_left_to_its_operator() -> None:
    beside = apply({"proxy": {"image": "nginx"}, "always": {"image": "nginx", "profiles": None}})["services"]
    assert beside["proxy"] == {"image": "nginx", "profiles": ["beside"]}
    assert "profiles" not in beside["always"]


@pytest.mark.parametrize(("name", "match"), [("wacor", "no service of this host"), ("dbupgrade", "one-shot migration")])
def test_a_name_that_is_no_service_is_refused(name: str, match: str) -> None:
    with pytest.raises(WaError, match=match):
        apply({name: {"environment": {}}})


def test_secret_files_come_last() -> None:
    assert apply({}, secret_files={"wacore": "/s.env", "other": "/o.env"})["services"]["wacore"]["env_file"] == [
        "/db.env",
        "/s.env",
    ]


def test_a_renamed_service_is_renamed_wherever_it_is_named() -> None:
    found = compose_override.rename(layout.services([], "single", "h"), {"wacore": "core", "waweb": "api"})
    assert [one["name"] for one in found] == ["core", "api"]
    assert (found[1]["after"], found[1]["environment"]) == (["core"], {"WACORE_HOSTNAME": "core"})


def test_several_services_of_one_name_are_one_that_is_scaled() -> None:
    words = ["core1", "core2", "master1", "web"]
    names = {"wacore1": "wacore", "wacore2": "wacore"}
    assert [one["name"] for one in compose_override.rename(layout.services(words, "multiconnect", "h"), names)] == [
        "wacore",
        "master1",
        "waweb",
    ]


def test_the_migration_reads_the_coreapps_files() -> None:
    found = apply({"wacore": {"env_file": ["/a.env", "/b.env"]}}, secret_files={"wacore": "/s.env"})["services"]
    assert found["dbupgrade"]["env_file"] == ["/a.env", "/b.env", "/s.env"] == found["wacore"]["env_file"]
    assert "env_file" not in apply({"wacore": {"env_file": None}})["services"]["dbupgrade"]


def test_a_secret_that_was_left_out_is_refused() -> None:
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
def test_a_secret_of_no_service_is_refused(given: t.Any, text: str) -> None:
    with pytest.raises(WaError, match=text):
        compose_override.secret_files(given, "/srv/wa")
