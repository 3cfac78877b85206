# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Compose file of a client that the inventory describes, and the digests that its containers are compared by."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._adopt import service as adopt_service
from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._compose import override
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout

DEPLOYMENT = {"project": "wa-a", "slug": "a", "network": "wa-a_default", "volume": "wa-a_media", "env_file": "/db.env"}


def client(**changes: t.Any) -> compose_document.Client:
    """A client with only the required variables in its inventory."""
    made: compose_document.Client = {
        "deployment": DEPLOYMENT,
        "images": {"web": "r/web", "coreapp": "r/coreapp"},
        "version": "2.53.4",
        "engine": "MYSQL",
        "services": layout.services([], "single", "h1"),
        "media_volume": "wa-a_media",
        "media_path": "/usr/local/wamedia",
        "stop_seconds": 60,
        "log_max_size": "50m",
        "log_max_file": "7",
        "bind_address": {"web": "0.0.0.0", "core": "0.0.0.0"},
        "healthcheck": {
            "web": ["CMD-SHELL", "bash -c ': < /dev/tcp/127.0.0.1/443'"],
            "core": ["CMD-SHELL", "nc -z 127.0.0.1 6253"],
        },
        "extra_services": {},
        "extra_networks": {},
        "extra_volumes": {},
        "secret_files": {},
    }
    return t.cast("compose_document.Client", {**made, **changes})


def digests(made: compose_document.Client) -> dict[str, str]:
    return {one["name"]: one["definition"] for one in compose_document.wanted(compose_document.document(made))}


