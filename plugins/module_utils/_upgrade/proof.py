# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a deployment runs in the new version at the end of its upgrade, by what runs on its members. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import service_containers

Container = t.Mapping[str, t.Any]


def proof(members: t.Iterable[str], reads: t.Sequence[t.Mapping[str, t.Any]], target: str) -> dict[str, t.Any]:
    """Returns why the upgrade is not proven (`refusal`, empty if it is), and what the next steps need.

    `reads` are results of `wa_info` in a loop over the `members`, each with the member as `item`. `versions` are those of the client's
    containers; `nodes` the ids of those that are to be nodes of the client.
    """
    read = {one["item"]["host"]: service_containers(one["containers"]) for one in reads if "containers" in one}
    found = [one for containers in read.values() for one in containers]
    problems = []
    for host in members:
        problems += [_line(one) for one in read.get(host, ()) if (one["version"], one["state"]) != (target, "running")]
        if not read.get(host):
            problems.append(f"{host}: {'no container of the client' if host in read else 'was not read'}")
    return {
        "refusal": f"not running version {target}: {'; '.join(problems)}" if problems else "",
        "versions": sorted({str(one["version"]) for one in found}),
        "nodes": [one["id"] for one in found if one["role"] in ("core", "master")],
    }


def _line(container: Container) -> str:
    """Returns a container for a message: name, image, project, state."""
    project = f"project {container['project']}" if container["project"] else "outside Compose"
    return f"{container['name']} ({container['image']}, {project}, {container['state']})"
