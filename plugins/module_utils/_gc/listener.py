# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client's notifications tell a run; and media GC, of whose end nothing else tells."""

from __future__ import annotations

from dataclasses import asdict

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration
from ansible_collections.waba.onprem.plugins.module_utils._gc import notification_file as notifications
from ansible_collections.waba.onprem.plugins.module_utils._gc import notifications as told
from ansible_collections.waba.onprem.plugins.module_utils._gc import policy
from ansible_collections.waba.onprem.plugins.module_utils._gc.base import GcBase
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import Judge
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import moment
from ansible_collections.waba.onprem.plugins.module_utils._webapp.answers import SINGLE, UNNAMED

_TOLD_LATE = 15.0  # seconds in which PostgreSQL's counters surely tell of what went


class GcListen(GcBase):
    """Listens for the notifications of message GC, and sees media GC through."""

    def _ready(self, called: bool) -> None:
        """Have a token before the record says that a call is made."""
        try:
            self._log_in()
        except WaError as error:
            self._close(failure=str(error), called=called)
            raise

    def _awaits_notifications(self) -> bool:
        """Whether notifications tell the end; the table does where the call's answer, which names the nodes, was lost."""
        return bool(self.params["completion"] == "notifications" and self.run["nodes"])

    def _is_over(self, judge: Judge) -> bool:
        """Whether the table shows no more deletes, and would by now."""
        return judge.quiet() >= judge.needed(max(self.quiet_period, _TOLD_LATE))

    def _listen(self, judge: Judge) -> list[str]:
        """Read the notifications so far into the nodes; return the nodes that are silent.

        One that reads like an earlier round's is taken for that one, sent again, until the table shows that this round
        is over; a failure of an earlier round is none of this one.
        """
        run, path = self.run, self.params["notifications"]
        if not run["nodes"]:
            return [UNNAMED]  # how many nodes there are to hear of is not known
        nodes = [
            node
            for node, item in run["nodes"].items()
            if not item["status"].startswith("failed") or item["count"] is not None
        ]
        if not path:
            return nodes
        lines, since = notifications.lines(path, run["notifications"])
        if since is not None:
            since = self._in_this_clock(since)
        found = told.parse_notifications(lines, since)
        self.strangers = told.strange_nodes(found, run["nodes"])
        run["heard"] = told.unique([*run["heard"], *map(told.key, found)])
        fresh = [one for one in found if told.key(one) not in run["told"]]
        if judge.started and self._is_over(judge):
            fresh += [one for one in found if one.status != "failed"]
        first, silent = told.fold_notifications(fresh, nodes)
        for node, one in first.items():
            status = "failed: " + (one.details or "no details") if one.status == "failed" else one.status
            run["nodes"][node] = {"status": status, "count": one.deleted}
        if not silent:
            self.result.values["callbacks"] = "complete"
        return silent

    def _forget_told(self) -> None:
        """Take what was told so far for an older run's: it counts for nothing, and another is waited for."""
        self.run["notifications"] = notifications.mark(self.params["notifications"])
        for node in self.run["nodes"].values():
            node.update(status="processing", count=None)
        self.result.values["callbacks"] = "none"

    def _in_this_clock(self, wall: float) -> float:
        """The wall-clock time of the call as the clock tells now: it may have been set back since."""
        now = moment()
        elapsed = now.since(policy.Moment(**self.run["called"]))
        return wall if elapsed is None else min(wall, now.wall - elapsed)

    def _media(self) -> bool:
        """Call media GC once message GC has ended: one at a time."""
        blocked = self._blocked() if self.params["media"] else ""
        if blocked:
            self.result.warn(f"media GC was not called: {blocked}")
        elif self.params["media"]:
            self._ready(called=True)
            self.run.update(
                phase="media",
                begun=asdict(moment()),
                called=asdict(moment()),
                notifications=notifications.mark(self.params["notifications"]),
                media={},
            )
            self._remember()
            try:
                nodes = self.webapp.start_gc("media")
            except WaError as error:
                self._close(failure=str(error))
                raise
            self.run["media"] = nodes
            self.result.record_change("called media GC")
            if self._hears_media():
                return self._watch_media()
            self.result.values["media"] = nodes
            self.result.warn("nobody waits for media GC: only a notification tells its end, and none is looked for")
        self._close(failure="")
        if self.params["completion"] == "none":
            self._leave()
        return True

    def _hears_media(self) -> bool:
        return bool(self.params["notifications"]) and self.params["completion"] != "none"

    def _watch_media(self) -> bool:
        """Wait for the one notification of media GC; nothing else tells its end."""
        run = self.run
        lines, since = notifications.lines(self.params["notifications"] or "", run["notifications"])
        since = None if since is None else self._in_this_clock(since)
        found = told.parse_notifications(lines, since, media=True)
        waited = moment().since(policy.Moment(**run["begun"])) or 0.0
        hears = self._hears_media()
        if hears and not found and waited <= self.wait_timeout:
            self._remember()
            self._progress("media GC runs", None)
            return False
        failure = ""
        if not found and hears:
            failure = f"no notification of media GC within {format_duration(waited)}"
        elif found and found[0].status == "failed":
            failure = f"media GC failed: {found[0].details or 'no details'}"
        status = f"{found[0].status}, {found[0].deleted} items" if found else "processing"
        self._close(failure=failure)
        outcome = run.get("outcome") or {"after": None, "exact": False}
        self.result.values.update(
            media=dict.fromkeys(run["media"] or [SINGLE], status),
            messages_after=outcome["after"],
            exact=outcome["exact"],
        )
        if failure:
            raise self._error(failure)
        return True
