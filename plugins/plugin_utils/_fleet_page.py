# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the page of the fleet: one HTML file from a report, the earlier ones and the runs. Pure rules; the files that it inlines are ours."""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import typing as t
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_size
from ansible_collections.waba.onprem.plugins.plugin_utils._fleet import FORMAT, seconds_of
from ansible_collections.waba.onprem.plugins.plugin_utils._fleet_metrics import drift

Fleet = t.Mapping[str, t.Any]  # a report, as fleet.schema.json describes it
Deployment = t.Mapping[str, t.Any]
Run = t.Mapping[str, t.Any]  # a line of runs.jsonl
History = t.Sequence[
    tuple[float, t.Mapping[str, Deployment]]
]  # the deployments of each report by name, the oldest first
STATES = {  # as the report has them, worst first, and in words
    "unreachable": "unreachable",
    "unhealthy": "unhealthy",
    "unknown": "unknown",
    "drifted": "drifted",
    "attention": "attention",
    "in_sync": "in sync",
}


class _Past(t.NamedTuple):
    """What the charts need of a report: a kept one is not held in memory as a whole."""

    time: str
    needing: int  # deployments that need action
    values: t.Mapping[str, tuple[float | None, ...]]  # by deployment: rows, free disk, drift


_DAY = 86400.0
_CAUSES = 2  # of a deployment, in full before its details: of its worst state only
_RUNS = 5
_NOT_READ = "not known: not read"  # of a host that was not reached, which says that itself
_DIFF_LINES, _DIFF_WIDTH = 60, 240  # the complete diff is in fleet.json
_WIDTH, _HEIGHT, _POINTS = 240, 48, 40  # of a chart
_UNITS = ((_DAY, "day"), (3600.0, "hour"), (60.0, "minute"))
_FINDINGS = ("drift", "alarms", "pending", "warnings")
_KIND_OF_LINE = {"+": "add", "-": "remove", "@": "place"}


def page(fleet: Fleet, earlier: t.Iterable[Fleet], runs: t.Iterable[Run], now: float) -> str:
    """Returns the page of `fleet`, a report; `earlier` are the kept ones, `runs` the lines of runs.jsonl, `now` is in seconds since 1970."""
    earlier_ones = (_past(one) for one in earlier if one.get("format") == FORMAT)
    history = sorted((one for one in earlier_ones if one.time < fleet["time"]), key=lambda one: one.time)
    history.append(_past(fleet))
    listed = [*runs]
    shown = [_shown(one, history, listed) for one in fleet["deployments"]]
    script, styles = _asset("page.js"), [_asset("pico.css"), _asset("page.css")]
    age = now - seconds_of(fleet["time"])
    text: str = _template().render(
        policy=_policy([script], styles),
        script=Markup(script),
        styles=[Markup(one) for one in styles],
        fleet=fleet,
        made=_minute(fleet["time"]),
        old=f"This report is {_span(age)} old." if age > _DAY else "",
        headline=headline(fleet["counts"]),
        counts=[{"state": one, "words": STATES[one], "number": fleet["counts"][one]} for one in STATES],
        fleet_chart=_fleet_chart(history),
        todo=[one for one in shown if one["causes"]],
        rest=[one for one in shown if not one["causes"]],
    )
    return text


def headline(counts: t.Mapping[str, int]) -> str:
    """Returns what the page says first."""
    everything = counts["deployments"]
    needing = everything - counts["in_sync"]
    if not everything:
        return "No deployment in this report"
    if not needing:
        return (
            "Nothing to do: the deployment is in sync"
            if everything == 1
            else f"Nothing to do: all {everything} are in sync"
        )
    return f"{needing} of {everything} {_plural(everything, 'deployment')} {'needs' if needing == 1 else 'need'} action"


