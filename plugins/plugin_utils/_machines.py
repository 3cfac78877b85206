# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the deployments of the inventory that share a machine, once in a run for all hosts.

If each host compared itself with all others, the cost would grow with the square of the number of hosts.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible.errors import AnsibleError

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology

HostVars = t.Mapping[str, t.Mapping[str, t.Any]]
Groups = t.Mapping[str, t.Sequence[str]]
_CREDENTIALS = ("wa_api_key", "wa_api_password")
# By machine, and by deployment; workers that are forked later inherit both.
_placed: dict[tuple[str, str], list[dict[str, t.Any]]] = {}
_databases: list[tuple[str, str, str]] = []
_sharers: list[tuple[str, str, str]] = []  # port and prefix of the database, host, deployment


def read(hostvars: HostVars, groups: Groups) -> None:
    """Caches the machine and the database of each host of the inventory."""
    _placed.clear()
    for place, one in _each(
        groups, lambda host: (topology.machine(hostvars, host), topology.placed(hostvars, host, groups))
    ):
        _placed.setdefault(place, []).append(one)
    _databases[:] = _each(groups, lambda host: topology.database_of(hostvars, host))
    _sharers[:] = _each(groups, lambda host: _sharer(hostvars, host))


_T = t.TypeVar("_T")


def _each(groups: Groups, ask: t.Callable[[str], _T]) -> list[_T]:
    """Returns the result of `ask` for each host. A host with invalid variables is left out: its own run reports them."""
    found = []
    for host in groups["all"]:
        with contextlib.suppress(AnsibleError, WaError):  # a template fails, or its value is invalid
            found.append(ask(host))
    return found


def neighbours(hostvars: HostVars, host: str, groups: Groups) -> list[str]:
    """Returns the result of `_deployment.topology.projects_at`, from the cache of `read` if it is filled."""
    here = topology.machine(hostvars, host)
    if here not in _placed:
        return topology.projects_at(hostvars, host, groups)
    others = (one for one in _placed[here] if one["host"] != host)
    return topology.neighbours(topology.placed(hostvars, host, groups), others)


def _sharer(hostvars: HostVars, host: str) -> tuple[str, str, str]:
    """Returns port and prefix of the database of a host, the host, and its deployment."""
    name, _project, database = topology.database_of(hostvars, host)
    return database.rpartition(":")[2], host, name


def sharing_database(hostvars: HostVars, host: str, groups: Groups) -> list[str]:
    """Returns the hosts of other deployments that may have the same database: a suspicion, which the running servers decide.

    Only port and prefix have to be equal: one server has many names, and one name means another server on each machine.
    """
    known = _sharers or _each(groups, lambda one: _sharer(hostvars, one))
    place, _host, own = _sharer(hostvars, host)
    return [name for where, name, other in known if place and where == place and other != own]


def is_first_unasked(hostvars: HostVars, host: str, groups: Groups, hosts: t.Iterable[str]) -> bool:
    """Returns whether `host` is the first leader of `hosts` whose client nobody can ask, so that it is displayed once in a run."""

    def asked(one: str) -> bool:
        values = hostvars[one]
        return (
            any(values.get(name) for name in _CREDENTIALS) or not topology.described(hostvars, one, groups)["is_leader"]
        )

    if asked(host):
        return False
    for one in hosts:
        with contextlib.suppress(AnsibleError, WaError):  # as in `_each`
            if not asked(one):
                return one == host
    return True


def databases_of_others(hostvars: HostVars, host: str, groups: Groups) -> list[list[str]]:
    """Returns project and database of each deployment of the inventory other than that of `host`."""
    known = _databases or _each(groups, lambda one: topology.database_of(hostvars, one))
    own = topology.database_of(hostvars, host)[0]
    return [[project, database] for name, project, database in known if name != own and database]
