# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a check before an upgrade is: what it is made from, where it is not made, and what it returns. Pure rules.

To add one: a function in the file of its family, its row in `preflight.CHECKS`, and how it fails in the family's test. Where it needs
another look at the deployment, that is a variable `__wa_upgrade_look_NAME` of the role, which the row names.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.waba.onprem.plugins.module_utils._core import redact, units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import failure_report, next_step

# What a check is made from: variables, what the host has, or what is only looked at once the `GATES` have passed.
VARIABLES, HOST, DEPLOYMENT = "variables", "host", "deployment"
Facts = t.Mapping[str, t.Any]
Problem = t.Union[str, "tuple[str, str]", None]  # what was found, and what to do


class Observed:
    """What is known of a host, from `facts` (see `verdict`)."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.host = str(facts["host"])
        self.deployment: Facts = facts["deployment"]
        self.name = str(self.deployment["name"])
        self.leads = bool(self.deployment["is_leader"])
        self.target_given = bool(str(facts["version"]).strip())
        self.found: Facts = facts["found"]
        self.left: Facts = facts["left"]
        self.unfinished = upgrade_journal.has_begun(self.left)
        self.migrated = upgrade_journal.is_migrated(self.left)
        self.compose: Facts = facts["compose"]["compose"]

    @property
    def target(self) -> str:
        """The version to upgrade to. Raises WaError if it is none."""
        return topology.normalise_version(self.facts["version"])

    @property
    def skip(self) -> list[str]:
        """The checks in `wa_upgrade_skip`."""
        return units.text_list(self.facts["skip"], "wa_upgrade_skip")

    @property
    def running(self) -> list[str]:
        """The versions of the client's containers on all members that were reached."""
        return sorted({str(one["version"]) for one in self.facts["everywhere"]})

    @property
    def running_versions(self) -> set[str]:
        """Those of containers that run."""
        return {str(one["version"]) for one in self.facts["everywhere"] if one["state"] == "running"}

    @property
    def serves(self) -> bool:
        """Whether a container of the client runs on any member."""
        return any(one["state"] == "running" for one in self.facts["everywhere"])

    @property
    def leader(self) -> next_step.Member:
        """The leader's containers, as an unfinished upgrade looks at them."""
        stopped_at = float((self.left.get("notes") or {}).get("down_at") or 0)
        there, project = self.facts["leader"].get("containers") or [], self.deployment["project"]
        return next_step.Member(there, stopped_at, project, self.facts["neighbours"])

    @property
    def schema_started(self) -> bool:
        """Whether an unfinished upgrade may have changed the schema."""
        others = replace(self.leader, everything=self.facts["everywhere"])
        return self.unfinished and next_step.schema(self.left, [self.leader, others]) != upgrade_journal.UNTOUCHED

    @property
    def standing(self) -> str:
        """Where an unfinished upgrade stands; empty without one."""
        return failure_report.standing(self.left, self.serves) if self.unfinished else ""

    @property
    def needed(self) -> bool:
        """Whether the target takes an upgrade; also if it is refused, so that the other checks are made."""
        if not self.target_given:
            return False
        try:
            return self.unfinished or topology.check_jump(self.running, self.target)
        except WaError:
            return True


@dataclass(frozen=True)
class Skip:
    """A reason not to make a check."""

    reason: str
    applies: t.Callable[[Observed], bool]


NOTHING = Skip("nothing to upgrade", lambda now: now.target_given and not now.needed)


@dataclass(frozen=True)
class Check:
    """One check of the preflight."""

    name: str
    expected: str
    find: t.Callable[[Observed], Problem]  # returns what is wrong; raises WaError for the same
    needs: str = VARIABLES
    look: str = ""  # of the deployment, which is made where the check is
    after: tuple[str, ...] = ()  # checks that must not have failed; all that need the deployment are after the `GATES`
    leader: bool = False  # whether it is made at the leader only
    skip: tuple[Skip, ...] = ()
    subject: str = "host"  # what the message begins with: `host`, `deployment`, or nothing
    reported: bool = False  # whether a preparation (no target version) only reports what was found
    alone: bool = False  # whether the checks that need the deployment are made though it has failed
    shows: t.Callable[[Observed], str] = lambda _now: ""  # what is displayed of one that has passed


def message(now: Observed, result: Facts, key: str) -> str:
    """Returns why a read gave no answer, without secrets; empty if it did. A successful one has `key`."""
    if result.get("msg"):
        return str(redact.hide(str(result["msg"]), now.facts["secrets"]))
    return "" if key in result else "it was not read"
