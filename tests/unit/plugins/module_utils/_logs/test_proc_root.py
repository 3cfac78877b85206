# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._logs.proc_root import NotHere, kinds_at, walk

ID = "5a" * 32
LOGS = "/var/log/whatsapp"
MOUNTS = """\
21 20 0:30 / / rw,relatime - overlay overlay rw,lowerdir=/a
22 21 0:31 / /proc rw - proc proc rw
23 21 0:32 / /var/log/whatsapp/archive rw shared:3 - ext4 /dev/sda1 rw
24 21 0:33 / /var/log/whats rw - nfs4 server:/x rw
25 21 0:34 / /usr/local/with\\040space rw - tmpfs tmpfs rw
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc folder with process 7 of a container that has one log folder."""
    process = tmp_path / "7"
    (process / "root" / LOGS.lstrip("/") / "archive").mkdir(parents=True)
    (process / "cgroup").write_text(f"0::/docker/{ID}\n")
    (process / "mountinfo").write_text(MOUNTS)
    return tmp_path


def inside(proc: Path, path: str) -> Path:
    return proc / "7" / "root" / path.lstrip("/")


def test_files_are_measured(proc: Path) -> None:
    for number, name in enumerate(("old.log", "new.log", "a b\nc.log")):
        inside(proc, f"{LOGS}/{name}").write_bytes(b"x" * (5000 * number))
        os.utime(inside(proc, f"{LOGS}/{name}"), (0, 1000 + number))
    inside(proc, f"{LOGS}/archive/old.log-1.gz").write_bytes(b"y")
    os.symlink("/etc/passwd", inside(proc, f"{LOGS}/link.log"))
    os.mkfifo(inside(proc, f"{LOGS}/pipe.log"))
    found = walk(7, ID, [LOGS, "/usr/local/waent/logs", f"{LOGS}/archive"], str(proc))
    files = sorted(found.files, key=lambda file: file.path)
    assert [(file.path, file.size) for file in files] == [
        (f"{LOGS}/a b?c.log", 10000),
        (f"{LOGS}/archive/old.log-1.gz", 1),
        (f"{LOGS}/new.log", 5000),
        (f"{LOGS}/old.log", 0),
    ]
    assert [file.mtime for file in files if not file.archived] == [1002, 1001, 1000]
    assert found.missing == ["/usr/local/waent/logs"]
    assert found.folders == [LOGS, f"{LOGS}/archive"]


def test_a_sparse_file_counts_with_its_disk_usage(proc: Path) -> None:
    with inside(proc, f"{LOGS}/big.log").open("wb") as file:
        file.truncate(1 << 30)
    found = walk(7, ID, [LOGS], str(proc))
    assert (found.files[0].size, found.files[0].used) == (1 << 30, 0)


@pytest.mark.parametrize("target", ["/etc", "../../etc", "nowhere"])
@pytest.mark.parametrize("part", ["/var/log", LOGS])
def test_a_symbolic_link_in_the_path_is_not_followed(proc: Path, part: str, target: str) -> None:
    shutil.rmtree(inside(proc, part))
    os.symlink(target, inside(proc, part))
    with pytest.raises(NotHere):
        walk(7, ID, [LOGS], str(proc))


def test_a_file_instead_of_a_folder_is_missing(proc: Path) -> None:
    inside(proc, "/usr").write_text("")
    assert walk(7, ID, ["/usr/logs"], str(proc)).missing == ["/usr/logs"]


def test_too_deep_folders_are_left_to_the_container(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fwalk(*_args: object, **_options: object) -> None:  # raised at a thousand levels before Python 3.12
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr(os, "fwalk", fwalk)
    with pytest.raises(NotHere, match="recursion depth"):
        walk(7, ID, [LOGS], str(proc))


def test_a_process_of_another_container_is_refused(proc: Path) -> None:
    with pytest.raises(NotHere, match="not of container"):
        walk(7, "6b" * 32, [LOGS], str(proc))
    with pytest.raises(NotHere):
        walk(8, ID, [LOGS], str(proc))


def test_a_network_share_is_left_to_the_container(proc: Path) -> None:
    with pytest.raises(NotHere, match="nfs4"):
        walk(7, ID, [LOGS, "/var/log/whats"], str(proc))


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("/", {"overlay", "proc", "ext4", "nfs4", "tmpfs"}),
        (LOGS, {"overlay", "ext4"}),
        (f"{LOGS}/archive/deeper", {"ext4"}),
        ("/var/log/whats/app", {"nfs4"}),
        ("/usr/local/with space", {"tmpfs"}),
        ("/usr/local/with", {"overlay"}),
    ],
)
def test_file_system_types_at_a_path(path: str, kinds: set[str]) -> None:
    assert kinds_at(MOUNTS, path) == kinds


def test_the_last_mount_at_a_path_counts() -> None:
    more = MOUNTS + "26 23 0:35 / /var/log/whatsapp/archive rw - tmpfs tmpfs rw\n"
    assert kinds_at(more, f"{LOGS}/archive") == {"tmpfs"}
