# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of tasks an upgrade must not run."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._upgrade.hooks import refusal

PAUSE = {"ansible.builtin.pause": {"seconds": 5}}


@pytest.mark.parametrize(
    ("tasks", "action", "cure"),
    [
        ([{"name": "Wait", **PAUSE}], "ansible.builtin.pause (task 'Wait')", "ansible.builtin.wait_for with timeout"),
        ([{"pause": None}], "pause", "wait_for"),
        ([{"debug": {}}, {"ansible.legacy.add_host": {"name": "x"}}], "ansible.legacy.add_host", "inventory"),
        ([{"action": "pause seconds=5"}], "pause", "wait_for"),
        ([{"local_action": {"module": "ansible.builtin.pause", "seconds": 5}}], "ansible.builtin.pause", "wait_for"),
        ([{"block": [{"debug": {}}], "rescue": [PAUSE]}], "pause", "wait_for"),
        ([{"block": [{"block": [{"debug": {}}], "always": [{"add_host": {}}]}]}], "add_host", "inventory"),
        ([{"ansible.builtin.meta": "end_host"}], "ansible.builtin.meta: end_host", "Fail"),
        ([{"action": "meta end_play"}], "meta: end_play", "Fail"),
    ],
)
def test_what_ends_the_play_is_refused(tasks: t.Any, action: str, cure: str) -> None:
    said = refusal("/ops/lb.yml", tasks)
    assert said.startswith("/ops/lb.yml: ")
    assert f"{action} " in said
    assert cure in said


@pytest.mark.parametrize(
    "tasks",
    [
        None,
        [],
        [{"ansible.builtin.wait_for": {"timeout": 5}}],
        [{"meta": "flush_handlers"}],
        [{"name": "pause", "ops.lb.pause": {"pool": "waba"}}],
        [{"community.general.slack": {"msg": "pause"}, "vars": {"pause": 5}}],
        ["what Ansible itself refuses"],
    ],
)
def test_what_does_no_harm_passes(tasks: t.Any) -> None:
    assert refusal("lb.yml", tasks) == ""


def test_a_file_that_holds_no_tasks_is_refused() -> None:
    assert refusal("lb.yml", {"hosts": "all"}) == "lb.yml: no list of tasks."
