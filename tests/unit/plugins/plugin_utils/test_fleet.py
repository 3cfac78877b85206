# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the fleet: each cause with its words and its command, what is not known, the schema."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import fleet_samples as samples
import pytest
from fleet_samples import COMMANDS, DAY, NOW
from jsonschema import Draft202012Validator

from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet as fleet

ROOT = Path(__file__).resolve().parents[4]
SCHEMA = json.loads((ROOT / "docs" / "fleet.schema.json").read_text(encoding="utf-8"))
CHECK = "provision support --check"
LOCK: dict[str, t.Any] = {
    "held": False,
    "blocking": True,
    "message": "left unfinished by ops. Run upgrade.yml, which goes on from there",
    "stage": "migrating",
    "target": "2.55.1",
    "playbook": "upgrade",
    "resume": {"wa_upgrade_version": "2.55.1"},
}
HOLD = {"path": "/h", "reason": "why", "since": "2026-11-01 10:00 UTC", "old": True}


def report(**hosts: dict[str, t.Any]) -> dict[str, t.Any]:
    """The report on these hosts, which is valid."""
    found = fleet.report(hosts, NOW, COMMANDS, "1.2.3")
    Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(found)))
    return found


def one(read: dict[str, t.Any]) -> dict[str, t.Any]:
    (found,) = report(support=read)["deployments"]
    return t.cast("dict[str, t.Any]", found)


def figure(**parts: t.Any) -> dict[str, t.Any]:
    return samples.read(figures=samples.figures(**parts))


def database(**more: t.Any) -> dict[str, t.Any]:
    return figure(database={**samples.figures()["database"], **more})


def backups(**more: t.Any) -> dict[str, t.Any]:
    kept = {**samples.about()["backups"], **more}
    return samples.read(about=samples.about(backups=kept))


def test_a_client_in_sync_has_no_cause_and_all_figures() -> None:
    found = one(samples.read())
    assert (found["state"], found["causes"], found["version"]) == ("in_sync", [], "2.53.4")
    assert found["expiry"]["day"] == "2027-03-31"
    assert {key: found["health"][key] for key in ("state", "running", "expected")} == {
        "state": "healthy",
        "running": 2,
        "expected": 2,
    }
    assert found["callbacks"] == {"waiting": 1, "sent": 20, "refused": 3, "error": None}
    assert (found["messages"]["rows"], found["messages"]["over"]) == (1000, False)
    assert found["backups"]["database"] == {"time": "2026-11-29T07:40:00Z", "age_seconds": 2 * DAY, "place": "host"}
    assert found["drill"]["age_seconds"] == 3 * DAY
    assert found["database"]["end_of_life_seconds"] < 0
    assert [image["kept"] for image in found["images"]] == [True, True]
    assert found["members"][0]["log_cleanup"]["age_seconds"] == 90
    everything = json.loads(json.dumps(found), object_hook=lambda part: part)
    assert [name for name, part in everything.items() if isinstance(part, dict) and part.get("error")] == []


@pytest.mark.parametrize(
    ("core", "running"),
    [({"health": "starting"}, 2), ({"health": "unhealthy"}, 1), ({"state": "exited", "health": None}, 1)],
)
def test_how_many_containers_run(core: dict[str, t.Any], running: int) -> None:
    there = [samples.container(**core), samples.container("waweb", "web", health=None)]
    assert one(figure(containers={"containers": there, "error": ""}))["health"]["running"] == running


