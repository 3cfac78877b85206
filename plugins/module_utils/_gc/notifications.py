# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the client's notifications of message GC from the file to which the business's webhook consumer appends them.

Each line is a JSON object: the body posted by the client, optionally with its time of arrival next to `services`
(`timestamp`, seconds since 1970).
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import SINGLE

_SLACK = 1.0  # seconds by which a consumer's time may be rounded down


class Notification(t.NamedTuple):
    """One notification of message GC: the node's name (may be empty), status, number of deleted rows, errors."""

    node: str
    status: str
    deleted: int
    details: str = ""


def mark(path: str | None) -> list[int]:
    """Returns the end and identity of the file: earlier content belongs to older runs."""
    try:
        found = os.stat(path or "")
    except OSError:
        return [0, 0]
    return [found.st_size, found.st_ino]


def read(path: str, since: t.Sequence[int], called: float, warn: t.Callable[[str], None]) -> list[Notification]:
    """Returns the notifications appended since a `mark`, without those before the call (`called`, seconds since 1970).

    A rotated file is read from its start; an incomplete last line is ignored. Raises WaError if the file cannot be read.
    """
    try:
        with files.open_regular(path) as stream:
            inode, data = os.fstat(stream.fileno()).st_ino, stream.read()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WaError(f"notifications {path}", f"not readable: {error.strerror}") from None
    begin = since[0] if len(data) >= since[0] and since[1] in (0, inode) else 0
    notifications: list[Notification] = []
    lines = data[begin:].decode("utf-8", "replace").split("\n")[:-1]
    for number, line in enumerate(lines, data.count(b"\n", 0, begin) + 1):
        try:
            body = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            warn(f"notifications {path}: line {number} is skipped, since it is not one JSON object")
            continue
        arrived = body.get("timestamp")
        if not isinstance(arrived, (int, float)) or arrived >= called - _SLACK:
            notifications += _notifications(body)
    return notifications


def _notifications(body: dict[str, t.Any]) -> t.Iterator[Notification]:
    """Returns the notifications of message GC in one body of the client; those of media GC have `items_deleted`."""
    for service in _dicts(body.get("services")):
        message = service.get("message")
        gc = message.get("gc") if isinstance(message, dict) else None
        if isinstance(gc, dict) and gc.get("status") and "items_deleted" not in gc:
            deleted = gc.get("messages_deleted")
            errors = _dicts(gc.get("errors") or service.get("errors") or body.get("errors"))
            reasons = [
                f"{one.get('code', '')} {one.get('details') or one.get('title') or ''}".strip() for one in errors
            ]
            count = deleted if isinstance(deleted, int) else 0
            yield Notification(str(gc.get("node") or ""), str(gc["status"]).lower(), count, "; ".join(reasons))


def _dicts(value: t.Any) -> list[dict[str, t.Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def by_node(found: t.Iterable[Notification], nodes: t.Sequence[str]) -> tuple[dict[str, Notification], list[str]]:
    """Returns the last notification of each of `nodes`, and the names of other nodes that have sent one.

    A single client's notification and answer name no node; a single node takes any notification.
    """
    last: dict[str, Notification] = {}
    others: list[str] = []
    for one in found:
        node = _node_of(one.node.casefold(), nodes or [SINGLE])
        if node is not None:
            last[node] = one
        elif one.node not in others:
            others.append(one.node)
    return last, others


def _node_of(name: str, nodes: t.Sequence[str]) -> str | None:
    """Returns the node of the call for a notification: by its name, or by its host's name if that is unique."""
    if len(nodes) == 1 and (not name or nodes[0] == SINGLE):
        return nodes[0]
    same = [node for node in nodes if name and name in (node.casefold(), node.casefold().partition(":")[0])]
    return same[0] if len(same) == 1 else None
