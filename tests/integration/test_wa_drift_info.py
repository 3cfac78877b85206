# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The look as a play runs it, against the real engine: an engine that hangs, odd variables, many containers, secrets at -vvv."""

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
CONCERNS = ["automatic_gc", "client", "db_env", "host", "log_cleanup", "media_volume"]
PLAY = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"name": "Compare", "waba.onprem.wa_drift_info": {}, "register": "wa_drift"}],
    }
]


class Look:
    """Runs the look at hosts of an inventory that all mean this machine; `said` is the output of the last run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.said = ""

    def __call__(self, hosts: dict[str, dict[str, t.Any]], *words: str, **more: t.Any) -> dict[str, dict[str, t.Any]]:
        """The result of each host."""
        shared: dict[str, t.Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "wa_version": "2.51.2",
            "wa_registry": "registry.example.com/whatsapp",
            "wa_project_dir": f"{self.folder}/{{{{ inventory_hostname }}}}",
            "wa_state_dir": f"{self.folder}/state",
            "wa_db_env_engine": "PGSQL",
            "wa_db_env_hostname": "db.example.com",
            "wa_db_env_username": "whatsapp",
            "wa_db_env_password": SECRET,
            "wa_api_password": SECRET,
            "wa_message_gc_automatic": True,
            **more,
        }
        (self.folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": shared}}))
        (self.folder / "look.yml").write_text(json.dumps(PLAY))
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "inventory.yml", "look.yml", *words]
        environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=self.folder, timeout=300
        )
        self.said = done.stdout + done.stderr
        assert SECRET not in self.said
        found = json.loads(done.stdout[done.stdout.index("\n{") :] if words else done.stdout[done.stdout.index("{") :])
        return t.cast("dict[str, dict[str, t.Any]]", found["plays"][0]["tasks"][0]["hosts"])


@pytest.fixture
def look(docker_engine: str, tmp_path: Path) -> Look:
    return Look(tmp_path)


def test_a_host_that_has_nothing_yet(look: Look) -> None:
    found = look({look.name: {}})[look.name]
    assert sorted(found["concerns"]) == CONCERNS
    assert found["changed"] is False
    assert "client: service wacore: its container is missing" in found["drift"]
    assert found["concerns"]["db_env"]["state"] == "drifted"
    assert sorted(path.name for path in look.folder.iterdir()) == ["inventory.yml", "look.yml"]


def test_an_engine_that_hangs_hides_no_other_concern(look: Look) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(look.folder / "hung.sock"))
        server.listen(64)
        found = look({look.name: {"wa_docker_host": f"unix://{look.folder}/hung.sock"}})[look.name]
    states = {name: one["state"] for name, one in found["concerns"].items()}
    assert states["client"] == states["media_volume"] == "unknown"
    assert found["concerns"]["client"]["error"] == "Docker Engine: does not answer."
    assert any("timed out" in text for text in found["concerns"]["host"]["changes"])
    assert states["log_cleanup"] == "drifted"
    assert f"log_cleanup: /etc/cron.d/wa-{look.name}-log-cleanup is missing" in found["drift"]


def test_a_variable_that_does_not_template_fails_its_own_host_only(look: Look) -> None:
    found = look({look.name: {}, "odd": {"wa_client_log_max_size": "{{ no_such_variable }}"}})
    assert "no_such_variable" in found["odd"]["msg"]
    assert found["odd"]["failed"] is True
    assert sorted(found[look.name]["concerns"]) == CONCERNS


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"wa_db_env_extra_secrets": {"A": {"b": SECRET}}}, "option extra_secrets: A: "),
        ({"wa_db_env_extra_secrets": [SECRET]}, "wa_db_env_extra_secrets"),
        ({"wa_db_env_password": {"a": SECRET}}, "password"),
        ({"wa_db_env_port": "odd"}, "wa_db_env_port"),
        ({"wa_client_extra_secret_environment": {"waweb": [SECRET]}}, "wa_client_extra_secret_environment"),
        (
            {"wa_client_extra_secret_environment": {"waweb": {"TOKEN": {"a": SECRET}}}},
            "wa_client_extra_secret_environment",
        ),
        ({"wa_media_volume_driver_options": {"o": {"password": SECRET}}}, "media"),
        ({"wa_media_volume_driver_options": {"o": f"username=a,password={SECRET}"}}, ""),
        ({"wa_media_volume_min_free": "odd"}, "wa_media_volume_min_free"),
        ({"wa_api_password": {"a": SECRET}}, ""),
    ],
)
def test_no_secret_is_shown_at_any_verbosity(look: Look, variables: dict[str, t.Any], named: str) -> None:
    found = look({look.name: variables}, "-vvv", "--diff")[look.name]
    assert named in json.dumps(found)


@pytest.mark.deep
def test_many_containers_are_not_asked_one_by_one(look: Look, image: str) -> None:
    """300 others on the host: none is a client's, and none is named."""
    ids = [docker("create", "--label", f"test={look.name}", image, "true") for _each in range(300)]
    try:
        found = look({look.name: {}})[look.name]
    finally:
        docker("rm", *ids)
    assert found["unmanaged"] == []
    assert "client: service wacore: its container is missing" in found["drift"]
