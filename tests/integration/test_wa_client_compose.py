# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Compose file of each topology as Docker Compose parses it."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import commands
import pytest
import yaml

STAGE = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.include_role": {"name": "waba.onprem.wa_client", "tasks_from": "stage"},
                "vars": {"__wa_client_next_version": "2.53.4"},
            }
        ],
    }
]


def rendered(folder: pathlib.Path, hosts: int, **variables: t.Any) -> dict[str, dict[str, t.Any]]:
    """Each host's Compose file, as `docker compose config` prints it, services of profiles included."""
    members = {f"h{number}": {"wa_client_address": f"h{number}.example.com"} for number in range(1, hosts + 1)}
    group = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "wa_deployment": "support",
        "wa_registry": "registry.example.com/whatsapp",
        "wa_version": "2.51.2",
        "wa_project_dir": f"{folder}/{{{{ inventory_hostname }}}}",
        "wa_media_volume_driver": "shared",
        "wa_db_env_extra_secrets": {"WA_WEB_JWT_CRYPTO_KEY": "Canary-key"},
        **variables,
    }
    inventory = {"all": {"children": {"support": {"hosts": members, "vars": group}}}}
    for name, text in (("inventory.yml", inventory), ("stage.yml", STAGE)):
        (folder / name).write_text(yaml.safe_dump(text), encoding="utf-8")
    for member in members:
        (folder / member).mkdir()
        (folder / member / "db.env").write_text("WA_DB_HOSTNAME=db.example.com\n", encoding="utf-8")
    commands.run("ansible-playbook", "--inventory=inventory.yml", "stage.yml", cwd=folder)
    found = {}
    for member in members:
        assert "Canary" not in (folder / member / "compose-2.53.4.yml").read_text(encoding="utf-8")
        command = ["docker", "compose", "--file=compose-2.53.4.yml", "--profile=*", "config", "--format=json"]
        done = subprocess.run(command, cwd=folder / member, check=False, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        found[member] = json.loads(done.stdout)
    return found


def own_environment(service: t.Mapping[str, t.Any]) -> dict[str, str]:
    """The environment that the Compose file sets, without the variables common to all services."""
    common = {"WA_CONFIG_ON_DB", "WA_DB_HOSTNAME"}
    assert common <= set(service["environment"])
    return {name: value for name, value in service["environment"].items() if name not in common}


def ports(service: t.Mapping[str, t.Any]) -> list[tuple[str, str, int]]:
    return [(port["host_ip"], port["published"], port["target"]) for port in service.get("ports", [])]


def test_the_compose_file_of_a_single_host(tmp_path: pathlib.Path) -> None:
    services = rendered(tmp_path, 1)["h1"]["services"]
    assert set(services) == {"wacore", "waweb", "dbupgrade"}
    assert own_environment(services["wacore"]) == {}
    assert own_environment(services["waweb"]) == {"WACORE_HOSTNAME": "wacore"}
    assert list(services["waweb"]["depends_on"]) == ["wacore"]
    assert (ports(services["wacore"]), ports(services["waweb"])) == ([], [("0.0.0.0", "9090", 443)])


@pytest.mark.parametrize(("topology", "shards"), [("high_availability", 1), ("multiconnect", 2)])
def test_the_compose_files_of_three_hosts(tmp_path: pathlib.Path, topology: str, shards: int) -> None:
    found = rendered(
        tmp_path,
        3,
        wa_topology=topology,
        wa_shards=shards,
        wa_client_core_bind_address="10.0.0.1",
        wa_client_web_port=9443,
    )
    assert {member: set(one["services"]) - {"dbupgrade"} for member, one in found.items()} == {
        "h1": {"waweb", "wacore1", "master1"},
        "h2": {"waweb", "wacore2", "master2"},
        "h3": {"waweb", "wacore3"},
    }
    services = found["h2"]["services"]
    assert own_environment(services["wacore2"]) == {
        "WA_APP_MULTICONNECT": "1",
        "COREAPP_HOSTNAME": "h2.example.com",
        "COREAPP_EXTERNAL_PORTS": "6250,6251,6252,6253",
    }
    assert own_environment(services["master2"]) == {
        "WA_APP_MULTICONNECT": "1",
        "WA_MASTER_NODE": "1",
        "COREAPP_HOSTNAME": "h2.example.com",
        "COREAPP_EXTERNAL_PORTS": "6254,6255,6256,6257",
    }
    assert own_environment(services["waweb"]) == {
        "WA_APP_MULTICONNECT": "1",
        "WEBAPP_HOSTNAME": "h2.example.com",
        "WEBAPP_EXTERNAL_PORTS": "9443",
    }
    assert ports(services["master2"]) == [("10.0.0.1", str(6254 + n), 6250 + n) for n in range(4)]
    assert ports(services["waweb"]) == [("0.0.0.0", "9443", 443)]
    images = {name: one["image"].rpartition("/")[2] for name, one in services.items()}
    assert images == {
        "wacore2": "coreapp:v2.53.4",
        "master2": "coreapp:v2.53.4",
        "waweb": "web:v2.53.4",
        "dbupgrade": "coreapp:v2.53.4",
    }
    assert {one["volumes"][0]["source"] for one in services.values()} == {"media"}
    assert {member: one["volumes"]["media"]["name"] for member, one in found.items()} == dict.fromkeys(
        found, "wa-support_whatsappMedia"
    )
