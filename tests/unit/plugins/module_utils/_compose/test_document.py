# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Compose file of a client that the inventory describes, and the digests that its containers are compared by."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout

DEPLOYMENT = {"project": "wa-a", "slug": "a", "network": "wa-a_default", "volume": "wa-a_media", "env_file": "/db.env"}
SINGLE = layout.services([], "single", "h1")
MULTICONNECT = ["web", "core1", "master1"]


def client(**changes: t.Any) -> compose_document.Client:
    """A client with only the required variables in its inventory."""
    made: compose_document.Client = {
        "deployment": DEPLOYMENT,
        "images": {"web": "r/web", "coreapp": "r/coreapp"},
        "version": "2.53.4",
        "engine": "MYSQL",
        "services": SINGLE,
        "media_volume": "wa-a_media",
        "log_max_size": "50m",
        "bind_address": {"web": "0.0.0.0", "core": "0.0.0.0"},
        "migration": True,
    }
    return t.cast("compose_document.Client", {**made, **changes})


def digests(made: compose_document.Client) -> dict[str, str]:
    services = compose_document.started(compose_document.document(made))
    return {name: body["labels"][compose_document.DEFINITION_LABEL] for name, body in services.items()}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"wacore": "ea1162bb25a14f06", "waweb": "51346623a05a3daa"}),
        ({"migration": False}, {"wacore": "ea1162bb25a14f06", "waweb": "51346623a05a3daa"}),
        (
            {"engine": "PGSQL", "media_volume": "other"},
            {"wacore": "b859438ee8a7d816", "waweb": "7f5f7b341f906ff0"},
        ),
        (
            {"services": layout.services(MULTICONNECT, "multiconnect", "h1", is_single_host=False)},
            {"wacore1": "69bb1c3f1bfe3cbf", "master1": "71201c8dcba9aadf", "waweb": "8894080368c8e5cc"},
        ),
        (
            {"services": compose_document.rename(SINGLE, {"wacore": "core"})},
            {"core": "353969ff16461789", "waweb": "f5d0f7877dacb619"},
        ),
    ],
)
def test_the_digests_of_an_unchanged_inventory_are_constant(
    changes: dict[str, t.Any], expected: dict[str, str]
) -> None:
    """A changed digest would make provision.yml restart every running client although its inventory is unchanged."""
    made = client(**changes)
    assert digests(made) == expected
    assert {name: compose_document.definition(made, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"version": "2.55.1"}, set()),  # the image contains the version
        ({"log_max_size": "10m"}, {"wacore", "waweb"}),
        ({"engine": "PGSQL"}, {"wacore", "waweb"}),
        ({"media_volume": "other"}, {"wacore", "waweb"}),
        ({"images": {"web": "r/web", "coreapp": "s/coreapp"}}, {"wacore"}),
        ({"services": layout.services([], "single", "h1", web_port=9091)}, {"waweb"}),
        ({"bind_address": {"web": "127.0.0.1", "core": "0.0.0.0"}}, {"waweb"}),
        (
            {"bind_address": {"web": "0.0.0.0", "core": "127.0.0.1"}},
            set(),
        ),  # a Coreapp of a single client publishes no port
        ({"migration": False}, set()),
        ({"services": [{**SINGLE[0], "scale": 2}, SINGLE[1]]}, {"wacore"}),
        ({"deployment": {**DEPLOYMENT, "env_file": "/other.env"}}, {"wacore", "waweb"}),
        ({"deployment": {**DEPLOYMENT, "network": "other"}}, {"wacore", "waweb"}),
        ({"deployment": {**DEPLOYMENT, "project": "other"}}, set()),
    ],
)
def test_a_digest_changes_with_the_variables_of_its_service(changes: dict[str, t.Any], changed: set[str]) -> None:
    before, after = digests(client()), digests(client(**changes))
    assert {name for name in before if before[name] != after[name]} == changed


