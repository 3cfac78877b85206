# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the fleet from what its hosts have said, as `docs/fleet.schema.json` describes it. Pure rules."""

from __future__ import annotations

import difflib
import re
import time
import typing as t
from datetime import datetime, timezone

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_size
from ansible_collections.waba.onprem.plugins.plugin_utils import _backup as backup
from ansible_collections.waba.onprem.plugins.plugin_utils import _provision_plan as provision_plan

FORMAT = 1
STATES = ("unreachable", "unhealthy", "unknown", "drifted", "attention", "in_sync")  # the worst first
CATEGORIES = ("drift", "unhealthy", "unreachable", "expiry", "backup")  # of wa_status_fail_on
FAIL_ON = ("unhealthy", "unreachable")
_DAY = 86400.0
_SOON = 30 * _DAY  # seconds before an expiry, or the end of a certificate, that are worth a line
_DRILL = 30 * _DAY
_RUNS = re.compile(" has the restart policy | is not recorded as ")  # of a container that runs all the same
_FREE = 0.1  # part of a file system that should be free
_CONNECTIONS = 0.9  # part of the connections that may be in use
_WAITING = 1000  # notifications that wait: the webhook does not keep up
_NOT_READ = "not read"
_DISKS = ("docker", "logs", "media")
Read = t.Mapping[str, t.Any]  # a result of `wa_drift_info` with `status`, with what its action adds as `about`
Command = t.Callable[..., str]  # name of a playbook, variables, limit
Json = t.Dict[str, t.Any]  # noqa: UP006  # Python 3.9 evaluates it


class Commands(t.NamedTuple):
    """How commands of messages are written: that of a playbook, and that of a module on a host."""

    playbook: Command
    module: t.Callable[[str, str, str], str]  # host, module, arguments


def stamp(seconds: float | None) -> str | None:
    """Returns a time in seconds since 1970 as 2026-12-01T07:40:00Z."""
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def seconds_of(text: str) -> float:
    """Returns a time of a report, or the beginning of a day, in seconds since 1970."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()


def report(hosts: t.Mapping[str, Read], now: float, commands: Commands, version: str = "") -> Json:
    """Returns the state of all deployments of the `hosts`, worst first. `version` is that of the collection.

    Of a host that was not reached, or not compared, the result has `problem` in the place of findings.
    """
    members: dict[str, dict[str, Read]] = {}
    for host, read in hosts.items():
        members.setdefault(str(read["about"]["name"]), {})[host] = read
    found = [_Deployment(name, those, now, commands).described() for name, those in members.items()]
    found.sort(key=lambda one: (STATES.index(one["state"]), one["name"]))
    counts = {state: sum(one["state"] == state for one in found) for state in STATES}
    return {
        "format": FORMAT,
        "collection_version": version,
        "time": stamp(now),
        "counts": {"deployments": len(found), "hosts": len(hosts), **counts},
        "deployments": found,
    }


def failures(fleet: Read, fail_on: t.Container[str]) -> dict[str, list[Json]]:
    """Returns the causes that fail a run, by host: a deployment's own are at its leader, or at the first host that was looked at."""
    found: dict[str, list[Json]] = {}
    for one in fleet["deployments"]:
        hosts = [member["host"] for member in one["members"]]
        first = one["leader"] if one["leader"] in hosts else hosts[0]
        for cause in one["causes"]:
            if cause["category"] in fail_on:
                found.setdefault(cause["host"] or first, []).append(cause)
    return found


def changes(fleet: Read, before: t.Mapping[str, str], drift_only: bool = False) -> list[Json]:
    """Returns each deployment whose state is another one than `before`, by name; one that is new counts from in_sync.

    With `drift_only` no figures were read, so that `attention` is neither new nor over.
    """
    mild = ("attention", "in_sync") if drift_only else ()
    return [
        {"name": one["name"], "before": was, "state": one["state"], "causes": one["causes"]}
        for one in fleet["deployments"]
        for was in [before.get(one["name"], "in_sync")]
        if was != one["state"] and not (was in mild and one["state"] in mild)
    ]


