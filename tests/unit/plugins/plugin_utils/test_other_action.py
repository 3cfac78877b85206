# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action from within another one: its own, or the one that runs a module without one, and the outer task stays as it is."""

from __future__ import annotations

import contextlib
import types
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils._other_action import run_other


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("name", "chosen"),
    [("waba.onprem.wa_backup", "waba.onprem.wa_backup"), ("waba.onprem.wa_client", "ansible.legacy.normal")],
)
def test_the_action_that_ansible_would_choose(name: str, chosen: str, fails: bool) -> None:
    task = types.SimpleNamespace(action="outer", args={"a": 1}, check_mode=False)
    task.copy = lambda: types.SimpleNamespace(**vars(task))
    calls: list[t.Any] = []

    class Other:
        def run(self, task_vars: t.Any) -> dict[str, t.Any]:
            calls.append(task_vars)
            if fails:
                raise OSError("lost")
            return {"changed": True}

        def cleanup(self) -> None:
            calls.append("cleaned")

    def get(plugin: str, **given: t.Any) -> Other:
        calls.extend([plugin, given])
        return Other()

    actions = types.SimpleNamespace(has_plugin=lambda found: found == "waba.onprem.wa_backup", get=get)
    loader = types.SimpleNamespace(action_loader=actions)
    outer = types.SimpleNamespace(
        _task=task, _shared_loader_obj=loader, _connection=1, _play_context=2, _loader=3, _templar=4
    )
    with pytest.raises(OSError, match="lost") if fails else contextlib.nullcontext():
        assert run_other(outer, name, {"b": 2}, {"c": 3}, check_mode=True) == {"changed": True}
    plugin, given, *rest = calls
    assert (plugin, given["connection"], given["shared_loader_obj"]) == (chosen, 1, loader)
    inner = given["task"]
    assert (inner.action, inner.args, inner.check_mode, rest) == (name, {"b": 2}, True, [{"c": 3}, "cleaned"])
    assert (task.action, task.args, task.check_mode) == ("outer", {"a": 1}, False)
