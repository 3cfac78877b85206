# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One message GC from due to proven, in steps that can be taken by different processes: start or take up, judge, return."""

from __future__ import annotations

import time
import typing as t
import uuid
from dataclasses import asdict

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import activity as pulses
from ansible_collections.waba.onprem.plugins.module_utils._database import messages
from ansible_collections.waba.onprem.plugins.module_utils._gc import policy
from ansible_collections.waba.onprem.plugins.module_utils._gc.base import clock, fingerprint
from ansible_collections.waba.onprem.plugins.module_utils._gc.progress import Progress
from ansible_collections.waba.onprem.plugins.module_utils._gc.rounds import GcRounds
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import moment

_BRIEF, _PATIENT = 5.0, 120.0  # seconds to wait for another run's step, with and without a run to follow
_MARKING_STEP = 30.0  # seconds of marking in one step, so that none is long
_LONGEST_LIST = 64 << 20  # bytes of a file of message ids


class GcRun(GcRounds):
    """Brings one client's `messages` under the limit. `step` is called until it returns true."""

    def step(self) -> bool:
        """Start a GC or take up the one that runs, judge it, and return whether all is over."""
        if self.check_mode:
            self.state.load()
            return self._step()
        with self.state.lock(_BRIEF if self.follow else _PATIENT) as mine:
            if mine:
                self.state.load()
                return self._step()
        if not self.follow:
            raise WaError(
                f"state file {self.state.path}",
                f"another run has held its lock for {_PATIENT:g} s",
                cure="Wait for the other run, then try again",
            )
        self.result.values.update(running=True, run_id=self.follow, progress=asdict(Progress("another run is at work")))
        return False

    def _step(self) -> bool:
        run, last = self.state.data["run"], self.state.data["last"]
        if run and not self.follow:
            if run["phase"] == "marking":
                run = None  # nothing was called yet: all is looked at again, and marking goes on where it was
            elif run.get("unwatched"):
                since = moment().since(policy.Moment(**run["called"]))
                if since is not None and since <= self.wait_timeout and self.params["completion"] == "none":
                    self.result.values.update(run_id=run["id"], databases=run["databases"])
                    return self._not_due(
                        f"the GC called at {clock(run['called']['wall'])} was not followed and may still run",
                        self.wait_timeout - since,
                    )
                if since is None or since > self.wait_timeout:
                    run = None
        over = bool(self.follow and last and last["id"] == self.follow)
        if run and not (over and run["id"] != self.follow):  # another may have begun since
            return self._take_up(run)
        if over:
            self._report(last)
            if last["failure"]:
                raise self._error(last["failure"])
            return True
        if self.follow:
            return self._not_due("the run to follow is over: GC was not called in it, or another has ended since", None)
        return self._begin()

    def _take_up(self, run: dict[str, t.Any]) -> bool:
        """Go on with the run that is remembered; somebody follows it from now on."""
        self.run = run
        if self.check_mode:
            self._find(run["databases"])
            self._gate()
            self.result.values.update(run_id=run["id"], running=True)
            self.result.record_change(f"go on with the message GC that runs since {clock(run['first']['wall'])}")
            return True
        run.pop("unwatched", None)
        if not self.follow:
            run["begun"] = asdict(moment())  # a new driver has its own time to wait
        self.follow = run["id"]
        self.result.values.update(run_id=run["id"], running=True)
        phases = {"marking": self._mark, "media": self._watch_media}
        return phases.get(run["phase"], self._watch)()

    def _gate(self) -> tuple[messages.Count, int]:
        """Count what there is before GC: exactly, and as the best figure."""
        seen, pulse = time.monotonic(), pulses.pulse(self.config, self.tables)
        if pulse.read_only:
            raise messages.read_only(self.config)
        self.first_look = (seen, pulse)
        count = messages.gate(self.config, self.tables, self.limit)
        before = count.rows if count.exact else max(count.rows, pulse.rows)
        self.result.values.update(messages_before=before, exact=count.exact)
        if count.unknown:
            self.result.warn(f"{count.unknown}; the table counts as large")
        return count, before

    def _look(self) -> dict[str, t.Any] | None:
        """What is known before a first call, or None when GC is not due; then the result says why."""
        blocked = self._blocked()
        if blocked:
            self._not_due(blocked, None)
            return None
        closed = policy.until_window(self.window, self._local()) if self.window else 0.0
        if closed:
            self._not_due(f"outside the window {self.params['window']}", closed)
            return None
        self._find(self.params["databases"])
        count, before = self._gate()
        now, last = moment(), self.state.data["last"]
        due = policy.check_due(
            self.params["policy"],
            count.large,
            now.since(policy.Moment(**last["began"])) if last else None,
            bool(last and last["large"]),
            self.min_interval,
            last is not None,
        )
        if not due.due:
            self.result.values.update(messages_after=before if count.exact else None)
            self._not_due(due.because, due.wait)
            return None
        return {
            "because": due.because,
            "before": before,
            "before_exact": count.exact,
            "least": count.rows,
            "databases": self.result.values["databases"],
        }

    def _begin(self) -> bool:
        now, seen = moment(), self._look()
        if seen is None:
            return True
        ids = self._ids()
        if self.check_mode:
            return self._predict(str(seen["because"]), ids)
        self.state.save()  # what cannot be remembered is not started
        self._log_in()
        busy = self._busy()
        if busy:
            return self._not_due(busy, None)
        self.run = {
            "id": uuid.uuid4().hex[:12],
            "phase": "marking",
            "first": asdict(now),
            "begun": asdict(now),
            "seen": asdict(now),
            "round": 0,
            "deleted": 0,
            "nodes": {},
            "resumed": False,
            "trouble": None,
            **seen,
        }
        self.state.data["run"] = self.run
        self.follow = self.run["id"]
        self.result.values.update(run_id=self.run["id"])
        return self._mark()

    def _predict(self, because: str, ids: list[str]) -> bool:
        """Say what would be done, and what would be in its way."""
        try:
            self._know_credential()
            busy = self._busy()
        except WaError as error:
            self.result.warn(f"GC would not be called: {error}")
            return True
        if busy:
            return self._not_due(busy, None)
        if ids:
            self.result.record_change(f"mark {len(ids)} inbound messages as read")
        self.result.record_change(f"call PUT /v1/services/message/gc at {self.webapp.url}: {because}")
        if self.params["media"]:
            self.result.record_change(f"call PUT /v1/services/media/gc at {self.webapp.url}")
        self._diff(None)
        return True

    def _busy(self) -> str:
        """Why the client has too much traffic for GC now, or an empty text."""
        most = self.params["max_outbound_rate"]
        if most is None:
            return ""
        one, begin = self.webapp.stats(), time.monotonic()
        time.sleep(min(max(self.quiet_period, 1.0), 10.0))
        other = self.webapp.stats()
        rate = policy.outbound_rate(one, other, time.monotonic() - begin)
        if rate is None:
            raise WaError(
                "max_outbound_rate",
                "no figure of /v1/stats/app tells outbound messages",
                "a counter of sent messages or of requests by type",
                "Leave max_outbound_rate out and use window",
            )
        return f"{rate:.1f} outbound messages a second, more than {most:g}" if rate > most else ""

    def _ids(self) -> list[str]:
        ids = [str(item).strip() for item in self.params["mark_read"] or []]
        path = self.params["mark_read_file"]
        if path:
            try:
                ids += [line.strip() for line in files.read_text(path, _LONGEST_LIST).splitlines()]
            except (OSError, UnicodeError) as error:
                raise WaError(f"mark_read_file {path}", f"not readable: {error}") from None
        return list(dict.fromkeys(item for item in ids if item))

    def _mark(self) -> bool:
        """Mark inbound messages as read, then call; goes on in the next step, or the next run, when there are many."""
        ids, data = self._ids(), self.state.data
        self._log_in()
        marked = data["marked"]
        if not marked or marked["list"] != fingerprint(ids):
            marked = data["marked"] = {"list": fingerprint(ids), "done": 0, "passed_over": 0, "unknown": []}
        if ids and marked["done"] == 0 and self.webapp.application().get("pass_through") is True:
            self.result.warn("mark_read: passed over, since it needs the application setting pass_through=false")
            marked.update(done=len(ids), passed_over=len(ids))
        end, gap = time.monotonic() + _MARKING_STEP, 1.0 / self.params["mark_read_rate"]
        while marked["done"] < len(ids):
            if self.window and policy.until_window(self.window, self._local()):
                return self._end_uncalled(ids, f"the window {self.params['window']} closed", 0.0)
            began = time.monotonic()
            if began > end:
                self._remember()
                self._progress("marking as read", None)
                return False
            message = ids[marked["done"]]
            if not self.webapp.mark_read(message):
                marked["unknown"].append(message)
            marked["done"] += 1
            if marked["done"] % 20 == 0:
                self._remember()
            time.sleep(max(gap - (time.monotonic() - began), 0))
        if not ids:
            return self._first_call()
        seen = self._look()  # it took its time
        why = self.result.values["skip_reason"] if seen is None else self._busy()
        if seen is None or why:
            return self._end_uncalled(ids, str(why))
        self._tell_marked(ids)
        self.run.update(seen)
        return self._first_call()

    def _tell_marked(self, ids: list[str]) -> int:
        """Say what has been marked; returns how many of the list are done."""
        marked = self.state.data["marked"]
        done, unknown = marked["done"], marked["unknown"]
        values = {"marked_read": done - len(unknown) - marked["passed_over"], "mark_read_unknown": unknown}
        self.result.values.update(values)
        if unknown:
            self.result.warn(f"mark_read: {len(unknown)} of {len(ids)} ids are unknown to the client")
        return int(done)

    def _end_uncalled(self, ids: list[str], why: str, wait: float | None = None) -> bool:
        """End a run before its first call: GC is not due, and what was marked is not marked again by the next run."""
        done = self._tell_marked(ids)
        self._close(failure="", called=False)
        return self._not_due(f"{why} after {done} of {len(ids)} messages were marked", wait)
