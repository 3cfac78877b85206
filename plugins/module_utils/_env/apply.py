# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applies a plan to a db.env, or predicts it in check mode: content, owner and mode."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import plan as env_plan
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result


def apply(module: AnsibleModule, result: Result, store: Store, plan: env_plan.Plan) -> None:
    """Applies `plan` to the file, and the module's file options to its attributes."""
    result.values.update(changed_keys=plan.edited.changed, removed_keys=plan.removed())
    old = env_plan.show(module.params, plan.before)
    new = env_plan.show(module.params, plan.after, plan.edited.changed)
    if plan.after is None:
        if plan.before is not None:
            if not module.check_mode:
                store.remove()
            result.record_change(f"removed {store.path}")
        if not module.check_mode:
            store.drop()
        result.diff(old, new, store.path)
        return
    attributes = module.load_file_common_arguments(module.params, path=store.path)
    moved: dict[str, dict[str, t.Any]] = {}
    other = plan.before is not None and _differ(module, attributes, moved)
    if plan.before != plan.after:
        if not module.check_mode:
            store.write(plan.after, lambda draft: _own(module, attributes, draft))
        result.record_change(plan.summary())
    elif other and not module.check_mode:
        with store.opened() as number:
            _own(module, attributes, number)
    if not module.check_mode:
        # Attributes that are set on a path only, such as `chattr +i`, which would block writing the draft.
        _set(module, {**attributes, "owner": None, "group": None, "mode": None})
    if other:
        old = "".join(f"({name}: {value})\n" for name, value in moved["before"].items()) + old
        new = "".join(f"({name}: {value})\n" for name, value in moved["after"].items()) + new
        changes = [f"{name} from {moved['before'][name]} to {value}" for name, value in sorted(moved["after"].items())]
        result.record_change(f"changed {', '.join(changes)}")
    result.diff(old, new, store.path)


def _differ(module: AnsibleModule, attributes: t.Mapping[str, t.Any], moved: dict[str, t.Any]) -> bool:
    """Returns whether attributes differ; `moved` receives the differences. Nothing is changed, as in check mode."""
    check_mode, module.check_mode = module.check_mode, True
    try:
        return bool(module.set_fs_attributes_if_different(attributes, False, diff=moved))
    finally:
        module.check_mode = check_mode


def _own(module: AnsibleModule, attributes: t.Mapping[str, t.Any], number: int) -> None:
    """Sets owner, group and mode of an open file. A draft gets them before it replaces the file.

    Uses the file descriptor: a path could have become a link to another file.
    """
    user = _id("owner", attributes["owner"], lambda name: pwd.getpwnam(name).pw_uid)
    group = _id("group", attributes["group"], lambda name: grp.getgrnam(name).gr_gid)
    now = os.fstat(number)
    mode = now.st_mode if attributes["mode"] is None else _mode(module, attributes["mode"], now)
    try:
        if user not in (-1, now.st_uid) or group not in (-1, now.st_gid):
            os.fchown(number, user, group)
        os.fchmod(number, stat.S_IMODE(mode))
    except OSError as error:
        cure = "It may be immutable (see lsattr): chattr -i"
        raise WaError(attributes["path"], f"cannot be given owner or mode: {error.strerror}", cure=cure) from None


def _id(option: str, name: str | int | None, find: t.Callable[[str], int]) -> int:
    """Returns the id of a user or a group, -1 if not set. Raises WaError if the host does not have it."""
    if name is None:
        return -1
    try:
        return find(str(name)) if not str(name).isdecimal() else int(name)
    except KeyError:
        raise WaError(f"option {option}", f"{name} does not exist here", "a name or a number of this host") from None


def _mode(module: AnsibleModule, wanted: str | int, now: os.stat_result) -> int:
    """Returns a mode from Ansible's formats: a number, octal text, or symbolic text relative to the mode `now`."""
    if isinstance(wanted, int):
        return wanted
    try:
        return int(wanted, 8)
    except ValueError:
        pass
    try:
        return int(module._symbolic_mode_to_octal(now, wanted))
    except ValueError:
        raise WaError("option mode", repr(wanted), "octal or symbolic permissions, such as 0640") from None


def _set(module: AnsibleModule, attributes: t.Mapping[str, t.Any]) -> None:
    try:
        module.set_fs_attributes_if_different(attributes, False)
    except OSError as error:  # Ansible accepts some invalid modes
        cure = "It may be immutable (see lsattr): chattr -i"
        raise WaError(attributes["path"], f"cannot be given owner or mode: {error.strerror}", cure=cure) from None
