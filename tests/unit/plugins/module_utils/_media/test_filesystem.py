# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the file system of the media volume: shares, errors of a probe."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._media import filesystem as rules
from ansible_collections.waba.onprem.plugins.module_utils._media.filesystem import MountPoint
from ansible_collections.waba.onprem.plugins.module_utils._media.probe import Probe, _plain

MOUNTINFO = """\
22 27 0:21 / /proc rw,nosuid shared:5 - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 27 0:50 / /srv/my\\040media rw,relatime - nfs4 nfs:/export rw,vers=4.1
41 27 0:51 / /srv/other rw,relatime shared:7 master:8 - fuse.sshfs host: rw
"""
ROOT = MountPoint("/", "ext4")
NFS = MountPoint("/srv/media", "nfs4")
AUTO = MountPoint("/srv/media", "autofs")
DISK = MountPoint("/srv", "xfs")


def test_mount_points_are_parsed_with_escapes() -> None:
    assert rules.parse_mounts(MOUNTINFO) == [
        MountPoint("/proc", "proc"),
        ROOT,
        MountPoint("/srv/my media", "nfs4"),
        MountPoint("/srv/other", "fuse.sshfs"),
    ]


def test_fstab_is_parsed_without_comments_root_and_swap() -> None:
    text = "# x\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\nnfs:/e /srv/media/ nfs4 hard 0 0\n\nbroken\n"
    assert rules.parse_fstab(text) == [NFS]


@pytest.mark.parametrize(
    ("device", "mounts", "promised", "message"),
    [
        ("/srv/media", [ROOT], [], None),
        ("/srv/media", [ROOT], [NFS], "promises a nfs4 mount"),
        ("/srv/media/wa", [ROOT], [NFS], "promises a nfs4 mount at /srv/media"),
        ("/srv/media2", [ROOT], [NFS], None),
        ("/srv/media", [ROOT, NFS], [NFS], None),
        ("/srv/media", [ROOT, AUTO], [NFS], "promises"),
        ("/srv/media", [ROOT, AUTO, NFS], [NFS], None),
        ("/srv/media", [ROOT, DISK], [NFS], "promises"),
        ("/srv/media", [ROOT, MountPoint("/srv", "nfs")], [NFS], "promises"),
        ("/srv/media", [ROOT], [DISK], None),
    ],
)
def test_a_device_that_must_be_mounted(
    device: str, mounts: list[MountPoint], promised: list[MountPoint], message: str | None
) -> None:
    if message is None:
        rules.check_device(device, mounts, promised)
    else:
        with pytest.raises(WaError, match=message):
            rules.check_device(device, mounts, promised)


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        ("dd: failed to open '/m/.wa-probe-1-a': Permission denied", "Permission denied"),
        ("dd: failed to open '/m: x/.wa': Read-only file system", "Read-only file system"),
        (
            "dd: error writing '/m/f': No space left on device 0+1 records in 0+0 records out 0 bytes copied, 0.1 s",
            "No space left on device",
        ),
        ("dd: can't open '/m/f': Permission denied", "Permission denied"),
        ("dd: fsync failed for '/m/f': Disk quota exceeded 0+1 records in", "Disk quota exceeded"),
        ("dd: fsync failed for '/m/f': Input/output error", "Input/output error"),
    ],
)
def test_the_error_of_a_probe_is_what_dd_says(printed: str, error: str) -> None:
    assert _plain(printed).endswith(error)


def problems(
    written: list[tuple[str, str, str, str]], read: list[tuple[str, str, str]] | None = None, selinux: bool = False
) -> list[str]:
    probe = Probe(container=None, user="1000:1000", written=written, read=read or [])  # type: ignore[arg-type]  # unused
    return rules.probe_problems(probe, "/media", selinux)


def test_problems_of_a_probe_are_explained() -> None:
    assert problems([("", "", "", ""), ("incoming", "", "", "")], [("c2", "", ""), ("c2", "incoming", "")]) == []
    denied = problems([("", "0:0", "755", "Permission denied"), ("in", "0:0", "700", "Permission denied")])
    assert denied == [
        "/media (owner 0:0, mode 755) cannot be written by 1000:1000: Permission denied",
        "/media/in (owner 0:0, mode 700) cannot be written by 1000:1000: Permission denied",
    ]
    full = problems([("", "0:0", "755", "No space left on device"), ("in", "0:0", "755", "No space left on device")])
    assert full == ["/media, /media/in (owner 0:0, mode 755) cannot be written by 1000:1000: No space left on device"]
    unseen = problems([], [("c2", "", "No such file or directory"), ("c2", "in", "No such file or directory")])
    assert unseen == ["cannot read what c2 writes in /media, /media/in: they do not share it"]
    [advice] = problems([("", "0:0", "755", "Permission denied")], selinux=True)
    assert advice.startswith(
        denied[0] + ". SELinux is in force on this host: a directory needs the label container_file_t "
    )
    assert problems([], [("c2", "", "cat: x: Permission denied")]) == [
        "cannot read what c2 writes in /media: cat: x: Permission denied"
    ]
