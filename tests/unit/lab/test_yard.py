# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paused containers in a lab host do not prevent its removal."""

from __future__ import annotations

from pathlib import Path

from walab import yard


def test_paused_containers_of_a_host_are_resumed(tmp_path: Path) -> None:
    older = tmp_path / "freezer/docker/abc123/docker/def/freezer.state"
    newer = tmp_path / "system.slice/docker-abc123.scope/docker/def/cgroup.freeze"
    other = tmp_path / "freezer/docker/fff999/docker/def/freezer.state"
    for path in (older, newer, other):
        path.parent.mkdir(parents=True)
        path.write_text("FROZEN")
    yard.thaw(["abc123"], tmp_path)
    assert [path.read_text() for path in (older, newer, other)] == ["THAWED", "0", "FROZEN"]