Cause = tuple[str, str, t.Optional[str], str, t.Optional[str]]  # kind, state, category, words, command
CASES: list[tuple[str, dict[str, t.Any], list[Cause]]] = [
    (
        "unreachable",
        samples.lost(),
        [("unreachable", "unreachable", "unreachable", "support is unreachable: No route to host", "support ping")],
    ),
    (
        "a wrong inventory",
        {"reached": True, "problem": "support: wa_version: no version", "about": samples.about()},
        [("unknown", "unknown", "unhealthy", "support: wa_version: no version", CHECK)],
    ),
    (
        "a stopped container",
        samples.drifted("client", containers=["wacore has exited"]),
        [("unhealthy", "unhealthy", "unhealthy", "wacore has exited", "provision support")],
    ),
    (
        "a container that runs with another restart policy",
        samples.drifted("client", containers=["waweb has the restart policy no, expected unless-stopped"]),
        [
            (
                "drift",
                "drifted",
                "drift",
                "client: waweb has the restart policy no, expected unless-stopped",
                "provision support",
            )
        ],
    ),
    (
        "a file that differs",
        samples.drifted("db_env", changes=["set WA_DB_PORT", "set WA_DB_SSL_CA"]),
        [("drift", "drifted", "drift", "db_env: set WA_DB_PORT; set WA_DB_SSL_CA", "provision support")],
    ),
    (
        "a client that does not serve",
        samples.drifted("health", state="in_sync", alarms=["the client does not serve: starting"]),
        [
            (
                "unhealthy",
                "unhealthy",
                "unhealthy",
                "the client does not serve: starting",
                "support command docker logs --tail 50 wacore",
            )
        ],
    ),
    (
        "an unknown session",
        {
            **samples.drifted("database", state="in_sync", alarms=["1 from 10.0.0.9"]),
            "database": {"unknown": [{"from": "10.0.0.9"}]},
        },
        [("session", "unhealthy", "unhealthy", "1 from 10.0.0.9", None)],
    ),
    (
        "two Coreapps of one number",
        samples.drifted("client", state="restart_pending", alarms=["wacore-2: it is more than the 1"]),
        [("unhealthy", "unhealthy", "unhealthy", "wacore-2: it is more than the 1", None)],
    ),
    (
        "a database that is away",
        samples.drifted("database", state="in_sync", alarms=["database: not reachable"]),
        [("unhealthy", "unhealthy", "unhealthy", "database: not reachable", None)],
    ),
    (
        "what is not known is no green",
        samples.drifted("client", state="unknown", error="Docker Engine: does not answer."),
        [("unknown", "unknown", "unhealthy", "Docker Engine: does not answer", CHECK)],
    ),
    (
        "expiry",
        samples.read(expires_on="2026-12-20"),
        [
            (
                "expiry",
                "attention",
                "expiry",
                "2.53.4 expires on 2026-12-20, in 18 days",
                "upgrade support wa_upgrade_version=VERSION",
            )
        ],
    ),
    (
        "expired",
        samples.read(expires_on="2026-12-01"),
        [
            (
                "expiry",
                "unhealthy",
                "unhealthy",
                "2.53.4 has expired on 2026-12-01",
                "upgrade support wa_upgrade_version=VERSION",
            )
        ],
    ),
    (
        "a large table",
        database(tables=[{"database": "a", "rows": 1500}, {"database": "b", "rows": 900}]),
        [("messages", "attention", None, "messages has about 2400 rows, more than 2000", "gc support")],
    ),
    (
        "connections",
        database(connections_used=95),
        [("database", "attention", None, "95 of 100 connections of the database server are in use", None)],
    ),
    (
        "callbacks",
        figure(api={**samples.figures()["api"], "callbacks": {"waiting": 1834, "sent": 5, "refused": 70}}),
        [
            (
                "callbacks",
                "attention",
                None,
                "1834 callbacks wait; the webhook has refused 70 since the client was started",
                None,
            )
        ],
    ),
    (
        "a failed GC",
        figure(gc={"began": NOW - DAY, "result": "failed", "text": "no more rows went.", "error": ""}),
        [
            (
                "gc",
                "attention",
                None,
                "the last message GC, of 2026-11-30T07:40:00Z, has failed: no more rows went",
                "gc support",
            )
        ],
    ),
    (
        "a full disk, which is one",
        figure(disk_docker=samples.disk(3), disk_logs=samples.disk(3)),
        [
            (
                "disk",
                "attention",
                None,
                "support: 3 % of the file system of docker (/data), logs (/data) are free (3.0 GiB)",
                "support command df --human-readable",
            )
        ],
    ),
    (
        "a certificate",
        figure(certificates={"certificates": [{"name": "API", "end": NOW + 9 * DAY, "error": ""}], "error": ""}),
        [("certificate", "attention", None, "support: the certificate API ends on 2026-12-10", None)],
    ),
    (
        "a certificate that has ended",
        figure(certificates={"certificates": [{"name": "API", "end": NOW - 9 * DAY, "error": ""}], "error": ""}),
        [("certificate", "attention", None, "support: the certificate API ended on 2026-11-22", None)],
    ),
    (
        "an old settings backup",
        backups(settings=NOW - 40 * DAY),
        [("backup", "attention", "backup", "the newest settings backup is 40 days old", "backup support")],
    ),
    (
        "no settings backup",
        backups(settings=None),
        [("backup", "attention", "backup", "there is no settings backup", "backup support")],
    ),
    (
        "no settings backup of containers outside Compose, which no role restarts",
        {**backups(settings=None), "runs": False},
        [("backup", "attention", "backup", "there is no settings backup", "backup support")],
    ),
    (
        "no settings backup of a client that is stopped",
        {
            **backups(settings=None),
            "figures": samples.figures(containers={"containers": [samples.container(state="exited")], "error": ""}),
        },
        [],
    ),
    ("no folder for backups", samples.read(about=samples.about(backups={"given": False})), []),
    (
        "an old drill",
        figure(copies={"made": NOW, "proven": NOW - 40 * DAY, "error": ""}),
        [
            (
                "drill",
                "attention",
                None,
                "the last drill was on 2026-10-22",
                "restore support wa_restore=MANIFEST wa_restore_drill=True",
            )
        ],
    ),
    (
        "images that are lost",
        {
            **figure(images={"images": [samples.image("web", pullable=False, error="not found")], "error": ""}),
            # The backup is of the version before.
            "about": samples.about(backups={**samples.about()["backups"], "image_names": ["r/web:v2.51.2"]}),
        },
        [
            (
                "images",
                "attention",
                None,
                "neither their registry nor a backup has r/web:v2.53.4",
                "backup support wa_backup_include=['images']",
            )
        ],
    ),
    ("a registry that is away", figure(images={"images": [samples.image("web", pullable=None)], "error": ""}), []),
    (
        "an unfinished upgrade",
        {
            **samples.drifted("host", changes=[LOCK["message"]]),
            "lock": LOCK,
        },
        [("upgrade", "unhealthy", "unhealthy", LOCK["message"], "upgrade support wa_upgrade_version=2.55.1")],
    ),
    (
        "an upgrade that runs",
        samples.read(lock={**LOCK, "held": True}),
        [("upgrade", "attention", None, LOCK["message"], None)],
    ),
    (
        "a long hold",
        samples.read(held="held since 2026-11-01", hold=HOLD),
        [("hold", "attention", None, "held since 2026-11-01", None)],
    ),
    (
        "what is held is stopped on purpose",
        {**samples.drifted("client", containers=["wacore has exited"]), "held": "held by the inventory"},
        [],
    ),
    (
        "a part that was not read is no cause",
        figure(disk_docker={"error": "no answer in time"}, database={"error": "not reachable"}, api={}),
        [],
    ),
]


