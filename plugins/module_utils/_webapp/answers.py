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
    items = _gc_items(body)
    if items is None:
        return {SINGLE: "processing"}
    nodes = {name: _node_status(item) for name, item in items}
    # Some failures are listed next to the nodes that started; their text names the node.
    errors = body.get("errors")
    for item in errors if isinstance(errors, list) else []:
        name, status = _meant(str(item), nodes), _node_status({"errors": [item]})
        nodes[name] = f"{nodes[name]}; {status}" if name == UNNAMED and name in nodes else status
    return nodes


def parse_gc_failure(body: t.Mapping[str, t.Any]) -> tuple[dict[str, str], bool]:
    """Returns the nodes named in an answer with any HTTP status, and whether GC of messages has started on one of them.

    Only a status that is not a failure counts as started: without a status nothing is known.
    """
    items = _gc_items(body) or []
    status = {name: _node_status(item) for name, item in items if item}
    began = any(_has_status(item) and not _node_status(item).startswith("failed") for _name, item in items)
    return status, began


def _has_status(item: t.Any) -> bool:
    """Returns whether a node's part of an answer has a status of one word."""
    status = item.get("status") if isinstance(item, dict) else item
    return isinstance(status, str) and re.fullmatch(r"[\w-]+", status) is not None


def _gc_items(body: t.Mapping[str, t.Any]) -> list[tuple[str, t.Any]] | None:
    """Returns the entries about GC of messages in an answer as (node, item); None if there are none."""
    services = body.get("services")
    parts = services if isinstance(services, list) else [services]
    found = [part["message"] for part in parts if isinstance(part, dict) and isinstance(part.get("message"), dict)]
    answers = [part["gc"] for part in found if "gc" in part]
    items: list[tuple[str, t.Any]] = []
    for gc in (one for many in answers for one in (many if isinstance(many, list) else [many])):
        if not isinstance(gc, dict):
            items.append((SINGLE, gc))
        elif "status" in gc or ("errors" in gc and not any(isinstance(item, dict) for item in gc.values())):
            items.append((str(gc.get("node") or SINGLE), gc))
        else:
            items += [
                (UNNAMED, {"errors": item}) if node == "errors" else (str(node), item) for node, item in gc.items()
            ]
    return items if answers else None


def _meant(text: str, nodes: t.Mapping[str, str]) -> str:
    """Returns the node that a failure's text concerns: the one it names, or the only failed one without a text."""
    named = re.search(r"[\w.-]+:[0-9a-f]{12}", text)
    if named:
        return named.group()
    wordless = [node for node, status in nodes.items() if status == "failed"]
    hosts = [node for node in wordless if re.search(rf"(?<![\w.-]){re.escape(node.partition(':')[0])}(?![\w-])", text)]
    meant = hosts or wordless
    return meant[0] if len(meant) == 1 else UNNAMED


def _node_status(item: t.Any) -> str:
    """Returns the status of one node in a GC answer, or the text of its failure."""
    if not isinstance(item, dict):
        text = str(item)
        return f"failed: {text}" if re.search(r"fail|error", text, re.IGNORECASE) else text
    errors = item.get("errors")
    if isinstance(errors, list) and errors:
        first = errors[0] if isinstance(errors[0], dict) else {"details": errors[0]}
        return "failed: " + ", ".join(str(first[key]) for key in ("code", "title", "details") if first.get(key))
    status = str(item.get("status") or "processing")
    if not re.search(r"fail|error", status, re.IGNORECASE):
        return status
    text = ", ".join(str(item[key]) for key in ("title", "details") if item.get(key))
    return f"failed: {text}" if text else "failed"
