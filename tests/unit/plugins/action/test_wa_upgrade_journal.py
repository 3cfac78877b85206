# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_upgrade_journal: it adds who runs the module, and for which host."""

from __future__ import annotations

import getpass
import platform
import typing as t

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.action import wa_upgrade_journal
from ansible_collections.waba.onprem.plugins.plugin_utils import _run


def test_the_module_gets_run_user_controller_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, t.Any]] = []

    def module(module_args: dict[str, t.Any], **_more: t.Any) -> dict[str, t.Any]:
        calls.append(module_args)
        return {"held": True}

    action = object.__new__(wa_upgrade_journal.ActionModule)
    action._task = type("Task", (), {"args": {"operation": "hold", "path": "a.lock"}})
    monkeypatch.setattr(action, "_execute_module", module, raising=False)
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    assert action.run(None, {"inventory_hostname": "h1"}) == {"held": True}
    assert calls == [
        {
            "operation": "hold",
            "path": "a.lock",
            "run_id": _run.this_run(),
            "user": getpass.getuser(),
            "controller": platform.node(),
            "host": "h1",
        }
    ]
