# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rounds of a message GC: call, watch, judge the end, count, decide what follows."""

from __future__ import annotations

import re
import time
import typing as t
from dataclasses import asdict

from ansible_collections.waba.onprem.plugins.module_utils import _database
from ansible_collections.waba.onprem.plugins.module_utils import _database_messages as messages
from ansible_collections.waba.onprem.plugins.module_utils import _gc_notifications as notifications
from ansible_collections.waba.onprem.plugins.module_utils import _gc_policy as policy
from ansible_collections.waba.onprem.plugins.module_utils import _gc_told as told
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc_base import GcBase
from ansible_collections.waba.onprem.plugins.module_utils._gc_judge import LONGEST_BASELINE, SHORTEST_BASELINE, Judge
from ansible_collections.waba.onprem.plugins.module_utils._gc_state import moment
from ansible_collections.waba.onprem.plugins.module_utils._units import format_duration
from ansible_collections.waba.onprem.plugins.module_utils._webapp import ApiError

_TROUBLE_PATIENCE = 600.0
# MySQL counts deletes of the whole server: so many rows of other tables in one look are not yet a sign of GC.
_FOREIGN_ROWS = 5.0
_PAUSE_PART = 0.04  # of a run so far, settle included: how late its end may be seen
_QUIET_ROWS = 5  # deletes before the call that are as good as none
_RUNS_ALREADY = re.compile(r"already (running|started|in progress|processing)|(gc|collection)\b[^.]* in progress", re.I)
_HOLDERS = "unread inbound messages (mark_read), the client's retention of 7 days, or traffic that adds rows as fast as GC deletes"


