# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One message GC from due to proven, in steps that can be taken by different processes: start or take up, judge, return."""

from __future__ import annotations

import hashlib
import os
import time
import typing as t
import uuid
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

from ansible_collections.waba.onprem.plugins.module_utils import _database, _env_file
from ansible_collections.waba.onprem.plugins.module_utils import _database_messages as messages
from ansible_collections.waba.onprem.plugins.module_utils import _gc_policy as policy
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc_state import StateFile, moment
from ansible_collections.waba.onprem.plugins.module_utils._result import Result
from ansible_collections.waba.onprem.plugins.module_utils._units import format_duration, parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._webapp import ApiError, Webapp

_MARKING_STEP = 30.0  # seconds of marking in one step, so that none is long
_TROUBLE_PATIENCE = 600.0
_HOLDERS = "unread inbound messages (mark_read), the client's retention of 7 days, or traffic that adds rows as fast as GC deletes"


class GcRun:
    """Brings one client's `messages` under the limit. `step` is called until it returns true."""

    def __init__(self, params: dict[str, t.Any], result: Result, check_mode: bool) -> None:
        self.params = params
        self.result = result
        self.check_mode = check_mode
        self.limit: int = params["max_messages"]
        self.settle = parse_duration("settle", params["settle"])
        self.poll = parse_duration("poll_interval", params["poll_interval"])
        self.wait_timeout = parse_duration("wait_timeout", params["wait_timeout"])
        self.min_interval = parse_duration("min_interval", params["min_interval"])
        self.window = policy.parse_window(params["window"]) if params["window"] else None
        self._zone = _zone(params["timezone"])
        env = _read_env(params["env_file"], params["env_reader"])
        result.redact.add([env.get("WA_DB_PASSWORD")])
        self.prefix = env.get("WA_DB_NAME_PREFIX", "")
        self.config = _database.settings(params, env)
        self.webapp = Webapp(params)
        self.state = StateFile(
            params["state_file"],
            {
                "engine": self.config.engine,
                "hostname": env.get("WA_DB_HOSTNAME", "") or self.config.host,
                "port": env.get("WA_DB_PORT", "") or str(self.config.port),
                "prefix": self.prefix,
            },
        )
        self.tables: list[messages.Table] = []
        self.run: dict[str, t.Any] = {}
        self.follow: str = params["follow"] or ""
        result.values.update(
            messages_before=None,
            messages_after=None,
            exact=False,
            messages_deleted=0,
            rounds=0,
            nodes={},
            not_due_because=None,
            due_at=None,
            databases=[],
            running=False,
            run_id=None,
            progress=None,
            callbacks="none",
            seconds=0.0,
        )

    # Steps

    def step(self) -> bool:
        """Start a GC or take up the one that runs, judge it, and return whether all is over."""
        if self.check_mode:
            self.state.load()
            return self._step()
        with self.state.lock():
            self.state.load()
            return self._step()

    def _step(self) -> bool:
        run, last = self.state.data["run"], self.state.data["last"]
        if run:
            self.run = run
            self.follow = run["id"]
            self.result.values.update(run_id=run["id"], running=True)
            if self.check_mode:
                self.result.did(f"go on with the message GC that runs since {_clock(run['first']['wall'])}")
                return True
            return self._mark() if run["phase"] == "marking" else self._watch()
        if self.follow and last and last["id"] == self.follow:
            self._report(last)
            if last["failure"]:
                raise WaError(f"message GC of {self.webapp.url}", last["failure"])
            return True
        return self._begin()

    def _find(self, wanted: list[str] | None) -> None:
        if not self.tables:
            self.tables = messages.find_tables(
                self.config,
                self.prefix,
                lambda found: (
                    policy.wanted_databases(wanted, found) if wanted else policy.own_databases(self.prefix, found)
                ),
            )
        self.result.values["databases"] = list(dict.fromkeys(table.database for table in self.tables))

    def _local(self) -> datetime:
        return datetime.now(self._zone) if self._zone else datetime.now().astimezone()

    def _not_due(self, because: str, wait: float | None) -> bool:
        self.result.values["not_due_because"] = because
        if wait is not None:
            when = self._local() + timedelta(seconds=wait)
            if self.window:
                when += timedelta(seconds=policy.until_window(self.window, when))
            self.result.values["due_at"] = when.isoformat(timespec="seconds")
        return True

    # Start

    def _begin(self) -> bool:
        values = self.result.values
        closed = policy.until_window(self.window, self._local()) if self.window else 0.0
        if closed:
            return self._not_due(f"outside the window {self.params['window']}", closed)
        messages.require_primary(self.config)
        self._find(self.params["databases"])
        count = messages.gate(self.config, self.tables, self.limit)
        pulse = messages.pulse(self.config, self.tables)
        before = count.rows if count.exact else max(count.rows, pulse.rows)
        values.update(messages_before=before, exact=count.exact)
        if count.unknown:
            self.result.warn(f"{count.unknown}; the table counts as large")
        now, last = moment(), self.state.data["last"]
        due = policy.judge_due(
            self.params["policy"],
            count.large,
            now.since(policy.Moment(**last["ended"])) if last else None,
            bool(last and last["large"]),
            self.min_interval,
            last is not None,
        )
        if not due.due:
            values.update(messages_after=before if count.exact else None)
            return self._not_due(due.because, due.wait)
        ids = self._ids()
        if self.check_mode:
            self._predict(due.because, ids)
            return True
        self.state.save()  # what cannot be remembered is not started
        self._log_in()
        busy = self._busy()
        if busy:
            return self._not_due(busy, None)
        self.run = {
            "id": uuid.uuid4().hex[:12],
            "phase": "marking",
            "because": due.because,
            "first": asdict(now),
            "begun": asdict(now),
            "seen": asdict(now),
            "round": 0,
            "before": before,
            "before_exact": count.exact,
            "databases": values["databases"],
            "deleted": 0,
            "nodes": {},
            "resumed": False,
            "trouble": None,
            "marked": {"list": _fingerprint(ids), "done": 0, "unknown": []},
        }
        self.state.data["run"] = self.run
        self.follow = self.run["id"]
        values.update(run_id=self.run["id"])
        return self._mark()

    def _predict(self, because: str, ids: list[str]) -> None:
        if ids:
            self.result.did(f"mark {len(ids)} inbound messages as read")
        self.result.did(f"call PUT /v1/services/message/gc at {self.webapp.url}: {because}")
        if self.params["media"]:
            self.result.did(f"call PUT /v1/services/media/gc at {self.webapp.url}")
        self._diff(None)

    def _diff(self, after: int | None) -> None:
        values = self.result.values
        told = (
            after
            if after is not None
            else f"at most {self.limit}"
            if self.params["completion"] != "none"
            else "unknown"
        )
        self.result.diff({"messages": values["messages_before"]}, {"messages": told}, ", ".join(values["databases"]))

    def _log_in(self) -> None:
        """Log in once; a refused login is remembered and not tried again until the password changes."""
        user, password = self.webapp.username, self.params["api_password"]
        if self.params["api_token"] or not password:
            return
        when = self.state.was_refused(user, password)
        if when is not None:
            raise WaError(
                f"API user {user} at {self.webapp.url}",
                f"this password was refused at {_clock(when)} and is not tried again, since repeated wrong logins lock the account",
                "another password",
                f"Correct api_password; to try the same one again remove {self.state.path}",
            )
        try:
            self.webapp.log_in()
        except ApiError as error:
            if error.kind == "login":
                self.state.remember_refusal(user, password, moment())
            raise
        if self.state.data["refused"]:
            self.state.data["refused"] = None

    def _busy(self) -> str:
        """Why the client has too much traffic for GC now, or an empty text."""
        most = self.params["max_outbound_rate"]
        if most is None:
            return ""
        one, begin = self.webapp.stats(), time.monotonic()
        time.sleep(min(max(self.settle, 1.0), 10.0))
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

    # Mark as read

    def _ids(self) -> list[str]:
        ids = [str(item).strip() for item in self.params["mark_read"] or []]
        path = self.params["mark_read_file"]
        if path:
            try:
                ids += [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
            except (OSError, UnicodeError) as error:
                raise WaError(f"mark_read_file {path}", f"not readable: {error}") from None
        return list(dict.fromkeys(item for item in ids if item))

    def _mark(self) -> bool:
        """Mark inbound messages as read, then call; goes on in the next step when there are many."""
        run, ids = self.run, self._ids()
        marked = run["marked"]
        if marked["list"] != _fingerprint(ids):
            marked.update(list=_fingerprint(ids), done=0, unknown=[])
        if ids and marked["done"] == 0 and self.webapp.application().get("pass_through") is True:
            self.result.warn("mark_read: passed over, since it needs the application setting pass_through=false")
            marked["done"] = len(ids)
        end, gap = time.monotonic() + _MARKING_STEP, 1.0 / self.params["mark_read_rate"]
        while marked["done"] < len(ids):
            if self.window and policy.until_window(self.window, self._local()):
                self._close(failure="")
                return self._not_due(
                    f"the window {self.params['window']} closed after {marked['done']} of {len(ids)} messages were marked",
                    0.0,
                )
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
        self.result.values.update(
            marked_read=marked["done"] - len(marked["unknown"]), mark_read_unknown=marked["unknown"]
        )
        if marked["unknown"]:
            self.result.warn(f"mark_read: {len(marked['unknown'])} of {len(ids)} ids are unknown to the client")
        return self._call(first=True)

    # Call and watch

    def _remember(self) -> None:
        self.run["seen"] = asdict(moment())
        self.state.save()

    def _baseline(self) -> None:
        """The rates before the call, which traffic alone makes."""
        begin, one = time.monotonic(), messages.pulse(self.config, self.tables)
        time.sleep(min(self.settle, policy.LONGEST_BASELINE))
        other, span = messages.pulse(self.config, self.tables), time.monotonic() - begin
        self.run["baseline"] = max(sum(other.counters) - sum(one.counters), 0) / span
        grown = (
            other.rows - one.rows if other.inserted is None or one.inserted is None else other.inserted - one.inserted
        )
        self.run["inserts"] = max(grown, 0) / span

    def _call(self, first: bool = False) -> bool:
        """Start a round."""
        run = self.run
        self._find(run["databases"])
        if first and self.params["completion"] != "none":
            self._baseline()
        pulse = messages.pulse(self.config, self.tables)
        judge = policy.Judge(
            run.get("baseline", 0.0),
            tolerance=5.0 if self.config.engine == _database.MYSQL else 0.0,
            counters=list(pulse.counters),
            rows=pulse.rows,
        )
        run.update(phase="calling", round=run["round"] + 1, judge=judge.keep(), notifications=self._mark_file())
        self._remember()
        try:
            nodes = self.webapp.start_gc("message")
        except ApiError as error:
            if not (error.kind == "lost" and error.sent):
                self._close(failure=str(error))
                raise
            # The client may have begun: calling again could start a second one, so the table tells.
            self.result.warn(f"{error.found}: whether GC has begun is judged by the table")
            nodes, run["resumed"] = {}, True
        run["nodes"] = {node: {"status": status, "count": None} for node, status in nodes.items()}
        failed = [f"{node} {told}" for node, told in nodes.items() if told.startswith("failed")]
        if failed:
            self.result.warn("GC did not start on " + "; ".join(failed))
        if failed and len(failed) == len(nodes):
            self._close(failure="GC started on no node: " + "; ".join(failed))
            raise WaError(
                f"message GC of {self.webapp.url}",
                "started on no node: " + "; ".join(failed),
                cure="Look into the Coreapps' logs",
            )
        self.result.values.update(nodes=run["nodes"], rounds=run["round"])
        if self.params["completion"] == "none":
            self.result.did(f"called message GC: {run['because']}")
            self._close(failure="")
            return True
        run["phase"] = "watching"
        self._remember()
        self._progress("started", pulse.rows)
        return False

    def _watch(self) -> bool:
        """Take the pulse of the GC that runs and judge whether its round has ended."""
        run, now = self.run, moment()
        gap = now.since(policy.Moment(**run["seen"]))
        if run["phase"] == "calling" or gap is None or gap > max(60.0, 3 * self.poll + self.settle):
            # Its driver was lost: only the table can tell whether it still runs, and the time to wait begins anew.
            run.update(phase="watching", resumed=True, begun=asdict(now))
        try:
            self._find(run["databases"])
            messages.require_primary(self.config)
            pulse = messages.pulse(self.config, self.tables)
        except _database.DatabaseError as error:
            self._tolerate(error, now)
            return False
        run["trouble"] = None
        judge = policy.Judge(**run["judge"])
        judge.sample(judge.at + (1.0 if gap is None else max(gap, 0.001)), pulse.counters, pulse.rows, pulse.deleting)
        run["judge"] = judge.keep()
        silent = self._listen()
        told = bool(run["nodes"]) and not silent and self.params["notifications"]
        if self.params["completion"] == "notifications":
            ended = not silent and not pulse.deleting
        else:
            ended = judge.ended(self.settle, must_start=not (run["resumed"] or told)) and not pulse.deleting
        waited = now.since(policy.Moment(**run["begun"])) or 0.0
        if not ended and waited > self.wait_timeout:
            self._give_up(judge, silent, waited)
        elif not ended:
            self._remember()
            phase = (
                "deleting"
                if pulse.deleting or judge.quiet() == 0
                else "waiting for the first delete"
                if not judge.started
                else (f"quiet for {judge.quiet():.0f} of {judge.needed(self.settle):.0f} s")
            )
            self._progress(phase, pulse.rows, judge)
            return False
        return self._end_round(judge)

    def _tolerate(self, error: _database.DatabaseError, now: policy.Moment) -> None:
        """Bear with a database that is away for a while."""
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
        self._progress(f"database: {error.found}", None)

    def _give_up(self, judge: policy.Judge, silent: list[str], waited: float) -> None:
        """The time is up: raise, unless the round has simply deleted nothing."""
        run = self.run
        if self.params["completion"] == "notifications" and silent:
            names = ", ".join(silent)
            failure = f"no notification from {names} within {format_duration(waited)}"
            if judge.quiet() >= self.settle:
                self._close(failure=failure)
            else:
                run["begun"] = asdict(moment())
                self._remember()
            raise WaError(
                f"message GC of {self.webapp.url}",
                failure,
                f"one of each node in {self.params['notifications']}",
                "See that the webhook's consumer appends GC notifications there, or use completion: database",
            )
        if judge.started:
            run["begun"] = asdict(moment())
            self._remember()
            self._figures(judge)
            raise WaError(
                f"message GC of {self.webapp.url}",
                f"still deleting after {format_duration(waited)} ({judge.deleted} rows so far)",
                f"its end within wait_timeout ({self.params['wait_timeout']})",
                "Run again: it is taken up and not started a second time",
            )

    def _end_round(self, judge: policy.Judge) -> bool:
        """Count, and decide what follows."""
        run = self.run
        run["phase"] = "watching"
        self._remember()
        begun = policy.Moment(**run["begun"])
        left = self.wait_timeout - (moment().since(begun) or 0.0)
        problem = messages.tidy(self.config, self.tables, max(left, 30.0))
        if problem:
            self.result.warn(problem)
        count = messages.gate(self.config, self.tables, self.limit)
        reported = [node["count"] for node in run["nodes"].values() if node["count"] is not None]
        deleted = sum(reported) if reported and len(reported) == len(run["nodes"]) else judge.deleted
        if run["round"] == 1 and not deleted and count.exact and run["before_exact"]:
            deleted = max(run["before"] - count.rows, 0)
        run["deleted"] += deleted
        after = count.rows if count.exact else max(count.rows, messages.pulse(self.config, self.tables).rows)
        self._figures(judge, ended=True)
        self.result.values.update(messages_after=after, exact=count.exact)
        failed = [
            f"{node}: {item['status']}" for node, item in run["nodes"].items() if item["status"].startswith("failed")
        ]
        if failed and len(failed) == len(run["nodes"]):
            self._fail(f"GC failed on {'; '.join(failed)}", count, after)
        open_ = not self.window or not policy.until_window(self.window, self._local())
        # After a reset of the statistics nobody knows what was deleted: that is not "nothing".
        step = policy.next_step(count.large, deleted or judge.resets, run["round"], self.params["max_rounds"], open_)
        if step == "again":
            return self._call()
        if step == "nothing":
            told = f"{count.unknown}, so" if count.unknown else ""
            self._fail(
                f"round {run['round']} deleted nothing and {told} {after} rows remain, held by {_HOLDERS}".replace(
                    "  ", " "
                ),
                count,
                after,
            )
        if step == "rounds":
            traffic = f"; traffic adds about {run.get('inserts', 0):.0f} rows a second" if run.get("inserts") else ""
            self._fail(f"{after} rows remain after {run['round']} rounds{traffic}", count, after)
        if step == "window":
            self.result.warn(
                f"the window {self.params['window']} has closed with {after} rows left; the next run goes on"
            )
        if run["deleted"]:
            self.result.did(f"message GC deleted {run['deleted']} rows in {run['round']} rounds: {run['because']}")
        self._diff(after)
        self._media()
        self._close(failure="", count=count, after=after)
        return True

    def _fail(self, found: str, count: messages.Count, after: int) -> t.NoReturn:
        self._close(failure=found, count=count, after=after)
        if self.run["deleted"]:
            self.result.did(f"message GC deleted {self.run['deleted']} rows in {self.run['round']} rounds")
        raise WaError(
            f"messages in {', '.join(self.run['databases'])}",
            found,
            f"at most {self.limit} rows",
            "Mark inbound messages as read, wait for less traffic, or run again tomorrow",
        )

    # Notifications and media

    def _mark_file(self) -> dict[str, t.Any] | None:
        """Where the notifications' file ends now: what is before belongs to older runs."""
        path = self.params["notifications"]
        if not path:
            return None
        try:
            found = os.stat(path)
        except OSError:
            return {"offset": 0, "inode": 0, "wall": time.time()}
        return {"offset": found.st_size, "inode": found.st_ino, "wall": time.time()}

    def _lines(self, mark: dict[str, t.Any] | None) -> list[str]:
        """The whole lines that were appended since `mark`; a file that was rotated is read from its start."""
        path = self.params["notifications"]
        if not path or not mark:
            return []
        try:
            with open(path, "rb") as stream:
                found = os.fstat(stream.fileno())
                if found.st_size >= mark["offset"] and mark["inode"] in (0, found.st_ino):
                    stream.seek(mark["offset"])
                text = stream.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WaError(f"notifications {path}", f"not readable: {error.strerror}") from None
        return text.split("\n")[:-1]

    def _listen(self) -> list[str]:
        """Read the notifications so far into the nodes; return the nodes that are silent."""
        run = self.run
        nodes = [
            node
            for node, item in run["nodes"].items()
            if not item["status"].startswith("failed") or item["count"] is not None
        ]
        if not self.params["notifications"]:
            return nodes
        mark = run["notifications"]
        first, silent = policy.fold_notifications(
            policy.parse_notifications(self._lines(mark), mark and mark["wall"]), nodes
        )
        for node, found in first.items():
            status = "failed: " + (found.details or "no details") if found.status == "failed" else found.status
            run["nodes"][node] = {"status": status, "count": found.deleted}
        if not silent:
            self.result.values["callbacks"] = "complete"
        return silent

    def _media(self) -> None:
        if self.params["media"]:
            self._log_in()
            told = self.webapp.start_gc("media")
            self.result.values["media"] = told
            self.result.did("called media GC")

    # Figures

    def _figures(self, judge: policy.Judge | None = None, ended: bool = False) -> None:
        run, values = self.run, self.result.values
        running = 0 if ended or judge is None else judge.deleted
        values.update(
            messages_before=run["before"],
            messages_deleted=run["deleted"] + running,
            rounds=run["round"],
            nodes=run["nodes"],
            databases=run["databases"],
            seconds=round(moment().since(policy.Moment(**run["first"])) or 0.0, 1),
        )
        if values["callbacks"] == "none" and run["before"] > policy.UNVERIFIED_ABOVE:
            values["callbacks"] = "unverified"

    def _progress(self, phase: str, rows: int | None, judge: policy.Judge | None = None) -> None:
        self._figures(judge)
        run = self.run
        deleted, rate = (judge.deleted, judge.rate) if judge else (0, 0.0)
        self.result.values.update(
            running=True,
            progress=asdict(
                policy.measure(
                    phase,
                    run["round"],
                    rows,
                    run["before"],
                    self.limit,
                    run["deleted"] + deleted,
                    rate - run.get("inserts", 0.0) if rate else 0.0,
                )
            ),
        )

    def _close(self, failure: str, count: messages.Count | None = None, after: int | None = None) -> None:
        """The run is over: keep what the next one and a follower need to know."""
        self._figures(None, ended=True)
        values = self.result.values
        values.update(running=False, progress=None)
        called = self.run["round"] > 0
        if called:
            self.state.data["last"] = {
                "id": self.run["id"],
                "ended": asdict(moment()),
                "large": bool(count and count.large),
                "failure": failure,
                "values": {
                    key: values[key]
                    for key in (
                        "messages_before",
                        "messages_deleted",
                        "rounds",
                        "nodes",
                        "databases",
                        "seconds",
                        "callbacks",
                    )
                }
                | {"messages_after": after, "exact": bool(count and count.exact)},
            }
        self.state.data["run"] = None
        self.state.save()

    def _report(self, last: dict[str, t.Any]) -> None:
        """The figures of a run that somebody else has brought to its end."""
        self.result.values.update(last["values"], run_id=last["id"], running=False)
        if last["values"]["messages_deleted"]:
            self.result.did(f"message GC deleted {last['values']['messages_deleted']} rows")


def _read_env(path: str, reader: str) -> dict[str, str]:
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise WaError(
            f"env_file {path}",
            f"not readable: {found}",
            "the client's db.env",
            "Set env_file, or let wa_db_env write it",
        ) from None
    return _env_file.load(text, reader, path)


def _zone(name: str | None) -> t.Any:
    if not name:
        return None
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise WaError(
            "option timezone", f"{name!r} is not known on this host", "a name such as Europe/Berlin", "Install tzdata"
        ) from None


def _fingerprint(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16] if ids else ""


def _clock(wall: float) -> str:
    return datetime.fromtimestamp(wall).astimezone().isoformat(timespec="seconds")