def _policy(scripts: t.Iterable[str], styles: t.Iterable[str]) -> str:
    """Returns a content security policy: only what the page itself holds may run, and nothing may be fetched."""

    def sources(texts: t.Iterable[str]) -> str:
        digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in texts)
        return " ".join(f"'sha256-{one}'" for one in digests)

    return f"default-src 'none'; img-src data:; script-src {sources(scripts)}; style-src {sources(styles)}"


@functools.cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "fleet_page" / name).read_text(encoding="utf-8")


def _readable(value: t.Any) -> t.Any:
    """Returns a value of the template without characters that are not seen, or that turn the order of others."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(one if one.isprintable() or one == "\t" else "?" for one in value)


@functools.cache
def _template() -> t.Any:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_readable
    )
    environment.filters["state"] = STATES.__getitem__
    return environment.from_string(_asset("page.html.j2"))


# --- Words ---------------------------------------------------------------------------------------------------------


def _minute(time: str | None) -> str:
    return f"{time[:10]} {time[11:16]} UTC" if time else ""


def _plural(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"


def _span(seconds: float) -> str:
    """Returns a length of time in its largest unit: `6 days`."""
    for length, name in _UNITS:
        if abs(seconds) >= length:
            number = int(abs(seconds) // length)
            return f"{number} {_plural(number, name)}"
    return "less than a minute"


def _until(day: str, seconds: float | None) -> str:
    """Returns a day, and how long it is until then."""
    if seconds is None:
        return day
    return f"{day}, {f'in {_span(seconds)}' if seconds >= 0 else f'{_span(seconds)} ago'}"


def _number(value: float) -> str:
    """Returns a number of rows or callbacks: `2.4 M`, `410 k`, `12`."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            shown = f"{value / size:.1f}" if abs(value) < 100 * size else f"{value / size:.0f}"
            return f"{shown.removesuffix('.0')}{unit}"
    return f"{value:.0f}"


def _percent(value: float) -> str:
    return f"{value:.0f} %"


# --- A deployment --------------------------------------------------------------------------------------------------


def _shown(one: Deployment, history: t.Sequence[_Past], runs: t.Sequence[Run]) -> dict[str, t.Any]:
    """Returns what the template shows of a deployment."""
    hosts = [member["host"] for member in one["members"]]
    name = one["name"]
    causes = [{**cause, "where": _where(cause, hosts)} for cause in one["causes"]]
    first = min(_CAUSES, sum(cause["state"] == one["state"] for cause in causes) or 1)
    return {
        "name": name,
        "state": one["state"],
        "hosts": ", ".join(hosts) if hosts != [name] else "",
        "summary": ", ".join(_summary(one)),
        "causes": causes[:first],
        "more_causes": causes[first:],
        "facts": facts(one),
        "members": [_member(member) for member in one["members"]],
        "charts": _charts(one, history),
        "runs": _runs(runs, {*hosts}),
    }


def _where(cause: t.Mapping[str, t.Any], hosts: t.Sequence[str]) -> str:
    """Returns the host of a cause, where that is not clear and its text does not name it."""
    host = cause["host"]
    return host if host and len(hosts) > 1 and host not in cause["text"] else ""


def _summary(one: Deployment) -> t.Iterator[str]:
    """Yields what a line of the list says of a deployment."""
    yield one["version"] or "version not known"
    health = one["health"]
    if health["running"] is not None:
        yield f"{health['running']}/{health['expected']} {health['state'].replace('_', ' ')}"
    if one["messages"]["rows"] is not None:
        yield f"{_number(one['messages']['rows'])} rows"
    free = disk_free(one)
    if free is not None:
        yield f"{_percent(free)} disk free"


