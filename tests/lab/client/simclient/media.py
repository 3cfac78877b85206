# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shared media volume: incoming and outgoing parts, written as the user that the program runs as."""

from __future__ import annotations

import os
import secrets

PARTS = ("incoming", "outgoing")


def prepare(media_dir: str) -> bool:
    """Make the parts when they are missing. Returns False when the directory cannot be written."""
    try:
        for part in PARTS:
            os.makedirs(os.path.join(media_dir, part), exist_ok=True)
    except OSError:
        return False
    return writable(media_dir)


def writable(media_dir: str) -> bool:
    """Really write a file in each part: permission bits say nothing on NFS with root_squash."""
    for part in PARTS:
        probe = os.path.join(media_dir, part, f".probe-{secrets.token_hex(6)}")
        try:
            with open(probe, "wb") as stream:
                stream.write(b"probe")
            os.unlink(probe)
        except OSError:
            return False
    return True


def free_space(path: str) -> int:
    """Bytes that this program may still write below a path; 0 when it is not there."""
    try:
        stat = os.statvfs(path)
    except OSError:
        return 0
    return stat.f_bavail * stat.f_frsize
