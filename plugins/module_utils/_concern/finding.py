# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of the comparison of one concern of a host with its desired state."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

IN_SYNC, DRIFTED, RESTART_PENDING, UNKNOWN = "in_sync", "drifted", "restart_pending", "unknown"
NOW = "now"  # value of `wa_client_restart`


@dataclass
class Finding:
    """The result for one concern. All texts are lines for the operator.

    `changes` are corrected without a restart, and so are `containers`, which are missing, stopped or not well; `restarts` need
    one and wait for the time set by `wa_client_restart`; both wait while the client is held. `pending` waits for the next upgrade or an
    explicit request; `warnings` cannot be corrected by configuration. `alarms` are corrected by no role, and fail the run after everything
    else was corrected. `error` is the reason why the concern is unknown.
    """

    changes: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    diff: list[dict[str, t.Any]] = field(default_factory=list)
    error: str = ""
    requirements: dict[str, t.Any] | None = None  # concern `host`: what the host lacks, for its role
    lock: dict[str, t.Any] = field(default_factory=dict)  # concern `host`: who has the lock of the deployment
    kept: bool = False  # concern `client`: its containers were adopted, and only an upgrade recreates them

    def state(self, restart: str = NOW) -> str:
        """Returns `in_sync`, `drifted`, `restart_pending` or `unknown`. `restart` is `now`, `window` or `report`."""
        if self.error:
            return UNKNOWN
        if self.changes or self.containers or (self.restarts and restart == NOW):
            return DRIFTED
        return RESTART_PENDING if self.restarts or self.pending else IN_SYNC

    @property
    def differs(self) -> bool:
        """Whether a role may run because of it."""
        return bool(self.error or self.changes or self.containers or self.restarts)

    def shown(self, restart: str) -> dict[str, t.Any]:
        """Returns the finding as the module returns it, without empty lists, so that the results of many hosts stay small."""
        lists = ("changes", "containers", "restarts", "pending", "warnings", "alarms", "diff")
        found = {name: getattr(self, name) for name in lists if getattr(self, name)}
        return {"state": self.state(restart), **found, **({"error": self.error} if self.error else {})}