def facts(one: Deployment) -> list[dict[str, t.Any]]:
    """Returns what is known of a deployment as rows of `name`, `text` and `bad`, which a cause of that kind makes it."""
    kinds = {cause["kind"] for cause in one["causes"]}
    found = []
    for name, texts, about in (
        ("Health", _health(one), ("unhealthy", "unknown")),
        ("Version", _version(one), ()),
        ("Expires", _expiry(one), ("expiry",)),
        ("Messages", _messages(one), ("messages",)),
        ("Message GC", _gc(one), ("gc",)),
        ("Callbacks", _callbacks(one), ("callbacks",)),
        ("Database", _database(one), ("database", "session")),
        ("Backups", _backups(one), ("backup",)),
        ("Proven drill", _drill(one), ("drill",)),
        ("Upgrade", [one["upgrade"]["text"]] if one["upgrade"] else [], ("upgrade",)),
        ("Hold", [one["hold"]["text"]] if one["hold"] else [], ("hold",)),
        ("Images", _images(one), ("images",)),
        ("Certificates", _certificates(one), ("certificate",)),
    ):
        lines = [text for text in texts if text and text != _NOT_READ]
        if lines:
            found.append({"name": name, "lines": lines, "bad": bool(kinds & {*about})})
    return found


def _unknown(part: t.Mapping[str, t.Any]) -> str:
    return f"not known: {part['error']}" if part["error"] else ""


def _health(one: Deployment) -> t.Iterator[str]:
    part = one["health"]
    yield f"{part['state'].replace('_', ' ')}{': ' if part['text'] else ''}{part['text']}"
    if part["running"] is not None:
        yield f"{part['running']} of {part['expected']} services run and are well"
    yield ", ".join(f"{name} {state}" for name, state in (part["nodes"] or {}).items())
    yield _unknown(part)


def _version(one: Deployment) -> t.Iterator[str]:
    runs, wanted = one["version"], one["wanted_version"]
    if runs != wanted and wanted:
        yield f"{runs or 'not known'}; the inventory wants {wanted}"
    else:
        yield runs or ""


def _expiry(one: Deployment) -> t.Iterator[str]:
    part = one["expiry"]
    yield _until(part["day"], part["seconds"]) if part["day"] else ""
    yield _unknown(part)


def _messages(one: Deployment) -> t.Iterator[str]:
    part = one["messages"]
    if part["rows"] is not None:
        yield f"{_number(part['rows'])} rows (estimated), limit {_number(part['limit'])}"
    if len(part["tables"]) > 1:
        for table in part["tables"]:
            yield f"{table['database']}: {'not known' if table['rows'] is None else _number(table['rows'])}"
    yield _unknown(part)


def _gc(one: Deployment) -> t.Iterator[str]:
    part = one["gc"]
    if part["automatic"]:
        yield "the client does it by itself"
    if part["began"]:
        result = f"{part['result'] or ''}{': ' if part['text'] else ''}{part['text']}"
        yield f"last one began {_minute(part['began'])}{', ' if result else ''}{result}"
    yield _unknown(part)


def _callbacks(one: Deployment) -> t.Iterator[str]:
    part = one["callbacks"]
    named = (("waiting", "wait"), ("refused", "refused by the webhook"), ("sent", "sent"))
    yield ", ".join(f"{_number(part[key])} {word}" for key, word in named if part[key] is not None)
    yield _unknown(part)


def _database(one: Deployment) -> t.Iterator[str]:
    part = one["database"]
    yield " ".join(text for text in (part["product"], part["version"]) if text)
    if part["end_of_life"]:
        yield f"end of its maker's support: {_until(part['end_of_life'], part['end_of_life_seconds'])}"
    if part["connections_used"] is not None:
        allowed = part["connections_allowed"]
        yield f"{part['connections_used']}{'' if allowed is None else f' of {allowed}'} connections used"
    if part["unknown_sessions"]:
        yield f"{part['unknown_sessions']} sessions that are not this client's"
    yield _unknown(part)


def _backups(one: Deployment) -> t.Iterator[str]:
    part = one["backups"]
    yield _unknown(part)
    if part["error"]:
        return
    for key, name in (("settings", "settings"), ("database", "copy of the database"), ("images", "images")):
        kept = part[key]
        place = ", on the leader" if kept and kept.get("place") == "host" else ""
        yield (
            f"{name}: {_span(kept['age_seconds'])} old{place}"
            if kept and kept["age_seconds"] is not None
            else f"{name}: none"
        )