class GcRounds(GcBase):
    """From the call to the proof."""

    # Call

    def _baseline(self) -> None:
        """The rates before the call, which traffic alone makes."""
        begin, one = self.first_look or (time.monotonic(), messages.pulse(self.config, self.tables))
        whole = min(self.settle, LONGEST_BASELINE)
        for seconds in (min(whole, SHORTEST_BASELINE), whole):
            time.sleep(max(begin + seconds - time.monotonic(), 0))
            other, span = messages.pulse(self.config, self.tables), time.monotonic() - begin
            deleted = max(sum(other.counters) - sum(one.counters), 0)
            if deleted <= _QUIET_ROWS:
                break  # nothing to tell GC from: more of it would only delay the call
        self.run.update(baseline=deleted / span, over=span)
        grown = (
            other.rows - one.rows if other.inserted is None or one.inserted is None else other.inserted - one.inserted
        )
        self.run["inserts"] = max(grown, 0) / span

    def _first_call(self) -> bool:
        """Start the first round."""
        self._find(self.run["databases"])
        if self.params["completion"] != "none":
            self._baseline()
        self.run["begun"] = asdict(moment())  # marking and the baseline are not part of the time to wait
        return self._call(messages.pulse(self.config, self.tables), first=True)

    def _call(self, pulse: messages.Pulse, first: bool = False) -> bool:
        """Start a round; `pulse` is that of this moment."""
        run = self.run
        judge = Judge(
            run.get("baseline", 0.0),
            over=run.get("over", 0.0),
            tolerance=_FOREIGN_ROWS if self.config.engine == _database.MYSQL else 0.0,
            counters=list(pulse.counters),
            origins=list(pulse.origins),
            rows=pulse.rows,
        )
        run.update(
            phase="calling",
            called=asdict(moment()),
            round=run["round"] + 1,
            judge=judge.keep(),
            notifications=notifications.mark(self.params["notifications"]),
        )
        self._remember()
        try:
            nodes = self.webapp.start_gc("message")
        except ApiError as error:
            joined = _RUNS_ALREADY.search(error.found) is not None
            if not joined and not (error.kind == "lost" and error.sent):
                self._remember_refusal(error)
                self._close(failure=str(error), called=not first)
                raise
            # The client may have begun: calling again could start a second one, so the table tells.
            self.result.warn(f"{error.found}: whether GC {'runs' if joined else 'has begun'} is judged by the table")
            nodes, run["resumed"] = {}, True
        run["nodes"] = {node: {"status": status, "count": None} for node, status in nodes.items()}
        failed = [f"{node} {status}" for node, status in nodes.items() if status.startswith("failed")]
        if failed and len(failed) == len(nodes):
            self._close(failure="GC started on no node: " + "; ".join(failed), called=not first)
            raise self._error("started on no node: " + "; ".join(failed), cure="Look into the Coreapps' logs")
        if failed:
            self.result.warn("GC did not start on " + "; ".join(failed))
        if self.params["completion"] == "none":
            self._figures()
            self.result.did(f"called message GC: {run['because']}")
            self._diff(None)
            return self._media()
        run["phase"] = "watching"
        self._remember()
        self.result.values.update(messages_after=None, exact=False)
        self._progress("started", pulse.rows)
        return False

    # Watch

    def _watch(self) -> bool:
        """Take the pulse of the GC that runs and judge whether its round has ended."""
        run, now = self.run, moment()
        gap = now.since(policy.Moment(**run["seen"]))
        if run["phase"] == "calling" or gap is None or gap > max(60.0, 3 * self.poll + self.settle):
            # Its driver was lost: only the table can tell whether it still runs, and the time to wait begins anew.
            run.update(phase="watching", resumed=True, begun=asdict(now))
        try:
            self._find(run["databases"])
            pulse = messages.pulse(self.config, self.tables)
            if pulse.read_only:
                raise messages.read_only(self.config)
            judge = Judge(**run["judge"])
            judge.sample(
                judge.at + (1.0 if gap is None else max(gap, 0.001)),
                pulse.counters,
                pulse.rows,
                pulse.deleting,
                pulse.origins,
                pulse.still,
            )
            run["judge"] = judge.keep()
            silent = self._listen()
            waited = now.since(policy.Moment(**run["begun"])) or 0.0
            ended = self._ended(judge, pulse, silent)
            if not ended and waited > self.wait_timeout:
                self._give_up(judge, silent, waited)
            elif not ended:
                self._remember()
                self._tidy_early(judge)
                self._progress(self._phase(judge, pulse), pulse.rows, judge, self._again(judge, pulse))
                run["trouble"] = None
                return False
            self._remember()
            count = self._count(waited)
            pulse = messages.pulse(self.config, self.tables)
            run["trouble"] = None
        except _database.DatabaseError as error:
            self._tolerate(error, now)
            return False
        return self._end_round(judge, count, pulse)

    def _ended(self, judge: Judge, pulse: messages.Pulse, silent: list[str]) -> bool:
        if pulse.deleting:
            return False
        if self.params["completion"] == "notifications":
            # One that an older run left behind may come now: rows that still go are the better witness.
            return not silent and (judge.quiet() > 0 or not judge.started)
        heard = bool(self.run["nodes"]) and not silent and bool(self.params["notifications"])
        return judge.ended(self.settle, must_start=not (self.run["resumed"] or heard))

    def _again(self, judge: Judge, pulse: messages.Pulse) -> float | None:
        """In how many seconds another look is worth it before the usual one, or None.

        When quiet is all that the round lacks, that is known; while rows go the pause is kept small beside the whole,
        since the end is seen one pause late.
        """
        if pulse.deleting or (judge.started and judge.quiet() == 0):
            return max(_PAUSE_PART * (judge.at + self.settle), 1.0)
        lacks_quiet = self.params["completion"] == "database" and (judge.started or self.run["resumed"])
        return judge.needed(self.settle) - judge.quiet() if lacks_quiet else None

    def _phase(self, judge: Judge, pulse: messages.Pulse) -> str:
        if pulse.deleting or (judge.started and judge.quiet() == 0):
            return "deleting"
        if self.params["completion"] == "notifications":
            return "waiting for notifications"
        if not judge.started and not self.run["resumed"]:
            return "waiting for the first delete"
        return f"quiet for {judge.quiet():.0f} of {judge.needed(self.settle):.0f} s"

    def _tolerate(self, error: _database.DatabaseError, now: policy.Moment) -> None:
        """Bear with a database that is away for a while; raise when it stays away."""
        run = self.run
        if not error.retryable and error.kind not in ("read_only", "missing"):
            self._remember()
            raise error
        run["trouble"] = run["trouble"] or asdict(now)
        lasts = now.since(policy.Moment(**run["trouble"])) or 0.0
        self._remember()
        if lasts > min(self.wait_timeout, _TROUBLE_PATIENCE):
            raise WaError(
                error.subject,
                f"{error.found} for {format_duration(lasts)} while GC runs",
                "a database that answers",
                "Run again when it does: the GC is remembered and taken up",
            )
        self.tables = []
        self._progress(f"database: {error.found}", None, Judge(**{**run["judge"], "rate": 0.0}))

    def _give_up(self, judge: Judge, silent: list[str], waited: float) -> None:
        """The time is up: raise, unless the round has simply deleted nothing."""
        run = self.run
        self._figures(judge)
        if self.params["completion"] == "notifications" and silent:
            failure = f"no notification from {', '.join(silent)} within {format_duration(waited)}"
            if judge.quiet() >= self.settle:
                self._close(failure=failure)
            else:
                run["begun"] = asdict(moment())
                self._remember()
            raise self._error(
                failure,
                f"one of each node in {self.params['notifications']}",
                "See that the webhook's consumer appends GC notifications there, or use completion: database",
            )
        if judge.started:
            run["begun"] = asdict(moment())
            self._remember()
            raise self._error(
                f"still deleting after {format_duration(waited)} ({judge.deleted} rows so far)",
                f"its end within wait_timeout ({self.params['wait_timeout']})",
                "Run again: it is taken up and not started a second time",
            )

    # Count and decide

    def _tidy_early(self, judge: Judge) -> None:
        """Let PostgreSQL vacuum while the round settles anyway, once for each time that the deletes have stopped.

        The closing one finds little to do then. It is cut off before the settling ends.
        """
        quarter = judge.needed(self.settle) / 4
        rests = judge.started and judge.quiet() >= quarter and self.run.get("tidied") != judge.active_at
        if rests and self.config.engine == _database.PGSQL:
            self.run["tidied"] = judge.active_at
            messages.tidy(self.config, self.tables, quarter)

    def _count(self, waited: float) -> messages.Count:
        """The closing gate."""
        problem = messages.tidy(self.config, self.tables, max(self.wait_timeout - waited, 30.0))
        if problem:
            self.result.warn(problem)
        return messages.gate(self.config, self.tables, self.limit)

    def _end_round(self, judge: Judge, count: messages.Count, pulse: messages.Pulse) -> bool:
        """Decide what follows. It asks the database nothing, so that nothing is half done when that is away."""
        run = self.run
        failed = [
            f"{node}: {item['status']}" for node, item in run["nodes"].items() if item["status"].startswith("failed")
        ]
        counts = [node["count"] for node in run["nodes"].values()]
        deleted = judge.deleted
        if counts and None not in counts and not failed:  # one that failed counts zero, whatever it has deleted
            deleted = sum(counts)
        elif run["round"] == 1 and count.exact:
            # Two counts tell better than MySQL's counter, which is the whole server's; and rows that went without being
            # counted (a partition that was dropped, statistics that were reset) went all the same.
            fell = max(run["least"] - count.rows, 0)
            mysql = self.config.engine == _database.MYSQL
            deleted = fell if run["before_exact"] and mysql else max(deleted, fell)
        run["deleted"] += deleted
        after = count.rows if count.exact else max(count.rows, pulse.rows)
        remain = f"{after} rows remain" if count.exact else f"about {after} rows remain"
        run["outcome"] = {"after": after, "exact": count.exact, "large": count.large}
        self._figures()
        self.result.values.update(messages_after=after, exact=count.exact)
        if failed and (self.params["completion"] == "notifications" or (count.large and not deleted)):
            self._fail(f"GC failed on {'; '.join(failed)}; {remain}")
        if failed:
            self.result.warn(f"GC failed on {'; '.join(failed)}")
        open_ = not self.window or not policy.until_window(self.window, self._local())
        # After a reset of the statistics nobody knows what was deleted: that is not "nothing".
        step = policy.next_step(count.large, deleted or judge.resets, run["round"], self.params["max_rounds"], open_)
        if step == "again":
            return self._call(pulse)
        if step == "nothing":
            why = f" ({count.unknown})" if count.unknown else ""
            self._fail(f"round {run['round']} deleted nothing and {remain}{why}, usually held by {_HOLDERS}")
        if step == "rounds":
            traffic = f"; traffic adds about {run['inserts']:.0f} rows a second" if run.get("inserts") else ""
            self._fail(f"{remain} after {run['round']} rounds{traffic}")
        if step == "window":
            self.result.warn(f"the window {self.params['window']} has closed and {remain}; the next run goes on")
        if run["deleted"]:
            self.result.did(f"message GC deleted {run['deleted']} rows (rounds: {run['round']}): {run['because']}")
        self._diff(after)
        return self._media()

    def _fail(self, found: str) -> t.NoReturn:
        run = self.run
        self._close(failure=found)
        if run["deleted"]:
            self.result.did(f"message GC deleted {run['deleted']} rows (rounds: {run['round']})")
            self._diff(run["outcome"]["after"])
        raise WaError(
            f"messages in {', '.join(run['databases'])}",
            found,
            f"at most {self.limit} rows",
            "Mark inbound messages as read, wait for less traffic, or run again tomorrow",
        )

    # Notifications and media

    def _listen(self) -> list[str]:
        """Read the notifications so far into the nodes; return the nodes that are silent."""
        run, path = self.run, self.params["notifications"]
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
        first, silent = told.fold_notifications(told.parse_notifications(lines, since), nodes)
        for node, found in first.items():
            status = "failed: " + (found.details or "no details") if found.status == "failed" else found.status
            run["nodes"].setdefault(node, {})
            run["nodes"][node] = {"status": status, "count": found.deleted}
        if not silent:
            self.result.values["callbacks"] = "complete"
        return silent

    def _in_this_clock(self, wall: float) -> float:
        """The wall-clock time of the call as the clock tells now: it may have been set back since."""
        now = moment()
        elapsed = now.since(policy.Moment(**self.run["called"]))
        return wall if elapsed is None else min(wall, now.wall - elapsed)

    def _media(self) -> bool:
        """Call media GC once message GC has ended: one at a time."""
        if self.params["media"]:
            self.run.update(
                phase="media",
                begun=asdict(moment()),
                called=asdict(moment()),
                notifications=notifications.mark(self.params["notifications"]),
            )
            self._remember()
            try:
                nodes = self.webapp.start_gc("media")
            except ApiError as error:
                self._close(failure=str(error))
                raise
            self.run["media"] = nodes
            self.result.did("called media GC")
            if self.params["notifications"] and self.params["completion"] != "none":
                return self._watch_media()
            self.result.values["media"] = nodes
        self._close(failure="")
        return True

    def _watch_media(self) -> bool:
        """Wait for the one notification of media GC; nothing else tells its end."""
        run = self.run
        lines, since = notifications.lines(self.params["notifications"] or "", run["notifications"])
        since = None if since is None else self._in_this_clock(since)
        found = told.parse_notifications(lines, since, media=True)
        waited = moment().since(policy.Moment(**run["begun"])) or 0.0
        if not found and waited <= self.wait_timeout:
            self._remember()
            self._progress("media GC runs", None)
            return False
        failure = ""
        if not found:
            failure = f"no notification of media GC within {format_duration(waited)}"
        elif found[0].status == "failed":
            failure = f"media GC failed: {found[0].details or 'no details'}"
        status = f"{found[0].status}, {found[0].deleted} items" if found else "processing"
        self._close(failure=failure)
        outcome = run.get("outcome") or {"after": None, "exact": False}
        self.result.values.update(
            media=dict.fromkeys(run["media"], status), messages_after=outcome["after"], exact=outcome["exact"]
        )
        if run["deleted"]:
            self.result.did(f"message GC deleted {run['deleted']} rows (rounds: {run['round']}): {run['because']}")
        if failure:
            raise self._error(failure)
        return True
