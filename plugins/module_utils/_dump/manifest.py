# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest beside a dump: what is in it, and what a restore of it is compared with."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

FORMAT = 1
_KEYS = {
    "file": str,
    "bytes": int,
    "sha256": str,
    "mark": str,  # begins each line before a section
    "sections": list,  # pairs of database and part, in their order
    "databases": dict,  # by name `tables`, the rows by name, and `definitions`
    "engine": str,
    "product": str,
    "server": str,
    "tool": str,
    "seconds": float,
    "source_bytes": int,
    "longest": int,  # bytes of a statement
    "left": list,  # lines about what is not copied
    "facts": dict,  # of the caller: deployment, version, stopped_at
}
Manifest = t.Dict[str, t.Any]  # noqa: UP006  # Python 3.9 evaluates it
DRILL_ROOM = 3  # times `source_bytes`: tables with their indexes, and what the server logs of them
_CHUNK = 1 << 20


def load(path: str) -> Manifest | None:
    """Returns the manifest at `path`; None where there is none. Raises WaError for a file that is none."""
    expected = f"the manifest of a dump (format {FORMAT}, .json), which wa_db_dump has written beside it"
    try:
        found = json.loads(files.read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no JSON"
        raise WaError(f"manifest {path}", f"not readable: {reason}", expected) from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise WaError(f"manifest {path}", "another file", expected)
    for key, kind in _KEYS.items():
        if not isinstance(found.get(key), kind):
            raise WaError(f"manifest {path}", f"{key} is missing, or no {kind.__name__}", expected)
    if not found["sections"] or {one[0] for one in found["sections"]} != {*found["databases"]}:
        raise WaError(f"manifest {path}", "its sections are not those of its databases", expected)
    return found


def dump_path(path: str, manifest: Manifest) -> str:
    """Returns the dump's file, which lies beside its manifest at `path`."""
    return os.path.join(os.path.dirname(path), os.path.basename(manifest["file"]))


def is_complete(path: str, manifest: Manifest) -> bool:
    """Returns whether the dump is there with its size. A manifest is written first, so that it may be alone."""
    try:
        return os.stat(dump_path(path, manifest)).st_size == int(manifest["bytes"])
    except OSError:
        return False


def verify(path: str, manifest: Manifest) -> None:
    """Raises WaError unless the dump is as it was written. Reads all of it."""
    dump, digest, size = dump_path(path, manifest), hashlib.sha256(), 0
    try:
        with files.open_regular(dump, follow=False) as file:
            for chunk in iter(lambda: file.read(_CHUNK), b""):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise WaError(f"dump {dump}", f"not readable: {error.strerror}", "the dump of its manifest") from None
    if size != manifest["bytes"]:
        found, expected = f"{size} bytes", f"{manifest['bytes']} bytes"
    elif digest.hexdigest() != manifest["sha256"]:
        found, expected = f"SHA-256 {digest.hexdigest()}", manifest["sha256"]
    else:
        return
    raise WaError(f"dump {dump}", found, expected, "The file is damaged: bring another copy of it")
