# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Problems reported from the status file of the log cleanup job."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._logs import status as log_status

NOW = 1764136800.0  # 2025-11-26 06:00 UTC
HOUR = 3600
LONG_AGO = NOW - 1000 * HOUR


def status(result: str = "ok", hours: float = 3, success: float = 3, **more: t.Any) -> str:
    started = int(NOW - hours * HOUR)
    found = {"version": 1, "result": result, "started": started, "last_success": int(NOW - success * HOUR)}
    return json.dumps({**found, "failures": [], **more})


@pytest.mark.parametrize(
    ("text", "installed", "message"),
    [
        (status(), LONG_AGO, ""),
        (status(hours=25.5), LONG_AGO, ""),
        (status(hours=27), LONG_AGO, "its last run was of 2025-11-25 03:00 UTC"),
        (status(hours=270), NOW - HOUR, ""),
        (status(hours=-25), LONG_AGO, ""),
        (status(hours=-48), LONG_AGO, "its last run was of 2025-11-28 06:00 UTC, which has not come yet"),
        (
            status("failed", failures=["a: no room", "b: is paused, WA_DB_PASSWORD=Pa55"]),
            LONG_AGO,
            "its last run, of 2025-11-26 03:00 UTC, failed: a: no room; b: is paused, WA_DB_PASSWORD=<hidden>",
        ),
        (
            status("failed", failures=list("abcde")),
            LONG_AGO,
            "its last run, of 2025-11-26 03:00 UTC, failed: a; b; c; and 2 more",
        ),
        (status("running"), LONG_AGO, ""),
        (status("running", success=49), LONG_AGO, ""),
        (status("running", 0.5, success=60), LONG_AGO, ""),
        (
            status("running", success=60),
            LONG_AGO,
            "its last run, of 2025-11-26 03:00 UTC, has not ended, and the last good one was of 2025-11-23 18:00 UTC",
        ),
        (status("running", 25), LONG_AGO, "its last run, of 2025-11-25 05:00 UTC, was killed"),
        (status("locked", success=27), LONG_AGO, ""),
        (
            status("locked", success=60),
            LONG_AGO,
            "its last run, of 2025-11-26 03:00 UTC, found the deployment locked, and the last good one was of 2025-11-23 18:00 UTC",
        ),
        (
            status("locked", last_success=0),
            LONG_AGO,
            "its last run, of 2025-11-26 03:00 UTC, found the deployment locked, and there was no good one",
        ),
        # The first night of a new host falls into an upgrade.
        (status("locked", last_success=0), NOW - 12 * HOUR, ""),
        (status("running", last_success=0), NOW - 12 * HOUR, ""),
        (None, NOW - HOUR, ""),
        (None, NOW - 27 * HOUR, "it has never run, since 2025-11-25 03:00 UTC"),
        (None, None, ""),
        (status("failed"), None, ""),
        ("{", LONG_AGO, "its status file is broken"),
        ("[]", LONG_AGO, "its status file is broken"),
        (status(started=None), LONG_AGO, "its status file is broken"),
        (status(started=-1e30), LONG_AGO, "its last run was of a time that is none"),
    ],
)
def test_problems_of_the_last_run(text: str | None, installed: float | None, message: str) -> None:
    assert log_status.problem(text, installed, NOW) == message


def test_the_files_of_a_host_are_read(tmp_path: Path) -> None:
    cron, path = tmp_path / "cron", tmp_path / "status.json"
    assert log_status.read(str(path), str(cron), NOW) == ""
    cron.touch()
    os.utime(cron, (LONG_AGO, LONG_AGO))
    path.write_text(status("failed", failures=["core: is paused"]))
    assert log_status.read(str(path), str(cron), NOW) == (
        f"nightly log cleanup ({path}): its last run, of 2025-11-26 03:00 UTC, failed: core: is paused; "
        f"expected a good run every day. See syslog (wa-log-cleanup), or run the command of {cron}"
    )
    path.unlink()
    os.mkfifo(path)
    assert "no regular file" in log_status.read(str(path), str(cron), NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (status(warnings=["core: 3 old logs"]), ["core: 3 old logs"]),
        (status(warnings=["a: WA_DB_PASSWORD=Pa55", *"bcde"]), ["a: WA_DB_PASSWORD=<hidden>", "b", "c"]),
        (status("locked", warnings=["the deployment's lock wa.lock is held: nothing was cleaned"]), []),
        (status("failed", warnings=["a"]), []),
        (status(), []),
        (status(warnings=7), []),
        (status(warnings={}), []),
        ("{", []),
        ("[]", []),
        (None, []),
    ],
)
def test_rules_that_a_good_run_has_found_broken_are_warnings(
    text: str | None, expected: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "status.json"
    if text is not None:
        path.write_text(text)
    assert log_status.warnings(str(path)) == [f"nightly log cleanup: {one}" for one in expected]
