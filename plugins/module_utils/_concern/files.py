# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares files and folders with their desired state (existence, type, mode, owner, group, content), and writes the client's files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.module_utils._core import files, redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result

SPEC: dict[str, dict[str, t.Any]] = {
    "path": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["file", "directory"], "default": "file"},
    "mode": {"type": "str", "required": True},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "content": {"type": "str", "no_log": True},
    "sha256": {"type": "str"},
}
# A file of the client that a module writes.
WRITTEN_SPEC: dict[str, dict[str, t.Any]] = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str", "required": True, "no_log": True},
    "mode": {"type": "str", "required": True},
    "owner": {"type": "str"},
}
_KINDS: dict[str, t.Callable[[int], bool]] = {"file": stat.S_ISREG, "directory": stat.S_ISDIR}


def differences(wanted: t.Mapping[str, t.Any]) -> list[str]:
    """Returns a line for each way in which one file differs from `wanted`. Raises WaError if it cannot be read."""
    path = wanted["path"]
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return [f"{path} is missing"]
    except OSError as error:
        raise WaError(path, f"unreadable: {error.strerror}", f"a {wanted['state']}", "Use become") from None
    if stat.S_ISLNK(found.st_mode) and wanted["state"] == "directory":
        found = os.stat(path)  # a folder may be root's symbolic link; `_core.files` refuses links of other users
    if not _KINDS[wanted["state"]](found.st_mode):
        return [f"{path} is no {wanted['state']}"]
    lines = []
    mode = stat.S_IMODE(found.st_mode)
    if mode != int(wanted["mode"], 8):
        lines.append(f"{path} has the mode {mode:04o}, expected {wanted['mode']}")
    user, group = files.owner(found)
    for kind, number, name in (("owner", found.st_uid, user), ("group", found.st_gid, group)):
        if wanted[kind] not in (None, str(number), name):
            lines.append(f"{path} has the {kind} {name}, expected {wanted[kind]}")
    if _digest(wanted) not in ("", _content_digest(path)):
        lines.append(f"{path} has another content")
    return lines


def write_all(result: Result, wanted: t.Iterable[t.Mapping[str, t.Any]], keep: bool = False) -> list[str]:
    """Gives files of the client (`WRITTEN_SPEC`) their contents, modes and owners. Returns those whose earlier contents were kept.

    With `keep`, what a file held becomes `FILE.previous`. Raises WaError.
    """
    # Hidden in logs and with -vvv.
    result.module.no_log_values.difference_update({one["content"] for one in wanted})
    return [one["path"] for one in wanted if _write(result, **one, keep=keep)]


def _write(result: Result, *, path: str, content: str, mode: str, owner: str | None, keep: bool) -> bool:
    store, kept = Store(path), False

    def own(number: int) -> None:
        if owner:
            os.fchown(number, pwd.getpwnam(owner).pw_uid, -1)
        os.fchmod(number, int(mode, 8))

    check_mode, missing = result.module.check_mode, not os.path.isdir(store.folder)
    if missing and not check_mode:
        raise WaError(f"folder {store.folder}", "does not exist", "the client's folder", "Role wa_host makes it")
    with contextlib.nullcontext() if check_mode or missing else store.lock(client_files.LOCK_TIMEOUT):
        before = store.read()
        if client_files.is_compose(path) and content.startswith(HEADER):
            client_files.refuse_unmanaged(path, before)
        if before != content:
            result.record_change(f"wrote {path}")
            result.diff(redact.mask(before or ""), redact.mask(content), path)
            if not check_mode:
                kept = before is not None and keep and store.keep(before)
                store.write(content, own)
            return kept
        wanted = {"path": path, "state": "file", "mode": mode, "owner": owner, "group": None}
        different = differences({**wanted, "content": None, "sha256": None})
        if different:
            result.record_change(f"changed mode or owner: {'; '.join(different)}")
            if not check_mode:
                with store.opened() as number:
                    own(number)
    return kept


def diff(wanted: t.Mapping[str, t.Any]) -> dict[str, str] | None:
    """Returns the diff of a file's content with secrets hidden; None if it does not differ."""
    after = wanted["content"]
    if after is None or _digest(wanted) == _content_digest(wanted["path"]):
        return None
    try:
        before = files.read_text(wanted["path"])
    except (OSError, UnicodeDecodeError):
        before = ""
    header = wanted["path"]
    return {
        "before": redact.mask(before),
        "after": redact.mask(after),
        "before_header": header,
        "after_header": header,
    }


def _digest(wanted: t.Mapping[str, t.Any]) -> str:
    """Returns the SHA-256 of the desired content; empty if any content is accepted."""
    if wanted["content"] is not None:
        return hashlib.sha256(wanted["content"].encode()).hexdigest()
    return wanted["sha256"] or ""


def _content_digest(path: str) -> str:
    try:
        return hashlib.sha256(files.read_bytes(path, follow=False)).hexdigest()
    except OSError:
        return "unreadable"
