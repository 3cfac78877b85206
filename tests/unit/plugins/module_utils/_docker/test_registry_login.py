# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine gets the registry login that `docker login` has stored."""

from __future__ import annotations

import base64
import json
import subprocess
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._docker import registry_login

IMAGE = "reg.example.com:5000/whatsapp/web:v1"
REGISTRY = "reg.example.com:5000"
AUTH = base64.b64encode(b"wa:pa:ss").decode()
PLAIN = {"username": "wa", "password": "pa:ss", "serveraddress": REGISTRY}


def run(command: list[str], data: str, handle_exceptions: bool) -> tuple[int, str, str]:
    """Runs a command as `AnsibleModule.run_command` does."""
    assert not handle_exceptions
    done = subprocess.run(command, input=data + "\n", capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[t.Any], None]:
    """Write the configuration of `docker login`, and a credential helper that knows one registry."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    helper = tmp_path / "docker-credential-lab"
    helper.write_text(
        "#!/bin/sh\nread -r registry || :\n"
        f'[ "$registry" = {REGISTRY} ] || exit 1\nprintf \'{{"Username": "wa", "Secret": "pa:ss"}}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return lambda config: t.cast("None", (tmp_path / "config.json").write_text(json.dumps(config)))


@pytest.mark.parametrize(
    ("config", "login"),
    [
        ({"auths": {REGISTRY: {"auth": AUTH}}}, PLAIN),
        ({"auths": {f"https://{REGISTRY}/v2/": {"auth": AUTH}}}, PLAIN),
        ({"auths": {"other.example.com": {"auth": AUTH}}}, None),
        (
            {"auths": {REGISTRY: {"auth": AUTH, "identitytoken": "tok"}}},
            {"identitytoken": "tok", "serveraddress": REGISTRY},
        ),
        ({"auths": {REGISTRY: {}}, "credsStore": "lab"}, PLAIN),
        ({"credHelpers": {REGISTRY: "lab"}}, PLAIN),
        ({"credHelpers": {"other.example.com": "lab"}}, None),
        ({"credsStore": "not-installed"}, None),
        ({"auths": {REGISTRY: {"auth": "%%%"}}}, None),
        ([], None),
    ],
)
def test_the_login_of_a_registry_is_found(
    write: t.Callable[[t.Any], None], config: t.Any, login: dict[str, str] | None
) -> None:
    write(config)
    header = registry_login.header(IMAGE, run)
    found = json.loads(base64.urlsafe_b64decode(header["X-Registry-Auth"])) if header else None
    assert found == login


def test_without_a_configuration_there_is_no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    assert registry_login.header(IMAGE, run) == {}


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        (IMAGE, REGISTRY),
        ("localhost/web", "localhost"),
        ("web:v1", "https://index.docker.io/v1/"),
        ("whatsapp/web", "https://index.docker.io/v1/"),
    ],
)
def test_the_registry_of_an_image(image: str, registry: str) -> None:
    assert registry_login.registry_of(image) == registry
