# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers of the client's API mean. Pure rules."""

from __future__ import annotations

import re
import typing as t

SINGLE = "coreapp"  # what a single client's only node is called: its answers do not name it


def judge_password(password: str) -> list[str]:
    """What a new API password lacks by the client's rule; empty when it is good."""
    rules = (
        (8 <= len(password) <= 64, "8 to 64 characters"),
        (re.search(r"\d", password), "a digit"),
        (re.search(r"[A-Z]", password), "an upper-case letter"),
        (re.search(r"[a-z]", password), "a lower-case letter"),
        (re.search(r"[^A-Za-z0-9]", password), "a special character"),
    )
    return [rule for good, rule in rules if not good]


def metrics(body: t.Any) -> list[tuple[str, dict[str, str], float]]:
    """The figures in an answer of `/v1/stats/...` as (name, labels, value), however deep they are nested.

    A figure is `"name": {"data": [{"labels": {}, "value": 1}]}` or plainly `"name": 1`.
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


def gc_nodes(body: t.Mapping[str, t.Any], what: str) -> dict[str, str]:
    """The status by node in the answer to a call that starts GC of `what`.

    A single client's only node is called `coreapp`. A node that fails has the text of its failure.
    """
    services = body.get("services")
    parts = services if isinstance(services, list) else [services]
    found = [part[what] for part in parts if isinstance(part, dict) and isinstance(part.get(what), dict)]
    told = [part["gc"] for part in found if "gc" in part]
    if not told:
        return {SINGLE: "processing"}
    nodes: dict[str, str] = {}
    for gc in told:
        if not isinstance(gc, dict) or "status" in gc or "errors" in gc:
            name = str(gc.get("node") or SINGLE) if isinstance(gc, dict) else SINGLE
            nodes[name] = _node_status(gc)
        else:
            nodes.update({str(node): _node_status(item) for node, item in gc.items()})
    # Some failures come beside the nodes that began; their words name the node.
    for item in body.get("errors") or []:
        named = re.search(r"[\w.-]+:[0-9a-f]{12}", str(item))
        nodes[named.group() if named else "a node without a name"] = _node_status({"errors": [item]})
    return nodes


def _node_status(item: t.Any) -> str:
    """The status of one node in a GC answer, or the words of its failure."""
    if not isinstance(item, dict):
        return str(item)
    errors = item.get("errors")
    if isinstance(errors, list) and errors:
        first = errors[0] if isinstance(errors[0], dict) else {}
        return "failed: " + ", ".join(str(first[key]) for key in ("code", "title", "details") if first.get(key))
    status = str(item.get("status") or "processing")
    return "failed" if re.search(r"fail|error", status, re.IGNORECASE) else status
