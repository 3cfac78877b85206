# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rounds of a message GC: call, watch, judge the end, count, decide what follows."""

from __future__ import annotations

import re
import time
import typing as t
from dataclasses import asdict

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import activity as pulses
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database import messages
from ansible_collections.waba.onprem.plugins.module_utils._gc import notification_file as notifications
from ansible_collections.waba.onprem.plugins.module_utils._gc import notifications as told
from ansible_collections.waba.onprem.plugins.module_utils._gc import policy
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import (
    LONGEST_BASELINE,
    SHORTEST_BASELINE,
    Judge,
)
from ansible_collections.waba.onprem.plugins.module_utils._gc.listener import GcListen
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import moment
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ApiError

_TROUBLE_PATIENCE = 600.0
# MySQL counts deletes of the whole server: so many rows of other tables in one look are not yet a sign of GC.
_FOREIGN_ROWS = 5.0
_PAUSE_PART = 0.03  # of a run so far, quiet period included: how late its end may be seen
_OWN_PART = 0.2  # of the deletes that a server counts; with fewer of them ours, the client's GC took other tables' rows
_LOOKS = 10  # at the rate before the call
_IDLE = 10.0  # seconds after which PostgreSQL's idle sessions hand in the counts of their last second (PGSTAT_IDLE_INTERVAL)
_RECOUNTS = 3  # looks at a database that was too slow to count, before the run says so
_AGREE = 3  # times by which a notification and the server's own counters may differ
_QUIET_ROWS = 5  # deletes before the call that are as good as none
_RUNS_ALREADY = re.compile(r"already (running|started|in progress|processing)|(gc|collection)\b[^.]* in progress", re.I)
_HOLDERS = "unread inbound messages (mark_read), the client's retention of 7 days, or traffic that adds rows as fast as GC deletes"


