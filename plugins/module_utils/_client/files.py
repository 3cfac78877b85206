# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's Compose and env files: differences between two versions, and the restore of the previous ones."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

# Seconds that a run waits for another one that writes the same files.
LOCK_TIMEOUT = 60.0
# What a parked Compose file says. Compose starts nothing from it, whoever calls it.
_PARKED = f"""{HEADER}
# An upgrade or a restore has stopped this client, whose database may be changed. Start nothing: run its playbook again, which goes on.
# {{kept}} has what stood here.
services: {{{{}}}}
"""
_IMAGE = re.compile(r"^\s*image:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)


def is_compose(path: str) -> bool:
    """Returns whether a file of the client is a Compose file; the others are env files."""
    return path.endswith((".yml", ".yaml"))


def refuse_unmanaged(path: str, text: str | None) -> None:
    """Raises WaError if the Compose file at `path` was not written by this collection."""
    if text and text.strip() and not text.startswith(HEADER):
        raise WaError(
            path,
            "a Compose file that is not this collection's",
            f"none, or one that begins with {HEADER!r}",
            "Nothing was changed. Set wa_project_dir to a folder of its own; a client that runs from that file is adopted with adopt.yml",
        )


def is_own(path: str) -> bool:
    """Returns whether the Compose file at `path` was written by this collection."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(HEADER)
    except OSError:
        return False


def changed_keys(before: str, after: str) -> list[str]:
    """Returns the names of the variables that differ between two texts of an env file, without values."""
    old, new = (
        {entry.name: entry.raw for entry in env_file.read_docker(text) if entry.key} for text in (before, after)
    )
    return sorted(key for key in {*old, *new} if old.get(key) != new.get(key))


def versions(text: str) -> list[str]:
    """Returns the versions of the images in a Compose file, which only an upgrade may change."""
    return sorted({image_reference.parse(image).version for image in _IMAGE.findall(text)})


def restore(stores: t.Sequence[Store]) -> list[dict[str, t.Any]]:
    """Restores the previous content of each file. Returns path and changed keys of each changed file.

    The previous content is kept until the client is healthy with it. Raises WaError, and changes no file, if a Compose
    file of another version would be restored.
    """
    pairs = [(store, store.read_previous(), store.read() or "") for store in stores]
    todo = [(store, kept, now) for store, kept, now in pairs if kept is not None and kept != now]
    for store, kept, now in todo:
        if is_compose(store.path) and versions(kept) != versions(now):
            raise WaError(
                store.previous,
                "of another version of the client than the file in force",
                "the same version: a Coreapp of another version migrates the database",
                f"Nothing was put back. Remove {store.previous} once the client is healthy",
            )
    for store, kept, _now in todo:
        store.write(kept, lambda _draft: None)
    return [
        {"path": store.path, "env_keys": [] if is_compose(store.path) else changed_keys(kept, now)}
        for store, kept, now in todo
    ]


def parked(path: str) -> str:
    """Returns where the content of the Compose file at `path` is kept while the file is parked."""
    folder, name = os.path.split(path)
    stem, dot, ending = name.rpartition(".")
    return os.path.join(folder, f"{stem}-parked{dot}{ending}")


def park(path: str) -> None:
    """Puts a file from which Compose starts nothing in the place of the collection's Compose file at `path`, if there is one."""
    kept = parked(path)
    stub = _PARKED.format(kept=kept)
    with contextlib.suppress(FileNotFoundError):
        text, mode = core_files.read_text(path), stat.S_IMODE(os.lstat(path).st_mode)
        if text != stub and text.startswith(HEADER):
            core_files.replace(kept, text.encode(), mode)
            core_files.replace(path, stub.encode(), mode)


def unpark(path: str) -> None:
    """Brings back what `park` has kept, if the file is still parked: another content, written since, stays."""
    kept = parked(path)
    with contextlib.suppress(FileNotFoundError):
        if core_files.read_text(path) == _PARKED.format(kept=kept):
            os.replace(kept, path)


def drop_parked(path: str) -> None:
    """Removes what `park` has kept, once another content is in its place."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(parked(path))
