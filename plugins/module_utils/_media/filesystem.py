# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the file system of the media volume: mounts, results of probes. Pure rules, no I/O."""

from __future__ import annotations

import posixpath
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._media.probe import Probe

# Network file systems; any FUSE mount may be one.
_SHARES = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "gfs2",
    "ocfs2",
    "gpfs",
    "9p",
    "virtiofs",
    "fuse",
)


@dataclass(frozen=True)
class MountPoint:
    """One line of the kernel's mount table."""

    path: str
    kind: str


def parse_mounts(text: str) -> list[MountPoint]:
    """Returns the mounts in `/proc/self/mountinfo`."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        if "-" in fields[6:]:
            path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), fields[4])
            found.append(MountPoint(path, fields[fields.index("-", 6) + 1]))
    return found


def parse_fstab(text: str) -> list[MountPoint]:
    """Returns the mounts in `/etc/fstab`, without the root and entries without a mount point."""
    rows = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [
        MountPoint(posixpath.normpath(row[1]), row[2])
        for row in rows
        if len(row) >= 3 and row[1].startswith("/") and row[1] != "/"
    ]


def _covering(mounts: t.Iterable[MountPoint], path: str) -> MountPoint | None:
    over = [one for one in mounts if one.path == "/" or path == one.path or path.startswith(one.path + "/")]
    # Of several at one mount point the last is visible, such as a share over its automounter.
    return max(reversed(over), key=lambda one: len(one.path), default=None)


def is_share(kind: str) -> bool:
    """Returns whether a file system type is a network file system."""
    return kind in _SHARES or kind.startswith("fuse.")


def check_device(device: str, mounts: t.Sequence[MountPoint], promised: t.Sequence[MountPoint]) -> None:
    """Raises WaError if the share of a bind is not mounted: media would be written to the host's disk.

    It must be mounted if `/etc/fstab` has a share at or above the device.
    """
    covering = _covering(mounts, device)
    promise = _covering([one for one in promised if is_share(one.kind) or one.path == device], device)
    mounted = (
        covering is not None and (covering.path == device or is_share(covering.kind)) and covering.kind != "autofs"
    )
    if promise and not (mounted and covering and len(covering.path) >= len(promise.path)):
        raise WaError(
            f"device {device}",
            f"/etc/fstab promises a {promise.kind} mount at {promise.path}, and it is not mounted",
            "the share to be mounted: media would go to the host's own disk",
            f"Mount it (mount {promise.path}) and look why it was not, or take its line out of /etc/fstab",
        )


def misplaced(home: str, folders: t.Sequence[str]) -> str:
    """Returns why a container's files in some folders do not appear in the volume on the host."""
    parts = ", ".join(posixpath.join(home, folder).rstrip("/") for folder in folders)
    return (
        f"what it writes does not arrive in {parts} on the host: it mounts only a part of the volume, or something else is mounted there, "
        "perhaps since the container was started (restart it; what it wrote meanwhile lies below that mount)"
    )


# Results of a probe

_SELINUX = (
    ". SELinux is in force on this host: a directory needs the label container_file_t (semanage fcontext, restorecon), an NFS share the "
    "boolean virt_use_nfs"
)


def probe_problems(report: Probe, path: str, selinux: bool = False) -> list[str]:
    """Returns a text for each problem found by a probe, with its folders; `selinux` is whether SELinux is enforcing."""
    if report.error:
        return [report.error]
    unwritten: dict[tuple[str, str, str], list[str]] = {}
    unseen: dict[tuple[str, str], list[str]] = {}
    for folder, owner, mode, error in report.written:
        if error:
            unwritten.setdefault((owner, mode, error), []).append(posixpath.join(path, folder).rstrip("/"))
    for writer, folder, error in report.read:
        if error:
            unseen.setdefault((writer, error), []).append(posixpath.join(path, folder).rstrip("/"))
    texts = []
    for (owner, mode, error), folders in unwritten.items():
        facts = f"(owner {owner or 'unknown'}, mode {mode or 'unknown'})"
        hint = _SELINUX if selinux and "denied" in error else ""
        user = report.user or "the user of the container"
        texts.append(f"{', '.join(folders)} {facts} cannot be written by {user}: {error}{hint}")
    for (writer, error), folders in unseen.items():
        hint = ": they do not share it" if "No such file" in error else f": {error}"
        texts.append(f"cannot read what {writer} writes in {', '.join(folders)}{hint}")
    if report.covered:
        texts.append(f"parts of {path} are covered by other mounts inside the container: {', '.join(report.covered)}")
    texts += [f"a probe's file could not be taken away from {posixpath.join(path, folder)}" for folder in report.left]
    return texts
