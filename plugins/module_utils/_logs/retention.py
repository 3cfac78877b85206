# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predicts the client's log cleanup, and detects what a failed one leaves. Pure rules.

The rotation rules are Meta's: the Webapp keeps the newest 30 archives of each log name and rotates above 20 MB; the
Coreapp keeps the newest 30 files of its archive folder and rotates above 15 MB, and only the cleanup removes its old files.
Sizes are in MiB, as logrotate's `M` for the Webapp; for the Coreapp the larger unit avoids false alarms.
"""

from __future__ import annotations

import posixpath
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._logs.measurement import (
    ARCHIVE,
    COMPRESSED,
    LogFile,
    Measurement,
)

COMMAND = ("/opt/whatsapp/bin/cleanup.sh",)
FOLDERS = ("/var/log/whatsapp", "/usr/local/waent/logs", "/var/log/lighttpd")
KEEP = 30  # archives, of each log in a Webapp, of all logs in a Coreapp: the vendor's number, no setting
MAX_SIZE = {"web": 20 << 20, "core": 15 << 20, "master": 15 << 20}  # bytes, above which a live log is rotated
_SHOWN = 10  # maximum of paths in a violation
_LIGHTTPD = "/var/log/lighttpd"  # domain: folder of the Webapp's error log, whose rotation depends on the image


@dataclass
class Prediction:
    """The predicted actions of a cleanup: paths to rotate, to compress into the archive, to remove."""

    rotate: list[LogFile] = field(default_factory=list)
    archive: list[LogFile] = field(default_factory=list)
    remove: list[LogFile] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Returns whether there is anything to do."""
        return bool(self.rotate or self.archive or self.remove)

    @property
    def free_bytes(self) -> int:
        """Returns the bytes freed by removals, without the unknown savings of compression."""
        return sum(file.used for file in self.remove)

    @property
    def compress_bytes(self) -> int:
        """Returns the bytes that are compressed."""
        gone = {file.path for file in self.remove}
        return sum(file.used for file in self.rotate + self.archive if file.path not in gone)


def _newest_first(files: t.Iterable[LogFile]) -> list[LogFile]:
    files = sorted(files, key=lambda file: file.name, reverse=True)  # with equal times, the name with the later date
    return sorted(files, key=lambda file: (-file.mtime, file.archived))


def _groups(files: t.Iterable[LogFile], key: t.Callable[[LogFile], t.Any]) -> dict[t.Any, list[LogFile]]:
    found: dict[t.Any, list[LogFile]] = {}
    for file in files:
        found.setdefault(key(file), []).append(file)
    return found


def oversized(role: str, found: Measurement, times: int = 1) -> list[LogFile]:
    """Returns the live logs above `times` their rotation size."""
    return [file for file in found.files if file.live and file.size > times * MAX_SIZE[role]]


def old_core_files(role: str, found: Measurement) -> list[LogFile]:
    """Returns a Coreapp's logs that are not the newest of their name, which only the cleanup removes."""
    if role == "web":
        return []
    live = _groups((file for file in found.files if file.live), lambda file: (file.folder, file.log_name))
    return [file for group in live.values() for file in _newest_first(group)[1:]]


def live_core_files(role: str, found: Measurement) -> list[LogFile]:
    """Returns a Coreapp's newest logs of each name: they are open, and must not be removed or truncated."""
    old = old_core_files(role, found)
    newest = [file for file in found.files if file.live and file.core and file not in old]
    return [] if role == "web" else newest


def lost_core_files(role: str, before: Measurement, after: Measurement) -> list[LogFile]:
    """Returns the live logs of `before` that were removed or truncated although they are not above their rotation size.

    A log is no longer live after the Coreapp has opened a newer one.
    """
    files = {(file.path, file.inode): file for file in after.files}
    known = {(file.path, file.inode) for file in before.files}
    fresh = {(file.folder, file.log_name) for key, file in files.items() if file.live and key not in known}
    lost = []
    for file in live_core_files(role, before):
        now = files.get((file.path, file.inode))
        intact = now is not None and now.size >= file.size
        if not intact and file.size <= MAX_SIZE[role] and (file.folder, file.log_name) not in fresh:
            lost.append(file)
    return lost


