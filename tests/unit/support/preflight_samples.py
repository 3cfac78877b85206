# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the preflight of an upgrade has read of a deployment that passes all of its checks, and how its verdict is asked."""

from __future__ import annotations

import typing as t

from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import failure_report, preflight

DEPLOYMENT = {
    "name": "waba",
    "leader": "h1",
    "members": ["h1", "h2"],
    "is_leader": True,
    "project": "wa-waba",
    "project_dir": "/opt/waba/waba",
    "lock_file": "/var/lib/waba/waba.lock",
    "env_file": "/opt/waba/waba/db.env",
}
IMAGES = ["reg/coreapp:v2.53.4", "reg/web:v2.53.4"]


def container(name: str, **changes: t.Any) -> dict[str, t.Any]:
    image = f"reg/{'web' if 'web' in name else 'coreapp'}:v2.51.2"
    return {
        "name": name,
        "id": f"id-{name}",
        "project": "wa-waba",
        "database": "db:3306/",
        "started_at": 10.0,
        "env_keys": [],
        "one_shot": False,
        "own": True,
        "service": name[len("wa-waba-") : -len("-1")],
        "version": "2.51.2",
        "image": image,
        "state": "running",
        **changes,
    }


DATABASE = {"server": "db:3306", "unsupported": None, "statement_timeout": None}
CLIENTS = [container("wa-waba-wacore-1"), container("wa-waba-waweb-1")]
FOUND = {
    "containers": CLIENTS,
    "images": [{"name": name, "expires_on": "2099-06-30"} for name in IMAGES],
    "missing_images": {},
    "unanswered_images": {},
    "wrong_images": {},
    "image_free_bytes": 10 * 1024**3,
    "journal": {},
    "upgrade": {},
    "database": DATABASE,
}
JOURNAL = {**at("stopping"), "target": "2.53.4", "run_id": "a"}


def with_found(**changes: t.Any) -> dict[str, t.Any]:
    """What the first look at the host has found: FOUND with changes."""
    return {"found": {**FOUND, **changes}}


# A healthy leader of a deployment of two hosts, whose client runs from Compose files of the operator's own.
GOOD: dict[str, t.Any] = {
    "host": "h1",
    "deployment": DEPLOYMENT,
    "without": [],
    "run_hosts": ["h1", "h2"],
    "check_only": False,
    "version": "v2.53.4",
    "skip": [],
    "take_over": False,
    "dump": True,
    "snapshot_command": "",
    "update_compose_files": False,
    "max_messages": 2000000,
    "topology": "high_availability",
    "no_gc": "",
    "api_password": True,
    "backup_password": True,
    "backup_dir": "/srv/wa-backups",
    "target_images": IMAGES,
    "invalid": [],
    "compose": {
        "compose": {"migration": True, "coreapp": "core", "repositories": {"core": "reg/coreapp"}, "folder": "/srv/wa"},
        "services": ["wacore", "waweb"],
        "refusal": "",
    },
    "hooks": {"/srv/before.yml": ""},
    "upgraded": [],
    "commands": {
        "go_on": "ansible-playbook GO",
        "take_over": "ansible-playbook TAKE",
        "restored": "ansible-playbook RESTORED",
    },
    "secrets": {"password": "Canary-1"},
    "today": "2026-06-30",
    "leader": FOUND,
    "neighbours": [],
    "hold": "",
    "left": {},
    "found": FOUND,
    "clients": CLIENTS,
    "everywhere": CLIENTS,
    "identity": "",
    "loss": "",
    "together": {},
    "operators_files": {"actions": []},
    "health": {"healthy": True},
    "drift": {"drift": []},
    "dumpable": {"databases": ["waba1", "messageStore"], "actions": ["dump"]},
    "marker": {},
    "markers": {"h1": "a", "h2": "a"},
    "split_volume": "",
    "sessions": "",
}

LEFT: dict[str, t.Any] = {"left": JOURNAL}
STANDING = failure_report.standing(JOURNAL, True)
LOCK = {**JOURNAL, "user": "ops", "controller": "ctl", "since": 0, "lease_until": 60}
UPGRADE = {"held": True, "message": "locked by the upgrade to 2.53.4"}
HELD = {**with_found(journal=LOCK, upgrade=UPGRADE), "leader": {"journal": LOCK, "upgrade": UPGRADE}}
UNREAD = {"found": {"msg": "no daemon with Canary-1", "containers": []}}
NO_DATABASE: dict[str, t.Any] = {
    "found": {**{name: one for name, one in FOUND.items() if name != "database"}, "msg": "Access denied."}
}
IMAGES_HERE = t.cast("list[dict[str, t.Any]]", FOUND["images"])
# With no sample of the dump, and no earlier upgrade.
OUTAGE = (
    "waba: the outage will take about 4m00s without copy and migration: stop 2m00s (at most), copy unknown, migration unknown, "
    "start 2m00s (assumed for high_availability)"
)
LARGE = {**DATABASE, "messages": {"rows": 2400000, "large": True, "unknown": ""}}
ESTIMATED = {**DATABASE, "messages": {"rows": 300000, "large": True, "unknown": "db: the count took too long"}}
UNCOUNTED = {**DATABASE, "messages": {"rows": None, "large": True, "unknown": "no database has them."}}
NO_GC: dict[str, t.Any] = {"no_gc": "an expired client refuses GC"}
NONE: dict[str, t.Any] = {"version": ""}
SAME: dict[str, t.Any] = {"version": "2.51.2", "dump": False}
CONTAINER_ID = "9dfe77618dba" + "0" * 52
# The tables are defined as before the migration, which has ended well.
BACK_AGAIN: dict[str, t.Any] = {
    **with_found(database={**DATABASE, "definitions": "d1"}),
    "left": {**JOURNAL, **at("starting", {"definitions": {"before": "d1", "after": "d2"}})},
}


def verdict(inspected: bool = True, **changes: t.Any) -> dict[str, t.Any]:
    return preflight.verdict({**GOOD, **changes}, inspected)


def check(name: str, found: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    (one,) = [one for one in found["checks"] if one["check"] == name]
    return t.cast("dict[str, t.Any]", one)


def assert_failed(name: str, changes: dict[str, t.Any], message: str) -> None:
    """That a check fails with `changes`, by a message that begins so, and that all outputs have it."""
    found = verdict(**changes)
    one = check(name, found)
    assert one["state"] == "failed"
    assert [text for text in found["failures"] if text.startswith(message)]
    assert one["found"]
    assert (" " + one.get("cure", "")) in (" " + "".join(found["failures"]))
    assert found["notes"] == []
    assert f"failed   {name}: expected {one['expected']}; found: {one['found']}" in "\n".join(found["lines"])
    if len(found["failures"]) == 1:
        assert found["message"] == found["failures"][0]
    assert "Canary" not in str(found)


def names(family: t.Any) -> set[str]:
    """The names of the checks whose rules are in a file."""
    return {one.name for one in preflight.CHECKS if one.find.__module__ == family.__name__}
