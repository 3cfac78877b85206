# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which containers are the client's, on a real engine: the modules and the log cleanup script agree."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import log_containers as lc
import pytest
from clients import REGISTRY
from commands import docker
from log_job import Job

LAUNCH = ("/opt/whatsapp/bin/wait_on_mysql.sh", "/opt/whatsapp/bin/launch_within_docker.sh")
BY_SHELL = ("/bin/sh", "-c", "cd /opt/whatsapp/bin\n./launch_within_docker.sh")
SIDECAR = ("sh", "-c", "docker exec biz-wacore-1 /opt/whatsapp/bin/cleanup.sh")
OWN = {"web": "wa-webapp", "coreapp": "wa-core"}

# role of the image, evidence, command, whether client_images is set, whether it is the client's
CASES: dict[str, tuple[str, list[str], tuple[str, ...], bool, bool]] = {
    "name_alone": ("web", [], ("nginx",), False, False),
    "name_and_variable": ("web", ["--env", "WA_DB_HOSTNAME=db"], ("nginx",), False, True),
    "name_and_other_variable": ("web", ["--env", "MYWA_DB=1", "--env", "X=WA_DB_ENGINE"], ("nginx",), False, False),
    "name_and_media": ("coreapp", ["--volume", "/tmp:/usr/local/wamedia/incoming"], ("run",), False, True),
    "name_and_another_folder": ("coreapp", ["--volume", "/tmp:/usr/local/wamedia2"], ("run",), False, False),
    "name_and_program": ("web", [], ("sh", "-c", "ls /opt/whatsapp"), False, True),
    "any_name_that_starts_it": ("other", [], LAUNCH, False, True),
    "any_name_that_starts_it_by_a_shell": ("other", [], BY_SHELL, False, True),
    "sidecar_with_all_variables": ("exporter", ["--env", "WA_DB_ENGINE=MYSQL"], ("run",), False, False),
    "sidecar_that_cleans": ("cli", [], SIDECAR, False, False),
    "configured": ("wa-core", [], ("run",), True, True),
    "not_configured": ("wa-core", [], ("run",), False, False),
    "other_than_configured": ("web", [], ("run",), True, False),
    "before_the_registry_moved": ("moved/wa-webapp", ["--env", "WA_DB_ENGINE=MYSQL"], ("run",), True, True),
}


@pytest.mark.parametrize("case", CASES)
def test_the_module_and_the_script_select_the_same_containers(
    ansible: t.Any, clients: t.Any, tmp_path: Path, case: str
) -> None:
    role, evidence, command, own, client = CASES[case]
    name = clients.add("one", role, evidence=evidence, command=command, start=False)
    images = {kind: f"{REGISTRY}/{clients.project}/{image}" for kind, image in OWN.items()} if own else {}
    module = {"project": clients.project, "client_images": images}
    assert [one["name"] for one in ansible.module("wa_info", module)["containers"]] == ([name] if client else [])
    job = Job(tmp_path, clients.project)
    done = job(*(["-i", json.dumps(images)] if own else []))
    # A stopped container is skipped. If no container is found, the job fails and reports it.
    assert (done.returncode, job.status["skipped"]) == (int(not client), int(client)), done.stderr
    assert ("no client container found" in done.stderr) is not client
    lc.remove_locks(clients.project)


def test_a_container_without_a_tag_has_the_version_of_its_repository(ansible: t.Any, clients: t.Any) -> None:
    """The version comes from a tag of the container's own repository, not from another tag of the image."""
    clients.tag("coreapp", "9.9.9")
    name = clients.add("one", "wa-core", evidence=[], start=False)
    docker("tag", clients.tag("other"), f"{REGISTRY}/{clients.project}/wa-core:v2.53.4")
    images = {"coreapp": f"{REGISTRY}/{clients.project}/wa-core"}
    found = ansible.module("wa_info", {"project": clients.project, "client_images": images})["containers"]
    assert [(one["name"], one["version"], one["role"]) for one in found] == [(name, "2.53.4", "core")]
