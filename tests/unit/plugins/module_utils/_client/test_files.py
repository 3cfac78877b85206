# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a client: ownership, differences, and which may be restored. The tests of wa_client run the module."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

COMPOSE = "services:\n  waweb:\n    image: {}/web:v{}\n"


@pytest.mark.parametrize(
    ("path", "compose"),
    [("/srv/wa/compose.yml", True), ("/srv/wa/compose.yaml", True), ("/srv/wa/db.env", False), ("/srv/a.yml/b", False)],
)
def test_compose_files_are_recognised_by_their_suffix(path: str, compose: bool) -> None:
    assert client_files.is_compose(path) is compose


@pytest.mark.parametrize("text", [None, "", " \n", HEADER, f"{HEADER}; more\nservices: {{}}\n"])
def test_a_missing_or_own_compose_file_may_be_replaced(text: str | None) -> None:
    client_files.refuse_unmanaged("/srv/wa/compose.yml", text)


@pytest.mark.parametrize("text", ["services: {}\n", f"\n{HEADER}", HEADER.lower()])
def test_a_compose_file_of_another_tool_is_refused(text: str) -> None:
    with pytest.raises(WaError) as error:
        client_files.refuse_unmanaged("/srv/wa/compose.yml", text)
    assert str(error.value) == (
        "/srv/wa/compose.yml: a Compose file that is not this collection's; expected none, or one that begins with "
        "'# Written by Ansible (waba.onprem.wa_client)'. Nothing was changed. Set wa_project_dir to a folder of its own; a "
        "client that runs from that file is adopted with adopt.yml"
    )


@pytest.mark.parametrize(
    ("before", "after", "keys"),
    [
        ("A=1\nB=2\n", "A=1\nB=3\n", ["B"]),
        ("A=1\n", "A=1\nB=3\n", ["B"]),
        ("# a\nA=1\n", "A=1\n", []),
        ("A=1\n", "", ["A"]),
        ("C=1\nB=1\nA=1\n", "", ["A", "B", "C"]),
        ("A=1\nA=2\n", "A=2\n", []),  # the last line of a key counts
        ("A=dq\n", 'A="dq"\n', ["A"]),  # as Docker reads it, quotes are part of the value
    ],
)
def test_changed_keys_are_named(before: str, after: str, keys: list[str]) -> None:
    assert client_files.changed_keys(before, after) == keys


@pytest.mark.parametrize(
    ("before", "after", "other"),
    [
        (COMPOSE.format("reg", "1"), COMPOSE.format("reg", "1"), False),
        (COMPOSE.format("reg:5000/a", "1"), COMPOSE.format("other", "1"), False),
        (COMPOSE.format("reg", "1"), COMPOSE.format("reg", "2"), True),
        (COMPOSE.format("reg", "1"), "services: {}\n", True),
        (COMPOSE.format("reg", "1"), COMPOSE.format("reg", "1") + "  # image: reg/web:v2\n", False),
        ("image: 'a/web:v1'\n", 'image: "b/web:v1" # as ever\n', False),
        ("image: a/web:v1\n", "image: a/web:v1\n    image: a/coreapp:v2\n", True),
    ],
)
def test_another_version_is_recognised_by_the_tags(before: str, after: str, other: bool) -> None:
    assert (client_files.versions(before) != client_files.versions(after)) is other


def stores(folder: Path, **contents: tuple[str | None, str | None]) -> list[Store]:
    """Files by name (`_` represents a dot), each with its content and the kept content of the last healthy client."""
    found = []
    for name, (now, kept) in contents.items():
        path = folder / name.replace("_", ".")
        for place, text in ((path, now), (path.with_name(f"{path.name}.previous"), kept)):
            if text is not None:
                place.write_text(text)
        found.append(Store(str(path)))
    return found


def test_kept_files_are_restored_and_stay_kept(tmp_path: Path) -> None:
    files = stores(
        tmp_path,
        db_env=("A=2\nB=1\n", "A=1\nB=1\n"),
        same_env=("A=1\n", "A=1\n"),
        new_env=("A=1\n", None),
        gone_env=(None, "C=1\n"),
        compose_yml=(COMPOSE.format("new", "1"), COMPOSE.format("old", "1")),
    )
    assert client_files.restore(files) == [
        {"path": str(tmp_path / "db.env"), "env_keys": ["A"]},
        {"path": str(tmp_path / "gone.env"), "env_keys": ["C"]},
        {"path": str(tmp_path / "compose.yml"), "env_keys": []},
    ]
    assert [store.read() for store in files] == [
        "A=1\nB=1\n",
        "A=1\n",
        "A=1\n",
        "C=1\n",
        COMPOSE.format("old", "1"),
    ]
    assert [store.read_previous() is not None for store in files] == [True, True, False, True, True]


def test_a_second_restore_changes_nothing(tmp_path: Path) -> None:
    files = stores(tmp_path, db_env=("A=2\n", "A=1\n"))
    assert len(client_files.restore(files)) == 1
    assert client_files.restore(files) == []


def test_no_file_is_restored_to_another_version(tmp_path: Path) -> None:
    files = stores(
        tmp_path, db_env=("A=2\n", "A=1\n"), compose_yml=(COMPOSE.format("reg", "2"), COMPOSE.format("reg", "1"))
    )
    with pytest.raises(WaError) as error:
        client_files.restore(files)
    kept = tmp_path / "compose.yml.previous"
    assert str(error.value) == (
        f"{kept}: of another version of the client than the file in force; expected the same version: a Coreapp of another "
        f"version migrates the database. Nothing was put back. Remove {kept} once the client is healthy"
    )
    assert files[0].read() == "A=2\n"
