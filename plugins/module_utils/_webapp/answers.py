# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parses the answers of the client's API. Pure rules."""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

UNNAMED = "a node without a name"
SINGLE = "coreapp"  # name of a single client's node, which its answers do not contain


def parse_body(raw: bytes) -> tuple[dict[str, t.Any], str]:
    """Returns the body of an answer as a dictionary (empty for anything else) and its form.

    The form is `empty` (also for null), `json`, `torn` (truncated JSON) or `foreign` (such as a proxy's HTML).
    """
    text = raw.strip().removeprefix(b"\xef\xbb\xbf").strip()
    try:
        body = json.loads(text or b"null")
    except (ValueError, RecursionError):
        return {}, "torn" if text[:1] in (b"{", b"[") else "foreign"
    return (body if isinstance(body, dict) else {}), "empty" if body is None else "json"


def automatic_gc(settings: t.Mapping[str, t.Any]) -> bool:
    """Returns whether automatic message GC is enabled in the application settings, in the format of any version."""
    newer, older = settings.get("garbagecollector_enable"), settings.get("db_garbagecollector_enable")
    if isinstance(newer, dict):
        return bool(newer.get("messages"))
    if isinstance(older, bool):
        return older
    raise WaError(
        "application settings",
        "neither garbagecollector_enable nor db_garbagecollector_enable is in them",
        "the setting for automatic GC",
        "This version of the client may not have it",
    )


def check_password(password: str) -> list[str]:
    """Returns the rules of the client that a new API password violates; empty if it is valid."""
    rules = (
        (8 <= len(password) <= 64, "8 to 64 characters"),
        (re.search(r"\d", password), "a digit"),
        (re.search(r"[A-Z]", password), "an upper-case letter"),
        (re.search(r"[a-z]", password), "a lower-case letter"),
        (re.search(r"[^A-Za-z0-9]", password), "a special character"),
    )
    return [rule for good, rule in rules if not good]


def metrics(body: t.Any) -> list[tuple[str, dict[str, str], float]]:
    """Returns the metrics in an answer of `/v1/stats/...` as (name, labels, value), at any depth.

    A metric is `"name": {"data": [{"labels": {}, "value": 1}]}` or `"name": 1`.
    """
    found: list[tuple[str, dict[str, str], float]] = []
    for name, item in body.items() if isinstance(body, dict) else ():
        if name == "meta":
            continue
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            found.append((name, {}, float(item)))
        elif isinstance(item, dict) and isinstance(item.get("data"), list):
            for row in item["data"]:
                if isinstance(row, dict) and isinstance(row.get("value"), (int, float)):
                    labels = {str(key): str(value) for key, value in (row.get("labels") or {}).items()}
                    found.append((str(item.get("name") or name), labels, float(row["value"])))
        else:
            found += metrics(item)
    return found


def gc_nodes(body: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Returns the status by node in the answer to a call that starts GC of messages.

    A single client's node is called `coreapp`. A failed node has the text of its failure.
    """
    gc = _gc(body)
    several = isinstance(gc, dict) and gc and not {"status", "errors"} & set(gc)
    nodes = {str(name): _node_status(item) for name, item in gc.items()} if several else {SINGLE: _node_status(gc)}
    if body.get("errors"):  # failures beside the nodes that have started
        nodes[UNNAMED] = _node_status({"errors": body["errors"]})
    return nodes


def started_gc(body: t.Mapping[str, t.Any]) -> bool:
    """Returns whether an answer with any HTTP status names a node on which GC of messages may have started."""
    return _gc(body) is not None and any(not status.startswith("failed") for status in gc_nodes(body).values())


def _gc(body: t.Mapping[str, t.Any]) -> t.Any:
    """Returns the part about GC of messages; None without one."""
    for name in ("services", "message", "gc"):
        body = body.get(name) if isinstance(body, dict) else None  # type: ignore[assignment]
    return body


def _node_status(item: t.Any) -> str:
    """Returns the status of one node in a GC answer, or the text of its failure."""
    if not isinstance(item, dict):
        text = str(item or "processing")
        return f"failed: {text}" if re.search(r"fail|error", text, re.IGNORECASE) else text
    errors = item.get("errors")
    if isinstance(errors, list) and errors:
        first = errors[0] if isinstance(errors[0], dict) else {"details": errors[0]}
        return "failed: " + ", ".join(str(first[key]) for key in ("code", "title", "details") if first.get(key))
    status = str(item.get("status") or "processing")
    return "failed" if re.search(r"fail|error", status, re.IGNORECASE) else status


def callbacks(figures: t.Iterable[tuple[str, t.Mapping[str, str], float]]) -> dict[str, int | None]:
    """Returns how many notifications wait, and how many were `sent` and `refused` by the webhook since the client was started.

    `figures` are those of `metrics`. None is what this version of the client does not say.
    """
    found: dict[str, int | None] = {"waiting": None, "sent": None, "refused": None}
    for name, labels, value in figures:
        key = ""
        if name.endswith("callback_queue_size"):
            key = "waiting"
        elif name.endswith("callback_requests"):
            key = "sent" if labels.get("result", "success") == "success" else "refused"
            found.update({one: found[one] or 0 for one in ("sent", "refused")})
        if key:
            found[key] = int(value) + (found[key] or 0)
    return found


def expires_on(support: t.Mapping[str, t.Any]) -> str:
    """Returns the first day of the nodes in an answer of `/v1/support` on which one refuses to serve; empty if none says it."""
    said = [str(one.get("expire_timestamp") or "")[:10] for one in support.values() if isinstance(one, dict)]
    return min((day for day in said if re.fullmatch(r"\d{4}-\d\d-\d\d", day) and day < "9000"), default="")
