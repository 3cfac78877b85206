# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: what the client's notifications say. Pure rules."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._webapp_answers import SINGLE

_STAMPS = ("timestamp", "time", "received_at")
_MILLISECONDS = 1e11  # above it (the year 5138) a time is told in milliseconds


@dataclass(frozen=True)
class Notification:
    """One GC notification of the client's webhook."""

    node: str
    status: str
    deleted: int
    details: str = ""


def parse_notifications(lines: t.Iterable[str], since: float | None = None, media: bool = False) -> list[Notification]:
    """The GC notifications of messages, or of media, in JSON lines, in order; other lines and torn ones are passed over.

    A line with a numeric `timestamp` (or `time`, `received_at`) before `since` belongs to an older run.
    """
    found = []
    for line in lines:
        try:
            body = json.loads(line)
        except ValueError:
            continue
        if not isinstance(body, dict):
            continue
        stamps = [stamp for stamp in (_seconds(body.get(key)) for key in _STAMPS) if stamp is not None]
        if since is not None and stamps and stamps[0] < since - 1:
            continue
        if "services" not in body:  # a consumer may put what it got into an envelope
            body = next((part for part in body.values() if isinstance(part, dict) and "services" in part), {})
        services = body.get("services")
        for service in services if isinstance(services, list) else [services]:
            told = _told_of(service, media)
            if told:
                errors = told.get("errors") or _dict(service).get("errors") or body.get("errors") or []
                found.append(
                    Notification(str(told.get("node") or ""), str(told["status"]).lower(), _count(told), _words(errors))
                )
    return found


def _seconds(value: t.Any) -> float | None:
    """A time since 1970 in seconds, from seconds or milliseconds, as a number or its digits."""
    try:
        number = float(value)
    except (TypeError, ValueError):
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
    return int(value) if value.isdigit() else 0


def _words(errors: t.Any) -> str:
    items = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    return "; ".join(
        f"{item.get('code', '')} {item.get('details') or item.get('title') or ''}".strip() for item in items
    )


def fold_notifications(
    found: t.Iterable[Notification], nodes: t.Iterable[str]
) -> tuple[dict[str, Notification], list[str]]:
    """The first notification of every one of `nodes`, and the nodes that are still silent; repeated ones count once.

    A single client's notification names no node, nor does its answer to the call; a lone node takes any.
    """
    expected = list(nodes) or [SINGLE]
    first: dict[str, Notification] = {}
    for notification in found:
        lone = len(expected) == 1 and (not notification.node or expected[0] == SINGLE)
        node = expected[0] if lone else notification.node
        if node in expected and node not in first:
            first[node] = notification
    return first, [node for node in expected if node not in first]