def predict(role: str, found: Measurement) -> Prediction:
    """Returns the predicted cleanup of a container of this role (`web`, or `core` and `master` with equal rules)."""
    plan = Prediction(rotate=oversized(role, found))
    plan.rotate = [file for file in plan.rotate if file not in old_core_files(role, found)]
    plan.archive = old_core_files(role, found)
    archived = [file for file in found.files if file.archived]
    homes = {file.folder for file in archived}
    incoming: dict[str, list[LogFile]] = {}
    for file in plan.rotate + plan.archive:
        own = posixpath.join(file.folder, ARCHIVE)
        incoming.setdefault(own if own in homes or not homes else min(homes), []).append(file)
    for folder in sorted(homes | set(incoming)):
        candidates = [file for file in archived if file.folder == folder] + incoming.get(folder, [])
        by_name = _groups(candidates, (lambda file: file.log_name) if role == "web" else (lambda file: ""))
        for group in by_name.values():
            plan.remove += _newest_first(group)[KEEP:]
    return plan


@dataclass
class Difference:
    """The changes of files between two measurements, without the client's own writes."""

    gone: list[LogFile] = field(default_factory=list)
    came: list[LogFile] = field(default_factory=list)
    shrunk: list[tuple[LogFile, LogFile]] = field(default_factory=list)
    freed_bytes: int = 0
    changed: bool = False


def compare(before: Measurement, after: Measurement) -> Difference:
    """Returns the changes of a cleanup between two measurements.

    Growing and new live logs are the client's writes.
    """
    old = {(file.path, file.inode): file for file in before.files if not file.hidden}
    new = {(file.path, file.inode): file for file in after.files if not file.hidden}
    found = Difference(
        gone=[file for key, file in old.items() if key not in new],
        came=[file for key, file in new.items() if key not in old and not (file.live or file.crash)],
        shrunk=[(old[key], file) for key, file in new.items() if key in old and file.size < old[key].size],
    )
    found.changed = bool(found.gone or found.came or found.shrunk)
    found.freed_bytes = (
        sum(file.used for file in found.gone)
        - sum(file.used for file in found.came)
        + sum(was.used - now.used for was, now in found.shrunk)
    )
    return found


def violations(role: str, before: Measurement, after: Measurement) -> list[dict[str, t.Any]]:
    """Returns the violations of the rules after a cleanup.

    The client continues to write: a Coreapp log that became old after `before`, and a live log that is just above its size,
    are not violations. Each violation has `rule`, `paths` (the first few), `count` and `message`.
    """
    files = after.files
    archived = [file for file in files if file.archived]
    found: list[dict[str, t.Any]] = []

    def add(rule: str, wrong: t.Sequence[LogFile], message: str) -> None:
        if wrong:
            paths = [file.path for file in wrong]
            found.append(
                {"rule": rule, "count": len(paths), "paths": paths[:_SHOWN], "message": f"{len(paths)} {message}"}
            )

    per_name = role == "web"
    for group in _groups(archived, lambda file: (file.folder, file.log_name if per_name else "")).values():
        where = f"of {group[0].log_name} in {group[0].folder}" if per_name else f"in {group[0].folder}"
        add("too_many", _newest_first(group)[KEEP:], f"more than the {KEEP} archives to keep {where}")
    add("not_compressed", [file for file in archived if not file.name.endswith(COMPRESSED)], "archives not compressed")
    own = [file for file in files if not f"{file.folder}/".startswith(f"{_LIGHTTPD}/")]
    outside = [file for file in own if file.rotated and not file.archived]
    add("outside_archive", outside, "rotated logs outside the archive folder")
    known = {file.path for file in old_core_files(role, before)}
    old = [file for file in old_core_files(role, after) if file.path in known]
    add("old_core_files", old, "old Coreapp logs neither archived nor removed")
    lost = lost_core_files(role, before, after)
    add("live_removed", lost, "live Coreapp logs removed or cut: the Coreapp writes on to what nobody can read or free")
    # One that is rotated is another file, or smaller.
    large = {(file.path, file.inode): file.size for file in oversized(role, before, times=2)}
    still = [file for file in oversized(role, after, times=2) if 0 < large.get((file.path, file.inode), 0) <= file.size]
    add("live_too_large", still, "live logs above twice their size, which the cleanup has not rotated")
    if after.missing and not after.folders:
        message = "none of the log folders exists: " + ", ".join(after.missing)
        found.append({"rule": "no_folder", "count": len(after.missing), "paths": after.missing, "message": message})
    if after.unreadable:
        paths = sorted(set(after.unreadable))
        message = "log folders that cannot be read completely: " + ", ".join(paths)
        found.append({"rule": "unreadable", "count": len(paths), "paths": paths, "message": message})
    return found
