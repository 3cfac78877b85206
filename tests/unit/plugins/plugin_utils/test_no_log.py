# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an action's modules display is censored meanwhile, and also where one of them fails."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils._no_log import censored


def fail(task: SimpleNamespace, context: SimpleNamespace) -> None:
    raise ValueError(f"{task.no_log} {context.no_log}")


def test_the_setting_is_given_back_after_a_failure() -> None:
    task, context = SimpleNamespace(no_log=False), SimpleNamespace(no_log=True)
    action = SimpleNamespace(_task=task, _connection=SimpleNamespace(_play_context=context))
    with pytest.raises(ValueError, match="True True"), censored(action):
        fail(task, context)
    assert (task.no_log, context.no_log) == (False, True)