class _Deployment:
    """One deployment, from the results of its members that were asked."""

    def __init__(self, name: str, read: t.Mapping[str, Read], now: float, commands: Commands) -> None:
        self.name, self.read, self.now, self.commands = name, read, now, commands
        self.about: Json = dict(next(iter(read.values()))["about"])
        self.leader = str(self.about["leader"])
        self.known = {host: one for host, one in read.items() if not one.get("problem")}
        self.led = self.known.get(self.leader) or {}
        self.about.update((read.get(self.leader) or {}).get("about") or {})
        self.held = next((one["held"] for one in read.values() if one.get("held")), "")
        self.concerns = {
            host: dict(provision_plan.held(one["concerns"]) if self.held else one["concerns"])
            for host, one in self.known.items()
        }
        self.causes: list[Json] = []

    def described(self) -> Json:
        """Returns the deployment as the schema has it."""
        parts = {
            "version": ", ".join(sorted({one["version"] for one in self._containers() if one["state"] == "running"}))
            or None,
            "wanted_version": self.about.get("version"),
            "expiry": self._expiry(),
            "health": self._health(),
            "callbacks": self._callbacks(),
            "database": self._database(),
            "messages": self._messages(),
            "gc": self._gc(),
            "backups": self._backups(),
            "drill": self._drill(),
            "upgrade": self._upgrade(),
            "hold": self._hold(),
            "images": self._images(),
            "certificates": self._certificates(),
        }
        members = [self._member(host) for host in self.read]
        self._find_causes(parts, members)
        self.causes.sort(key=lambda one: STATES.index(one["state"]))
        for one in members:
            states = [cause["state"] for cause in self.causes if (cause["host"] or self.leader) == one["host"]]
            one["state"] = min(states, key=STATES.index, default="in_sync")
        return {
            "name": self.name,
            "state": self.causes[0]["state"] if self.causes else "in_sync",
            "causes": self.causes,
            "leader": self.leader,
            "topology": self.about["topology"],
            **parts,
            "members": members,
        }

    # Facts

    def _part(self, name: str, host: str = "") -> Json:
        """Returns a part of the figures of a host, by default the leader's, with its `error`."""
        read = self.known.get(host or self.leader) or {}
        found: Json = (read.get("figures") or {}).get(name) or {}
        return found if found else {"error": _NOT_READ}

    def _age(self, seconds: float | None) -> float | None:
        return None if seconds is None else round(self.now - seconds, 1)

    def _day(self, day: str | None) -> tuple[str | None, float | None]:
        """Returns a day, and the seconds until it begins."""
        left = backup.days_left(day or "", self.now)
        return (None, None) if left is None else (day, round(left * _DAY, 1))

    def _containers(self) -> list[Json]:
        return [one for host in self.known for one in self._part("containers", host).get("containers") or []]

    def _expiry(self) -> Json:
        labels = [one["expires_on"] for one in self.known.values() if one.get("expires_on")]
        said = (self._part("api").get("support") or {}).get("expires_on") or ""
        day, seconds = self._day(min(labels, default="") or said)
        return {"day": day, "seconds": seconds, "error": None if day else self._unknown("not said by image or client")}

    def _unknown(self, otherwise: str) -> str:
        """Returns why nothing is known of the leader, or else another reason."""
        return otherwise if self.led else _NOT_READ

    def _health(self) -> Json:
        api, lines = self._part("api"), [*self.concerns.get(self.leader, {}).get("health", {}).get("alarms", ())]
        nodes = api.get("nodes")
        state, text = "healthy" if nodes else "not_asked", ""
        if not self.led:
            state, text = "unknown", _NOT_READ
        elif lines:
            state = "unhealthy" if any("does not serve" in one for one in lines) else "unknown"
            text = "; ".join(lines)
        elif not nodes:
            text = "held" if self.held else "a container does not run, or no credential is set"
        there = self._containers()
        # Docker calls a container `starting` for minutes after the client has said that it is healthy.
        well = [one for one in there if one["state"] == "running" and one["health"] != "unhealthy"]
        whole = len(self.known) == len(self.read)
        return {
            "state": state,
            "text": text,
            "running": len(well)
            if whole and not any(self._part("containers", host)["error"] for host in self.known)
            else None,
            "expected": sum(int(one["about"]["services"]) for one in self.read.values()),
            "nodes": nodes,
            "error": text if state == "unknown" else None,
        }

    def _callbacks(self) -> Json:
        api = self._part("api")
        found = api.get("callbacks") or {}
        error = found.get("error") or (None if "waiting" in found else self._unknown("the client was not asked"))
        return {**{key: found.get(key) for key in ("waiting", "sent", "refused")}, "error": error}

    def _database(self) -> Json:
        found = self._part("database")
        day, seconds = self._day(found.get("end_of_life"))
        keys = ("connections_used", "connections_allowed", "unknown_sessions")
        return {
            "product": found.get("product"),
            "version": found.get("version"),
            "end_of_life": day,
            "end_of_life_seconds": seconds,
            **{key: found.get(key) for key in keys},
            "error": found.get("error") or None,
        }

    def _messages(self) -> Json:
        found, limit = self._part("database"), int(self.about["messages_limit"])
        tables = found.get("tables") or []
        error = found.get("error") or found.get("tables_error") or None
        rows = None if error else sum(one["rows"] for one in tables)
        return {
            "limit": limit,
            "rows": rows,
            "over": None if rows is None else rows > limit,
            "tables": tables,
            "error": error,
        }

    def _gc(self) -> Json:
        found = self._part("gc")
        began = found.get("began")
        return {
            "automatic": self.about.get("automatic_gc"),
            "policy": self.about.get("gc_policy"),
            "began": stamp(began),
            "age_seconds": self._age(began),
            "result": found.get("result"),
            "text": found.get("text") or "",
            "error": found["error"] or None,
        }

    def _backups(self) -> Json:
        kept: Json = self.about.get("backups") or {}
        found: Json = {key: self._aged(kept.get(key)) for key in ("settings", "images")}
        copies = [
            (at, place)
            for at, place in ((kept.get("database"), "backup"), (self._part("copies").get("made"), "host"))
            if at
        ]
        newest = max(copies, default=None)
        found["database"] = {**(self._aged(newest[0]) or {}), "place": newest[1]} if newest else None
        error = "" if kept.get("given") else "wa_backup_dir is not set"
        return {**found, "error": error or None}

    def _aged(self, at: float | None) -> Json | None:
        return {"time": stamp(at), "age_seconds": self._age(at)} if at else None

    def _drill(self) -> Json:
        found = self._part("copies")
        proven = found.get("proven")
        return {"time": stamp(proven), "age_seconds": self._age(proven), "error": found["error"] or None}

    def _lock(self) -> Json | None:
        """Returns the lock of an upgrade or restore that is unfinished, or runs; the leader's counts first."""
        locks = [(self.known.get(host) or {}).get("lock") or {} for host in [self.leader, *self.known]]
        return next((one for one in locks if "stage" in one and (one["blocking"] or one["held"])), None)

    def _upgrade(self) -> Json | None:
        lock = self._lock()
        if lock is None:
            return None
        return {"held": lock["held"], "stage": lock["stage"], "target": lock["target"], "text": lock["message"]}

    def _hold(self) -> Json | None:
        if not self.held:
            return None
        file: Json = next((one["hold"] for one in self.known.values() if one.get("hold")), {})
        return {"text": self.held, "since": file.get("since"), "old": bool(file.get("old"))}

    def _images(self) -> list[Json]:
        found: dict[str, Json] = {}
        kept = (self.about.get("backups") or {}).get("image_names") or ()
        for host in self.known:
            for one in self._part("images", host).get("images") or []:
                other = found.get(one["name"])
                there = one["on_host"] and (other is None or other["on_host"])
                saved = one["name"] in kept
                found[one["name"]] = {**one, "on_host": there, "kept": saved, "error": one["error"] or None}
        return list(found.values())

    def _certificates(self) -> list[Json]:
        found = []
        for host in self.known:
            for one in self._part("certificates", host).get("certificates") or []:
                end = one["end"]
                day = None if end is None else datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%d")
                seconds = None if end is None else round(end - self.now, 1)
                found.append(
                    {"name": one["name"], "host": host, "day": day, "seconds": seconds, "error": one["error"] or None}
                )
        return found

    def _member(self, host: str) -> Json:
        read = self.read[host]
        containers = self._part("containers", host)
        job = self._part("log_cleanup", host)
        return {
            "host": host,
            "state": "in_sync",
            "reached": bool(read["reached"]),
            "error": read.get("problem") or containers["error"] or None,
            "containers": containers.get("containers"),
            "concerns": {
                name: _concern(name, one, read.get("restart", "now"))
                for name, one in self.concerns.get(host, {}).items()
            },
            "disk": {name: self._disk(f"disk_{name}", host) for name in _DISKS},
            "log_cleanup": {
                "started": stamp(job.get("started")),
                "result": job.get("result"),
                "last_success": stamp(job.get("last_success")),
                "age_seconds": self._age(job.get("last_success")),
                "error": job["error"] or None,
            },
        }

    def _disk(self, part: str, host: str) -> Json:
        found = self._part(part, host)
        keys = ("path", "free_bytes", "total_bytes")
        return {**{key: found.get(key) for key in keys}, "error": found["error"] or None}

    # What needs action

    def _add(
        self, kind: str, state: str, category: str | None, short: str, text: str, command: str | None, host: str = ""
    ) -> None:
        self.causes.append(
            {
                "kind": kind,
                "state": state,
                "category": category,
                "host": host or None,
                "short": short,
                "text": text,
                "command": command,
            }
        )

    def _playbook(self, name: str, /, **variables: t.Any) -> str:
        return self.commands.playbook(name, variables, self.name)

    def _look_again(self) -> str:
        """Returns the command that shows more; a note about variables that are not in it comes last."""
        command, mark, note = self._playbook("provision").partition("   (")
        return f"{command} --check{mark}{note}"

    def _find_causes(self, parts: Json, members: t.Sequence[Json]) -> None:
        for host, read in self.read.items():
            if read.get("problem"):
                self._not_compared(host, read)
        if self.leader not in self.read:
            text = f"{self.leader}, the leader, was not looked at: what only it knows is missing"
            self._add("unknown", "unknown", None, "leader not looked at", text, self._playbook("status"))
        for host, concerns in self.concerns.items():
            self._differing(host, concerns)
        for one in members:
            self._full_disks(one)
        self._waiting(parts)
        self._ending(parts)
        self._keeping(parts)

    def _not_compared(self, host: str, read: Read) -> None:
        problem = str(read["problem"])
        if not read["reached"]:
            command = self.commands.module(host, "ansible.builtin.ping", "")
            self._add(
                "unreachable",
                "unreachable",
                "unreachable",
                f"{host} unreachable",
                f"{host} is unreachable: {problem}",
                command,
                host,
            )
            return
        self._add("unknown", "unknown", "unhealthy", f"{host} not known", problem, self._look_again(), host)

    def _differing(self, host: str, concerns: provision_plan.Concerns) -> None:
        restart = str(self.known[host].get("restart", "now"))
        down = [text for text in concerns.get("client", {}).get("containers", ()) if not _RUNS.search(text)]
        silent = [*concerns.get("health", {}).get("alarms", ())]
        correct = self._playbook("provision")
        if down:
            short = f"{len(down)} container{'s' if len(down) > 1 else ''} down"
            self._add("unhealthy", "unhealthy", "unhealthy", short, "; ".join(down), correct, host)
        if silent:
            short = "DOES NOT SERVE" if any("does not serve" in one for one in silent) else "health not known"
            self._add("unhealthy", "unhealthy", "unhealthy", short, ". ".join(silent), self._logs(host), host)
        lock = self._lock() or {}
        said = [*down, lock.get("message")]  # causes of their own
        sessions = (self.known[host].get("database") or {}).get("unknown") or []
        for name, one in concerns.items():
            drift = [text for text in drifting(one, restart) if text not in said]
            if drift:
                short = f"{name}: {len(drift)} drift"
                self._add("drift", "drifted", "drift", short, f"{name}: {'; '.join(drift)}", correct, host)
        for text in concerns.get("client", {}).get("alarms", ()):
            self._add("unhealthy", "unhealthy", "unhealthy", "TOO MANY CONTAINERS", text, None, host)
        for text in concerns.get("database", {}).get("alarms", ()):
            kind, short = ("session", "UNKNOWN SESSION") if sessions else ("unhealthy", "database fails")
            self._add(kind, "unhealthy", "unhealthy", short, text, None, host)
        unknown = [
            str(one["error"]).rstrip(".")
            for name, one in concerns.items()
            if one.get("error") and not (name == "automatic_gc" and (down or silent))
        ]
        if unknown:
            text = "; ".join(dict.fromkeys(unknown))
            self._add("unknown", "unknown", "unhealthy", "not known", text, self._look_again(), host)

    def _logs(self, host: str) -> str | None:
        there = self._part("containers", host).get("containers") or []
        core = next((one["name"] for one in there if one["role"] == "core"), None)
        arguments = f"docker logs --tail 50 {core}"
        return self.commands.module(host, "ansible.builtin.command", arguments) if core else None

    def _full_disks(self, member: Json) -> None:
        found: dict[tuple[int, int], list[str]] = {}  # by file system, as far as its size and room tell
        for name in _DISKS:
            one = member["disk"][name]
            if one["total_bytes"] and one["free_bytes"] < _FREE * one["total_bytes"]:
                found.setdefault((one["free_bytes"], one["total_bytes"]), []).append(f"{name} ({one['path']})")
        for (free, total), names in found.items():
            part = f"{100 * free // total} %"
            text = f"{member['host']}: {part} of the file system of {', '.join(names)} are free ({format_size(free)})"
            command = self.commands.module(member["host"], "ansible.builtin.command", "df --human-readable")
            self._add("disk", "attention", None, f"disk {part} free", text, command, member["host"])

    def _waiting(self, parts: Json) -> None:
        lock, hold = self._lock(), parts["hold"]
        if lock:
            command = None if lock["held"] else self._playbook(lock["playbook"], **lock["resume"])
            state, category = ("attention", None) if lock["held"] else ("unhealthy", "unhealthy")
            short = f"{lock['playbook']} to {lock['target']} {'runs' if lock['held'] else 'UNFINISHED'}"
            self._add("upgrade", state, category, short, lock["message"], command)
        if hold and hold["old"]:
            self._add("hold", "attention", None, "held for long", hold["text"], None)
        calls, server = parts["callbacks"], parts["database"]
        if (calls["waiting"] or 0) >= _WAITING:
            text = f"{calls['waiting']} callbacks wait; the webhook has refused {calls['refused']} since the client was started"
            self._add("callbacks", "attention", None, f"{calls['waiting']} callbacks wait", text, None)
        used, allowed = server["connections_used"], server["connections_allowed"]
        if used and allowed and used >= _CONNECTIONS * allowed:
            short = f"{used} of {allowed} connections"
            self._add("database", "attention", None, short, f"{short} of the database server are in use", None)
        messages, gc = parts["messages"], parts["gc"]
        if messages["over"]:
            text = f"messages has about {messages['rows']} rows, more than {messages['limit']}"
            short = f"{messages['rows'] / 1e6:.1f} M rows!" if messages["rows"] >= 1e6 else f"{messages['rows']} rows!"
            self._add("messages", "attention", None, short, text, self._playbook("gc"))
        if gc["result"] == "failed":
            text = f"the last message GC, of {gc['began']}, has failed: {gc['text'].rstrip('.')}"
            self._add("gc", "attention", None, "GC failed", text, self._playbook("gc"))

    def _ending(self, parts: Json) -> None:
        left = parts["expiry"]["seconds"]
        if left is not None and left < _SOON:
            version, day, days = parts["version"] or "the client", parts["expiry"]["day"], int(left // _DAY)
            over = left <= 0
            short = "EXPIRED" if over else f"EXPIRES IN {days} D"
            when = f"has expired on {day}" if over else f"expires on {day}, in {days} days"
            command = self._playbook("upgrade", wa_upgrade_version="VERSION")
            state, category = ("unhealthy", "unhealthy") if over else ("attention", "expiry")
            self._add("expiry", state, category, short, f"{version} {when}", command)
        for one in parts["certificates"]:
            if one["seconds"] is not None and one["seconds"] < _SOON:
                over = one["seconds"] <= 0
                rest = "ENDED" if over else f"{int(one['seconds'] // _DAY)} d"
                short = f"certificate {one['name'].partition(' ')[0]}: {rest}"
                text = f"{one['host']}: the certificate {one['name']} {'ended' if over else 'ends'} on {one['day']}"
                self._add("certificate", "attention", None, short, text, None, one["host"])

    def _keeping(self, parts: Json) -> None:
        if self.led and any(one["state"] == "running" for one in self._containers()):
            settings, left = parts["backups"]["settings"], parts["expiry"]["seconds"]
            age = settings["age_seconds"] if settings else None
            given = not parts["backups"]["error"]
            text = backup.warning(age, None if left is None else left / _DAY, given)
            if text:
                short = "no settings backup!" if age is None else f"settings backup {int(age / _DAY)} d old!"
                self._add("backup", "attention", "backup", short, text.partition(". ")[0], self._playbook("backup"))
        if (parts["drill"]["age_seconds"] or 0) > _DRILL:
            text = f"the last drill was on {parts['drill']['time'][:10]}"
            command = self._playbook("restore", wa_restore="MANIFEST", wa_restore_drill=True)
            self._add("drill", "attention", None, "drill is old", text, command)
        lost = [one["name"] for one in parts["images"] if one["pullable"] is False and not one["kept"]]
        if lost:
            text = f"neither their registry nor a backup has {', '.join(lost)}"
            command = self._playbook("backup", wa_backup_include=["images"])
            self._add("images", "attention", None, "images not kept", text, command)


def drifting(finding: Read, restart: str) -> list[str]:
    """Returns what provision.yml would correct now of a concern."""
    keys = ("changes", "containers", *(("restarts",) if restart == provision_plan.NOW else ()))
    return [str(text) for key in keys for text in finding.get(key) or ()]


def _concern(name: str, finding: Read, restart: str) -> Json:
    return {
        "state": finding["state"],
        "drift": drifting(finding, restart),
        "pending": provision_plan.pending({name: finding}, restart),
        "warnings": [*finding.get("warnings", ())],
        "alarms": [*finding.get("alarms", ())],
        "diff": [_unified(one) for one in finding.get("diff", ())],
        "error": finding.get("error"),
    }


def _unified(diff: Read) -> Json:
    """Returns a difference of Ansible's as a unified diff."""
    path = str(diff.get("before_header") or diff.get("after_header") or "")
    before, after = (str(diff.get(side) or "").splitlines() for side in ("before", "after"))
    return {"path": path, "text": "\n".join(difflib.unified_diff(before, after, path, path, lineterm=""))}
