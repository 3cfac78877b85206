# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_info on the real Docker Engine."""

from __future__ import annotations

import pytest
from clients import MOUNT_PATH, Clients
from commands import docker
from playbook import Ansible


def test_containers_are_returned_with_mounts_state_and_version(ansible: Ansible, clients: Clients) -> None:
    volume = clients.volume()
    core = clients.add("wacore", "coreapp", "--env=WA_CONFIG_ON_DB=1", "--env=WA_DB_PASSWORD=Canary-1", volume=volume)
    web = clients.add("waweb", "web", start=False)
    done = ansible.module("wa_info", {"project": clients.project})
    assert not done["changed"]
    found = {one["name"]: one for one in done["containers"]}
    assert sorted(found) == sorted([core, web])
    assert found[core]["mounts"] == [
        {"kind": "volume", "name": volume, "destination": "/usr/local/wamedia", "writable": True}
    ]
    assert (found[core]["state"], found[web]["state"]) == ("running", "created")
    assert (found[core]["keeps_configuration"], found[core]["version"]) == (True, "2.53.4")
    assert "Canary" not in str(done)


FILE = f"{MOUNT_PATH}/outgoing/planted"
# script that runs in a container, whether the container is stopped afterwards, expected layer_media
LAYERS: dict[str, tuple[str, bool, str]] = {
    "what_a_start_writes": (
        f"mkdir -p {MOUNT_PATH}/incoming {MOUNT_PATH}/outgoing; touch /tmp/x /var/log/x /run/x; "
        f"touch {MOUNT_PATH}/incoming/.probe; rm {MOUNT_PATH}/incoming/.probe",
        False,
        "",
    ),
    "a_file": (f"mkdir -p {MOUNT_PATH}/incoming {MOUNT_PATH}/outgoing; echo x >{FILE}", False, FILE),
    "a_file_stopped": (f"mkdir -p {MOUNT_PATH}/incoming {MOUNT_PATH}/outgoing; echo x >{FILE}", True, FILE),
    "a_large_file_of_a_long_name": (
        f"mkdir -p {MOUNT_PATH}; head -c 30000000 /dev/zero >{MOUNT_PATH}/{'n' * 250}",
        False,
        f"{MOUNT_PATH}/{'n' * 250}",
    ),
    "a_link_in_place_of_the_folder": (f"ln -sfn /srv {MOUNT_PATH}", False, MOUNT_PATH),
    "a_name_beside_it": (f"mkdir -p {MOUNT_PATH}2; echo x >{MOUNT_PATH}2/x", False, ""),
}


@pytest.mark.parametrize("case", LAYERS)
def test_media_in_a_container_layer_are_reported(ansible: Ansible, clients: Clients, case: str) -> None:
    script, stopped, expected = LAYERS[case]
    core = clients.add("wacore", "coreapp")
    clients.run(core, script)
    if stopped:
        docker("stop", core)
    done = ansible.module("wa_info", {"project": clients.project})
    assert [one["layer_media"] for one in done["containers"]] == [expected]


def test_an_image_that_lost_its_name_is_recognised(ansible: Ansible, clients: Clients) -> None:
    core = clients.add("wacore", "coreapp")
    docker("image", "rm", "--force", clients.tags[0])
    done = ansible.module("wa_info", {"project": clients.project})
    assert [(one["name"], one["role"]) for one in done["containers"]] == [(core, "core")]


def test_present_and_unreachable_images_are_reported(ansible: Ansible, clients: Clients) -> None:
    clients.add("wacore", "coreapp")
    present = clients.tags[0]
    unreachable = "127.0.0.1:9/whatsapp/web:v9.9.9"
    done = ansible.module("wa_info", {"gather": ["images"], "required_images": [present, unreachable]})
    assert [one["version"] for one in done["images"] if one["name"] == present] == ["2.53.4"]
    assert (done["missing_images"], list(done["unanswered_images"])) == ({}, [unreachable])
    assert "connection refused" in done["unanswered_images"][unreachable]
    assert done["image_free_bytes"] > 0
