# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run writes to syslog on a host: who, from where, which playbook, what was changed, why it failed, and no secret."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

from ssh_site import HOST, Site
from waiting import until

from ansible_collections.waba.onprem.plugins.callback.wa_runs import user
from ansible_collections.waba.onprem.plugins.plugin_utils._run import controller

LOGGER = "ansible-waba.onprem.wa_db_env: "
SECRET = "Canary-61-Pw"
ENV = "/root/syslog.env"
FILE = {
    "path": ENV,
    "engine": "MYSQL",
    "hostname": "db",
    "username": "wa",
    "password": SECRET,
    "check_connection": False,
}


def logged(site: Site) -> list[str]:
    """What modules of the collection have written into syslog, without how they were called."""
    text = site.lab.host("cat /var/log/syslog")
    assert SECRET not in text
    lines = [one.partition(LOGGER)[2] for one in text.splitlines() if LOGGER in one]
    return [one for one in lines if "Invoked with" not in one]


def play(site: Site, folder: Path, *arguments: str, **options: t.Any) -> None:
    task = {"waba.onprem.wa_db_env": {**FILE, **options}}
    path = folder / "site.yml"
    path.write_text(json.dumps([{"hosts": HOST, "become": True, "gather_facts": False, "tasks": [task]}]))
    subprocess.run(
        ["ansible-playbook", "-i", site.lab.inventory, str(path), *arguments],
        check=False,
        capture_output=True,
        env={**os.environ, "ANSIBLE_CALLBACKS_ENABLED": "waba.onprem.wa_runs"},
    )


def test_a_change_and_a_failure_say_who_and_from_where(site: Site, tmp_path: Path) -> None:
    before = len(logged(site))
    play(site, tmp_path, "--check")
    play(site, tmp_path)
    play(site, tmp_path)
    play(site, tmp_path, password=SECRET + "?")
    until(lambda: len(logged(site)) >= before + 2)  # syslogd writes what it has got in its own time
    found = logged(site)[before:]
    assert len(found) == 2, found
    changed, failed = found
    who = f"{user()} at {controller()}, site.yml: "
    assert changed.startswith(f"{who}set WA_DB_ENGINE")
    assert failed.startswith(f"{who}failed: ")
    site.lab.host(f"rm {ENV}")
