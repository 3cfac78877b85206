# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_info on the real Docker Engine."""

from __future__ import annotations

from clients import Clients
from commands import docker
from playbook import Ansible


def test_real_containers_are_told(ansible: Ansible, clients: Clients) -> None:
    volume = clients.volume()
    core = clients.add("wacore", "coreapp", "--env=WA_CONFIG_ON_DB=1", "--env=WA_DB_PASSWORD=Canary-1", volume=volume)
    web = clients.add("waweb", "web", start=False)
    done = ansible.module("wa_info", {"gather": ["host", "containers"], "project": clients.project})
    assert not done["changed"]
    assert done["docker_version"]
    found = {one["name"]: one for one in done["containers"]}
    assert sorted(found) == sorted([core, web])
    assert found[core]["mounts"] == [
        {"kind": "volume", "name": volume, "destination": "/usr/local/wamedia", "writable": True}
    ]
    assert (found[core]["state"], found[web]["state"]) == ("running", "created")
    assert (found[core]["keeps_configuration"], found[core]["version"]) == (True, "2.53.4")
    assert "Canary" not in str(done)


def test_an_image_that_lost_its_name_is_found(ansible: Ansible, clients: Clients) -> None:
    core = clients.add("wacore", "coreapp")
    docker("image", "rm", "--force", clients.tags[0])
    done = ansible.module("wa_info", {"project": clients.project})
    assert [(one["name"], one["role"]) for one in done["containers"]] == [(core, "core")]


def test_images_here_and_nowhere_are_told(ansible: Ansible, clients: Clients) -> None:
    clients.add("wacore", "coreapp")
    here = clients.tags[0]
    nowhere = "127.0.0.1:9/whatsapp/web:v9.9.9"
    done = ansible.module("wa_info", {"gather": ["images"], "required_images": [here, nowhere]})
    assert [one["version"] for one in done["images"] if one["name"] == here] == ["2.53.4"]
    assert (done["missing_images"], list(done["unanswered_images"])) == ({}, [nowhere])
    assert "connection refused" in done["unanswered_images"][nowhere]
    assert done["image_free_bytes"] > 0
