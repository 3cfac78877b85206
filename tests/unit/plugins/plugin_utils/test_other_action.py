# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action from within another one: its own, or the one that runs a module without one, and the outer task stays as it is."""

from __future__ import annotations

import types
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils._other_action import other_action


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("waba.onprem.wa_backup", "waba.onprem.wa_backup"), ("waba.onprem.wa_client", "ansible.legacy.normal")],
)
def test_the_action_that_ansible_would_choose(name: str, chosen: str) -> None:
    task = types.SimpleNamespace(action="outer", args={"a": 1})
    task.copy = lambda: types.SimpleNamespace(**vars(task))

    def get(plugin: str, **given: t.Any) -> tuple[str, dict[str, t.Any]]:
        return plugin, given

    actions = types.SimpleNamespace(has_plugin=lambda found: found == "waba.onprem.wa_backup", get=get)
    loader = types.SimpleNamespace(action_loader=actions)
    outer = types.SimpleNamespace(
        _task=task, _shared_loader_obj=loader, _connection=1, _play_context=2, _loader=3, _templar=4
    )
    plugin, given = other_action(outer, name, {"b": 2})
    assert (plugin, given["connection"], given["shared_loader_obj"]) == (chosen, 1, loader)
    assert (given["task"].action, given["task"].args) == (name, {"b": 2})
    assert (task.action, task.args) == ("outer", {"a": 1})
