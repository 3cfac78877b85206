# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which deployments of the inventory share a machine, found out once in a run and not by each host anew.

To ask every host about all others costs what grows with the square of their number.
"""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology

HostVars = t.Mapping[str, t.Mapping[str, t.Any]]
Groups = t.Mapping[str, t.Sequence[str]]
_placed: dict[tuple[str, str], list[dict[str, t.Any]]] = {}  # by machine; workers that are forked later inherit it


def read(hostvars: HostVars, groups: Groups) -> None:
    """Note where all hosts of the inventory are. One whose variables make no deployment is left out: it fails by itself."""
    _placed.clear()
    for host in groups["all"]:
        try:
            one = topology.placed(hostvars, host, groups)
            _placed.setdefault(topology.machine(hostvars, host), []).append(one)
        except (AnsibleError, WaError):  # a template of the inventory, or what it gives
            continue


def neighbours(hostvars: HostVars, host: str, groups: Groups) -> list[str]:
    """As `_deployment.topology.projects_at`, by what `read` has noted, if it has."""
    here = topology.machine(hostvars, host)
    if here not in _placed:
        return topology.projects_at(hostvars, host, groups)
    others = (one for one in _placed[here] if one["host"] != host)
    return topology.neighbours(topology.placed(hostvars, host, groups), others)
