# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the comparison of a host with its desired state has found, by concern."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

IN_SYNC, DRIFTED, RESTART_PENDING, UNKNOWN = "in_sync", "drifted", "restart_pending", "unknown"
NOW = "now"  # of `wa_client_restart`


@dataclass
class Finding:
    """One concern. All texts are lines for a person.

    `changes` can be made without a restart, or are no matter of one; `restarts` need one and wait for the time that
    `wa_client_restart` gives; `pending` waits for the next upgrade, or until the operator asks for it; `warnings` are
    nothing that configuration mends. `error` says why the concern is unknown.
    """

    changes: list[str] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    diff: list[dict[str, t.Any]] = field(default_factory=list)
    error: str = ""
    kept: bool = False  # of the client: its containers were adopted, and nothing but an upgrade recreates them

    def state(self, restart: str = NOW) -> str:
        """`in_sync`, `drifted`, `restart_pending` or `unknown`, where restarts happen at `restart`: now, window, report."""
        if self.error:
            return UNKNOWN
        if self.changes or (self.restarts and restart == NOW):
            return DRIFTED
        return RESTART_PENDING if self.restarts or self.pending else IN_SYNC

    def shown(self, restart: str) -> dict[str, t.Any]:
        """The finding as the module returns it; what is empty is left out, so that a fleet's results stay small."""
        lists = ("changes", "restarts", "pending", "warnings", "diff")
        found = {name: getattr(self, name) for name in lists if getattr(self, name)}
        return {"state": self.state(restart), **found, **({"error": self.error} if self.error else {})}
