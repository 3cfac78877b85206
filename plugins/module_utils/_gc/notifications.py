# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: the client's notifications, in the file to which the business's own webhook consumer appends them.

One JSON object a line: the body that the client has posted, with its time of arrival beside `services` if the consumer adds one
(`timestamp`, seconds since 1970).
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import SINGLE

_CHUNK = 1 << 20
_SLACK = 1.0  # seconds by which a consumer's time may be cut off


@dataclass(frozen=True)
class Notification:
    """One notification of message GC: the node's name (empty when it has none), its status, what it deleted, its errors."""

    node: str
    status: str
    deleted: int
    details: str = ""


def mark(path: str | None) -> dict[str, int]:
    """Where the file ends now: what is before belongs to older runs."""
    try:
        with files.open_regular(path or "") as stream:
            lines = sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(_CHUNK), b""))
            return {"offset": stream.tell(), "inode": os.fstat(stream.fileno()).st_ino, "lines": lines}
    except OSError:
        return {"offset": 0, "inode": 0, "lines": 0}


def read(path: str, since: t.Mapping[str, int], called: float, warn: t.Callable[[str], None]) -> list[Notification]:
    """The notifications appended since a `mark`, but for those that arrived before the call (`called`, seconds since 1970).

    A file that was rotated is read from its start; a last line without its end is still being written. Raises WaError for one
    that cannot be read.
    """
    try:
        with files.open_regular(path) as stream:
            found = os.fstat(stream.fileno())
            goes_on = found.st_size >= since["offset"] and since["inode"] in (0, found.st_ino)
            stream.seek(since["offset"] if goes_on else 0)
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WaError(f"notifications {path}", f"not readable: {error.strerror}") from None
    first = since["lines"] + 1 if goes_on else 1
    notifications: list[Notification] = []
    for number, line in enumerate(text.split("\n")[:-1], first):
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
    """Those of message GC in one body of the client; one of media GC holds `items_deleted`."""
    services = body.get("services")
    for service in services if isinstance(services, list) else []:
        message = service.get("message") if isinstance(service, dict) else None
        gc = message.get("gc") if isinstance(message, dict) else None
        if isinstance(gc, dict) and gc.get("status") and "items_deleted" not in gc:
            deleted = gc.get("messages_deleted")
            errors = gc.get("errors") or service.get("errors") or body.get("errors")
            count = deleted if isinstance(deleted, int) else 0
            yield Notification(str(gc.get("node") or ""), str(gc["status"]).lower(), count, _details(errors))


def _details(errors: t.Any) -> str:
    items = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    return "; ".join(
        f"{item.get('code', '')} {item.get('details') or item.get('title') or ''}".strip() for item in items
    )


def by_node(found: t.Iterable[Notification], nodes: t.Iterable[str]) -> tuple[dict[str, Notification], list[str]]:
    """The last notification of every one of `nodes`, and the names of others that have sent one.

    A single client's notification names no node, nor does its answer to the call; a lone node takes any.
    """
    expected = list(nodes) or [SINGLE]
    last: dict[str, Notification] = {}
    others: list[str] = []
    for one in found:
        node = _node_of(one.node, expected)
        if node is not None:
            last[node] = one
        elif one.node not in others:
            others.append(one.node)
    return last, others


def _node_of(name: str, expected: list[str]) -> str | None:
    """The node of the call that a notification's name means: by its name, or by its host's where that is unique."""
    if len(expected) == 1 and (not name or expected[0] == SINGLE):
        return expected[0]
    same = [node for node in expected if node.casefold() == name.casefold()]
    if not same and name and ":" not in name:
        same = [node for node in expected if node.partition(":")[0].casefold() == name.casefold()]
    return same[0] if len(same) == 1 else None
