# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""In which order deployments are upgraded, and which images an upgrade leaves behind. Pure rules."""

from __future__ import annotations

import math
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import service_containers
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology


def leaders(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]], groups: t.Mapping[str, t.Sequence[str]], hosts: t.Iterable[str]
) -> list[str]:
    """The leaders of the deployments that `hosts` belong to, the smaller deployments first (Meta's advice).

    Small is few hosts, then few rows in `messages` as the checks have counted them, those that were not counted last, then the name.
    Those that an unfinished upgrade has left, which may be down, come before all others. Deployments that are only checked have none.
    """
    found: dict[str, tuple[int, int, float, str]] = {}
    for host in hosts:
        deployment = topology.described(hostvars, host, groups)
        leader = deployment["leader"]
        if (hostvars[leader].get("__wa_upgrade_verdict") or {}).get("check_only"):
            continue
        read = hostvars[leader].get("__wa_upgrade_host") or {}
        rows = ((read.get("database") or {}).get("messages") or {}).get("rows")
        order = 0 if read.get("journal") else 1
        found[leader] = (order, len(deployment["members"]), math.inf if rows is None else int(rows), deployment["name"])
    return sorted(found, key=lambda leader: found[leader])


def on_server(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    groups: t.Mapping[str, t.Sequence[str]],
    hosts: t.Iterable[str],
    leader: str,
    target: str,
) -> dict[str, int]:
    """The bytes of the largest table of each other deployment among `hosts` that is upgraded on the database server of `leader`.

    Servers are told apart by what db.env says. What runs the `target` already copies nothing.
    """
    server = _database(hostvars, leader).get("server")
    found = {}
    for host in hosts:
        deployment = topology.described(hostvars, host, groups)
        read = _database(hostvars, host)
        largest = read.get("largest_table")
        if host == leader or host != deployment["leader"] or not largest or read["server"] != server:
            continue
        clients = service_containers(hostvars[host]["__wa_upgrade_host"].get("containers") or [])
        if any(one["version"] != target.strip().lstrip("v") for one in clients):
            found[str(deployment["name"])] = int(largest["bytes"])
    return found


def _database(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], host: str) -> t.Mapping[str, t.Any]:
    return (hostvars[host].get("__wa_upgrade_host") or {}).get("database") or {}


def waves(asked: t.Any) -> list[int | str]:
    """The sizes of the waves as Ansible's `serial` takes them: numbers of deployments, and percentages such as `10%`.

    Raises WaError for anything else: Ansible itself takes what it does not know for all at once.
    """
    sizes = list(asked) if isinstance(asked, (list, tuple)) else [asked]
    wrong = [
        repr(size)
        for size in sizes
        if isinstance(size, bool) or not re.fullmatch(r"0*[1-9][0-9]*%?", str(size).strip())
    ]
    if wrong or not sizes:
        found = wrong[0] if wrong else "no wave at all"
        raise WaError("wa_provision_waves", found, "numbers of deployments or percentages: [1, '10%', '100%']")
    return [text if text.endswith("%") else int(text) for text in (str(size).strip() for size in sizes)]
