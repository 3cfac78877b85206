# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a db.env what its plan says, or in check mode says so: content, backup, owner and mode."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils import _env_plan
from ansible_collections.waba.onprem.plugins.module_utils._env_store import Store

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.waba.onprem.plugins.module_utils._result import Result


def apply(module: AnsibleModule, result: Result, store: Store, plan: _env_plan.Plan) -> None:
    """Bring the file to `plan`, and its attributes to the module's file options."""
    result.values.update(changed_keys=plan.edited.changed, removed_keys=plan.removed())
    old = _env_plan.show(module.params, plan.before)
    new = _env_plan.show(module.params, plan.after, plan.edited.changed)
    kept = plan.before if plan.before != plan.after and module.params["backup"] else None
    if kept is not None:
        result.actions.append("kept a backup")
    if plan.after is None:
        _remove(module, result, store, plan, kept)
        result.diff(old, new, store.path)
        return
    attributes = module.load_file_common_arguments(module.params, path=store.path)
    moved: dict[str, dict[str, t.Any]] = {}
    # Before the content: new secrets never stand in a file that still has too wide a mode.
    other = plan.before is not None and module.set_fs_attributes_if_different(attributes, False, diff=moved)
    if plan.before != plan.after:
        if not module.check_mode:
            made = store.write(plan.after, lambda draft: _dress(module, attributes, draft), kept)
            result.values.update({"backup_file": made} if made else {})
            module.set_fs_attributes_if_different(attributes, False)  # what a draft cannot bear, such as `chattr +i`
        result.did(plan.words())
    if other:
        old = "".join(f"({name}: {value})\n" for name, value in moved["before"].items()) + old
        new = "".join(f"({name}: {value})\n" for name, value in moved["after"].items()) + new
        result.did("changed " + ", ".join(sorted(moved["after"])))
    result.diff(old, new, store.path)


def _dress(module: AnsibleModule, attributes: t.Mapping[str, t.Any], draft: str) -> None:
    """Give the draft owner and mode before it becomes the file: a run that fails or dies here leaves the old file."""
    module.set_fs_attributes_if_different(dict(attributes, path=draft, attributes=None), False)


def _remove(module: AnsibleModule, result: Result, store: Store, plan: _env_plan.Plan, kept: str | None) -> None:
    if plan.before is not None:
        if not module.check_mode:
            made = store.remove(kept)
            result.values.update({"backup_file": made} if made else {})
        result.did(f"removed {store.path}")
    if store.backups():
        result.warn(f"backups of {store.path} hold secrets and stay: {', '.join(store.backups())}")
