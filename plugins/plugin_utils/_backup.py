# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backups of a deployment: a folder for each below `wa_backup_dir`, on the controller, with a manifest that is written last."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_size, whole_number

FORMAT = 1
MANIFEST = "manifest.json"
SETTINGS = "settings.json"
MEDIA = "media.tsv.gz"
KEPT = 7  # backups of a deployment, unless `wa_backup_keep` says otherwise
_DAY = 86400.0
_OLD = 7 * _DAY  # seconds after which a settings backup is old
_EXPIRES_SOON = 30  # days
_CHUNK = 1 << 20
_UNFINISHED = ".part"  # the end of the name of a folder that is being written
_TIME = "%Y%m%dT%H%M%SZ"
Manifest = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Backup:
    """One complete backup."""

    folder: Path
    manifest: Manifest

    @property
    def made_at(self) -> float:
        """When it was begun, in seconds since 1970."""
        return float(self.manifest["made_at"])

    def has(self, part: str) -> bool:
        """Returns whether `part` of the manifest, such as `settings`, was kept and is still there."""
        found = self.manifest.get(part)
        return found is not None and (self.folder / found["file"]).is_file()


def earlier(root: str, slug: str) -> list[Backup]:
    """Returns the complete backups of a deployment, the oldest first. What has no manifest of ours is none."""
    found = []
    for path in sorted(place(root, slug).glob(f"*/{MANIFEST}")):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["format"] == FORMAT and not path.parent.name.endswith(_UNFINISHED):
                found.append(Backup(path.parent, {**manifest, "made_at": float(manifest["made_at"])}))
    return sorted(found, key=lambda one: one.made_at)


def newest(found: t.Iterable[Backup], part: str) -> Backup | None:
    """Returns the newest backup that has `part`."""
    return next((one for one in reversed(list(found)) if one.has(part)), None)


def of_database(found: t.Iterable[Backup], server: str) -> list[Backup]:
    """Returns the backups of clients of one database: a deployment of another inventory may have the same name."""
    return [one for one in found if one.manifest["database_server"] == server]


def superfluous(found: t.Sequence[Backup], keep: int) -> list[Backup]:
    """Returns the backups to be removed: all but the newest `keep`.

    The newest with each part stays whatever its age: an expired client makes no other, and a registry may be gone.
    """
    kept = [*found[-keep:], *(newest(found, part) for part in ("settings", "database", "images"))]
    return [one for one in found if one not in kept]


def remove(one: Backup) -> None:
    """Removes a backup. It is none any more before the first of its files goes."""
    gone = one.folder.with_name(f"{one.folder.name}{_UNFINISHED}")
    one.folder.rename(gone)
    _discard(gone)


def _make(folder: Path) -> None:
    """Makes a folder with its parents, each for its owner only, as `Path.mkdir` does for the last one alone."""
    for path in (*reversed(folder.parents), folder):
        if not path.is_dir():
            path.mkdir(mode=0o700, exist_ok=True)  # another deployment's run may make it now


def _discard(folder: Path) -> None:
    """Removes a folder that `Writer` has made, whose name says that it is no backup; nothing if it is not there."""
    if folder.name.endswith(_UNFINISHED):
        for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder comes before it
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()


def place(root: str, slug: str) -> Path:
    """Returns the folder of a deployment's backups."""
    return Path(root).expanduser().absolute() / slug


def encrypted(data: bytes, password: str) -> bytes:
    """Returns `data` as `ansible-vault` encrypts it."""
    found: bytes = VaultLib([("default", VaultSecret(password.encode()))]).encrypt(data)
    return found


def kept_count(given: t.Any) -> int:
    """Returns `wa_backup_keep`. Raises WaError for no whole number."""
    return KEPT if given in (None, "") else whole_number("wa_backup_keep", given)


class Writer:
    """Writes one backup, as a context: complete with `finish`, and gone without. One at a time for a deployment. Raises OSError, too."""

    def __init__(self, root: str, slug: str, now: float) -> None:
        self.now = now
        self.name = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime(_TIME)
        self.home = place(root, slug)
        self.folder = self.home / f"{self.name}{_UNFINISHED}"
        self.size = 0
        self._lock = -1

    def __enter__(self) -> Writer:
        try:
            _make(self.home)
            # Of the folder itself: a file for it would be left behind.
            self._lock = os.open(self.home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise WaError(str(self.home), "another run writes a backup into it", cure="Wait for its end") from None
        for left in self.home.glob(f"*{_UNFINISHED}"):  # of runs that were killed
            _discard(left)
        self.folder.mkdir(mode=0o700)
        return self

    def __exit__(self, *_error: object) -> None:
        _discard(self.folder)  # not there after `finish`
        os.close(self._lock)

    def write(self, name: str, data: bytes) -> dict[str, t.Any]:
        """Writes a file below the folder, readable by its owner only, and returns its entry for the manifest."""
        with self.open(name) as file:
            file.write(data)
        return self.entry(name)

    def open(self, name: str) -> t.BinaryIO:
        """Opens a new file below the folder for writing."""
        path = self.folder / name
        _make(path.parent)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")

    def forget(self, pattern: str) -> None:
        """Removes the files of a part that is not complete."""
        for path in self.folder.glob(pattern):
            path.unlink()

    def entry(self, name: str) -> dict[str, t.Any]:
        """Returns name, bytes and SHA-256 of a file that was written."""
        digest = hashlib.sha256()
        with (self.folder / name).open("rb") as file:
            os.fsync(file.fileno())
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                digest.update(chunk)
            size = file.tell()
        return {"file": name, "bytes": size, "sha256": digest.hexdigest()}

    def finish(self, manifest: Manifest) -> Path:
        """Writes the manifest, gives the folder its name, and returns it."""
        text = json.dumps({"format": FORMAT, "made_at": self.now, **manifest}, indent=2, sort_keys=True)
        self.write(MANIFEST, f"{text}\n".encode())
        self.size = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
        target = self.home / self.name
        try:
            self.folder.rename(target)
        except OSError as error:
            raise WaError(f"backup {target}", str(error.strerror), "a free name") from None
        os.fsync(self._lock)
        return target


def line(contents: t.Mapping[str, t.Any]) -> str:
    """Returns what a host's part of a backup is, for people."""
    files = contents["files"]
    return f"{len(files)} files of {contents['host']} ({format_size(sum(one['bytes'] for one in files))})"


def days_left(expires_on: str, now: float) -> float | None:
    """Returns the days until the day `expires_on`, such as 2026-03-31; None for anything else."""
    try:
        day = datetime.datetime.strptime(expires_on, "%Y-%m-%d").replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None
    return (day.timestamp() - now) / _DAY


def warning(age: float | None, left: float | None, given: bool) -> str:
    """Returns the warning about a settings backup that is `age` seconds old, None for no backup; empty for none.

    `left` are the days until the running version expires, None if not known. `given` is whether there is a folder for backups: without
    one nothing is known of them, and only an expiry that is near is worth a line.
    """
    if age is None and left is not None and left < _EXPIRES_SOON:
        cure = "Run backup.yml" if given else "Set wa_backup_dir and wa_backup_password, and run backup.yml"
        return f"the client expires in {max(0, int(left))} days, and an expired one makes no settings backup: there is none. {cure}"
    if not given or (age is not None and age < _OLD):
        return ""
    found = (
        "there is no settings backup" if age is None else f"the newest settings backup is {int(age / _DAY)} days old"
    )
    return f"{found}. Run backup.yml"
