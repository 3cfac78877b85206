# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that containers were created from, read on a host."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.waba.onprem.plugins.module_utils._docker.inspection import read_files


def test_unreadable_files_have_a_problem(tmp_path: Path) -> None:
    good, pipe, large = tmp_path / "docker-compose.yml", tmp_path / "db.env", tmp_path / "large"
    good.write_text("services: {}\n")
    os.mkfifo(pipe)
    large.write_bytes(b"#" * ((1 << 20) + 1))
    found = read_files([str(path) for path in (good, pipe, large, tmp_path, tmp_path / "none")])
    assert [(one["text"], one["problem"]) for one in found] == [
        ("services: {}\n", ""),
        (None, "no regular file"),
        (None, "larger than 1048576 bytes"),
        (None, "no regular file"),
        (None, "No such file or directory"),
    ]
