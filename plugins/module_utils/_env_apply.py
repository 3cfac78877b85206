# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a db.env what its plan says, or in check mode says so: content, backup, owner and mode."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils import _env_plan
from ansible_collections.waba.onprem.plugins.module_utils._env_store import Store
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.waba.onprem.plugins.module_utils._result import Result


def apply(module: AnsibleModule, result: Result, store: Store, plan: _env_plan.Plan) -> None:
    """Bring the file to `plan`, and its attributes to the module's file options."""
    result.values.update(changed_keys=plan.edited.changed, removed_keys=plan.removed())
    old = _env_plan.show(module.params, plan.before)
    new = _env_plan.show(module.params, plan.after, plan.edited.changed)
    kept = plan.before if plan.before != plan.after and module.params["backup"] else None
    if kept is not None and module.check_mode:
        _tell_backup(result, None)
    if plan.after is None:
        _remove(module, result, store, plan, kept)
        result.diff(old, new, store.path)
        return
    attributes = module.load_file_common_arguments(module.params, path=store.path)
    moved: dict[str, dict[str, t.Any]] = {}
    other = plan.before is not None and _differ(module, attributes, moved)
    if plan.before != plan.after:
        if not module.check_mode:
            _tell_backup(result, store.write(plan.after, lambda draft: _dress(module, attributes, draft), kept))
        result.did(plan.words())
    if not module.check_mode:
        _set(module, attributes)  # after a write only what an empty draft cannot bear, such as `chattr +i`
    if other:
        old = "".join(f"({name}: {value})\n" for name, value in moved["before"].items()) + old
        new = "".join(f"({name}: {value})\n" for name, value in moved["after"].items()) + new
        result.did("changed " + ", ".join(sorted(moved["after"])))
    result.diff(old, new, store.path)


def _differ(module: AnsibleModule, attributes: t.Mapping[str, t.Any], moved: dict[str, t.Any]) -> bool:
    """Whether the file has other attributes; `moved` is told which. Nothing is touched, as in check mode."""
    check_mode, module.check_mode = module.check_mode, True
    try:
        return bool(module.set_fs_attributes_if_different(attributes, False, diff=moved))
    finally:
        module.check_mode = check_mode


def _dress(module: AnsibleModule, attributes: t.Mapping[str, t.Any], draft: str) -> None:
    """Give the draft owner and mode before it becomes the file: a run that fails or dies here leaves the old file."""
    _set(module, dict(attributes, path=draft, attributes=None))


def _set(module: AnsibleModule, attributes: t.Mapping[str, t.Any]) -> None:
    try:
        module.set_fs_attributes_if_different(attributes, False)
    except OSError as error:  # Ansible lets some of them through
        cure = "It may be immutable (see lsattr): chattr -i"
        raise WaError(attributes["path"], f"cannot be given owner or mode: {error.strerror}", cure=cure) from None


def _tell_backup(result: Result, made: str | None) -> None:
    """Say that there is a backup, or with None that there would be one."""
    if made != "":
        result.actions.append("kept a backup")
    if made:
        result.values["backup_file"] = made


def _remove(module: AnsibleModule, result: Result, store: Store, plan: _env_plan.Plan, kept: str | None) -> None:
    if plan.before is not None:
        if not module.check_mode:
            _tell_backup(result, store.remove(kept))
        result.did(f"removed {store.path}")
    if store.backups():
        result.warn(f"backups of {store.path} hold secrets and stay: {', '.join(store.backups())}")
