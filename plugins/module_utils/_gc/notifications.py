# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: what the client's notifications say. Pure rules."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import SINGLE, UNNAMED

_STAMPS = ("timestamp", "time", "received_at")
_MILLISECONDS = 1e11  # above it (the year 5138) a time is told in milliseconds
_DEEPEST = 8  # wrappings around the client's body: dictionaries, lists and texts, four of the first with one of another
_MINIMUM_WORK = 1_000_000  # characters in which a torn line is searched at least, and
_WORK = 8  # at most this many times its length
_COUNTING = 16  # characters that are counted in the time in which one is decoded, at least
# What customers write is below these in other notifications: a text of theirs must not pass for the client's word.
_OTHERS = ("messages", "statuses", "contacts")
_MESSAGE = {"from", "type"}
_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"\s*")


@dataclass(frozen=True)
class Notification:
    """One GC notification of the client's webhook."""

    node: str
    status: str
    deleted: int
    details: str = ""


def parse_notifications(lines: t.Iterable[str], since: float | None = None, media: bool = False) -> list[Notification]:
    """The GC notifications of messages, or of media, in JSON lines, in order; other lines and torn ones are passed over.

    The client's body may be wrapped, and glued behind a torn line. One with a numeric `timestamp` (or `time`,
    `received_at`), its own or that of what it is wrapped in, before `since` belongs to an older run.
    """
    found: list[Notification] = []
    for line in lines:
        for value, whole in _values(line):
            for body, stamp in _bodies(value, whole):
                if since is None or stamp is None or stamp >= since - 1:
                    found += _notifications(body, media)
    return found


def is_whole(text: str) -> bool:
    """Whether a text is one whole JSON value, or several, and so surely no longer being written."""
    text = text.strip("\ufeff \t\r\n")
    if not text.endswith(("}", "]")):
        return False
    at = 0
    try:
        while at < len(text):
            _value, at = _DECODER.raw_decode(text, t.cast("re.Match[str]", _BLANK.match(text, at)).end())
    except (ValueError, RecursionError):
        return False
    return True


def _values(line: str) -> t.Iterator[tuple[t.Any, bool]]:
    """The JSON in a line that may hold a body, and whether it reaches the line's end.

    A line that is no JSON is searched for dictionaries, those inside torn ones too, with work in proportion to it.
    """
    last = line.rfind("services")
    if last < 0 or '"gc' not in line.replace("\\", ""):
        return
    line = line.strip("\ufeff \t\r")
    try:
        yield json.loads(line), True
        return
    except (ValueError, RecursionError):
        pass
    work = max(_MINIMUM_WORK, _WORK * len(line))
    at = line.find("{")
    while 0 <= at <= last and work > 0:
        try:
            value, end = _DECODER.raw_decode(line, at)
        except json.JSONDecodeError as error:
            # Of a text without an end only its begin is told, but all of it was read.
            work -= (len(line) if error.msg.startswith("Unterminated") else error.pos) - at + 1
            work -= error.pos // _COUNTING  # the error counts the line ends before it
            end = at + 1
        except (ValueError, RecursionError):
            work -= len(line) - at
            end = at + 1
        else:
            yield value, end == len(line)
        at = line.find("{", end)


def _bodies(value: t.Any, texts: bool) -> t.Iterator[tuple[dict[str, t.Any], float | None]]:
    """What may be the client's bodies in a JSON value, in order, each with the outermost time told around it.

    `texts`: look into JSON texts too, but for those of customers.
    """
    waiting: list[tuple[t.Any, int, float | None, bool]] = [(value, 0, None, texts)]
    while waiting:
        item, depth, stamp, opened = waiting.pop()
        inner: list[tuple[t.Any, bool]] = []
        if isinstance(item, dict):
            stamps = [seconds for seconds in (_seconds(item.get(key)) for key in _STAMPS) if seconds is not None]
            stamp = stamps[0] if stamps and stamp is None else stamp
            if isinstance(item.get("services"), (dict, list)):
                yield item, stamp
            opened = opened and not item.keys() >= _MESSAGE
            inner = [(part, opened and key not in _OTHERS) for key, part in item.items()]
        elif isinstance(item, list):
            inner = [(part, opened) for part in item]
        elif isinstance(item, str):
            inner = [(_json(item), opened)]
        if depth < _DEEPEST:
            waiting += [
                (part, depth + 1, stamp, open_)
                for part, open_ in reversed(inner)
                if isinstance(part, (dict, list)) or (open_ and isinstance(part, str) and "services" in part)
            ]


