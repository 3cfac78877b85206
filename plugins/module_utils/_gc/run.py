# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One message GC from due to proven, in steps that different processes can take: call or take up, look, return."""

from __future__ import annotations

import contextlib
import time
import typing as t
import uuid
from datetime import datetime, timedelta

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration, parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import activity, messages
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._env.options import read_env
from ansible_collections.waba.onprem.plugins.module_utils._gc import completion, notifications, policy, progress
from ansible_collections.waba.onprem.plugins.module_utils._gc.calls import Calls
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import Last, Run, StateFile, moment

_BRIEF, _PATIENT = 5.0, 120.0  # seconds to wait for another run's step, with and without a run to follow
_AWAY = 600.0  # seconds for which a database may be away while GC runs
_HOLDERS = "unread inbound messages (mark_read), the client's retention of 7 days, or traffic that adds rows as fast as GC deletes"
_KEPT = (
    "messages_before",
    "messages_after",
    "exact",
    "messages_deleted",
    "rounds",
    "nodes",
    "databases",
    "unnoticed_rate",
    "seconds",
)


class GcRun:
    """Brings one client's `messages` under the limit. `step` is called until it returns true."""

    def __init__(self, params: dict[str, t.Any], result: Result, check_mode: bool) -> None:
        self.params = params
        self.result = result
        self.check_mode = check_mode
        self.limit: int = params["max_messages"]
        self.quiet = parse_duration("quiet_period", params["quiet_period"])
        self.wait_timeout = parse_duration("wait_timeout", params["wait_timeout"])
        self.min_interval = parse_duration("min_interval", params["min_interval"])
        self.window = policy.parse_window(params["window"]) if params["window"] else None
        self.zone = policy.zone(params["timezone"])
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
        self.calls = Calls(params, self.state)
        self.tables: list[messages.Table] = []
        self.run_id: str = params["run_id"] or ""
        result.values.update(
            dict.fromkeys((*_KEPT, "skip_reason", "next_due", "run_id", "progress")),
            exact=False,
            messages_deleted=0,
            rounds=0,
            nodes={},
            databases=[],
            running=False,
            seconds=0.0,
        )

    def step(self) -> bool:
        """Call GC or take up the one that runs, look once, and return whether all is over."""
        if self.check_mode:
            self.state.load(self.result.warn, keep=True)
            return self._step()
        with self.state.lock(_BRIEF if self.run_id else _PATIENT) as mine:
            if mine:
                self.state.load(self.result.warn, keep=False)
                return self._step()
        if not self.run_id:
            found = f"another run has held its lock for {_PATIENT:g} s"
            raise WaError(f"state file {self.state.path}", found, cure="Wait for the other run, then try again")
        self.result.values.update(running=True, run_id=self.run_id, progress={"phase": "another run is at work"})
        return False

    def _step(self) -> bool:
        run, last = self.state.record.run, self.state.record.last
        if run and self.run_id in ("", run.id):
            return self._report(run) if self.check_mode else self._watch(run)
        if self.run_id and last and last.id == self.run_id:
            self.result.values.update(last.values, run_id=last.id)
            if last.failure:
                raise self._error(last.failure)
            return True
        if self.run_id:
            return self._skip("the run to follow is over: it called no GC, or another has ended since")
        return self._begin()

    # Before a call

    def _begin(self) -> bool:
        why, wait = self._closed()
        if why:
            return self._skip(why, wait)
        self._find(self.params["databases"])
        count, before = self._count_before()
        now, last = moment(), self.state.record.last
        due = policy.check_due(
            self.params["policy"],
            count.large,
            now.since(last.began) if last else None,
            bool(last and last.large),
            self.min_interval,
            last is not None,
        )
        calls = self.params["policy"] != "never"
        if calls and not due.due:
            self.result.values.update(messages_after=before if count.exact else None)
            return self._skip(due.because, due.wait)
        if calls and self.check_mode:
            return self._predict(due.because)
        if not self.check_mode:
            self.state.save()  # what cannot be kept is not begun
        with self.calls if calls else contextlib.nullcontext():
            keys, watch, running = self._observe(count, before)
            found = self.result.values["databases"]
            run = Run(
                uuid.uuid4().hex[:12], due.because, found, before, count.exact, now, moment(), moment(), keys, watch
            )
            if running:
                return self._join(run)
            if not calls:
                return self._skip("no GC runs")
            self._mark_read()
            why, wait = self._closed()  # it has taken its time
            return self._skip(why, wait) if why else self._call(run)

    def _closed(self) -> tuple[str, float | None]:
        """Why no GC may be called now, or an empty text, and in how many seconds it may be, if that is known."""
        lock = self.params["lock_file"]
        blocked = JournalFile(lock).why_blocked(time.time()) if lock else ""
        if blocked:
            return f"an upgrade goes on: {blocked}", None
        closed = policy.until_window(self.window, self._local()) if self.window else 0.0
        return (f"outside the window {self.params['window']}", closed) if closed else ("", None)

    def _find(self, wanted: list[str] | None) -> None:
        if not self.tables:
            self.tables = messages.find_tables(self.config, self.prefix, wanted, self.result.warn)
        self.result.values["databases"] = list(dict.fromkeys(table.database for table in self.tables))

    def _count_before(self) -> tuple[messages.Count, int]:
        count = messages.count_up_to(self.config, self.tables, self.limit)
        before = count.rows if count.exact else max(count.rows, sum(activity.estimate(self.config, self.tables)))
        self.result.values.update(messages_before=before, exact=count.exact)
        if count.unknown:
            self.result.warn(f"{count.unknown}; the table counts as large")
        return count, before

    def _observe(self, count: messages.Count, before: int) -> tuple[list[t.Any], completion.Watch, bool]:
        """A sample of the tables, what two looks at it have shown, and whether a GC runs already."""
        estimates = activity.estimate(self.config, self.tables)
        keys = activity.take_sample(self.config, self.tables, completion.SAMPLE, estimates)
        watch = completion.Watch.begin(sum(map(len, keys)), before, self._look(keys))
        begin = time.monotonic()
        time.sleep(min(self.quiet, completion.BEFORE * (3 if self.params["policy"] == "never" else 1)))
        look, seconds = self._look(keys), time.monotonic() - begin
        shrunk = count.rows - messages.count_up_to(self.config, self.tables, self.limit).rows if count.exact else None
        running = watch.is_running(look, seconds, shrunk)
        watch.take(look, seconds, self.quiet)
        return keys, watch, running

    def _look(self, keys: list[t.Any]) -> completion.Look:
        found = activity.look(self.config, self.tables, keys)
        if found.read_only:
            raise messages.read_only(self.config)
        return completion.Look(found.alive, found.deleting, found.deleted, found.inserted)

    def _join(self, run: Run) -> bool:
        """Follow a GC that somebody else has begun."""
        run.watch.went = True
        self.run_id = run.id
        if not self.check_mode:
            self._save(run)
        self._progress(run, "a GC runs that was called elsewhere")
        return self.check_mode

    def _report(self, run: Run) -> bool:
        """Say in check mode where a GC that is followed stands."""
        self._find(run.databases)
        run.watch.take(self._look(run.keys), moment().since(run.looked) or 0.0, self.quiet)
        self._progress(run, self._phase(run, []))
        return True

    def _mark_read(self) -> None:
        ids = list(dict.fromkeys(self.params["mark_read"] or []))
        if not ids:
            return
        unknown = self.calls.mark_read(ids)
        if unknown is None:
            self.result.warn("mark_read is skipped, since it needs the application setting pass_through=false")
            return
        self.result.values.update(marked_read=len(ids) - len(unknown), mark_read_unknown=unknown)
        if unknown:
            self.result.warn(f"mark_read: {len(unknown)} of {len(ids)} ids are unknown to the client")
        if len(unknown) < len(ids):
            self.result.record_change(f"marked {len(ids) - len(unknown)} inbound messages as read")

    def _predict(self, because: str) -> bool:
        """Say what would be done, and what would be in its way."""
        try:
            self.calls.check_credential()
        except WaError as error:
            self.result.warn(f"GC would not be called: {error}")
            return True
        if self.params["mark_read"]:
            self.result.record_change(f"mark {len(set(self.params['mark_read']))} inbound messages as read")
        self.result.record_change(f"call PUT /v1/services/message/gc at {self.calls.url}: {because}")
        if self.params["media"]:
            self.result.record_change(f"call PUT /v1/services/media/gc at {self.calls.url}")
        self._diff(f"at most {self.limit}")
        return True

    # The call

    def _call(self, run: Run) -> bool:
        """Call GC: the next round of `run`. What it needs is logged in already."""
        run.watch.restart()
        run.watch.went, run.vacuumed, run.answered, run.nodes = False, False, False, {}
        run.round += 1
        run.called = run.waiting = run.looked = moment()  # what went before is no quiet
        run.mark = notifications.mark(self.params["notifications"])
        self.run_id = run.id
        self._save(run)
        try:
            answer = self.calls.start()
        except WaError as error:
            self._close(run, str(error), called=run.round > 1)
            raise
        run.looked = moment()  # the call may have been repeated
        run.answered = not isinstance(answer, str)
        if isinstance(answer, str):
            self.result.warn(f"{answer}: the table shows whether GC has begun")
        else:
            run.nodes = {node: {"status": status, "count": None} for node, status in answer.items()}
            failed = [f"{node} {status}" for node, status in answer.items() if status.startswith("failed")]
            if failed and len(failed) == len(answer):
                failure = f"started on no node: {'; '.join(failed)}"
                self._close(run, failure, called=run.round > 1)
                raise self._error(failure, cure="Look into the Coreapps' logs")
            if failed:
                self.result.warn(f"GC did not start on {'; '.join(failed)}")
        self.result.record_change(f"called message GC (round {run.round}): {run.because}")
        self._save(run)
        self._progress(run, "called")
        return False

    # After a call

    def _watch(self, run: Run) -> bool:
        """Look once at a GC that runs, and end its round when it is over."""
        now = moment()
        if not self.run_id:
            run.waiting = now  # a new driver has its own time to wait
        self.run_id = run.id
        self.result.values.update(run_id=run.id)
        try:
            self._find(run.databases)
            if len(self.tables) != len(run.keys):
                self._close(run, "the client's tables have changed since")
                raise self._error("the client's tables have changed since its call", cure="Run again")
            look, span = self._look(run.keys), now.since(run.looked)
            run.watch.take(look, span or 0.0, self.quiet)
            if span is None:
                run.watch.restart()  # nobody knows for how long nothing has gone
            run.looked, run.trouble = now, None
            silent, others = self._listen(run)
            waited = now.since(run.waiting) or 0.0
            if run.watch.quiet() >= self.quiet and not silent:
                problem = self._vacuum(run, max(self.wait_timeout - waited, 30.0))
                if problem:
                    self.result.warn(problem)
                return self._end_round(run, messages.count_up_to(self.config, self.tables, self.limit))
            if waited > self.wait_timeout:
                return self._give_up(run, silent, others, waited)
            if run.watch.quiet() > self.quiet / 2:
                self._vacuum(run, self.quiet / 4)  # the count that follows is quicker for it
            self._save(run)
        except database.DatabaseError as error:
            self._bear(run, error)
            return False
        self._progress(run, self._phase(run, silent))
        return False

    def _phase(self, run: Run, silent: list[str]) -> str:
        quiet = run.watch.quiet()
        if quiet >= self.quiet:
            return f"waiting for the notification of {', '.join(silent)}"
        if not quiet:
            return "deleting"
        return f"{'quiet' if run.watch.went else 'nothing deleted yet'} for {quiet:.0f} of {self.quiet:g} s"

    def _listen(self, run: Run) -> tuple[list[str], list[str]]:
        """The nodes that have not notified and are to, and others that have."""
        path = self.params["notifications"]
        if not path or not run.nodes or run.called is None:
            return [], []
        # The wall clock may have been set since the call.
        called = run.called.wall
        elapsed = moment().since(run.called)
        if elapsed is not None:
            called = min(called, time.time() - elapsed)
        nodes = [
            node
            for node, item in run.nodes.items()
            if not item["status"].startswith("failed") or item["count"] is not None
        ]
        last, others = notifications.by_node(notifications.read(path, run.mark, called, self.result.warn), nodes)
        for node, one in last.items():
            status = f"failed: {one.details or 'no details'}" if one.status == "failed" else one.status
            run.nodes[node] = {"status": status, "count": one.deleted}
        return [node for node in nodes if node not in last], others

    def _vacuum(self, run: Run, seconds: float) -> str:
        """Vacuum once a round; what could not be done in `seconds` is done again before the count."""
        problem = "" if run.vacuumed else messages.vacuum(self.config, self.tables, seconds)
        run.vacuumed = not problem
        return problem

    def _bear(self, run: Run, error: database.DatabaseError) -> None:
        """Bear with a database that is away for a while; raise when it stays away."""
        now = moment()
        run.trouble = run.trouble or now
        self._save(run)
        self._figures(run)
        if not error.retryable and error.kind not in ("read_only", "missing"):
            raise error
        lasts = now.since(run.trouble) or 0.0
        if lasts > min(self.wait_timeout, _AWAY):
            found = f"{error.found} for {format_duration(lasts)} while GC runs"
            raise WaError(error.subject, found, "a database that answers", "Run again when it does: the GC is taken up")
        self.tables = []
        self._progress(run, f"database: {error.found}")

    def _give_up(self, run: Run, silent: list[str], others: list[str], waited: float) -> bool:
        """The time is up: raise, or leave the rows alone that go in a table that is small."""
        if run.watch.quiet() < self.quiet:
            count = messages.count_up_to(self.config, self.tables, self.limit)
            if run.round == 0 and not count.large:
                self.result.values.update(messages_after=count.rows, exact=True)
                self.state.record.run = None
                self.state.save()
                return self._skip(
                    f"rows of a table under the limit have gone for {format_duration(waited)}, by traffic or by a GC"
                )
            self._save(run)
            self._figures(run)
            raise self._error(
                f"rows still go after {format_duration(waited)}",
                f"its end within wait_timeout ({self.params['wait_timeout']})",
                "Run again: it is taken up and not called a second time",
            )
        more = f", but from {', '.join(others)}, which the call did not name" if others else ""
        failure = f"no notification from {', '.join(silent)} within {format_duration(waited)}{more}"
        self._close(run, failure)
        raise self._error(
            failure,
            f"one of each node in {self.params['notifications']}",
            "See that the webhook's consumer appends them there, or leave notifications out",
        )

    def _end_round(self, run: Run, count: messages.Count) -> bool:
        """Decide what follows a round that is over."""
        after = count.rows if count.exact else max(count.rows, sum(activity.estimate(self.config, self.tables)))
        remain = f"{'' if count.exact else 'about '}{after} rows remain"
        self.result.values.update(messages_after=after, exact=count.exact)
        failed = [
            f"{node}: {item['status']}" for node, item in run.nodes.items() if item["status"].startswith("failed")
        ]
        counts = [item["count"] for item in run.nodes.values()]
        deleted = sum(counts) if counts and None not in counts and not failed else None
        run.deleted = None if run.deleted is None or deleted is None else run.deleted + deleted
        went = run.watch.went or bool(deleted)
        if failed and count.large and not went:
            self._fail(run, f"GC failed on {'; '.join(failed)}; {remain}", count.large)
        if failed:
            self.result.warn(f"GC failed on {'; '.join(failed)}")
        if count.unknown:
            # No call for a table that may be small: who comes next counts first.
            self._fail(run, f"{count.unknown}, so nobody knows whether GC is to be called again; {remain}", True)
        step = policy.next_step(count.large, went, run.round, self.params["max_rounds"])
        if step == "nothing" and not (run.answered or run.repeated):
            run.repeated, step = True, "again"  # nobody knows whether the call has reached the client
        if step == "again" and self.params["policy"] != "never":
            why, _wait = self._closed()
            if not why:
                return self._again(run)
            self.result.warn(f"{remain}; no GC is called again: {why}")
        elif step == "nothing":
            self._fail(run, f"round {run.round} deleted nothing and {remain}, usually held by {_HOLDERS}", True)
        elif step == "rounds":
            self._fail(run, f"{remain} after {run.round} rounds", True)
        self._diff(after)
        self._media(run)
        self._close(run, "", large=count.large)
        return True

    def _again(self, run: Run) -> bool:
        try:
            with self.calls:
                return self._call(run)
        except WaError as error:
            if self.state.record.run is run:
                self._close(run, str(error))
            raise

    def _media(self, run: Run) -> None:
        """Call media GC: one at a time, so after the message GC. Nobody waits for it."""
        why = self._closed()[0] if self.params["media"] and run.round else ""
        if why:
            self.result.warn(f"media GC was not called: {why}")
        elif self.params["media"] and run.round:
            try:
                with self.calls:
                    self.result.values["media"] = self.calls.start_media()
            except WaError as error:
                self._close(run, str(error))
                raise
            self.result.record_change("called media GC")

    # What is kept and returned

    def _save(self, run: Run) -> None:
        self.state.record.run = run
        self.state.save()

    def _close(self, run: Run, failure: str, called: bool = True, large: bool = True) -> None:
        """The run is over: keep what the next one and a follower need to know. `called`: whether GC ever began."""
        self._figures(run)
        self.result.values.update(running=False, progress=None)
        if called:
            kept = {name: self.result.values[name] for name in _KEPT}
            self.state.record.last = Last(run.id, run.began, large, failure, kept)
        self.state.record.run = None
        self.state.save()

    def _figures(self, run: Run) -> None:
        self.result.values.update(
            run_id=run.id,
            messages_before=run.before,
            messages_deleted=run.deleted if run.round else None,
            rounds=run.round,
            nodes=run.nodes,
            databases=run.databases,
            unnoticed_rate=round(run.watch.unnoticed(self.quiet), 1),
            seconds=round(moment().since(run.began) or 0.0, 1),
        )

    def _progress(self, run: Run, phase: str) -> None:
        self._figures(run)
        watch = run.watch
        gone = watch.gone(watch.sampled - watch.alive)
        where = progress.measure(phase, run.round, run.before, gone, watch.rate, self.limit)
        where["quiet_left"] = max(self.quiet - watch.quiet(), 0.1)
        self.result.values.update(running=True, messages_deleted=None, progress=where)

    def _skip(self, because: str, wait: float | None = None) -> bool:
        """GC is not called, or not again: say why, and when it may be."""
        values = self.result.values
        values.update(skip_reason=because, running=False, progress=None)
        if wait is not None:
            when = self._local() + timedelta(seconds=wait)
            if self.window:
                when += timedelta(seconds=policy.until_window(self.window, when))
            values["next_due"] = when.isoformat(timespec="seconds")
        return True

    def _local(self) -> datetime:
        return datetime.now(self.zone) if self.zone else datetime.now().astimezone()

    def _diff(self, after: t.Any) -> None:
        values = self.result.values
        self.result.diff({"messages": values["messages_before"]}, {"messages": after}, ", ".join(values["databases"]))

    def _fail(self, run: Run, found: str, large: bool) -> t.NoReturn:
        self._close(run, found, large=large)
        self._diff(self.result.values["messages_after"])
        raise WaError(
            f"messages in {', '.join(run.databases)}",
            found,
            f"at most {self.limit} rows",
            "Mark inbound messages as read, wait for less traffic, or run again tomorrow",
        )

    def _error(self, found: str, expected: str = "", cure: str = "") -> WaError:
        return WaError(f"message GC of {self.calls.url}", found, expected, cure)
