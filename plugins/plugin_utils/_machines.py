# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which deployments of the inventory share a machine, found out once in a run and not by each host anew.

To ask every host about all others costs what grows with the square of their number.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleError

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology

HostVars = t.Mapping[str, t.Mapping[str, t.Any]]
Groups = t.Mapping[str, t.Sequence[str]]
# By machine, and by deployment; workers that are forked later inherit both.
_placed: dict[tuple[str, str], list[dict[str, t.Any]]] = {}
_databases: list[tuple[str, str, str]] = []


def read(hostvars: HostVars, groups: Groups) -> None:
    """Note where all hosts of the inventory are, and their databases."""
    _placed.clear()
    for place, one in _each(
        groups, lambda host: (topology.machine(hostvars, host), topology.placed(hostvars, host, groups))
    ):
        _placed.setdefault(place, []).append(one)
    _databases[:] = _each(groups, lambda host: topology.database_of(hostvars, host))


_T = t.TypeVar("_T")


def _each(groups: Groups, ask: t.Callable[[str], _T]) -> list[_T]:
    """What `ask` says of each host. One whose variables make no sense is left out: it fails by itself."""
    found = []
    for host in groups["all"]:
        with contextlib.suppress(AnsibleError, WaError):  # a template of the inventory, or what it gives
            found.append(ask(host))
    return found


def neighbours(hostvars: HostVars, host: str, groups: Groups) -> list[str]:
    """As `_deployment.topology.projects_at`, by what `read` has noted, if it has."""
    here = topology.machine(hostvars, host)
    if here not in _placed:
        return topology.projects_at(hostvars, host, groups)
    others = (one for one in _placed[here] if one["host"] != host)
    return topology.neighbours(topology.placed(hostvars, host, groups), others)


def databases_of_others(hostvars: HostVars, host: str, groups: Groups) -> list[list[str]]:
    """Project and database of every deployment of the inventory but that of `host`."""
    known = _databases or _each(groups, lambda one: topology.database_of(hostvars, one))
    own = topology.database_of(hostvars, host)[0]
    return [[project, database] for name, project, database in known if name != own and database]