def test_the_compose_file_of_a_single_client() -> None:
    made = compose_document.document(client())
    assert made["services"]["waweb"] == {
        "image": "r/web:v2.53.4",
        "depends_on": ["wacore"],
        "env_file": ["/db.env"],
        "environment": {"WA_CONFIG_ON_DB": "1", "WACORE_HOSTNAME": "wacore"},
        "command": ["/opt/whatsapp/bin/wait_on_mysql.sh", "/opt/whatsapp/bin/launch_within_docker.sh"],
        "ports": ["0.0.0.0:9090:443"],
        "networks": ["default"],
        "volumes": ["media:/usr/local/wamedia"],
        "labels": {compose_document.OWN_LABEL: "a", compose_document.DEFINITION_LABEL: digests(client())["waweb"]},
        "cap_drop": ["MKNOD"],
        "restart": "unless-stopped",
        "stop_grace_period": "60s",
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "7"}},
        "healthcheck": {
            "test": ["CMD-SHELL", "bash -c ': < /dev/tcp/127.0.0.1/443'"],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "300s",
        },
    }
    assert {key: made[key] for key in ("name", "networks", "volumes")} == {
        "name": "wa-a",
        "networks": {"default": {"name": "wa-a_default"}},
        "volumes": {"media": {"name": "wa-a_media", "external": True}},
    }


def test_the_migration_service_is_a_coreapp_without_restart() -> None:
    found = compose_document.document(client())["services"]["dbupgrade"]
    assert found["profiles"] == ["dbupgrade"]
    assert found["restart"] == "no"
    assert found["environment"] == {"WA_CONFIG_ON_DB": "1", "WA_DB_UPGRADE": "1"}
    assert {"healthcheck", "ports", "depends_on"} & {*found} == set()
    assert found["labels"] == {compose_document.OWN_LABEL: "a"}


@pytest.mark.parametrize("changes", [{"migration": False}, {"migration": False, "media_volume": "other"}])
def test_without_the_migration_the_other_services_are_the_same(changes: dict[str, t.Any]) -> None:
    without, complete = (
        compose_document.document(client(**{**changes, "migration": migration})) for migration in (False, True)
    )
    assert [*without["services"]] == ["wacore", "waweb"]
    del complete["services"]["dbupgrade"]
    assert without == complete


@pytest.mark.parametrize("migration", [True, False])
def test_services_that_containers_are_compared_with(migration: bool) -> None:
    services = [{**SINGLE[0], "scale": 2}, SINGLE[1]]
    made = compose_document.document(client(services=services, migration=migration))
    found = compose_document.started(made)
    alike = {"restart": "unless-stopped", "networks": ["default"]}
    expected: dict[str, dict[str, t.Any]] = {
        "wacore": {"image": "r/coreapp:v2.53.4", "scale": 2, **alike},
        "waweb": {"image": "r/web:v2.53.4", "scale": None, **alike},
    }
    assert {name: {key: body.get(key) for key in expected[name]} for name, body in found.items()} == expected
    for body in found.values():
        assert [*body["labels"]] == [compose_document.OWN_LABEL, compose_document.DEFINITION_LABEL]


def test_only_a_scaled_service_has_a_scale() -> None:
    services = compose_document.document(client(services=[{**SINGLE[0], "scale": 2}, SINGLE[1]]))["services"]
    assert {name: body.get("scale") for name, body in services.items()} == {
        "wacore": 2,
        "waweb": None,
        "dbupgrade": None,
    }


def test_another_media_volume_has_a_label() -> None:
    found = compose_document.document(client(media_volume="other"))
    assert found["services"]["wacore"]["labels"][compose_document.MEDIA_VOLUME_LABEL] == "other"
    assert found["volumes"]["media"]["name"] == "other"


# Names of the operator


def test_a_renamed_service_is_renamed_in_references() -> None:
    found = compose_document.rename(SINGLE, {"wacore": "core", "waweb": "api"})
    assert [one["name"] for one in found] == ["core", "api"]
    assert (found[1]["after"], found[1]["environment"]) == (["core"], {"WACORE_HOSTNAME": "core"})
    assert [one["name"] for one in SINGLE] == ["wacore", "waweb"], "what was given is left as it was"


