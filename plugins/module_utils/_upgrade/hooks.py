# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a hook of an upgrade must not do: end the play around it, with the client stopped and no rescue. Pure rules."""

from __future__ import annotations

import typing as t

# Of their strategy, which lets every deployment go at its own pace, actions that are for all hosts at once end all plays.
_FOR_ALL_HOSTS = ("pause", "add_host")
_OURS = ("ansible.builtin.", "ansible.legacy.")
_CURES = {
    "pause": "Use ansible.builtin.wait_for with timeout",
    "add_host": "Add hosts to the inventory",
    "meta": "Fail, or put a when on the tasks behind it",
}
_ENDS = ("end_play", "end_batch", "end_host", "end_role")
_BLOCKS = ("block", "rescue", "always")


def refusal(path: str, tasks: t.Any) -> str:
    """Why the file of tasks `path` cannot be a hook, or an empty text; `tasks` is what it holds, parsed.

    Blocks are looked into; files that it includes or imports are not.
    """
    if tasks is None:
        return ""
    if not isinstance(tasks, list):
        return f"{path}: no list of tasks."
    for task in _each(tasks):
        for action, value in _actions(task):
            name = action
            for prefix in _OURS:
                name = name[len(prefix) :] if name.startswith(prefix) else name
            words = value if isinstance(value, str) else ""
            ends = name == "meta" and words.strip() in _ENDS
            if name in _FOR_ALL_HOSTS or ends:
                told = f"{action}: {words.strip()}" if ends else action
                named = f" (task {task['name']!r})" if task.get("name") else ""
                return f"{path}: {told}{named} would end the upgrade in the middle. {_CURES[name]} instead."
    return ""


def _each(tasks: t.Iterable[t.Any]) -> t.Iterator[t.Mapping[str, t.Any]]:
    for task in tasks:
        if isinstance(task, t.Mapping):
            yield task
            for part in _BLOCKS:
                if isinstance(task.get(part), list):
                    yield from _each(task[part])


def _actions(task: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, t.Any]]:
    """The names under which a task may name its action, each with what it is given; most are keywords, and do no harm."""
    for key, value in task.items():
        if key in ("action", "local_action"):
            if isinstance(value, t.Mapping):
                yield str(value.get("module", "")), value
            else:
                name, _space, words = str(value).strip().partition(" ")
                yield name, words
        else:
            yield str(key), value
