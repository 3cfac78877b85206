# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a lab host: starts the old version during a migration, as a keep-alive job of an operator would.

The simulated client disconnects from a schema of another version, so this script keeps a session of the same user open
until the migration's check for sessions has timed out, which its end in the journal shows.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import time
import typing as t
import urllib.request

import pymysql

HANGS = "http://control.lab:8000/faults/migration_hangs"
JOURNAL = pathlib.Path("/var/lib/waba/waba.lock")
END = time.monotonic() + 240


def wait_until(condition: t.Callable[[], bool]) -> None:
    """Wait until `condition` holds, at most until four minutes after the start."""
    while not condition() and time.monotonic() < END:
        time.sleep(0.02)


def is_migrating() -> bool:
    argv = ["docker", "ps", "--quiet", "--filter", "name=dbupgrade"]
    return bool(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)


def session() -> pymysql.Connection[t.Any]:
    """A session of the client's own user on its database."""
    lines = pathlib.Path("/opt/waba/waba/db.env").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if "=" in line)
    who = {"user": env["WA_DB_USERNAME"], "password": env["WA_DB_PASSWORD"], "database": "messageStore"}
    return pymysql.connect(host=env["WA_DB_HOSTNAME"], port=int(env["WA_DB_PORT"]), **who)


wait_until(is_migrating)
subprocess.run(["docker", "start", "wa-waba-wacore1-1"], check=True)
with session():
    urllib.request.urlopen(urllib.request.Request(HANGS, method="DELETE"))
    wait_until(lambda: json.loads(JOURNAL.read_bytes())["migration"]["state"] == "ended")