@pytest.mark.parametrize(("read", "causes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_each_cause_has_its_words_and_its_command(read: dict[str, t.Any], causes: list[Cause]) -> None:
    found = one(read)
    keys = ("kind", "state", "category", "text", "command")
    assert [tuple(cause[key] for key in keys) for cause in found["causes"]] == causes
    assert found["state"] == (causes[0][1] if causes else "in_sync")
    assert found["members"][0]["state"] == found["state"]


@pytest.mark.parametrize(
    ("lock", "short"),
    [
        ({}, "upgrade to 2.55.1 UNFINISHED"),
        ({"held": True}, "upgrade to 2.55.1 runs"),
        ({"playbook": "restore", "resume": {"wa_restore": "/m"}}, "restore to 2.55.1 UNFINISHED"),
        ({"playbook": "restore", "resume": {"wa_restore": "/m"}, "held": True}, "restore to 2.55.1 runs"),
    ],
    ids=["an upgrade", "that runs", "a restore", "one that runs"],
)
def test_a_lock_is_named_by_the_playbook_that_has_it(lock: dict[str, t.Any], short: str) -> None:
    assert [cause["short"] for cause in one(samples.read(lock={**LOCK, **lock}))["causes"]] == [short]


def test_a_part_that_was_not_read_is_null_with_its_error() -> None:
    found = one(figure(disk_docker={"error": "no answer in time"}, database={"error": "not reachable"}, api={}))
    assert found["members"][0]["disk"]["docker"] == {
        "path": None,
        "free_bytes": None,
        "total_bytes": None,
        "error": "no answer in time",
    }
    assert (found["messages"]["rows"], found["messages"]["over"], found["messages"]["error"]) == (
        None,
        None,
        "not reachable",
    )
    assert (found["health"]["state"], found["callbacks"]["error"]) == ("not_asked", "the client was not asked")


def test_a_lost_host_is_never_green() -> None:
    found = report(
        a=samples.read("a"),
        b={**samples.read(), "about": samples.about("c", leader="b", members=["b", "d"])},
        d={**samples.lost(), "about": samples.about("c", leader="b", members=["b", "d"])},
    )
    assert [(one["name"], one["state"]) for one in found["deployments"]] == [("c", "unreachable"), ("a", "in_sync")]
    assert found["counts"]["unreachable"] == 1
    lost = found["deployments"][0]
    assert [one["state"] for one in lost["members"]] == ["in_sync", "unreachable"]
    assert lost["health"]["running"] is None
    assert [one["containers"] for one in lost["members"]][1] is None


def test_diffs_are_unified() -> None:
    diff = {"before": "a\nb\n", "after": "a\nc\n", "before_header": "/f", "after_header": "/f"}
    found = one(samples.drifted("db_env", changes=["set X"], diff=[diff]))
    assert found["members"][0]["concerns"]["db_env"]["diff"] == [
        {"path": "/f", "text": "--- /f\n+++ /f\n@@ -1,2 +1,2 @@\n a\n-b\n+c"}
    ]


def test_restarts_wait_for_their_time() -> None:
    read = samples.drifted("client", state="restart_pending", restarts=["wacore differs"])
    found = one({**read, "restart": "window"})
    assert found["causes"] == []
    assert found["members"][0]["concerns"]["client"]["pending"] == ["wacore differs"]
    assert one(read)["state"] == "drifted"


@pytest.mark.parametrize(
    ("fail_on", "failing"),
    [
        ((), {}),
        (("unhealthy",), {"b": ["wacore has exited"]}),
        (("unreachable", "drift"), {"a": ["a is unreachable: No route to host"]}),
        (("expiry",), {"c": ["2.53.4 expires on 2026-12-20, in 18 days"]}),
        (("backup",), {}),
    ],
)
def test_words_decide_which_hosts_fail(fail_on: tuple[str, ...], failing: dict[str, list[str]]) -> None:
    stopped = {**samples.drifted("client", containers=["wacore has exited"]), "about": samples.about("b")}
    found = report(a=samples.lost("a"), b=stopped, c={**samples.read("c"), "expires_on": "2026-12-20"})
    failures = fleet.failures(found, fail_on)
    assert {host: [cause["text"] for cause in causes] for host, causes in failures.items()} == failing


@pytest.mark.parametrize(
    ("before", "drift_only", "changed"),
    [
        ({}, False, [("a", "in_sync", "unreachable"), ("c", "in_sync", "attention")]),
        ({"a": "unreachable", "c": "attention"}, False, []),
        ({"a": "drifted", "c": "unhealthy"}, False, [("a", "drifted", "unreachable"), ("c", "unhealthy", "attention")]),
        ({"a": "unreachable", "b": "drifted", "c": "attention"}, False, [("b", "drifted", "in_sync")]),
        ({"a": "unreachable", "b": "attention", "c": "in_sync"}, True, []),
    ],
)
def test_a_changed_state_is_new_for_the_worse_and_the_better(
    before: dict[str, str], drift_only: bool, changed: list[tuple[str, str, str]]
) -> None:
    found = report(a=samples.lost("a"), b=samples.read("b"), c={**samples.read("c"), "expires_on": "2026-12-20"})
    read = [(one["name"], one["before"], one["state"]) for one in fleet.changes(found, before, drift_only)]
    assert read == changed


@pytest.mark.parametrize("order", [("h1", "h2"), ("h2", "h1")])
def test_what_the_controller_knows_of_a_leader_that_is_away_counts(order: tuple[str, str]) -> None:
    place = {"leader": "h1", "members": ["h2", "h1"]}
    hosts = {
        "h1": {**samples.lost(), "about": samples.about("c", **place)},
        "h2": samples.read(about=samples.about("c", **place, backups={"given": True})),
    }
    (one,) = report(**{name: hosts[name] for name in order})["deployments"]
    assert one["backups"]["settings"]["age_seconds"] == DAY


def test_without_its_leader_a_deployment_is_not_known() -> None:
    about = samples.about("c", leader="a", members=["a", "b"])
    found = report(b={**samples.read(lock=LOCK), "about": about})
    (one,) = found["deployments"]
    assert [(cause["kind"], cause["state"]) for cause in one["causes"]] == [
        ("upgrade", "unhealthy"),
        ("unknown", "unknown"),
    ]
    assert one["health"]["state"] == "unknown"
    assert list(fleet.failures(found, ("unhealthy",))) == ["b"]