@pytest.mark.parametrize(
    ("services", "names", "expected"),
    [
        (["core1", "web"], {}, {"wacore1": None, "waweb": None}),
        (["core1", "web"], {"wacore1": "wacore", "wacore2": "wacore"}, {"wacore": None, "waweb": None}),
        (
            ["core1", "core2", "master1", "web"],
            {"wacore1": "wacore", "wacore2": "wacore"},
            {"wacore": 2, "master1": None, "waweb": None},
        ),
        (
            ["core1", "core2", "core3", "master1", "master2", "web"],
            {f"wacore{number}": "wacore" for number in (1, 2, 3)} | {"master1": "master", "master2": "master"},
            {"wacore": 3, "master": 2, "waweb": None},
        ),
        (["core1", "core2", "web"], {"wacore2": "wacore1"}, {"wacore1": 2, "waweb": None}),
    ],
)
def test_services_with_one_name_become_one_scaled_service(
    services: list[str], names: dict[str, str], expected: dict[str, int | None]
) -> None:
    given = layout.services(services, "multiconnect", "h1")
    found = compose_document.rename(given, names)
    assert {one["name"]: one.get("scale") for one in found} == expected
    assert all("scale" not in one for one in given), "what was given is left as it was"
    made = compose_document.started(compose_document.document(client(services=found)))
    assert {name: body.get("scale") for name, body in made.items()} == expected


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"wacore1": "dbupgrade"}, "dbupgrade for wacore1"),
        ({"waweb": "dbupgrade"}, "dbupgrade for waweb"),
        ({"wacore1": "dbupgrade", "wacore2": "dbupgrade"}, "dbupgrade for wacore1"),
        ({"wacore1": "a", "master1": "a"}, "a for master1"),
        ({"wacore2": "a", "waweb": "a"}, "a for waweb"),
        ({"master1": "waweb"}, "waweb for waweb"),
        ({"wacore1": "master1"}, "master1 for master1"),
    ],
)
def test_a_name_of_two_kinds_of_service_or_of_the_migration_is_refused(names: dict[str, str], found: str) -> None:
    given = layout.services(["core1", "core2", "master1", "web"], "multiconnect", "h1")
    with pytest.raises(WaError) as error:
        compose_document.rename(given, names)
    assert str(error.value) == (
        f"wa_client_service_names: {found}; expected another name for each kind of service, and not the migration's."
    )


@pytest.mark.parametrize("names", [{"wacore3": "dbupgrade"}, {"master1": "wacore1", "wacore1": "master1"}])
def test_names_that_no_two_kinds_of_service_get_are_taken(names: dict[str, str]) -> None:
    given = layout.services(["core1", "master1", "web"], "multiconnect", "h1")
    found = {one["name"]: one["kind"] for one in compose_document.rename(given, names)}
    assert found == {names.get(one["name"], one["name"]): one["kind"] for one in given}


def test_a_scaled_service_has_the_definition_of_its_first_name() -> None:
    given = layout.services(["core1", "core2", "web"], "multiconnect", "h1")
    scaled, _web = compose_document.rename(given, {"wacore1": "core", "wacore2": "core"})
    (alone, _second, _web) = compose_document.rename(given, {"wacore1": "core"})
    assert scaled == {**alone, "scale": 2}


# Beside an operator's own files


@pytest.mark.parametrize(
    ("changes", "services"),
    [
        ({}, {"wacore": {"image": "r/coreapp:v2.53.4"}, "waweb": {"image": "r/web:v2.53.4"}}),
        # What the operator's own files have is not taken from the inventory.
        (
            {
                "migration": False,
                "media_volume": "other",
                "engine": "PGSQL",
                "deployment": {**DEPLOYMENT, "network": "other", "env_file": "/other.env"},
            },
            {"wacore": {"image": "r/coreapp:v2.53.4"}, "waweb": {"image": "r/web:v2.53.4"}},
        ),
        (
            {"version": "2.55.1", "images": {"web": "m:5000/w", "coreapp": "m:5000/c"}},
            {"wacore": {"image": "m:5000/c:v2.55.1"}, "waweb": {"image": "m:5000/w:v2.55.1"}},
        ),
        (
            {"services": layout.services(MULTICONNECT, "multiconnect", "h1", is_single_host=False)},
            {
                "waweb": {"image": "r/web:v2.53.4"},
                "wacore1": {"image": "r/coreapp:v2.53.4"},
                "master1": {"image": "r/coreapp:v2.53.4"},
            },
        ),
        (
            {"services": compose_document.rename(SINGLE, {"wacore": "core", "waweb": "web"})},
            {"core": {"image": "r/coreapp:v2.53.4"}, "web": {"image": "r/web:v2.53.4"}},
        ),
        (
            {"services": [{**SINGLE[0], "scale": 2}]},
            {"wacore": {"image": "r/coreapp:v2.53.4"}},
        ),
        ({"services": []}, {}),
    ],
)
def test_the_file_beside_an_operators_own_files_sets_the_version_only(
    changes: dict[str, t.Any], services: dict[str, t.Any]
) -> None:
    assert compose_document.version_override(client(**changes)) == {"name": "wa-a", "services": services}