def test_the_digests_of_an_unchanged_inventory_are_constant() -> None:
    """A changed digest would make provision.yml restart every running client although its inventory is unchanged."""
    assert digests(client()) == {"wacore": "ea1162bb25a14f06", "waweb": "51346623a05a3daa"}


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"version": "2.55.1"}, set()),  # the image contains the version
        ({"stop_seconds": 30}, {"wacore", "waweb"}),
        ({"log_max_size": "10m"}, {"wacore", "waweb"}),
        ({"engine": "PGSQL"}, {"wacore", "waweb"}),
        ({"media_volume": "other"}, {"wacore", "waweb"}),
        ({"media_path": "/data/wamedia"}, {"wacore", "waweb"}),
        ({"images": {"web": "r/web", "coreapp": "s/coreapp"}}, {"wacore"}),
        ({"services": layout.services([], "single", "h1", web_port=9091)}, {"waweb"}),
        ({"bind_address": {"web": "127.0.0.1", "core": "0.0.0.0"}}, {"waweb"}),
        (
            {"bind_address": {"web": "0.0.0.0", "core": "127.0.0.1"}},
            set(),
        ),  # a Coreapp of a single client publishes no port
        ({"healthcheck": {**client()["healthcheck"], "core": ["NONE"]}}, {"wacore"}),
        ({"extra_services": {"waweb": {"dns": "10.0.0.1"}}}, {"waweb"}),
        ({"extra_networks": {"proxy": {"external": True}}}, {"wacore", "waweb"}),
        ({"secret_files": {"waweb": "/s.env"}}, {"waweb"}),
        ({"deployment": {**DEPLOYMENT, "env_file": "/other.env"}}, {"wacore", "waweb"}),
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
        "labels": {override.OWN_LABEL: "a", override.DEFINITION_LABEL: digests(client())["waweb"]},
        "cap_drop": ["MKNOD"],
        "restart": "unless-stopped",
        "stop_grace_period": "60s",
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "7"}},
        "healthcheck": {
            "test": ["CMD-SHELL", "bash -c ': < /dev/tcp/127.0.0.1/443'"],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "5m",
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
    assert found["labels"] == {override.OWN_LABEL: "a"}


def test_services_that_containers_are_compared_with() -> None:
    extra = {
        "waweb": {"networks": {"default": None, "proxy": {"aliases": ["wa"]}}},
        "proxy": {"image": "proxy:1", "network_mode": "host", "profiles": None, "scale": 2},
        "tool": {"image": "tool:1"},
    }
    made = compose_document.document(client(extra_services=extra, extra_networks={"proxy": {"external": True}}))
    found = {one.pop("name"): one for one in compose_document.wanted(made)}
    digest = {name: one.pop("definition") for name, one in found.items()}
    always = "unless-stopped"
    assert found == {
        "wacore": {"image": "r/coreapp:v2.53.4", "count": 1, "restart": always, "networks": ["wa-a_default"]},
        "waweb": {"image": "r/web:v2.53.4", "count": 1, "restart": always, "networks": ["wa-a_default", "proxy"]},
        "proxy": {"image": "proxy:1", "count": 2, "restart": "no", "networks": []},
    }
    assert made["services"]["proxy"]["labels"] == {override.DEFINITION_LABEL: digest["proxy"]}


def test_another_media_volume_has_a_label() -> None:
    found = compose_document.document(client(media_volume="other"))
    assert found["services"]["wacore"]["labels"][compose_document.MEDIA_VOLUME_LABEL] == "other"
    assert found["volumes"]["media"]["name"] == "other"


@pytest.mark.parametrize("engine", ["MYSQL", "PGSQL"])
@pytest.mark.parametrize(("topology", "services"), [("single", []), ("multiconnect", ["web", "core1", "master1"])])
def test_the_template_of_adoption_equals_the_rendered_service(engine: str, topology: str, services: list[str]) -> None:
    wanted = layout.services(services, topology, "h1.example.com", is_single_host=False)
    made = client(engine=engine, services=wanted)
    for one in wanted:
        found = compose_document.service(made, one)
        found["networks"] = {key: {} for key in found["networks"]}
        found["healthcheck"] = {**found["healthcheck"], "start_period": "300s"}
        template = adopt_service.template(one, engine, "0.0.0.0")
        assert {key: value for key, value in template.items() if value} == {
            key: value for key, value in found.items() if key not in ("image", "env_file", "depends_on", "labels")
        }


@pytest.mark.parametrize(
    ("changes", "services"),
    [
        ({}, {"wacore": {"image": "r/coreapp:v2.53.4"}, "waweb": {"image": "r/web:v2.53.4"}}),
        # What the operator's own files have is not taken from the inventory.
        (
            {
                "extra_services": {"waweb": {"dns": "10.0.0.1"}, "proxy": {"image": "proxy:1"}},
                "extra_networks": {"proxy": {"external": True}},
                "extra_volumes": {"certs": {}},
                "secret_files": {"waweb": "/s.env"},
                "media_volume": "other",
            },
            {"wacore": {"image": "r/coreapp:v2.53.4"}, "waweb": {"image": "r/web:v2.53.4"}},
        ),
        (
            {"version": "2.55.1", "images": {"web": "m:5000/w", "coreapp": "m:5000/c"}},
            {"wacore": {"image": "m:5000/c:v2.55.1"}, "waweb": {"image": "m:5000/w:v2.55.1"}},
        ),
        (
            {"services": layout.services(["web", "core1", "master1"], "multiconnect", "h1", is_single_host=False)},
            {
                "waweb": {"image": "r/web:v2.53.4"},
                "wacore1": {"image": "r/coreapp:v2.53.4"},
                "master1": {"image": "r/coreapp:v2.53.4"},
            },
        ),
        (
            {"services": override.rename(layout.services([], "single", "h1"), {"wacore": "core", "waweb": "web"})},
            {"core": {"image": "r/coreapp:v2.53.4"}, "web": {"image": "r/web:v2.53.4"}},
        ),
        ({"services": []}, {}),
    ],
)
def test_the_file_beside_an_operators_own_files_sets_the_version_only(
    changes: dict[str, t.Any], services: dict[str, t.Any]
) -> None:
    assert compose_document.version_override(client(**changes)) == {"name": "wa-a", "services": services}