def _drill(one: Deployment) -> t.Iterator[str]:
    part = one["drill"]
    if part["time"]:
        yield (
            f"{_minute(part['time'])}, {_span(part['age_seconds'])} ago"
            if part["age_seconds"]
            else _minute(part["time"])
        )
    elif not part["error"]:
        yield "none"
    yield _unknown(part)


def _images(one: Deployment) -> t.Iterator[str]:
    for image in one["images"]:
        pullable = {
            True: "can be pulled",
            False: "cannot be pulled any more",
            None: "not known whether it can be pulled",
        }
        words = [pullable[image["pullable"]], "kept in a backup" if image["kept"] else "not kept in a backup"]
        if not image["on_host"]:
            words.append("a host that runs it has no image of this name")
        error = f" ({image['error']})" if image["error"] else ""
        yield f"{image['name']}: {', '.join(words)}{error}"


def _certificates(one: Deployment) -> t.Iterator[str]:
    for certificate in one["certificates"]:
        text = _until(certificate["day"], certificate["seconds"]) if certificate["day"] else _unknown(certificate)
        yield f"{certificate['name']} on {certificate['host']}: {text}"


def _member(member: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns what the template shows of a host."""
    cleanup = member["log_cleanup"]
    cleaned = f"{cleanup['result'] or ''} {_minute(cleanup['started'])}".strip()
    rows = {
        "Containers": [
            f"{one['name']} {one['version']}: {one['state']}{', ' if one['health'] else ''}{one['health'] or ''}"
            for one in member["containers"] or ()
        ],
        "Disk": [_disk(name, one) for name, one in member["disk"].items()],
        "Log cleanup": [cleaned or _unknown(cleanup) or "never run"],
    }
    return {
        **{key: member[key] for key in ("host", "state", "error")},
        "facts": [{"name": name, "lines": lines, "bad": False} for name, lines in rows.items() if lines],
        "findings": [
            {"concern": name, "lines": lines, "diffs": [_diff(diff) for diff in one["diff"]]}
            for name, one in member["concerns"].items()
            for lines in [_findings(one)]
            if lines or one["diff"]
        ],
    }


def _disk(name: str, one: t.Mapping[str, t.Any]) -> str:
    if one["free_bytes"] is None:
        return f"{name}: {_unknown(one) or 'not known'}"
    share = f" ({_percent(100 * one['free_bytes'] / one['total_bytes'])})" if one["total_bytes"] else ""
    return f"{name}: {format_size(one['free_bytes'])} free{share}"


def _findings(concern: t.Mapping[str, t.Any]) -> list[str]:
    """Returns the findings of a concern in words, with what they are where that is not a drift."""
    words = {"drift": "", "alarms": "alarm: ", "pending": "waits: ", "warnings": "warning: "}
    found = [f"{words[key]}{text}" for key in _FINDINGS for text in concern[key]]
    return found + ([_unknown(concern)] if concern["error"] else [])


def _diff(diff: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Returns a diff in lines with what each does, cut where it is long."""
    lines = diff["text"].splitlines()
    return {
        "path": diff["path"],
        "lines": [
            {"kind": "" if one[:3] in ("+++", "---") else _KIND_OF_LINE.get(one[:1], ""), "text": one[:_DIFF_WIDTH]}
            for one in lines[:_DIFF_LINES]
        ],
        "left_out": max(0, len(lines) - _DIFF_LINES),
    }


def _runs(runs: t.Iterable[Run], hosts: set[str]) -> list[dict[str, str]]:
    """Returns the last runs that changed one of these hosts, or failed there, the newest first."""
    those = [(one, result) for one in runs for result in [_run_result(one, hosts)] if result]
    those.sort(key=lambda pair: str(pair[0].get("time")), reverse=True)
    return [
        {
            "time": _minute(str(one.get("time") or "")),
            "playbook": str(one.get("playbook") or "").rpartition(".")[2],
            "who": "@".join(str(one[key]) for key in ("user", "controller") if one.get(key)),
            "result": result,
        }
        for one, result in those[:_RUNS]
    ]


def _run_result(run: Run, hosts: set[str]) -> str:
    """Returns what came of a run on these hosts; empty for nothing."""
    for word in ("failed", "unreachable", "changed"):
        if hosts & {*map(str, run.get(word) or ())}:
            return word
    return ""


# --- Charts --------------------------------------------------------------------------------------------------------


def disk_free(one: Deployment) -> float | None:
    """Returns the percentage that is free of the fullest file system of all members; None where none is known."""
    disks = [disk for member in one["members"] for disk in member["disk"].values()]
    shares = [
        100 * disk["free_bytes"] / disk["total_bytes"]
        for disk in disks
        if disk["total_bytes"] and disk["free_bytes"] is not None
    ]
    return min(shares, default=None)


def _past(fleet: Fleet) -> _Past:
    counts = fleet["counts"]
    values: dict[str, tuple[float | None, ...]] = {
        one["name"]: (one["messages"]["rows"], disk_free(one), drift(one)) for one in fleet["deployments"]
    }
    return _Past(fleet["time"], counts["deployments"] - counts["in_sync"], values)


def _charts(one: Deployment, history: t.Sequence[_Past]) -> list[dict[str, t.Any]]:
    """Returns the charts of a deployment over the reports that have it."""
    there = [(seconds_of(past.time), past.values[one["name"]]) for past in history if one["name"] in past.values]
    rows, disk, drifts = ([(time, values[index]) for time, values in there] for index in range(3))
    made = (
        _chart("Rows of messages", rows, _number, limit=float(one["messages"]["limit"])),
        _chart("Free disk", disk, _percent, most=100.0),
        _chart("Drift", drifts, _number, most=1.0),
    )
    return [each for each in made if each]


def _fleet_chart(history: t.Sequence[_Past]) -> dict[str, t.Any] | None:
    """Returns the chart of how many deployments need action."""
    points = [(seconds_of(past.time), past.needing) for past in history]
    return _chart("Deployments that need action", points, _number, most=1.0)


def _chart(
    title: str,
    points: t.Sequence[tuple[float, float | None]],
    words: t.Callable[[float], str],
    limit: float | None = None,
    most: float = 0.0,
) -> dict[str, t.Any] | None:
    """Returns lines of a chart, broken where nothing is known; None with fewer than two points.

    `limit` is a line across; `most` is what the chart reaches up to at least.
    """
    known = [value for _time, value in points if value is not None]
    if len(known) < 2:
        return None
    step = max(1, -(-len(points) // _POINTS))
    chosen = points[::-1][::step][::-1]  # the last one stays
    top = max([*known, limit or 0.0, most]) or 1.0
    begin, end = chosen[0][0], chosen[-1][0]

    def place(time: float, value: float) -> str:
        across = (time - begin) / (end - begin) * _WIDTH if end > begin else float(_WIDTH)
        return f"{across:.0f},{(1 - value / top) * (_HEIGHT - 4) + 2:.0f}"

    groups = itertools.groupby(chosen, key=lambda point: point[1] is not None)
    lines = [
        " ".join(place(time, value) for time, value in group if value is not None) for there, group in groups if there
    ]
    over = f", at most {words(max(known))}, limit {words(limit)}" if limit else f", at most {words(max(known))}"
    return {
        "title": title,
        "text": f"from {words(known[0])} to {words(known[-1])} in {_span(points[-1][0] - points[0][0])}{over}",
        "lines": [f"{one} {one}" if " " not in one else one for one in lines],  # a single point is a dot
        "limit": place(end, limit).partition(",")[2] if limit else "",
        "width": _WIDTH,
        "height": _HEIGHT,
    }
