# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_drift_info run by a play on the real engine: an engine that hangs, invalid variables, many containers, secrets at -vvv."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import typing as t
import uuid
from pathlib import Path

import pytest
from commands import docker

SECRET = "Canary-Look-1"
CONCERNS = ["automatic_gc", "client", "database", "db_env", "health", "host", "log_cleanup", "media_volume"]
PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"name": "Compare", "waba.onprem.wa_drift_info": {}, "register": "wa_drift"}],
    }
]


class DriftInfo:
    """Runs wa_drift_info on hosts of an inventory, which are all this machine. `output` is that of the last run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.output = ""

    def __call__(
        self, hosts: dict[str, dict[str, t.Any]], *arguments: str, **more: t.Any
    ) -> dict[str, dict[str, t.Any]]:
        """Returns the result of each host."""
        shared: dict[str, t.Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "wa_version": "2.51.2",
            "wa_registry": "registry.example.com/whatsapp",
            "wa_project_dir": f"{self.folder}/{{{{ inventory_hostname }}}}",
            "wa_db_env_engine": "PGSQL",
            "wa_db_env_hostname": "db.example.com",
            "wa_db_env_username": "whatsapp",
            "wa_db_env_password": SECRET,
            "wa_api_password": SECRET,
            "wa_message_gc_automatic": True,
            **more,
        }
        (self.folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": shared}}))
        (self.folder / "compare.yml").write_text(json.dumps(PLAY))
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "inventory.yml",
            "compare.yml",
            *arguments,
        ]
        environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=self.folder, timeout=300
        )
        self.output = done.stdout + done.stderr
        assert SECRET not in self.output
        found = json.loads(
            done.stdout[done.stdout.index("\n{") :] if arguments else done.stdout[done.stdout.index("{") :]
        )
        return t.cast("dict[str, dict[str, t.Any]]", found["plays"][0]["tasks"][0]["hosts"])


@pytest.fixture
def drift_info(docker_engine: str, tmp_path: Path) -> DriftInfo:
    return DriftInfo(tmp_path)


def test_an_empty_host_drifts_in_every_concern(drift_info: DriftInfo) -> None:
    found = drift_info({drift_info.name: {}})[drift_info.name]
    assert sorted(found["concerns"]) == CONCERNS
    assert found["changed"] is False
    assert f"client: wa-{drift_info.name}-wacore-1 is missing" in found["drift"]
    assert found["concerns"]["db_env"]["state"] == "drifted"
    assert sorted(path.name for path in drift_info.folder.iterdir()) == ["compare.yml", "inventory.yml"]


def test_a_hanging_engine_does_not_hide_other_concerns(drift_info: DriftInfo) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(drift_info.folder / "hung.sock"))
        server.listen(64)
        found = drift_info({drift_info.name: {"wa_docker_host": f"unix://{drift_info.folder}/hung.sock"}})[
            drift_info.name
        ]
    states = {name: one["state"] for name, one in found["concerns"].items()}
    assert states["client"] == states["media_volume"] == "unknown"
    assert found["concerns"]["client"]["error"] == "Docker Engine: does not answer."
    assert "timed out" in found["concerns"]["host"]["error"]
    assert states["log_cleanup"] == "drifted"
    assert f"log_cleanup: /etc/cron.d/wa-{drift_info.name}-log-cleanup is missing" in found["drift"]


def test_an_undefined_variable_fails_its_own_host_only(drift_info: DriftInfo) -> None:
    found = drift_info({drift_info.name: {}, "odd": {"wa_client_log_max_size": "{{ no_such_variable }}"}})
    assert "no_such_variable" in found["odd"]["msg"]
    assert found["odd"]["failed"] is True
    assert sorted(found[drift_info.name]["concerns"]) == CONCERNS


# Invalid values and others that contain a secret, and what the host's result says of them.
ODD: list[tuple[dict[str, t.Any], str]] = [
    ({"wa_db_env_extra_secrets": {"A": {"b": SECRET}}}, "option extra_secrets: A: "),
    ({"wa_db_env_extra_secrets": [SECRET]}, "wa_db_env_extra_secrets"),
    ({"wa_db_env_password": {"a": SECRET}}, "password"),
    ({"wa_db_env_port": "odd"}, "wa_db_env_port"),
    ({"wa_media_volume_driver_options": {"o": {"password": SECRET}}}, "media"),
    ({"wa_media_volume_driver_options": {"o": f"username=a,password={SECRET}"}}, ""),
    ({"wa_client_log_max_size": "odd"}, "wa_client_log_max_size"),
    ({"wa_api_password": {"a": SECRET}}, ""),
]


def test_no_secret_is_shown_at_any_verbosity(drift_info: DriftInfo) -> None:
    hosts = {f"{drift_info.name}-{number}": variables for number, (variables, _named) in enumerate(ODD)}
    found = drift_info(hosts, "-vvv", "--diff")
    for host, (_variables, named) in zip(hosts, ODD):
        assert named in json.dumps(found[host]), host


@pytest.mark.deep
def test_unrelated_containers_are_not_reported(drift_info: DriftInfo, image: str) -> None:
    """None of 300 other containers on the host is a client's."""
    ids = [docker("create", "--label", f"test={drift_info.name}", image, "true") for _each in range(300)]
    try:
        found = drift_info({drift_info.name: {}})[drift_info.name]
    finally:
        docker("rm", *ids)
    assert found["unmanaged"] == []
    assert f"client: wa-{drift_info.name}-wacore-1 is missing" in found["drift"]
