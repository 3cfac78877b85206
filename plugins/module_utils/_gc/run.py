# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one message GC in steps, which different processes may take: call or resume, measure, return."""

from __future__ import annotations

import re
import time
import typing as t
import uuid
from datetime import datetime, timedelta

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import (
    format_duration,
    parse_duration,
    parse_window,
    until_window,
)
from ansible_collections.waba.onprem.plugins.module_utils._database import activity, messages
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile, Lease
from ansible_collections.waba.onprem.plugins.module_utils._env.options import read_env
from ansible_collections.waba.onprem.plugins.module_utils._gc import completion, policy
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import Run, StateFile, moment
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ApiError, Webapp
from ansible_collections.waba.onprem.plugins.module_utils._webapp.refused_login import RefusedLogin

_BRIEF, _PATIENT = 5.0, 120.0  # seconds to wait for another run's step, with and without a GC to follow
_AWAY = 600.0  # seconds for which a database may be unreachable while GC runs
_HOLDERS = "unread inbound messages, the client's retention of 7 days, or traffic that adds rows as fast as GC deletes"
_STOPPED = ("unreachable", "lost", "coreapp")  # kinds of errors of a client whose Webapp or Coreapp is stopped
_UNSET = ("messages_before", "messages_after", "skip_reason", "next_due", "run_id", "progress")
_RUNS_ALREADY = re.compile(r"already (running|started|in progress|processing)|(gc|collection)\b[^.]* in progress", re.I)


def _failed(node: t.Mapping[str, t.Any]) -> bool:
    return str(node["status"]).startswith("failed")


