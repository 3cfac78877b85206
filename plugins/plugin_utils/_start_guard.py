# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard before a start of a Coreapp takes from the inventory and from the other hosts of the run."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import start_guard
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout, topology
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory

# What is registered of each host before the first start: by provision.yml, by the role alone, by the comparison.
LOOKS = ("__wa_client_look", "wa_drift")
Found = t.Mapping[str, t.Any]


class Run:
    """The hosts of this run, as they matter for a start on one of them."""

    def __init__(self, ours: Inventory) -> None:
        self.ours = ours
        self.hostvars, self.host, self.groups = ours.all_hosts
        self.place = desired.deployment(ours)
        self.hosts = list(ours.variables.get("ansible_play_hosts_all") or [self.host])
        self.members = [one for one in self.place["members"] if one != self.host]
        self.sharing = machines.sharing_database(self.hostvars, self.host, self.groups)

    def look(self, host: str) -> Found:
        """Returns what a host has read of its database in this run, at the latest; empty for one that was not asked."""
        read = (self.hostvars[host].get(name) or {} for name in LOOKS)
        found: Found = next((one["database"] for one in read if one.get("database")), {})
        return found

    @property
    def needs_look(self) -> bool:
        """Returns whether other hosts have to know what this one reads, before any of them starts a client."""
        return bool(self.members or self.sharing)

    def options(self) -> dict[str, t.Any]:
        """Returns the options of the concern `database`."""
        looks = [self.look(one) for one in self.members]
        known = [str(origin) for one in looks for origin in (one.get("origin"), *one.get("origins", ())) if origin]
        known += [layout.address(self.hostvars, one) for one in self.members]
        return {
            **desired.database_users(self.ours),
            "origins": known,
            "running": any(one.get("running") for one in looks),
        }

    def unseen(self) -> int:
        """Returns how many other members were not asked from where they connect."""
        return sum(not self.look(one).get("origin") for one in self.members)

    def deployments(self) -> int:
        """Returns how many deployments the run reaches."""
        names = {one: self.hostvars[one].get("wa_deployment") or one for one in self.hosts}
        return len({str(name) for name in names.values()})

    def decide(self, found: Found) -> tuple[list[str], list[str]]:
        """Returns why no Coreapp may be started here, and notes."""
        sharing = {one: self.look(one) for one in self.sharing}
        places = {
            one: {"machine": seen.get("machine", ""), **self._names(one)} for one, seen in sharing.items() if seen
        }
        refused = [
            start_guard.one_machine(self.host, {"machine": found.get("machine"), **self._names(self.host)}, places),
            start_guard.one_database(self.host, found, sharing),
        ]
        looks = [found, *map(self.look, self.members)]
        records = [one.get("recorded") or {} for one in looks]
        versions = sorted({version for one in looks for version in one.get("versions", ())})
        confirmed = desired.confirmed(self.ours)
        decided = [
            start_guard.unknown_sessions(found, self.unseen()),
            start_guard.content(found, records, versions, desired.version(self.ours), confirmed, self.deployments()),
        ]
        refused += [refusal for refusal, _note in decided]
        here, database = topology.machine(self.hostvars, self.host), self._names(self.host)["database"]
        alike = {
            one: look
            for one, look in sharing.items()
            if self._names(one)["database"] == database and topology.machine(self.hostvars, one) == here
        }
        notes = [*(note for _refusal, note in decided), start_guard.not_compared(self.host, found, alike)]
        return [text for text in refused if text], [text for text in notes if text]

    def _names(self, host: str) -> dict[str, str]:
        _name, project, database = topology.database_of(self.hostvars, host)
        return {"project": project, "database": database}