def _json(text: str) -> t.Any:
    try:
        return json.loads(text.strip("\ufeff \t\r\n"))
    except (ValueError, RecursionError):
        return None


def _notifications(body: dict[str, t.Any], media: bool) -> t.Iterator[Notification]:
    """The GC notifications in one body of the client."""
    services = body["services"]
    for service in services if isinstance(services, list) else [services]:
        told = _told_of(service, media)
        if told:
            errors = told.get("errors") or _dict(service).get("errors") or body.get("errors") or []
            yield Notification(str(told.get("node") or ""), str(told["status"]).lower(), _count(told), _words(errors))


def _seconds(value: t.Any) -> float | None:
    """A time since 1970 in seconds, from seconds or milliseconds, as a number or its digits."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number / 1000 if number > _MILLISECONDS else number


def _told_of(service: t.Any, media: bool) -> dict[str, t.Any] | None:
    """What one entry of a notification says of GC of messages, or of media.

    Media GC nests its success under `message` and its failure under `media`; its count has another name.
    """
    parts = _dict(service)
    for part in ("media", "message") if media else ("message",):
        told = parts[part].get("gc") if isinstance(parts.get(part), dict) else None
        if isinstance(told, dict) and told.get("status") and (part == "media" or ("items_deleted" in told) == media):
            return told
    return None


def _dict(value: t.Any) -> dict[str, t.Any]:
    return value if isinstance(value, dict) else {}


def _count(told: dict[str, t.Any]) -> int:
    value = str(told.get("messages_deleted", told.get("items_deleted")))
    return int(value) if value.isdecimal() and len(value) < 20 else 0


def _words(errors: t.Any) -> str:
    items = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    return "; ".join(
        f"{item.get('code', '')} {item.get('details') or item.get('title') or ''}".strip() for item in items
    )


def key(one: Notification) -> list[t.Any]:
    """What tells one notification from another, as plain data for the state file."""
    return [one.node, one.status, one.deleted, one.details]


def unique(keys: t.Iterable[list[t.Any]]) -> list[list[t.Any]]:
    """Each of `keys` once, in order."""
    return [list(one) for one in dict.fromkeys(tuple(one) for one in keys)]


def fold_notifications(
    found: t.Iterable[Notification], nodes: t.Iterable[str]
) -> tuple[dict[str, Notification], list[str]]:
    """The first notification of every one of `nodes`, and the nodes that are still silent; repeated ones count once.

    A single client's notification names no node, nor does its answer to the call; a lone node takes any.
    """
    expected = list(nodes) or [SINGLE]
    first: dict[str, Notification] = {}
    for notification in found:
        node = _node_of(notification.node, expected)
        if node is not None and node not in first:
            first[node] = notification
    return first, [node for node in expected if node not in first]


def strange_nodes(found: t.Iterable[Notification], nodes: t.Iterable[str]) -> list[str]:
    """The names in notifications that belong to none of `nodes` (all those of the call), each once, in order.

    A notification that names no node where there are several is told as one of `a node without a name`.
    """
    expected = list(nodes) or [SINGLE]
    return list(dict.fromkeys(item.node or UNNAMED for item in found if _node_of(item.node, expected) is None))


def _node_of(name: str, expected: list[str]) -> str | None:
    """The node of the call that a notification's name means, or None: by its name, or by its host's where that is unique."""
    if len(expected) == 1 and (not name or expected[0] == SINGLE):
        return expected[0]
    if name in expected:
        return name
    same = [node for node in expected if node.casefold() == name.casefold()]
    if not same and name and ":" not in name:
        same = [node for node in expected if node.partition(":")[0].casefold() == name.casefold()]
    return same[0] if len(same) == 1 else None