class GcRun:
    """Reduces one client's `messages` to the limit. `step` is called until it returns true."""

    def __init__(self, params: dict[str, t.Any], result: Result, check_mode: bool) -> None:
        self.params = params
        self.result = result
        self.check_mode = check_mode
        self.limit: int = params["max_messages"]
        self.quiet = parse_duration("quiet_period", params["quiet_period"])
        self.wait_timeout = parse_duration("wait_timeout", params["wait_timeout"])
        self.window = parse_window(params["window"]) if params["window"] else None
        env = read_env(params["env_file"], params["env_format"])
        result.redact.add([env.get("WA_DB_PASSWORD")])
        self.config = database.settings(params, env)
        self.prefix = env.get("WA_DB_NAME_PREFIX", "")
        client = {
            "engine": self.config.engine,
            "hostname": env.get("WA_DB_HOSTNAME", "") or self.config.host,
            "port": env.get("WA_DB_PORT", "") or str(self.config.port),
            "prefix": self.prefix,
        }
        self.state = StateFile(params["state_file"], client)
        self.webapp = Webapp(params)
        self.refused = RefusedLogin(topology.refused_login_file(params["state_file"]))
        self.tables: list[messages.Table] = []
        self.run_id: str = params["run_id"] or ""
        self.lease = Lease(None if check_mode else params["lease_file"])
        self.values = result.values
        self.values.update(dict.fromkeys(_UNSET), exact=False, rounds=0, nodes={})
        self.values.update(databases=[], running=False)

    def step(self) -> bool:
        """Calls GC or resumes the running one, measures once, and returns whether the run is over."""
        self.lease.renew()
        if self.check_mode:
            self.state.load(self.result.warn)
            return self._step()
        with self.state.lock(_BRIEF if self.run_id else _PATIENT) as mine:
            if mine:
                self.state.load(self.result.warn)
                return self._step()
        if not self.run_id:
            found, cure = f"another run has held its lock for {_PATIENT:g} s", "Wait for the other run, then try again"
            raise WaError(f"state file {self.state.path}", found, "a free lock", cure)
        self.values.update(running=True, run_id=self.run_id, progress={"phase": "another run is at work"})
        return False

    def _step(self) -> bool:
        run = self.state.run
        if run and not run.over and self.run_id in ("", run.id):
            if not self.check_mode:
                return self._watch(run)
            self._progress(run, "followed by another run, or taken up by the next")
            return True
        if run and self.run_id == run.id:
            self._figures(run)
            if run.failure:
                raise WaError(f"run {run.id}", run.failure.rstrip("."))
            return True
        if self.run_id:
            return self._skip("the run to follow is over: it called no GC, or another has ended since")
        return self._begin()

    # Before a call

    def _begin(self) -> bool:
        why, wait = self._closed()
        if why:
            return self._skip(why, wait)
        calls = self.params["policy"] != "never"
        self._find(self.params["databases"])
        count, before = self._count()
        self.values.update(messages_before=before, exact=count.exact)
        if count.unknown:
            self.result.warn(f"{count.unknown}; the table counts as large")
        now, last = moment(), self.state.run
        since = now.since(last.began) if last and (last.round or not last.failure) else None
        due = policy.check_due(self.params["policy"], count.large, since, bool(last and last.large))
        if calls and not due.due:
            self.values.update(messages_after=before if count.exact else None)
            return self._skip(due.because, due.wait)
        if calls and self.check_mode:
            return self._predict(due.because)
        if calls:
            self._check_login()
        if not self.check_mode:
            self.state.save()  # a GC that cannot be recorded is not started
        keys, watch, running = self._observe(count, before)
        found = self.values["databases"]
        run = Run(uuid.uuid4().hex[:12], found, before, count.exact, keys, watch, now, moment(), moment())
        if running:
            run.watch.went, self.run_id = True, run.id
            if not self.check_mode:
                self._save(run)
            self._progress(run, "a GC runs that was called elsewhere")
            return self.check_mode
        if not calls:
            return self._skip("no GC runs")
        why, wait = self._call(run, due.because)
        return self._skip(why, wait) if why else False

    def _closed(self) -> tuple[str, float | None]:
        """Returns why GC may not be called now (empty if it may), and the seconds until it may, if known."""
        lock = self.params["lock_file"]
        blocked = JournalFile(lock).why_blocked(time.time()) if lock else ""
        if blocked:
            return f"the deployment is {blocked}", None
        closed = until_window(self.window, datetime.now()) if self.window else 0.0
        return (f"outside the window {self.params['window']}", closed) if closed else ("", None)

    def _find(self, wanted: list[str] | None) -> None:
        if not self.tables:
            self.tables = messages.find_tables(self.config, self.prefix, wanted)
        self.values["databases"] = list(dict.fromkeys(table.database for table in self.tables))

    def _count(self) -> tuple[messages.Count, int]:
        """Returns the count up to the limit, and the number of rows: exact, or estimated if there are more."""
        count = messages.count_up_to(self.config, self.tables, self.limit)
        return count, activity.rows(self.config, self.tables, count)

    def _observe(self, count: messages.Count, before: int) -> tuple[list[t.Any], completion.Watch, bool]:
        """Returns a sample of the tables, its watch after two measurements, and whether a GC runs already."""
        keys = activity.take_sample(self.config, self.tables, completion.SAMPLE)
        watch = completion.Watch.begin(sum(map(len, keys)), before, activity.inspect(self.config, self.tables, keys))
        begin = time.monotonic()
        time.sleep(min(self.quiet, completion.BEFORE * (3 if self.params["policy"] == "never" else 1)))
        seen, seconds = activity.inspect(self.config, self.tables, keys), time.monotonic() - begin
        shrunk = count.rows - messages.count_up_to(self.config, self.tables, self.limit).rows if count.exact else None
        running = watch.is_running(seen, seconds, shrunk)
        watch.take(seen, seconds, self.quiet)
        return keys, watch, running

    def _predict(self, because: str) -> bool:
        """Predicts the action in check mode, or the reason why it is not possible."""
        try:
            self._check_login()
        except WaError as error:
            self.result.warn(f"GC would not be called: {error}")
            return True
        self.result.record_change(f"call PUT /v1/services/message/gc at {self.webapp.url}: {because}")
        self._diff(f"at most {self.limit}")
        return True

    # The call

    def _check_login(self) -> None:
        """Raises WaError unless there is a credential to try."""
        self.refused.check(self.webapp, self.params["api_password"], "Correct api_password")

    def _call(self, run: Run, because: str) -> tuple[str, float | None]:
        """Calls GC as the next round of `run` in its own API session. Returns the result of `_closed` if it may not be called."""
        earlier = self.state.run
        try:
            self._check_login()
            with self.refused.session(self.webapp, self.params["api_password"]):
                why, wait = self._closed()  # checked again, because measurements and login take time
                if why:
                    return why, wait
                run.watch.restart()
                run.watch.went, run.vacuumed, run.nodes, run.after = False, False, {}, None
                run.round += 1
                run.unanswered += 1
                run.waiting = run.looked = moment()  # the time before the call does not count
                self.run_id = run.id
                self._save(run)
                answer = self._start()
            if isinstance(answer, str):
                self.result.warn(f"{answer}: the table shows whether GC has begun")
            else:
                self._take_answer(run, answer)
        except WaError as error:
            known = earlier is run
            if self.params["held"] and not known and isinstance(error, ApiError) and error.kind in _STOPPED:
                self._save(earlier)
                return f"the client is {self.params['held']}", None
            run.round = run.round if known else 0  # no GC has begun
            raise self._fail(run, error) from None
        run.looked = moment()  # the call may have been repeated
        self.result.record_change(f"called message GC (round {run.round}): {because}")
        self._save(run)
        self._progress(run, "called")
        return "", None

    def _start(self) -> dict[str, str] | str:
        """Calls message GC. Returns the status by node, or why it is unknown whether GC has started."""
        try:
            return self.webapp.start_gc()
        except ApiError as error:
            if _RUNS_ALREADY.search(error.found) or (error.kind == "lost" and error.sent):
                return error.found
            raise

    def _take_answer(self, run: Run, answer: dict[str, str]) -> None:
        run.unanswered -= 1
        run.nodes = {node: {"status": status} for node, status in answer.items()}
        failed = [f"{node} {item['status']}" for node, item in run.nodes.items() if _failed(item)]
        if failed and len(failed) == len(answer):
            raise self._error(f"started on no node: {'; '.join(failed)}", cure="Look into the Coreapps' logs")
        if failed:
            self.result.warn(f"GC did not start on {'; '.join(failed)}")

    # After a call

    def _watch(self, run: Run) -> bool:
        """Measures a running GC once, and ends its round if it is over."""
        now = moment()
        if not self.run_id:
            run.waiting = now  # a new process has its own time-out
        self.run_id = run.id
        try:
            return self._poll(run, now)
        except database.DatabaseError as error:
            self._figures(run)
            self._save(run)
            if not error.retryable and error.kind not in ("read_only", "missing"):
                raise
            away = min(now.since(run.looked) or 0.0, now.since(run.waiting) or 0.0)
            if away > min(self.wait_timeout, _AWAY):
                found = f"{error.found} for {format_duration(away)} while GC runs"
                cure = "Run again when it does: the GC is taken up"
                raise WaError(error.subject, found, "a database that answers", cure) from None
            self.tables = []
            self._progress(run, f"database: {error.found}")
            return False

    def _poll(self, run: Run, now: policy.Moment) -> bool:
        self._find(run.databases)
        if len(self.tables) != len(run.keys):
            raise self._fail(run, self._error("the client's tables have changed since its call", cure="Run again"))
        span = now.since(run.looked)
        run.watch.take(activity.inspect(self.config, self.tables, run.keys), span or 0.0, self.quiet)
        if span is None:
            run.watch.restart()  # the time without deletes is unknown
        # Pauses are shorter: this step has waited for a free fork, or for a database that was away.
        if (span or 0.0) > 2 * self.quiet:
            run.waiting = now
        run.looked = now
        quiet, waited = run.watch.quiet(), now.since(run.waiting) or 0.0
        if quiet >= self.quiet:
            problem = self._vacuum(run, max(self.wait_timeout - waited, 30.0))
            if problem:
                self.result.warn(problem)
            return self._end_round(run, *self._count())
        if waited > self.wait_timeout:
            return self._leave(run, waited)
        if quiet > self.quiet / 2:
            self._vacuum(run, self.quiet / 4)  # makes the following count faster
        self._save(run)
        self._progress(run, self._phase(run))
        return False

    def _vacuum(self, run: Run, seconds: float) -> str:
        """Vacuums once a round; if `seconds` are not sufficient, it is repeated before the count."""
        problem = "" if run.vacuumed else messages.vacuum(self.config, self.tables, seconds)
        run.vacuumed = not problem
        return problem

    def _phase(self, run: Run) -> str:
        quiet = run.watch.quiet()
        if not quiet:
            return "deleting"
        return f"{'quiet' if run.watch.went else 'nothing deleted yet'} for {quiet:.0f} of {self.quiet:g} s"

    def _leave(self, run: Run, waited: float) -> bool:
        """Handles rows that are still deleted at the time-out: fails, unless the table is small and it may be traffic."""
        count = messages.count_up_to(self.config, self.tables, self.limit)
        if run.round == 0 and not count.large:
            self.values.update(messages_after=count.rows, exact=True)
            self._save(None)
            gone = f"rows of a table under the limit have gone for {format_duration(waited)}"
            return self._skip(f"{gone}, by traffic or by a GC")
        self._save(run)
        self._figures(run)
        raise self._error(
            f"rows still go after {format_duration(waited)}",
            f"its end within wait_timeout ({self.params['wait_timeout']})",
            "Run again: it is taken up and not called a second time",
        )

    def _end_round(self, run: Run, count: messages.Count, after: int) -> bool:
        """Executes the next step after a round."""
        remain = f"{'' if count.exact else 'about '}{after} rows remain"
        run.after, run.exact, run.large = after, count.exact, count.large
        failed = "; ".join(f"{node}: {item['status']}" for node, item in run.nodes.items() if _failed(item))
        went = run.watch.went
        step = policy.after_round(count.large, not count.unknown, went, bool(failed), run.unanswered, run.round)
        if failed and step != "failed":
            self.result.warn(f"GC failed on {failed}")
        if step == "again" and self.params["policy"] != "never":
            why = self._closed()[0] or self._call(run, "more rows than the limit")[0]
            if not why:
                return False
            self.result.warn(f"{remain}; no GC is called again: {why}")
        self._diff(after)
        failures = {
            "failed": f"GC failed on {failed}; {remain}",
            "unknown": f"{count.unknown}, so nobody knows whether GC is to be called again; {remain}",
            "nothing": f"round {run.round} deleted nothing and {remain}, usually held by {_HOLDERS}",
            "rounds": f"{remain} after {run.round} rounds",
        }
        if step in failures:
            cure = "Mark inbound messages as read, wait for less traffic, or run again tomorrow"
            expected = f"at most {self.limit} rows"
            raise self._fail(run, WaError(f"messages in {', '.join(run.databases)}", failures[step], expected, cure))
        self._close(run)
        return True

    # State and result

    def _save(self, run: Run | None) -> None:
        self.state.run = run
        self.state.save()

    def _close(self, run: Run) -> None:
        """Ends the run and saves the state for the next run and for followers."""
        run.over, run.keys = True, []
        self._figures(run)
        self._save(run)

    def _fail(self, run: Run, error: WaError) -> WaError:
        """Ends the run with an error, which is returned."""
        run.failure = str(error)
        self._close(run)
        return error

    def _figures(self, run: Run) -> None:
        self.values.update(
            run_id=run.id,
            messages_before=run.before,
            messages_after=run.after,
            exact=run.exact,
            rounds=run.round,
            nodes=run.nodes,
            databases=run.databases,
            running=False,
            progress=None,
        )

    def _progress(self, run: Run, phase: str) -> None:
        """Returns the progress of a running GC; the figures are estimates."""
        self._figures(run)
        watch = run.watch
        gone = watch.gone(watch.sampled - watch.alive)
        rows = max(round(run.before - gone), 0)
        where = {
            "phase": phase,
            "round": run.round,
            "rows": rows,
            "deleted": round(gone),
            "rate": watch.rate,
            "left": (rows - self.limit) / watch.rate if watch.rate > 0 and rows > self.limit else None,
            "quiet_left": max(self.quiet - watch.quiet(), 0.1),
        }
        self.values.update(running=True, progress=where)

    def _skip(self, because: str, wait: float | None = None) -> bool:
        """Records why GC is not called (again), and when it may be."""
        self.values.update(skip_reason=because, running=False, progress=None)
        if wait is not None:
            when = datetime.now().astimezone() + timedelta(seconds=wait)
            if self.window:
                when += timedelta(seconds=until_window(self.window, when))
            self.values["next_due"] = when.isoformat(timespec="seconds")
        return True

    def _diff(self, after: t.Any) -> None:
        before = {"messages": self.values["messages_before"]}
        self.result.diff(before, {"messages": after}, ", ".join(self.values["databases"]))

    def _error(self, found: str, expected: str = "", cure: str = "") -> WaError:
        return WaError(f"message GC of {self.webapp.url}", found, expected, cure)
