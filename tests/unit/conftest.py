# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the unit tests: a fake Docker Engine, a fake Compose, modules run in this process, and the number of generated examples."""

from __future__ import annotations

import importlib
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args
from fake_compose import FakeCompose
from fake_docker import FakeDocker
from hypothesis import HealthCheck, settings

RunModule = t.Callable[..., "dict[str, t.Any]"]
# Examples may take long on a busy machine. `script/test deep` uses the profile `deep`.
settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("WA_TEST_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def umask() -> t.Iterator[None]:
    """Modules that run in this process set a mask, which would remain for the tests after them."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def engine(tmp_path: Path) -> t.Iterator[FakeDocker]:
    """A running fake Docker Engine."""
    with FakeDocker(tmp_path) as fake:
        yield fake


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCompose:
    """Compose as modules call it. No registry login is configured."""
    found = FakeCompose()
    monkeypatch.setattr(
        AnsibleModule, "run_command", lambda _module, *arguments, **options: found(*arguments, **options)
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return found


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> RunModule:
    """Return `run_module("wa_media_volume", {...}, check=False)`, which returns the module's result with `failed` if it failed."""

    def run(name: str, options: dict[str, t.Any], check: bool = False) -> dict[str, t.Any]:
        module = importlib.import_module(f"ansible_collections.waba.onprem.plugins.modules.{name}")
        capsys.readouterr()
        arguments = dict(options, _ansible_check_mode=check, _ansible_diff=True)
        # Parts of a result that Ansible removes: before 2.21 the invocation, which a module always returns; from 2.22 on
        # the values to be masked.
        wants_invocation = arguments.get("_ansible_inject_invocation", False)
        if "inject_invocation" not in PASS_VARS:
            arguments.pop("_ansible_inject_invocation", None)
        with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
            module.main()
        result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        result.pop("_ansible_new_secrets", None)
        if not wants_invocation:
            result.pop("invocation", None)
        assert bool(result.get("failed")) == bool(ended.value.code), "exit code and result disagree"
        return result

    return run
