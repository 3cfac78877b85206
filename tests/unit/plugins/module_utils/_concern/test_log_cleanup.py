# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern log_cleanup: script and cron file by attribute, the last run, and older cron lines that do the same."""

from __future__ import annotations

import hashlib
import json
import os
import time
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._concern import log_cleanup

SECRET = "Canary-18-Pw"
LINE = "7 3 * * * root /usr/local/sbin/wa-log-cleanup\n"
OLD = "0 4 * * * root docker exec 0123456789ab /opt/whatsapp/bin/cleanup.sh"
OLD_MESSAGE = (
    "an older cron line runs the cleanup, too; with a container's id it misses every recreated one. Remove it: "
)


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
    assert log_cleanup.observe(params, []).shown("now") == {"state": "in_sync"}


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
    assert log_cleanup.observe(params, []).shown("now") == {"state": "drifted", "changes": [expected.format(tmp_path)]}


def test_a_failed_last_run_is_a_difference(params: dict[str, t.Any]) -> None:
    now = time.time()
    status = {"result": "failed", "started": now, "last_success": 0, "failures": [f"wacore: password={SECRET}"]}
    Path(params["status_file"]).write_text(json.dumps(status))
    found = log_cleanup.observe(params, [])
    (line,) = found.changes
    assert line.startswith(f"nightly log cleanup ({params['status_file']}): its last run, of ")
    assert " failed: wacore: password=<hidden>; expected a good run every day. See syslog" in line


def test_older_cron_lines_are_named_with_their_file(params: dict[str, t.Any], tmp_path: Path) -> None:
    folder, table = tmp_path / "cron.d", tmp_path / "crontab"
    folder.mkdir()
    table.write_text(f"SHELL=/bin/sh\n# {OLD}\n{OLD}\n5 5 * * * root docker exec a date\n")
    (folder / "b").write_text(
        f"  0 5 * * *\troot /usr/bin/docker  exec -e WA_PASSWORD={SECRET} b sh -c 'x; cleanup.sh'\n"
    )
    (folder / "a").write_text(f"{LINE}0 1 * * * root /opt/cleanup.sh # docker exec cleanup.sh\n")
    (folder / "below").mkdir()
    (folder / "lost").symlink_to(tmp_path / "none")
    found = log_cleanup.observe(params, [str(table), str(folder), str(tmp_path / "none")])
    assert found.warnings == [
        f"{OLD_MESSAGE}{table}: {OLD}",
        f"{OLD_MESSAGE}{folder}/b: 0 5 * * *\troot /usr/bin/docker  exec -e WA_PASSWORD=<hidden> b sh -c 'x; cleanup.sh'",
    ]
    assert found.state() == "in_sync"


def test_an_unreadable_crontab_has_no_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> t.NoReturn:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a").write_text(OLD)
    monkeypatch.setattr(os, "scandir", refuse)
    assert log_cleanup.legacy_lines([str(tmp_path), str(tmp_path / "a")]) == [f"{tmp_path}/a: {OLD}"]
