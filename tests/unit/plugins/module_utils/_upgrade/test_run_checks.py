# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each check of `run_checks` fails."""

from __future__ import annotations

import typing as t

import pytest
from preflight_samples import (
    DEPLOYMENT,
    HELD,
    JOURNAL,
    LEFT,
    LOCK,
    NONE,
    STANDING,
    assert_failed,
    container,
    names,
    verdict,
    with_found,
)
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import failure_report, run_checks

FAILED: list[tuple[str, dict[str, t.Any], str]] = [
    (
        "the run covers the deployment",
        {"run_hosts": ["h2"]},
        "h1: not in this run (--limit, or wa_hosts): h1 of deployment waba. A deployment is upgraded as a whole: take all of its hosts, "
        'or none. One that is lost is named on the command line: -e \'{"wa_upgrade_without": ["HOST"]}\'.',
    ),
    (
        "the run covers the deployment",
        {"left": {**JOURNAL, **at("migrating", {"members": ["h1", "h3"]})}},
        "h1: the unfinished upgrade has stopped h3, which the inventory no longer has in deployment waba. Put it back. One that is lost is "
        'named on the command line: -e \'{"wa_upgrade_without": ["HOST"]}\'.',
    ),
    (
        "the run covers the deployment",
        {"without": ["h1"]},
        "h1: h1 leads it, and wa_upgrade_without names it. Name hosts there that are lost; one that answers is upgraded. If the leader is "
        "lost, name another one in wa_leader.",
    ),
    (
        "the run covers the deployment",
        {
            "host": "h2",
            "deployment": {**DEPLOYMENT, "members": ["h1", "h2"]},
            "run_hosts": ["h1", "h2"],
            "without": ["h2"],
        },
        "h2: h2 answers, and wa_upgrade_without names it. Name hosts there that are lost; one that answers is upgraded. If the leader is "
        "lost, name another one in wa_leader.",
    ),
    (
        "the run upgrades once",
        {"upgraded": ["s1"]},
        "h1: an earlier play of this run has upgraded the deployment of s1, and its facts are still set. Run ansible-playbook "
        "once for each upgrade; waves of one upgrade are set in wa_provision_waves.",
    ),
    (
        "the target is a version",
        {"version": "latest", "target_images": []},
        "h1: wa_upgrade_version: version: 'latest' is no version of the client; expected a version such as 2.53.4 (quote it in YAML).",
    ),
    (
        "the values of variables are valid",
        {"invalid": ["wa_upgrade_dump_timeout: '0s'", "a"]},
        "h1: wa_upgrade_dump_timeout: '0s'. a. Nothing was changed.",
    ),
    (
        "the values of variables are valid",
        {
            "compose": {
                "compose": {},
                "services": [],
                "refusal": "wa_topology: 'ring' is unknown; expected one of: single.",
            }
        },
        "h1: wa_topology: 'ring' is unknown; expected one of: single. Nothing was changed.",
    ),
    ("the API password is set", {"api_password": False, "skip": ["expiry"]}, "h1: wa_api_password is not set: "),
    (
        "the folder and the password of the settings backup are set",
        {"backup_password": False, "backup_dir": ""},
        "h1: wa_backup_password (12 characters or more) and wa_backup_dir (a folder of the controller) not set: ",
    ),
    (
        "the hooks can be run",
        {"hooks": {"/a": "/a: Ansible cannot load it.", "/b": "/b: the same.", "/c": ""}},
        "h1: /a: Ansible cannot load it. /b: the same.",
    ),
    (
        "no other upgrade is in progress",
        HELD,
        "waba is locked by the upgrade to 2.53.4 (on h1). To take it over: ansible-playbook TAKE",
    ),
    (
        "no other upgrade is in progress",
        with_found(upgrade={"held": True, "message": "locked by a run that changes its containers"}),
        "waba is locked by a run that changes its containers (on h1). To take it over: ansible-playbook TAKE",
    ),
    (
        "no other upgrade is in progress",
        with_found(upgrade={"held": True, "message": "locked by the restore of its database", "playbook": "restore"}),
        "waba is locked by the restore of its database (on h1).",
    ),
    (
        "the client is not held",
        {"hold": "held since X by /var/lib/waba/waba.hold on h2: why. To end it: sudo rm F"},
        "waba: held since X by /var/lib/waba/waba.hold on h2: why. To end it: sudo rm F.",
    ),
    (
        "an unfinished upgrade is completed",
        {**LEFT, "version": "2.55.1"},
        f"waba: {STANDING} Go on with it: ansible-playbook GO",
    ),
    (
        "an unfinished upgrade is completed",
        {
            **LEFT,
            "version": "2.55.1",
            "left": {**JOURNAL, **at("starting")},
            "everywhere": [container("wacore", version="2.53.4")],
        },
        f"waba: {failure_report.standing({**JOURNAL, **at('starting')}, True)} Go on with it: ansible-playbook GO. If 2.53.4 cannot "
        f"serve: remove {DEPLOYMENT['lock_file']} on each host, and run upgrade.yml again with a newer version and "
        "wa_upgrade_skip: [health, settings_backup], or [expiry] if that version has expired",
    ),
    (
        "an unfinished upgrade is completed",
        {
            **LEFT,
            "version": "2.55.1",
            "left": {**JOURNAL, **at("starting", {"manifest": "/d/a.json"})},
            "everywhere": [container("wacore", version="2.53.4")],
        },
        f"waba: {failure_report.standing({**JOURNAL, **at('starting')}, True)} Go on with it: ansible-playbook GO. If 2.53.4 cannot "
        "serve, note its copy of the database (/d/a.json, for wa_restore): remove",
    ),
    (
        "an unfinished upgrade is completed",
        {"left": {**LOCK, **at("starting", {"restores": "/d/a.json"}), "lease_until": 0}, "version": "2.53.4"},
        "waba: left unfinished by the restore of its database by ops from ctl, since 1970-01-01 00:00:00 UTC, ended. Run restore.yml "
        "-e wa_restore=/d/a.json, which goes on from there.",
    ),
    ("an unfinished upgrade is completed", {**LEFT, **NONE}, "waba: The upgrade to 2.53.4 that was left unfinished"),
    (
        "the leader is that of the unfinished upgrade",
        {**with_found(journal={"notes": {"leader": "h2"}}), "left": JOURNAL},
        "waba: the upgrade to 2.53.4 was led by h2, which has its journal, and now wa_leader names h1. Have it lead again; if that "
        "host is lost, find out whether the database was migrated, then remove /var/lib/waba/waba.lock on the others.",
    ),
]


def test_the_table_has_every_check() -> None:
    assert names(run_checks) == {name for name, _changes, _message in FAILED}


@pytest.mark.parametrize(("name", "changes", "message"), FAILED)
def test_a_check_fails(name: str, changes: dict[str, t.Any], message: str) -> None:
    assert_failed(name, changes, message)


def test_no_newer_version_is_offered_where_the_client_does_not_run() -> None:
    """It would be refused, since the client has to run for an upgrade."""
    left = {**JOURNAL, **at("starting")}
    stopped = [{**container("wacore", version="2.53.4"), "state": "restarting"}]
    found = verdict(**{**LEFT, "version": "2.55.1", "left": left, "everywhere": stopped})
    assert "Go on with it: ansible-playbook GO" in found["message"]
    assert "cannot serve" not in found["message"]
