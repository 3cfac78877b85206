# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passes the identity of this run to the module."""

from __future__ import annotations

import getpass
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as inventory
from ansible_collections.waba.onprem.plugins.plugin_utils import _run

TAKE_OVER, WITHOUT = "wa_upgrade_take_over", "wa_upgrade_without"


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """See the module's documentation; the options are the module's own."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Runs the module."""
        task_vars = task_vars or {}
        super().run(tmp, task_vars)
        try:
            if boolean(task_vars.get(TAKE_OVER, False), strict=False):
                inventory.assert_for_one_run(TAKE_OVER, True)
            if task_vars.get(WITHOUT):
                inventory.assert_for_one_run(WITHOUT, True)
        except WaError as error:
            return {"failed": True, "msg": f"{str(error).rstrip('.')}."}
        args = dict(
            self._task.args,
            run_id=_run.this_run(),
            user=getpass.getuser(),
            controller=_run.controller(),
            host=str(task_vars.get("inventory_hostname", "")),
        )
        result: dict[str, t.Any] = self._execute_module(module_args=args, task_vars=task_vars)
        return result
