# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every step of a message GC needs: options, settings of the client, figures, the record on the host."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import asdict
from datetime import datetime, timedelta

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import activity as pulses
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database import messages
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._env.options import read_env
from ansible_collections.waba.onprem.plugins.module_utils._gc import policy, progress, session
from ansible_collections.waba.onprem.plugins.module_utils._gc.completion import Judge
from ansible_collections.waba.onprem.plugins.module_utils._gc.state import StateFile, moment
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ApiError, Webapp

_REPORTED = ("messages_before", "messages_deleted", "rounds", "nodes", "databases", "seconds", "callbacks")


class GcBase:
    """One client, its record on the host, and the figures that the module returns."""

    def __init__(self, params: dict[str, t.Any], result: Result, check_mode: bool) -> None:
        self.params = params
        self.result = result
        self.check_mode = check_mode
        self.limit: int = params["max_messages"]
        self.quiet_period = parse_duration("quiet_period", params["quiet_period"])
        self.poll = parse_duration("poll_interval", params["poll_interval"])
        self.wait_timeout = parse_duration("wait_timeout", params["wait_timeout"])
        self.min_interval = parse_duration("min_interval", params["min_interval"])
        self.window = policy.parse_window(params["window"]) if params["window"] else None
        self._zone = _zone(params["timezone"])
        env = read_env(params["env_file"], params["env_format"])
        result.redact.add([env.get("WA_DB_PASSWORD")])
        self.prefix = env.get("WA_DB_NAME_PREFIX", "")
        self.config = database.settings(params, env)
        self.webapp = Webapp(params)
        session.resume(self.webapp, params)
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
        self.first_look: tuple[float, pulses.Pulse] | None = None  # of this process, and when (monotonic)
        self.taken = moment()  # when the last pulse was
        self.follow: str = params["run_id"] or ""
        self.strangers: list[str] = []  # who has notified and is no node of the call
        result.values.update(
            messages_before=None,
            messages_after=None,
            exact=False,
            messages_deleted=0,
            rounds=0,
            nodes={},
            skip_reason=None,
            next_due=None,
            databases=[],
            running=False,
            run_id=None,
            session=None,
            progress=None,
            callbacks="none",
            seconds=0.0,
        )

    def _find(self, wanted: list[str] | None) -> None:
        if not self.tables:
            self.tables = messages.find_tables(self.config, self.prefix, wanted, self.result.warn)
        self.result.values["databases"] = list(dict.fromkeys(table.database for table in self.tables))

    def _local(self) -> datetime:
        return datetime.now(self._zone) if self._zone else datetime.now().astimezone()

    def _not_due(self, because: str, wait: float | None) -> bool:
        self.result.values["skip_reason"] = because
        if wait is not None:
            when = self._local() + timedelta(seconds=wait)
            if self.window:
                when += timedelta(seconds=policy.until_window(self.window, when))
            self.result.values["next_due"] = when.isoformat(timespec="seconds")
        return True

    def _diff(self, after: int | None) -> None:
        values = self.result.values
        hoped = "unknown" if self.params["completion"] == "none" else f"at most {self.limit}"
        told = hoped if after is None else after
        self.result.diff({"messages": values["messages_before"]}, {"messages": told}, ", ".join(values["databases"]))

    def _blocked(self) -> str:
        """Why an upgrade of the deployment forbids a call now, or an empty text: it wants the client's database alone."""
        lock = self.params["lock_file"]
        blocked = JournalFile(lock).why_blocked(moment().wall) if lock else ""
        return f"an upgrade goes on: {blocked}" if blocked else ""

    def _know_credential(self) -> None:
        """Raise unless there is a credential to try. A login that was refused is not tried again until the password changes."""
        user, password = self.webapp.username, self.params["api_password"]
        if self.webapp.token:
            return
        if not password:
            raise WaError("api_password", "not given", "the API user's password, or api_token")
        when = self.state.was_refused(user, password)
        if when is not None and not self.params["retry_refused_login"]:
            raise WaError(
                f"API user {user} at {self.webapp.url}",
                f"this password was refused at {clock(when)} and is not tried again, since repeated wrong logins lock the account",
                "another password",
                "Correct api_password; if the password is right by now, as after a first login, set retry_refused_login for one run",
            )

    def _log_in(self) -> None:
        """Log in once; a refused login is remembered."""
        self._know_credential()
        if self.webapp.token:
            return
        try:
            self.webapp.log_in()
        except ApiError as error:
            self._remember_refusal(error)
            raise
        if self.state.data["refused"]:
            self.state.data["refused"] = None

    def _remember_refusal(self, error: WaError) -> None:
        """Keep that a login was refused, when it was one."""
        if isinstance(error, ApiError) and error.kind == "login" and self.params["api_password"]:
            self.state.remember_refusal(self.webapp.username, self.params["api_password"], moment())

    def _remember(self) -> None:
        self.run["seen"] = asdict(moment())
        self.state.save()

    def _figures(self, judge: Judge | None = None) -> None:
        """Tell where the run stands; `judge` is that of a round that has not ended."""
        run, values = self.run, self.result.values
        running = judge.deleted if judge else 0
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

    def _progress(self, phase: str, rows: int | None, judge: Judge | None = None, again: float | None = None) -> None:
        self._figures(judge)
        run = self.run
        deleted, rate = (judge.deleted, judge.rate) if judge else (0, 0.0)
        self.result.values.update(
            running=True,
            progress=asdict(
                progress.measure(
                    phase,
                    run["round"],
                    rows,
                    run["before"],
                    self.limit,
                    run["deleted"] + deleted,
                    rate - run.get("inserts", 0.0) if rate else 0.0,
                    again,
                )
            ),
        )

    def _close(self, failure: str, called: bool = True) -> None:
        """The run is over: keep what the next one and a follower need to know. `called`: whether GC ever began."""
        self._figures()
        values, run = self.result.values, self.run
        values.update(running=False, progress=None)
        if run["deleted"]:
            self.result.record_change(
                f"message GC deleted {run['deleted']} rows (rounds: {run['round']}): {run['because']}"
            )
        if called:
            outcome = run.get("outcome") or {"after": None, "exact": False, "large": True}
            self.state.data["last"] = {
                "id": run["id"],
                "began": run["first"],
                "ended": asdict(moment()),
                "large": outcome["large"],
                "failure": failure,
                "values": {
                    **{name: values[name] for name in _REPORTED},
                    "messages_after": outcome["after"],
                    "exact": outcome["exact"],
                },
            }
        self.state.data["run"] = None
        self.state.save()

    def _so_far(self, judge: Judge) -> None:
        """Tell what has gone in a run that goes on without this process; `judge` is that of its round."""
        self._figures(judge)
        deleted = self.run["deleted"] + judge.deleted
        if deleted:
            self.result.record_change(f"message GC deleted {deleted} rows so far (rounds: {self.run['round']})")

    def _leave(self) -> None:
        """Keep a GC that nobody follows, so that none is called beside it; for as long as one is waited for."""
        self.run.update(phase="watching", unwatched=True)
        self.state.data["run"] = self.run
        self.state.save()

    def _report(self, last: dict[str, t.Any]) -> None:
        """The figures of a run that somebody else has brought to its end."""
        self.result.values.update(last["values"], run_id=last["id"], running=False, progress=None)
        if last["values"]["messages_deleted"]:
            self.result.record_change(f"message GC deleted {last['values']['messages_deleted']} rows")

    def _error(self, found: str, expected: str = "", cure: str = "") -> WaError:
        return WaError(f"message GC of {self.webapp.url}", found, expected, cure)


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


def fingerprint(ids: list[str]) -> str:
    """Tells one list of ids from another."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16] if ids else ""


def clock(wall: float) -> str:
    """A wall-clock time (seconds since 1970) for people."""
    return datetime.fromtimestamp(wall).astimezone().isoformat(timespec="seconds")
