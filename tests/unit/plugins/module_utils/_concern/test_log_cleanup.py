# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern log_cleanup: script and cron file by attribute, and the last run."""

from __future__ import annotations

import hashlib
import json
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._concern import log_cleanup

SECRET = "Canary-18-Pw"
LINE = "7 3 * * * root /usr/local/sbin/wa-log-cleanup\n"


@pytest.fixture
def params(tmp_path: Path) -> dict[str, t.Any]:
    """The options of a host whose script and cron file match the inventory."""
    script, cron = tmp_path / "wa-log-cleanup", tmp_path / "cron"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    cron.write_text(LINE)
    cron.chmod(0o644)
    one = {"state": "file", "owner": None, "group": None, "content": None, "sha256": None}
    return {
        "files": [
            {**one, "path": str(script), "mode": "0755", "sha256": hashlib.sha256(b"#!/bin/sh\n").hexdigest()},
            {**one, "path": str(cron), "mode": "0644", "content": LINE},
        ],
        "status_file": str(tmp_path / "status.json"),
        "cron_file": str(cron),
    }


def test_a_host_that_matches_the_inventory_is_in_sync(params: dict[str, t.Any]) -> None:
    assert log_cleanup.observe(params).shown("now") == {"state": "in_sync"}


@pytest.mark.parametrize(
    ("name", "content", "mode", "expected"),
    [
        ("cron", LINE, 0o666, "{}/cron has the mode 0666, expected 0644"),  # cron ignores such a file without a message
        ("cron", f"{LINE}* * * * * root true\n", 0o644, "{}/cron has another content"),
        ("cron", None, 0, "{}/cron is missing"),
        ("wa-log-cleanup", "#!/bin/sh\nexit\n", 0o755, "{}/wa-log-cleanup has another content"),
        ("wa-log-cleanup", "#!/bin/sh\n", 0o644, "{}/wa-log-cleanup has the mode 0644, expected 0755"),
        ("wa-log-cleanup", None, 0, "{}/wa-log-cleanup is missing"),
    ],
)
def test_a_drift_is_named(
    params: dict[str, t.Any], tmp_path: Path, name: str, content: str | None, mode: int, expected: str
) -> None:
    path = tmp_path / name
    path.unlink()
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    assert log_cleanup.observe(params).shown("now") == {"state": "drifted", "changes": [expected.format(tmp_path)]}


def test_a_failed_last_run_is_a_difference(params: dict[str, t.Any]) -> None:
    now = time.time()
    status = {"result": "failed", "started": now, "last_success": 0, "failures": [f"wacore: password={SECRET}"]}
    Path(params["status_file"]).write_text(json.dumps(status))
    found = log_cleanup.observe(params)
    (line,) = found.containers  # waits while the client is held
    assert (found.changes, found.state()) == ([], "drifted")
    assert line.startswith(f"nightly log cleanup ({params['status_file']}): its last run, of ")
    assert " failed: wacore: password=<hidden>; expected a good run every day. See syslog" in line


def test_a_cleanup_that_ends_well_and_cleans_nothing_is_a_warning(params: dict[str, t.Any]) -> None:
    now = time.time()
    status = {"result": "ok", "started": now, "last_success": now, "failures": [], "warnings": ["wacore: 9 old"]}
    Path(params["status_file"]).write_text(json.dumps(status))
    shown = log_cleanup.observe(params).shown("now")
    assert shown == {"state": "in_sync", "warnings": ["nightly log cleanup: wacore: 9 old"]}
