# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest says which dump it is of, and a dump that is not that one is refused."""

from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._dump import manifest

DUMP = b"all of it"
FOUND: dict[str, t.Any] = {
    "format": manifest.FORMAT,
    "file": "d.sql.gz",
    "bytes": len(DUMP),
    "sha256": hashlib.sha256(DUMP).hexdigest(),
    "mark": "m",
    "sections": [["a", "all"]],
    "databases": {"a": {"tables": {"t": 1}, "definitions": "d"}},
    "engine": "MYSQL",
    "product": "MariaDB",
    "server": "11.8",
    "tool": "mariadb-dump",
    "seconds": 1.5,
    "source_bytes": 9,
    "longest": 9,
    "left": [],
    "facts": {},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "d.json").write_text(json.dumps(FOUND))
    (tmp_path / "d.sql.gz").write_bytes(DUMP)
    return tmp_path / "d.json"


def test_a_complete_dump(path: Path) -> None:
    found = manifest.load(str(path))
    assert found == FOUND
    assert manifest.is_complete(str(path), FOUND)
    manifest.verify(str(path), FOUND)
    assert manifest.dump_path(str(path), {**FOUND, "file": "/elsewhere/d.sql.gz"}) == str(path.with_name("d.sql.gz"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (DUMP[:-1], "8 bytes; expected 9 bytes. The file is damaged: bring another copy of it"),
        (b"all_of it", "SHA-256 "),
        (None, "not readable: No such file or directory; expected the dump of its manifest"),
    ],
)
def test_a_dump_that_is_not_the_one_of_its_manifest(path: Path, content: bytes | None, message: str) -> None:
    dump = path.with_name("d.sql.gz")
    dump.unlink()
    if content is not None:
        dump.write_bytes(content)
    assert manifest.is_complete(str(path), FOUND) is (content is not None and len(content) == len(DUMP))
    with pytest.raises(WaError, match=message):
        manifest.verify(str(path), FOUND)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable: no JSON"),
        ("[]", "another file"),
        ('{"format": 2}', "another file"),
        (json.dumps({**FOUND, "mark": None}), "mark is missing, or no str"),
        # A restore or a drill of these would replace and compare nothing, or only a part.
        (json.dumps({**FOUND, "sections": [], "databases": {}}), "its sections are not those of its databases"),
        (json.dumps({**FOUND, "sections": []}), "its sections are not those of its databases"),
        (
            json.dumps({**FOUND, "sections": [["a", "all"], ["b", "all"]]}),
            "its sections are not those of its databases",
        ),
    ],
)
def test_another_file_is_no_manifest(path: Path, text: str, message: str) -> None:
    path.write_text(text)
    with pytest.raises(WaError, match=message):
        manifest.load(str(path))


def test_without_a_manifest(tmp_path: Path) -> None:
    assert manifest.load(str(tmp_path / "d.json")) is None
