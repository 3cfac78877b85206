# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Comparison of files with their desired state: the differing attribute is named, and nothing is changed."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._concern import files as concern_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

SECRET = "Canary-18-Pw"
ME = pwd.getpwuid(os.getuid()).pw_name
MY_GROUP = grp.getgrgid(os.getgid()).gr_name
OTHER = "daemon" if ME != "daemon" else "root"
ABSENT = hashlib.sha256(b"other").hexdigest()


def wanted(path: Path, **more: t.Any) -> dict[str, t.Any]:
    """The options of one file with the defaults of the argument spec."""
    given = {name: spec.get("default") for name, spec in concern_files.SPEC.items()}
    return {**given, "path": str(path), "mode": "0640", **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "compose.yml"
    found.write_text("a: 1\n")
    found.chmod(0o640)
    return found


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, []),
        ({"content": "a: 1\n", "owner": ME, "group": MY_GROUP}, []),
        ({"mode": "640"}, []),
        ({"owner": str(os.getuid()), "group": str(os.getgid())}, []),
        ({"sha256": hashlib.sha256(b"a: 1\n").hexdigest()}, []),
        ({"mode": "0600"}, ["{} has the mode 0640, expected 0600"]),
        ({"owner": OTHER}, [f"{{}} has the owner {ME}, expected {OTHER}"]),
        ({"owner": "no-such-user"}, [f"{{}} has the owner {ME}, expected no-such-user"]),
        ({"group": "no-such-group"}, [f"{{}} has the group {MY_GROUP}, expected no-such-group"]),
        ({"content": "a: 2\n"}, ["{} has another content"]),
        ({"content": ""}, ["{} has another content"]),
        ({"sha256": ABSENT}, ["{} has another content"]),
        ({"state": "directory"}, ["{} is no directory"]),
        (
            {"mode": "0600", "owner": OTHER, "content": "b"},
            [
                "{} has the mode 0640, expected 0600",
                f"{{}} has the owner {ME}, expected {OTHER}",
                "{} has another content",
            ],
        ),
    ],
)
def test_the_differing_attribute_is_named(path: Path, more: dict[str, t.Any], expected: list[str]) -> None:
    before = (path.stat().st_mtime_ns, path.stat().st_ctime_ns, os.listdir(path.parent))
    assert concern_files.differences(wanted(path, **more)) == [text.format(path) for text in expected]
    assert (path.stat().st_mtime_ns, path.stat().st_ctime_ns, os.listdir(path.parent)) == before


def test_special_mode_bits_are_compared(path: Path) -> None:
    path.chmod(0o4640)
    assert concern_files.differences(wanted(path)) == [f"{path} has the mode 4640, expected 0640"]


def test_a_missing_file_or_another_file_type_is_reported(path: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe")
    folder = {"state": "directory", "mode": "0750"}
    for name, more, expected in (
        ("none", {}, ["{} is missing"]),
        ("none", folder, ["{} is missing"]),
        ("compose.yml/below", {}, ["{} is missing"]),
        ("folder", {}, ["{} is no file"]),
        ("link", {}, ["{} is no file"]),  # the target of a link does not count
        ("pipe", {"content": "a"}, ["{} is no file"]),
        ("folder", folder, []),
        ("linked", folder, []),
        ("link", folder, ["{} is no directory"]),
    ):
        found = concern_files.differences(wanted(tmp_path / name, **more))
        assert found == [text.format(tmp_path / name) for text in expected], name


def test_an_unreadable_folder_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: str) -> t.NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(WaError) as error:
        concern_files.differences(wanted(path))
    assert str(error.value) == f"{path}: unreadable: Permission denied; expected a file. Use become"


def test_owners_without_a_name_are_shown_by_id(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> t.NoReturn:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(grp, "getgrgid", unknown)
    assert concern_files.differences(wanted(path, owner="a", group="b")) == [
        f"{path} has the owner {os.getuid()}, expected a",
        f"{path} has the group {os.getgid()}, expected b",
    ]


def test_the_diff_hides_secrets(path: Path) -> None:
    path.write_text(f"environment:\n  API_TOKEN: {SECRET}\n  TZ: UTC\n")
    found = concern_files.diff(wanted(path, content=f"environment:\n  API_TOKEN: {SECRET}2\n  TZ: CET\n"))
    assert found == {
        "before": "environment:\n  API_TOKEN: <hidden>\n  TZ: UTC\n",
        "after": "environment:\n  API_TOKEN: <hidden>\n  TZ: CET\n",
        "before_header": str(path),
        "after_header": str(path),
    }


@pytest.mark.parametrize(
    ("more", "has_diff"), [({"content": "a: 1\n"}, False), ({"sha256": ABSENT}, False), ({}, False)]
)
def test_an_equal_file_or_one_given_by_checksum_has_no_diff(path: Path, more: dict[str, t.Any], has_diff: bool) -> None:
    assert (concern_files.diff(wanted(path, **more)) is not None) is has_diff


@pytest.mark.parametrize("before", [None, b"\xff\xfe"])
def test_a_missing_or_binary_file_has_an_empty_before(path: Path, before: bytes | None) -> None:
    path.unlink()
    if before:
        path.write_bytes(before)
    found = concern_files.diff(wanted(path, content="a: 1\n"))
    assert found is not None
    assert (found["before"], found["after"]) == ("", "a: 1\n")
