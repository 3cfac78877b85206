# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line of an inventory file that sets `wa_version`: which one it is, and whether it may be rewritten."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files

_SETTING = re.compile(
    r"""(?<![\w.-])(?P<key>(?P<q>["']?)wa_version(?P=q)\s*[:=]\s*)(?P<quote>["']?)(?P<v>v?)(?P<version>\d+(?:\.\d+)+)(?P=quote)(?=[\s,}]|$)"""
)
_COMMENT = re.compile(r"(?:^|\s)[#;]")
_VAULT = "$ANSIBLE_VAULT"


class Place(t.NamedTuple):
    """A line, counted from 1, of a file."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Edit(t.NamedTuple):
    """A file's `text` with another version, and its setting `before` and `after`; the rest of the line may hold secrets."""

    text: str
    before: str
    after: str


class Plan(t.NamedTuple):
    """What is to be done about `wa_version`: the `places` that set it, and the `edit`, or the `reason` why none is made.

    With neither it is the target already.
    """

    places: list[Place]
    edit: Edit | None = None
    reason: str = ""


def place(value: t.Any) -> Place | None:
    """Returns where Ansible has read a value; None where that is no line of a file, as for `-e` or the output of a script."""
    for tag in (getattr(value, "_ansible_tags_mapping", None) or {}).values():
        path, line = getattr(tag, "path", None), getattr(tag, "line_num", None)
        if isinstance(path, str) and isinstance(line, int) and line > 0:
            return Place(path, line)
    return None


def edit(text: str, line: int, known: str, target: str) -> Edit | None:
    """Returns the file's `text` with the version `target` at a line; None where that is not one literal setting of `wa_version`.

    It is the `known` version, as Ansible has read it, or the target already. Comments, quotes, a leading `v` and line endings stay.
    """
    lines = text.split("\n")
    if text.startswith(_VAULT) or not 0 < line <= len(lines):
        return None
    comment = _COMMENT.search(lines[line - 1])
    content = lines[line - 1][: comment.start() if comment else None]
    found = list(_SETTING.finditer(content))
    if len(found) != 1 or len(re.findall(r"(?<![\w.-])wa_version(?!\w)", content)) != 1:
        return None
    (one,) = found
    if one["v"] + one["version"] not in (known.strip(), one["v"] + target):
        return None  # the file was changed since
    after = f"{one['key']}{one['quote']}{one['v']}{target}{one['quote']}"
    lines[line - 1] = lines[line - 1][: one.start()] + after + lines[line - 1][one.end() :]
    return Edit("\n".join(lines), one[0], after)


def plan(
    values: t.Mapping[str, t.Any],
    members: t.Sequence[str],
    upgraded: t.Collection[str],
    target: str,
    read: t.Callable[[str], str],
) -> Plan:
    """Returns what is to be done for the hosts `members` of a deployment that runs the version `target` now.

    `values` are those of `wa_version` of all hosts of the inventory, as Ansible has read them, None where it is not set. `upgraded` are the
    hosts that this run has found at the target, or brought there. `read` returns the text of a file, or raises OSError or ValueError.
    """
    if all(str(values.get(one)).strip().lstrip("v") == target for one in members):
        return Plan([])
    found = [place(values.get(one)) for one in members]
    places = sorted({one for one in found if one})
    if len(places) != 1 or None in found:
        return Plan(places, reason="it is not set in one line of one file")
    (only,) = places
    others = [one for one, value in values.items() if one not in {*members, *upgraded} and place(value) == only]
    if others:
        return Plan(
            places, reason=f"that line counts for {', '.join(sorted(others))}, too, not upgraded in this run so far"
        )
    if target.count(".") < 2:
        return Plan(places, reason=f"{target} would be read as a number")
    try:
        text = read(only.path)
    except (OSError, ValueError) as error:
        return Plan(places, reason=f"the file cannot be read: {getattr(error, 'strerror', None) or 'no text'}")
    if text.startswith(_VAULT):
        return Plan(places, reason="the file is a vault")
    made = edit(text, only.line, str(values[members[0]]), target)
    if made and made.before == made.after:  # another deployment of this run has written it
        return Plan([])
    return Plan(places, made, "" if made else "that line is not a literal wa_version alone")


def write(path: str, text: str) -> None:
    """Replaces the file that `path`, which may be a link, leads to; mode and owner stay. Raises OSError."""
    real = os.path.realpath(path)
    now = os.stat(real)
    files.replace(real, text.encode(), stat.S_IMODE(now.st_mode), (now.st_uid, now.st_gid))
