# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A registration inside a container: when it is reported, and the commands that move it out."""

from __future__ import annotations

import typing as t

import pytest
from adopt_samples import container, survey

from ansible_collections.waba.onprem.plugins.module_utils._adopt import clients, registration

WEB = ("h1", "https://127.0.0.1:9090")
UNSET: dict[str, t.Any] = {"WA_CONFIG_ON_DB": None}


def client(*containers: dict[str, t.Any]) -> clients.Client:
    [found] = clients.clients("h1", survey(*containers))
    found.name = found.deployment = "h1"
    return found


@pytest.mark.parametrize(
    ("environment", "mounts", "reported"),
    [
        (UNSET, [], True),
        ({"WA_CONFIG_ON_DB": "0"}, [], True),
        (UNSET, [["tmpfs", "", "/usr/local/waent/data"]], True),
        (UNSET, [["volume", "other", "/usr/local/waent/logs"]], True),
        (UNSET, [["volume", "conf", "/usr/local/waent/data"]], False),
        (UNSET, [["bind", "/srv/wa", "/usr/local/waent"]], False),
        ({}, [], False),  # the sample has WA_CONFIG_ON_DB=1
    ],
)
def test_it_is_reported_unless_it_is_in_the_database_or_on_a_volume(
    environment: dict[str, t.Any], mounts: list[t.Any], reported: bool
) -> None:
    core = container("wacore", environment=environment, mounts=mounts)
    web = container("waweb", environment=UNSET)
    found = registration.actions(client(core, web), WEB)
    assert [one.facts[0] for one in found] == (
        ["the registration of the number exists only inside the container biz-wacore-1"] if reported else []
    )


HEALTH = (
    "See that the client is connected: `ansible h1 -i inventory.yml{options} --become -m waba.onprem.wa_webapp_info -a "
    "'topology=single wait_timeout=5m api_url=https://127.0.0.1:9090 api_validate_certs=false "
    "api_password={{wa_api_password}}'`"
)
BACKUP = "Save a settings backup: `ansible-playbook -i inventory.yml{options} waba.onprem.backup --limit h1`"


START = "docker compose --project-name=biz --project-directory=/srv/biz --file=/srv/biz/docker-compose.yml"


def test_a_container_of_compose_is_created_anew_from_the_operators_own_file() -> None:
    [found] = registration.actions(client(container("wacore", environment=UNSET)), WEB)
    assert found.steps == (
        "Add wa_api_password, wa_backup_password and wa_backup_dir to the vault.yml of the client (ansible-vault edit)",
        BACKUP,
        f"On h1: go on only if `{START} config --images wacore` shows registry.example.com/whatsapp/coreapp:v2.51.2",
        "On h1, in a quiet hour: `docker stop biz-wacore-1`",
        "On h1: `docker cp --archive biz-wacore-1:/usr/local/waent/data /srv/biz/biz-wacore-1-data`",
        "In /srv/biz/docker-compose.yml, add to the volumes of the service wacore: "
        "`- /srv/biz/biz-wacore-1-data:/usr/local/waent/data`",
        f"On h1: `{START} up --detach --no-deps wacore`",
        HEALTH,
        "Run adopt.yml again: this entry is then gone",
    )


def test_a_start_takes_the_files_that_the_first_one_had() -> None:
    core = container("wacore", environment=UNSET, interpolation_files=["/srv/biz/prod.env"])
    [action] = registration.actions(client(core), WEB)
    starts = [step for step in action.steps if " up --detach " in step or " config " in step]
    assert ["--env-file=/srv/biz/prod.env --file=/srv/biz/docker-compose.yml" in step for step in starts] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    "of_docker_run",
    [
        container("wacore", "", environment=UNSET),
        container("wacore", environment=UNSET, name="wacore", files=[], folder=""),
    ],
)
def test_another_container_is_set_aside_until_the_new_one_is_connected(of_docker_run: dict[str, t.Any]) -> None:
    [found] = registration.actions(client(of_docker_run), WEB)
    assert found.steps[2:] == (
        "On h1, in a quiet hour: `docker stop wacore`",
        "On h1: `docker cp --archive wacore:/usr/local/waent/data /opt/wacore-data`",
        "On h1: `docker update --restart no wacore && docker rename wacore wacore-old`",
        "On h1, create wacore with the command that you created it with, and add: "
        "`--volume /opt/wacore-data:/usr/local/waent/data`",
        HEALTH,
        "On h1: `docker rm wacore-old`",
        "Run adopt.yml again: this entry is then gone",
    )
