# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a file of tasks cannot be a hook of an upgrade: it would end the play around it, with the client stopped and no rescue."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import AnsibleVaultError, is_encrypted
from ansible.playbook.block import Block
from ansible.playbook.play import Play
from ansible.vars.manager import VariableManager

# With their strategy, which lets every deployment go at its own pace, actions that are for all hosts at once end all plays.
_CURES = {
    "ansible.builtin.pause": "Use ansible.builtin.wait_for with timeout",
    "ansible.builtin.add_host": "Add hosts to the inventory",
    "ansible.builtin.meta": "Fail, or put a when on the tasks behind it",
}
_ROLE = "a role"  # among the files above: the roles that it includes are not looked into
# Of a role that is included Ansible finds that out in the upgrade, and a rescue can follow it: it may be beside another playbook.
_LATER = ("was not found", "Could not find specified file in role", "is undefined")
_ENDS = ("end_play", "end_batch", "end_host", "end_role")


def refusal(path: str, text: str, above: tuple[str, ...] = ()) -> str:
    """Returns why the file of tasks `path` with the content `text` cannot be a hook; empty if it can.

    Ansible loads it as it will in the upgrade: an error then (a misspelt keyword, an unknown module) could not be rescued. Blocks,
    imported files, and included files and roles whose name has no variable are looked into. `above` are the files that include it.
    """
    absolute = os.path.abspath(path)
    folder = os.path.dirname(absolute)
    loader = DataLoader()
    loader.set_basedir(folder)
    try:
        tasks = loader.load(text, absolute)
        if tasks is None:
            return ""
        if not isinstance(tasks, list):
            return f"{path}: no list of tasks."
        play = {"name": path, "hosts": "all", "gather_facts": False, "tasks": tasks}
        loaded = Play.load(play, variable_manager=VariableManager(loader=loader), loader=loader)
    except AnsibleError as error:
        if isinstance(error, AnsibleVaultError) or isinstance(error.__cause__, AnsibleVaultError):
            return ""  # an imported file that only the run itself can decrypt
        if above[-1:] == (_ROLE,) and any(words in error.message for words in _LATER):
            return ""
        return f"{path}: Ansible cannot load it: {' '.join(error.message.split()).rstrip('.')}."
    tasks_of_file = list(_tasks(loaded.tasks))
    handlers = _handlers(_tasks(loaded.handlers))
    # What is included may bring handlers that are not known here.
    all_known = not above and not any("include" in (one.resolved_action or one.action) for one in tasks_of_file)
    for task in tasks_of_file:
        named = f" (task {task.name!r})" if task.name else ""
        if task.run_once:
            return (
                f"{path}: run_once{named}: its failure would fail the other deployments of the wave, too, in the middle of their upgrades. "
                "Leave it out: a hook runs for its own deployment, at the leader alone."
            )
        unknown = [name for name in _listed(task.notify) if name not in handlers]
        if unknown and all_known and "{{" not in "".join([*unknown, *handlers]):
            return (
                f"{path}: notify: {unknown[0]}{named}: the hook brings no such handler, which would end all upgrades of the run. "
                "Put what the handler does into a task."
            )
        action, words = task.resolved_action or task.action, str(task.args.get("_raw_params") or "").strip()
        ends = words in _ENDS and not (words == "end_role" and task._role)  # a role of the hook's own
        if action in _CURES and (action != "ansible.builtin.meta" or ends):
            return f"{path}: {f'{action} {words}'.strip()}{named} would end the upgrade in the middle. {_CURES[action]} instead."
        beside = os.path.join(task._role._role_path, "tasks") if task._role else folder
        included = os.path.abspath(os.path.join(beside, words or str(task.args.get("file") or "")))
        if action == "ansible.builtin.include_tasks" and os.path.isfile(included) and included not in above:
            content = Path(included).read_text(encoding="utf-8")
            found = "" if is_encrypted(content) else refusal(included, content, (*above, absolute))
            if found:
                return found
        if action == "ansible.builtin.include_role" and _ROLE not in above and "{{" not in str(task.args):
            # As a role that is imported, which Ansible loads with the play.
            imported = {key: value for key, value in task.args.items() if key in ("name", "role", "tasks_from")}
            text = json.dumps([{"ansible.builtin.import_role": imported, "vars": task.vars}], default=str)
            found = refusal(path, text, (*above, _ROLE))
            if found:
                return found
    return ""


def _listed(value: t.Any) -> list[str]:
    """Returns a keyword that may be one text or several, as it is before a task is run."""
    return [str(one) for one in value] if isinstance(value, list) else [str(value)] if value else []


def _handlers(handlers: t.Iterable[t.Any]) -> set[str]:
    """Returns the names by which handlers may be notified."""
    return {
        name
        for one in handlers
        for name in (one.name, one.get_name(), one.get_name(include_role_fqcn=False), *_listed(one.listen))
    }


def _tasks(tasks: t.Iterable[t.Any]) -> t.Iterator[t.Any]:
    for one in tasks:
        if isinstance(one, Block):
            yield from _tasks([*one.block, *one.rescue, *one.always])
        else:
            yield one
