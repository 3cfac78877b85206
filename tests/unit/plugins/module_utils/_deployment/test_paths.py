# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of the inventory: one normalised form, and no system folder."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import paths, topology

GROUPS = {"all": ["a1"]}


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/srv/wa", "/srv/wa"),
        ("/srv/wa/", "/srv/wa"),
        ("/srv//wa", "/srv/wa"),
        ("//srv/wa", "/srv/wa"),
        ("/srv/wa/.", "/srv/wa"),
        ("/./srv/./wa//", "/srv/wa"),
        ("/srv/my client", "/srv/my client"),
        ("/srv/kundé", "/srv/kundé"),
        ("/usr/local/wa", "/usr/local/wa"),
        ("/wa", "/wa"),
        ("/home/ann/wa", "/home/ann/wa"),
        ("/srv/..wa", "/srv/..wa"),
    ],
)
def test_a_path_is_normalised(given: str, path: str) -> None:
    assert paths.folder("wa_project_dir", given) == path
    assert paths.folder("wa_project_dir", path) == path


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("srv/wa", "'srv/wa' is relative; expected an absolute path"),
        ("~/wa", "'~/wa' is relative"),
        ("", "empty"),
        (" ", "empty"),
        (" /srv/wa", "is relative"),
        ("/srv/wa ", "a space at an end"),
        ("/srv/wa/../other", r"goes up by \.\."),
        ("/srv/$HOME", r"holds \$"),
        ("/srv/wa\n", r"holds '\\n'"),
        ("/srv/a,b", "holds ,"),
        ("/srv/a\x00b", r"holds '\\x00'"),
        (None, "None is no path"),
        (True, "True is no path"),
        (["/srv/wa"], "is no path"),
        (5, "5 is no path"),
        ("/srv/" + "a" * 200, "a path of 205 bytes"),
        ("/", "/ belongs to the system"),
        ("//", "/ belongs to the system"),
        ("/opt/", "/opt belongs to the system"),
        ("/var/lib", "/var/lib belongs to the system"),
        ("/var/lib/docker/volumes/wa", "belongs to the system"),
        ("/etc/cron.d", "belongs to the system"),
        ("/usr/share/wa", "belongs to the system"),
        ("/usr/local/bin", "belongs to the system"),
        ("/run/wa", "belongs to the system"),
        ("/home/ann", "/home/ann is a user's home"),
    ],
)
def test_an_unsuitable_folder_is_refused(given: t.Any, text: str) -> None:
    with pytest.raises(WaError, match=text) as refused:
        paths.folder("host a1: wa_project_dir", given)
    assert str(refused.value).startswith("host a1: wa_project_dir: ")


def test_a_deployment_has_normalised_paths() -> None:
    found = topology.deployment("a1", GROUPS, project_dir="/srv//wa/", env_file="/etc/wa/./db.env")
    assert {name: value for name, value in found.items() if str(value).startswith("/")} == {
        "project_dir": "/srv/wa",
        "compose_file": "/srv/wa/compose.yml",
        "env_file": "/etc/wa/db.env",
        "identity_file": "/var/lib/waba/client-a1.json",
        "gc_state_file": "/var/lib/waba/gc-a1.json",
        "refused_login_file": "/var/lib/waba/api-login-a1.json",
        "log_cleanup_status_file": "/var/lib/waba/log-cleanup-a1.json",
        "lock_file": "/var/lib/waba/a1.lock",
        "hold_file": "/var/lib/waba/a1.hold",
    }
    assert topology.deployment("a1", GROUPS, project_dir="/srv/wa")["env_file"] == "/srv/wa/db.env"
    assert topology.deployment("a1", GROUPS)["env_file"] == "/opt/waba/a1/db.env"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"project_dir": "wa"}, "host a1: wa_project_dir: 'wa' is relative"),
        ({"env_file": "db.env"}, "host a1: wa_env_file: 'db.env' is relative"),
        ({"project_dir": "/var/lib/"}, "host a1: wa_project_dir: /var/lib belongs to the system"),
        ({"project_dir": "/var/lib//waba"}, "wa_project_dir and state_dir: /var/lib/waba and /var/lib/waba"),
        ({"project_dir": "/srv/wa", "env_file": "/srv/wa/"}, "wa_env_file and wa_project_dir: /srv/wa and /srv/wa"),
        ({"project_dir": "/data/db.env/wa", "env_file": "/data/db.env"}, "wa_env_file and wa_project_dir"),
        ({"project_dir": "/srv/wa", "env_file": "/srv/wa/compose.yml"}, "is another file of the deployment"),
        ({"project": "My Project"}, "host a1: wa_project: 'My Project' is no name of a Compose project"),
        ({"name": ["a1"]}, "host a1: wa_deployment: .* is no name"),
        ({"leader": True}, "host a1: wa_leader: True is no name"),
    ],
)
def test_a_deployment_with_a_wrong_value_is_refused(given: dict[str, t.Any], text: str) -> None:
    with pytest.raises(WaError, match=text):
        topology.deployment("a1", GROUPS, **given)


def test_a_name_may_consist_of_digits() -> None:
    found = topology.deployment("a1", {"all": ["a1"], "12": ["a1"]}, name=12, project=7)
    assert (found["name"], found["project"]) == ("12", "7")


def test_deployments_on_one_machine_never_share_a_folder() -> None:
    hostvars = {
        name: {"ansible_host": "192.0.2.1", "wa_client_web_port": port, "wa_project_dir": folder}
        for name, port, folder in (("one", 1, "/srv/wa"), ("two", 2, "/srv/wa/"))
    }
    with pytest.raises(WaError, match="one machine and the same project_dir /srv/wa"):
        topology.projects_at(hostvars, "one", {"all": list(hostvars)})