class GcRounds(GcListen):
    """From the call to the proof."""

    # Call

    def _baseline(self) -> None:
        """The rates before the call, which traffic alone makes."""
        begin, one = self.first_look or (time.monotonic(), pulses.pulse(self.config, self.tables))
        whole = min(self.quiet_period, LONGEST_BASELINE)
        looks, short = [whole * part / _LOOKS for part in range(1, _LOOKS + 1)], min(whole, SHORTEST_BASELINE)
        last, burst = one, 0
        for seconds in (short, *(look for look in looks if look > short)):
            time.sleep(max(begin + seconds - time.monotonic(), 0))
            other, span = pulses.pulse(self.config, self.tables), time.monotonic() - begin
            burst = max(burst, sum(other.counters) - sum(last.counters))
            last = other
            deleted = max(sum(other.counters) - sum(one.counters), 0)
            if deleted <= _QUIET_ROWS:
                break  # nothing to tell GC from: more of it would only delay the call
        self.run.update(baseline=deleted / span, over=span, burst=burst)
        grown = (
            other.rows - one.rows if other.inserted is None or one.inserted is None else other.inserted - one.inserted
        )
        self.run["inserts"] = max(grown, 0) / span

    def _first_call(self) -> bool:
        """Start the first round."""
        self._find(self.run["databases"])
        if self.params["completion"] != "none":
            self._baseline()
        blocked = self._blocked()
        if blocked:
            self._close(failure="", called=False)
            return self._not_due(blocked, None)
        return self._call(self._pulse(), first=True)

    def _pulse(self) -> pulses.Pulse:
        """The pulse of now; `taken` is when, which is what the judge's time goes by."""
        self.taken = moment()
        return pulses.pulse(self.config, self.tables)

    def _call(self, pulse: pulses.Pulse, first: bool = False) -> bool:
        """Start a round; `pulse` is the last one before it. Nothing is left in the record of what the round before was told."""
        run, taken = self.run, asdict(self.taken)
        self._ready(called=not first)
        judge = Judge(
            run.get("baseline", 0.0),
            over=run.get("over", 0.0),
            burst=run.get("burst", 0),
            late=0.0 if self.config.engine == database.MYSQL else _IDLE,
            tolerance=_FOREIGN_ROWS if self.config.engine == database.MYSQL else 0.0,
            counters=list(pulse.counters),
            origins=list(pulse.origins),
            files=pulse.files,
            sessions=[session.name for session in pulse.sessions],
            rows=pulse.rows,
        )
        run.update(
            phase="calling",
            called=asdict(moment()),
            round=run["round"] + 1,
            rows=pulse.rows,
            nodes={},
            resumed=False,
            answered=False,
            recounts=0,
            told=told.unique([*run.get("told", []), *run.get("heard", [])]),
            heard=[],
            judge=judge.keep(),
            pulsed=taken,
            notifications=notifications.mark(self.params["notifications"]),
        )
        run["begun"] = run["called"]  # every round has its own time to wait
        self._remember()
        try:
            nodes = self.webapp.start_gc("message")
        except WaError as error:
            joined = isinstance(error, ApiError) and _RUNS_ALREADY.search(error.found) is not None
            if not joined and not (isinstance(error, ApiError) and error.kind == "lost" and error.sent):
                self._remember_refusal(error)
                self._close(failure=str(error), called=not first)
                raise
            # The client may have begun: calling again could start a second one, so the table tells.
            self.result.warn(f"{error.found}: whether GC {'runs' if joined else 'has begun'} is judged by the table")
            nodes, run["resumed"] = {}, True
            run["answered"] = joined
        else:
            run["answered"] = True
        self.state.data["marked"] = None
        run["nodes"] = {node: {"status": status, "count": None} for node, status in nodes.items()}
        failed = [f"{node} {status}" for node, status in nodes.items() if status.startswith("failed")]
        if failed and len(failed) == len(nodes):
            self._close(failure="GC started on no node: " + "; ".join(failed), called=not first)
            raise self._error("started on no node: " + "; ".join(failed), cure="Look into the Coreapps' logs")
        if failed:
            self.result.warn("GC did not start on " + "; ".join(failed))
        run["phase"] = "watching"
        if self.params["completion"] == "none":
            self._figures()
            self.result.record_change(f"called message GC: {run['because']}")
            self._diff(None)
            return self._media()
        self._remember()
        self.result.values.update(messages_after=None, exact=False)
        self._progress("started", pulse.rows)
        return False

    # Watch

    def _watch(self) -> bool:
        """Take the pulse of the GC that runs and judge whether its round has ended."""
        run, now = self.run, moment()
        gap = now.since(policy.Moment(**run["seen"]))
        if run["phase"] == "calling" or gap is None or gap > max(60.0, 3 * self.poll + self.quiet_period):
            # Its driver was lost: only the table can tell whether it still runs, and the time to wait begins anew.
            run.update(phase="watching", resumed=True, begun=asdict(now))
        try:
            self._find(run["databases"])
            pulse = self._pulse()
            if pulse.read_only:
                raise messages.read_only(self.config)
            judge = Judge(**run["judge"])
            span = self.taken.since(policy.Moment(**run["pulsed"]))
            judge.sample(
                judge.at + (1.0 if span is None else max(span, 0.001)),
                pulse.counters,
                pulse.rows,
                pulse.deleting,
                pulse.origins,
                pulse.files,
                [session.name for session in pulse.sessions],
                pulse.idle,
                pulse.unchanged,
            )
            run.update(judge=judge.keep(), pulsed=asdict(self.taken))
            silent = self._listen(judge)
            waited = now.since(policy.Moment(**run["begun"])) or 0.0
            ended = self._ended(judge, pulse, silent)
            if not ended and waited > self.wait_timeout:
                self._give_up(judge, pulse, silent, waited)
            elif not ended:
                self._remember()
                self._tidy_early(judge)
                self._progress(self._phase(judge, pulse), pulse.rows, judge, self._again(judge, pulse))
                run["trouble"] = None
                return False
            self._remember()
            count = self._count(waited)
            if count.unknown and run["recounts"] < _RECOUNTS:
                run["recounts"] += 1
                self._remember()
                self._progress(f"to be counted again: {count.unknown}", pulse.rows, judge)
                return False
            pulse = self._pulse()
            run["trouble"] = None
        except database.DatabaseError as error:
            self._tolerate(error, now)
            return False
        return self._end_round(judge, count, pulse)

    def _ended(self, judge: Judge, pulse: pulses.Pulse, silent: list[str]) -> bool:
        if pulse.deleting:
            return False
        counts = [node["count"] or 0 for node in self.run["nodes"].values()]
        heard = bool(counts) and not silent and bool(self.params["notifications"])
        if self._awaits_notifications() and heard:
            # One that an older run left behind may come now: the rows are the better witness, of those that still go and
            # of those that are told and never went.
            rows = self.run.get("rows", 0)  # an estimate, which wavers by itself
            went = judge.started or rows - pulse.rows >= max(sum(counts) / 2, rows / 20)
            if went or not sum(counts):
                return not judge.moving
            if self._is_over(judge):
                self._forget_told()
        if self._awaits_notifications():
            return False
        if self.run["resumed"] and judge.quiet() < judge.needed(self.quiet_period):
            # Its traffic may be another by now: the table itself tells.
            return not judge.falls(self.quiet_period)
        return judge.ended(self.quiet_period, must_start=not (self.run["resumed"] or (heard and not sum(counts))))

    def _again(self, judge: Judge, pulse: pulses.Pulse) -> float | None:
        """In how many seconds another look is worth it before the usual one, or None.

        When quiet is all that the round lacks, that is known; while rows go the pause is kept small beside the whole,
        since the end is seen one pause late.
        """
        if pulse.deleting or judge.moving:
            return max(_PAUSE_PART * (judge.at + self.quiet_period), 1.0)
        lacks_quiet = not self._awaits_notifications() and (judge.started or self.run["resumed"])
        return judge.lacks(self.quiet_period) if lacks_quiet else None

    def _phase(self, judge: Judge, pulse: pulses.Pulse) -> str:
        if pulse.deleting or judge.moving:
            return "deleting"
        if self._awaits_notifications():
            return "waiting for notifications"
        if not judge.started and not self.run["resumed"]:
            return "waiting for the first delete"
        return f"quiet for {judge.quiet():.0f} of {judge.needed(self.quiet_period):.0f} s"

    def _tolerate(self, error: database.DatabaseError, now: policy.Moment) -> None:
        """Bear with a database that is away for a while; raise when it stays away."""
        run = self.run
        if not error.retryable and error.kind not in ("read_only", "missing"):
            self._remember()
            self._so_far(Judge(**run["judge"]))
            raise error
        run["trouble"] = run["trouble"] or asdict(now)
        lasts = now.since(policy.Moment(**run["trouble"])) or 0.0
        self._remember()
        if lasts > min(self.wait_timeout, _TROUBLE_PATIENCE):
            self._so_far(Judge(**run["judge"]))
            raise WaError(
                error.subject,
                f"{error.found} for {format_duration(lasts)} while GC runs",
                "a database that answers",
                "Run again when it does: the GC is remembered and taken up",
            )
        self.tables = []
        self._progress(f"database: {error.found}", None, Judge(**{**run["judge"], "rate": 0.0}))

    def _give_up(self, judge: Judge, pulse: pulses.Pulse, silent: list[str], waited: float) -> None:
        """The time is up: raise, unless the round has simply deleted nothing. A GC that may run is left to the next run."""
        run = self.run
        untold = self._awaits_notifications() and silent
        runs = pulse.deleting or (judge.started and not judge.ended(self.quiet_period))
        if not runs and not untold:
            return
        if runs:
            run["begun"] = asdict(moment())
            self._remember()
            self._so_far(judge)
        else:
            run["deleted"] += judge.deleted
        if untold:
            others = f", but from {', '.join(self.strangers)}, which the call did not name" if self.strangers else ""
            failure = f"no notification from {', '.join(silent)} within {format_duration(waited)}{others}"
            if not runs:
                self._close(failure=failure)
            raise self._error(
                failure,
                f"one of each node in {self.params['notifications']}",
                "See that the webhook's consumer appends GC notifications there, or use completion: database",
            )
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
        quarter = judge.needed(self.quiet_period) / 4
        rests = judge.started and judge.quiet() >= quarter and self.run.get("tidied") != judge.active_at
        if rests and self.config.engine == database.PGSQL:
            self.run["tidied"] = judge.active_at
            messages.tidy(self.config, self.tables, quarter)

    def _count(self, waited: float) -> messages.Count:
        """The closing gate."""
        problem = messages.tidy(self.config, self.tables, max(self.wait_timeout - waited, 30.0))
        if problem:
            self.result.warn(problem)
        return messages.gate(self.config, self.tables, self.limit)

    def _end_round(self, judge: Judge, count: messages.Count, pulse: pulses.Pulse) -> bool:
        """Decide what follows. It asks the database nothing, so that nothing is half done when that is away."""
        run, blocked = self.run, self._blocked()
        failed = [
            f"{node}: {item['status']}" for node, item in run["nodes"].items() if item["status"].startswith("failed")
        ]
        counts = [node["count"] for node in run["nodes"].values()]
        deleted = self._plausible(judge, count)
        # One that failed counts zero, whatever it has deleted; and an older run's tells of other rows.
        all_told = counts and None not in counts and not failed
        if all_told and (judge.resets or sum(counts) / _AGREE <= deleted <= sum(counts) * _AGREE):
            deleted = sum(counts)
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
        closed = f"the window {self.params['window']} has closed" if self.window else ""
        closed = closed if self.window and policy.until_window(self.window, self._local()) else blocked
        # After a reset of the statistics nobody knows what was deleted: that is not "nothing".
        step = policy.next_step(
            count.large, deleted or judge.resets, run["round"], self.params["max_rounds"], not closed
        )
        if count.unknown:
            # No call for a table that may be small: who comes next counts first.
            self._fail(f"{count.unknown}, so nobody knows whether GC is to be called again; {remain}")
        if step == "nothing" and not run.get("answered") and not run.get("repeated"):
            # Nobody knows whether the call has reached the client; what it would have done was waited for in vain.
            run["repeated"] = True
            step = "window" if closed else "again"
        if step == "again":
            return self._call(pulse)
        if step == "nothing":
            self._fail(f"round {run['round']} deleted nothing and {remain}, usually held by {_HOLDERS}")
        if step == "rounds":
            traffic = f"; traffic adds about {run['inserts']:.0f} rows a second" if run.get("inserts") else ""
            self._fail(f"{remain} after {run['round']} rounds{traffic}")
        if step == "window":
            self.result.warn(f"{closed} and {remain}; the next run goes on")
        self._diff(after)
        return self._media()

    def _plausible(self, judge: Judge, count: messages.Count) -> int:
        """How many rows of `messages` went in a round of which not every node has told.

        MySQL counts the deletes of all tables of the server, so those by which the table did not shrink, nor traffic
        can have filled up, were others'. An estimate of the rows before bounds nothing: it is wrong by half or double.
        Rows that went without being counted (a partition that was dropped, statistics that were reset) went all the same.
        """
        run, deleted = self.run, judge.deleted
        mysql = self.config.engine == database.MYSQL
        filled = float(run.get("inserts", 0.0)) * judge.at
        if mysql and not judge.resets and judge.shrunk + filled < _OWN_PART * deleted:
            deleted = 0
        if run["round"] == 1 and count.exact:
            fell = max(int(run["least"]) - count.rows, 0)
            return fell if run["before_exact"] and mysql else max(deleted, fell)
        return deleted

    def _fail(self, found: str) -> t.NoReturn:
        run = self.run
        self._close(failure=found)
        if run["deleted"]:
            self._diff(run["outcome"]["after"])
        raise WaError(
            f"messages in {', '.join(run['databases'])}",
            found,
            f"at most {self.limit} rows",
            "Mark inbound messages as read, wait for less traffic, or run again tomorrow",
        )
