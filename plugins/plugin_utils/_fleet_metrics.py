# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a report of the fleet as metrics in Prometheus's text format, for the textfile collector of node_exporter. Pure rules.

What is not known has no sample. What has never been done, such as a settings backup, has the time 0.
"""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.plugin_utils._fleet import STATES, seconds_of

Part = t.Mapping[str, t.Any]
Sample = tuple[dict[str, str], float]


def metrics(fleet: Part) -> str:
    """Returns the metrics of `fleet`, a report."""
    return "".join(_family(fleet, *one) for one in _METRICS)


def _family(fleet: Part, name: str, meaning: str, samples: t.Callable[[Part], t.Iterable[Sample]]) -> str:
    """Returns a metric with its samples; nothing without any."""
    lines = [f"{name}{_labels(labels)} {_value(value)}\n" for labels, value in samples(fleet)]
    kind = "counter" if name.endswith("_total") else "gauge"
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n{''.join(lines)}" if lines else ""


def _labels(labels: t.Mapping[str, str]) -> str:
    escaped = {
        key: str(value).replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"') for key, value in labels.items()
    }
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped.items()) + "}" if labels else ""


def _value(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _deployments(fleet: Part) -> t.Iterator[tuple[dict[str, str], Part]]:
    """Yields each deployment with its labels."""
    for one in fleet["deployments"]:
        yield {"deployment": one["name"]}, one


def _members(fleet: Part) -> t.Iterator[tuple[dict[str, str], Part]]:
    """Yields each host with its labels."""
    for labels, one in _deployments(fleet):
        for member in one["members"]:
            yield {**labels, "host": member["host"]}, member


def _each(
    value: t.Callable[[Part], float | None],
    parts: t.Callable[[Part], t.Iterator[tuple[dict[str, str], Part]]] = _deployments,
) -> t.Callable[[Part], t.Iterator[Sample]]:
    """Returns the samples of a value of deployments, or of hosts."""

    def samples(fleet: Part) -> t.Iterator[Sample]:
        for labels, part in parts(fleet):
            found = value(part)
            if found is not None:
                yield labels, float(found)

    return samples


def _states(fleet: Part) -> t.Iterator[Sample]:
    for labels, one in _deployments(fleet):
        for state in STATES:
            yield {**labels, "state": state}, float(one["state"] == state)


def _info(fleet: Part) -> t.Iterator[Sample]:
    for one in fleet["deployments"]:
        database = " ".join(text for text in (one["database"]["product"], one["database"]["version"]) if text)
        labels = {
            "deployment": one["name"],
            "version": one["version"] or "",
            "topology": one["topology"],
            "database": database,
        }
        yield labels, 1.0


def _rows(fleet: Part) -> t.Iterator[Sample]:
    for one in fleet["deployments"]:
        for table in one["messages"]["tables"]:
            if table["rows"] is not None:
                yield {"deployment": one["name"], "database": table["database"]}, float(table["rows"])


def _disk(key: str) -> t.Callable[[Part], t.Iterator[Sample]]:
    def samples(fleet: Part) -> t.Iterator[Sample]:
        for labels, member in _members(fleet):
            for name, disk in member["disk"].items():
                if disk[key] is not None:
                    yield {**labels, "filesystem": name}, float(disk[key])

    return samples


def _certificates(fleet: Part) -> t.Iterator[Sample]:
    for one in fleet["deployments"]:
        for each in one["certificates"]:
            if each["day"]:
                labels = {"deployment": one["name"], "host": each["host"], "certificate": each["name"]}
                yield labels, seconds_of(each["day"])


def drift(one: Part) -> float | None:
    """Returns the differences on all members that were compared; None where none was."""
    concerns = [concern for member in one["members"] for concern in member["concerns"].values()]
    return float(sum(len(concern["drift"]) for concern in concerns)) if concerns else None


def _day(one: Part, key: str) -> float | None:
    return seconds_of(one[key]) if one[key] else None


def _last(part: Part, key: str) -> float | None:
    """Returns when something was done last: 0 for never, None where that is not known."""
    return None if part["error"] else seconds_of(part[key]) if part[key] else 0.0


def _backup(key: str) -> t.Callable[[Part], float | None]:
    return lambda one: _last({**(one["backups"][key] or {"time": None}), "error": one["backups"]["error"]}, "time")


def _gc_daily(one: Part) -> float | None:
    """Returns whether the collection calls GC every day; a client that does it by itself is not asked when it did."""
    policy = one["gc"]["policy"]
    return float(policy == "daily" and not one["gc"]["automatic"]) if policy else None


_METRICS: tuple[tuple[str, str, t.Callable[[Part], t.Iterable[Sample]]], ...] = (
    (
        "wa_report_timestamp_seconds",
        "When the report of the fleet was made.",
        lambda fleet: [({}, seconds_of(fleet["time"]))],
    ),
    (
        "wa_report_deployments",
        "Deployments by state.",
        lambda fleet: [({"state": state}, float(fleet["counts"][state])) for state in STATES],
    ),
    ("wa_deployment_state", "1 for the state of a deployment, 0 for each other.", _states),
    ("wa_deployment_info", "Version, topology and database of a deployment.", _info),
    (
        "wa_deployment_healthy",
        "Whether the client serves, as it says itself.",
        _each(lambda one: {"healthy": 1.0, "unhealthy": 0.0}.get(one["health"]["state"])),
    ),
    ("wa_deployment_drift", "Differences from the inventory, on all hosts of a deployment.", _each(drift)),
    (
        "wa_deployment_unknown_sessions",
        "Sessions of the client's database user that are not this client's.",
        _each(lambda one: one["database"]["unknown_sessions"]),
    ),
    (
        "wa_deployment_expiry_timestamp_seconds",
        "When the version that runs expires.",
        _each(lambda one: _day(one["expiry"], "day")),
    ),
    ("wa_deployment_certificate_expiry_timestamp_seconds", "The last day of a certificate.", _certificates),
    ("wa_deployment_messages", "Rows of a messages table, estimated.", _rows),
    (
        "wa_deployment_messages_limit",
        "Rows above which the messages tables of a deployment together are too long.",
        _each(lambda one: one["messages"]["limit"]),
    ),
    ("wa_deployment_gc_daily", "Whether message GC is to be called every day.", _each(_gc_daily)),
    (
        "wa_deployment_gc_last_timestamp_seconds",
        "When the last message GC began.",
        _each(lambda one: _last(one["gc"], "began")),
    ),
    ("wa_deployment_callbacks_waiting", "Callbacks that wait.", _each(lambda one: one["callbacks"]["waiting"])),
    (
        "wa_deployment_callbacks_refused_total",
        "Callbacks that the webhook has refused since the client was started.",
        _each(lambda one: one["callbacks"]["refused"]),
    ),
    (
        "wa_deployment_database_connections",
        "Connections of the database server.",
        _each(lambda one: one["database"]["connections_used"]),
    ),
    (
        "wa_deployment_database_connections_limit",
        "Connections that the database server allows.",
        _each(lambda one: one["database"]["connections_allowed"]),
    ),
    (
        "wa_deployment_database_end_of_life_timestamp_seconds",
        "When the support of the database server by its maker ends.",
        _each(lambda one: _day(one["database"], "end_of_life")),
    ),
    (
        "wa_deployment_settings_backup_timestamp_seconds",
        "When the newest settings backup was made.",
        _each(_backup("settings")),
    ),
    (
        "wa_deployment_database_copy_timestamp_seconds",
        "When the newest copy of the database was made.",
        _each(_backup("database")),
    ),
    (
        "wa_deployment_drill_timestamp_seconds",
        "When a copy was last proven by a drill.",
        _each(lambda one: _last(one["drill"], "time")),
    ),
    (
        "wa_deployment_upgrade_unfinished",
        "Whether an upgrade or a restore runs, or is unfinished.",
        _each(lambda one: one["upgrade"] is not None),
    ),
    (
        "wa_deployment_held",
        "Whether the containers of a deployment are held.",
        _each(lambda one: one["hold"] is not None),
    ),
    ("wa_host_reached", "Whether a host has answered.", _each(lambda member: member["reached"], _members)),
    ("wa_host_disk_free_bytes", "Free room of a file system.", _disk("free_bytes")),
    ("wa_host_disk_size_bytes", "Size of a file system.", _disk("total_bytes")),
    (
        "wa_host_log_cleanup_timestamp_seconds",
        "When the nightly log cleanup of a host last succeeded.",
        _each(lambda member: _last(member["log_cleanup"], "last_success"), _members),
    ),
)
