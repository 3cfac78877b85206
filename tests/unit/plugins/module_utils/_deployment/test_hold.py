# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the file of a hold says, and how it is described."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._deployment import hold, topology

WRITTEN = 1_769_828_400.0  # 2026-01-31 03:00 UTC
WEEK = 7 * 24 * 3600


def test_the_file_is_beside_the_lock() -> None:
    places = topology.places("h1", "support")
    assert (places["lock_file"], places["hold_file"]) == ("/var/lib/waba/support.lock", "/var/lib/waba/support.hold")
    assert topology.hold_file("/srv/my.state/support.lock") == "/srv/my.state/support.hold"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"stopped by Ann\n", "stopped by Ann"),
        (b"", "no reason given"),
        (b" \n\n", "no reason given"),
        (b"one\n two\x1b[31m\xff", "one two [31m\ufffd"),
        (b"x" * 900, "x" * 200),
        (b"x" * (2 << 20), "it cannot be read (larger than 1048576 bytes)"),
    ],
)
def test_the_presence_of_the_file_is_the_hold(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "h1.hold"
    assert hold.read(str(path), WRITTEN) == {}
    path.write_bytes(content)
    os.utime(path, (WRITTEN, WRITTEN))
    found = hold.read(str(path), WRITTEN)
    assert found == {"path": str(path), "reason": reason, "since": "2026-01-31 03:00 UTC", "old": False}


def test_a_folder_of_that_name_is_a_hold(tmp_path: Path) -> None:
    assert hold.read(str(tmp_path), WRITTEN)["reason"] == "it cannot be read (no regular file)"


@pytest.mark.parametrize(("age", "old"), [(0, False), (-60, False), (WEEK, False), (WEEK + 1, True)])
def test_a_hold_is_old_after_a_week(tmp_path: Path, age: int, old: bool) -> None:
    path = tmp_path / "h1.hold"
    path.write_text("why", encoding="utf-8")
    os.utime(path, (WRITTEN, WRITTEN))
    assert hold.read(str(path), WRITTEN + age)["old"] is old


@pytest.mark.parametrize(("old", "age"), [(False, ""), (True, " (for more than a week)")])
def test_a_message_names_reason_time_place_and_cure(old: bool, age: str) -> None:
    found = {"path": "/var/lib/waba/a.hold", "reason": "it moves.", "since": "2026-01-31 03:00 UTC", "old": old}
    assert hold.describe(found, "h1") == (
        f"held since 2026-01-31 03:00 UTC{age} by /var/lib/waba/a.hold on h1: it moves. No container of the client is started, "
        "restarted or stopped. To end it: sudo rm /var/lib/waba/a.hold"
    )
    assert hold.describe_variable("it\nmoves.") == (
        "held by wa_client_hold in the inventory: it moves. No container of the client is started, restarted or stopped. "
        "To end it: remove wa_client_hold"
    )
