# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What unit tests share: a fake Docker Engine, a way to run a module's `main` in this process, and how many cases are tried."""

from __future__ import annotations

import importlib
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.common.parameters import PASS_VARS
from ansible.module_utils.testing import patch_module_args
from fake_docker import FakeDocker
from hypothesis import HealthCheck, settings

RunModule = t.Callable[..., "dict[str, t.Any]"]
# On a machine that does more than this a case may take long; `deep` is for `script/test deep`.
settings.register_profile("ci", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", settings.get_profile("ci"), max_examples=2000)
settings.load_profile(os.environ.get("WA_TEST_PROFILE", "ci"))


@pytest.fixture
def engine(tmp_path: Path) -> t.Iterator[FakeDocker]:
    """A fake Docker Engine that runs."""
    with FakeDocker(tmp_path) as fake:
        yield fake


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> RunModule:
    """`run_module("wa_media_volume", {...}, check=False)`: the module's result, `failed` set when it failed."""

    def run(name: str, options: dict[str, t.Any], check: bool = False) -> dict[str, t.Any]:
        module = importlib.import_module(f"ansible_collections.waba.onprem.plugins.modules.{name}")
        capsys.readouterr()
        arguments = dict(options, _ansible_check_mode=check, _ansible_diff=True)
        # What Ansible itself takes out of a result: before 2.21 the invocation, which a module gives unasked, and from 2.22
        # on what it is to mask.
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
