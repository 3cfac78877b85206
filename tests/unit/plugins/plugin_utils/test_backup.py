# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups on the controller: written whole or not at all, encrypted, kept, and their age."""

from __future__ import annotations

import json
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.parsing.vault import AnsibleVaultError, VaultLib, VaultSecret

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _backup as backup

NOW, DAY = 1772330400.0, 86400.0  # 2026-03-01T02:00:00Z
PASSWORD = "Canary-backup-1"


def make(root: Path, at: float, *parts: str, server: str = "db:3306/") -> Path:
    with backup.Writer(str(root), "support", at) as writer:
        entries = {
            part: writer.write(f"{part}.json", b"{}") if part in parts else None
            for part in ("settings", "database", "images")
        }
        return writer.finish({"database_server": server, **entries})


def test_a_backup_has_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    with backup.Writer(str(tmp_path), "support", NOW) as writer:
        writer.write("h1/opt/db.env", b"x")  # and no `finish`
    assert list((tmp_path / "support").iterdir()) == []
    assert make(tmp_path, NOW, "settings") == tmp_path / "support" / "20260301T020000Z"
    (found,) = backup.earlier(str(tmp_path), "support")
    entry = found.manifest["settings"]
    assert (found.made_at, found.has("settings"), found.has("database")) == (NOW, True, False)
    assert (entry["file"], entry["bytes"], len(entry["sha256"])) == ("settings.json", 2, 64)
    (found.folder / "settings.json").unlink()
    assert not found.has("settings")


def test_only_the_owner_may_read_what_is_kept(tmp_path: Path) -> None:
    with backup.Writer(str(tmp_path / "deep" / "made"), "support", NOW) as writer:
        writer.write("h1/opt/db.env", b"x")
        writer.finish({})
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep").rglob("*")}
    modes[tmp_path / "deep"] = stat.S_IMODE((tmp_path / "deep").stat().st_mode)
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


def test_what_a_killed_run_has_left_is_removed_and_counts_for_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path, NOW, "settings")
    left = folder.rename(folder.with_name("20260228T020000Z.part"))
    assert backup.earlier(str(tmp_path), "support") == []
    make(tmp_path, NOW, "settings")
    assert not left.exists()


def test_two_runs_at_once_are_refused_and_so_is_a_name_that_is_taken(tmp_path: Path) -> None:
    with backup.Writer(str(tmp_path), "support", NOW), pytest.raises(WaError, match="another run writes a backup"):
        make(tmp_path, NOW + 1)
    assert make(tmp_path, NOW).is_dir()
    with pytest.raises(WaError, match="a free name"):
        make(tmp_path, NOW)


def test_a_foreign_folder_is_no_backup(tmp_path: Path) -> None:
    for name, text in {"a": "{", "b": "[]", "c": json.dumps({"format": 2, "made_at": 1}), "d": '{"format": 1}'}.items():
        (tmp_path / "support" / name).mkdir(parents=True)
        (tmp_path / "support" / name / backup.MANIFEST).write_text(text)
    assert backup.earlier(str(tmp_path), "support") == []


@pytest.mark.parametrize(
    ("kept", "parts", "gone"),
    [
        (7, ["settings"] * 3, []),
        (2, ["settings"] * 4, [0, 1]),
        (1, ["settings", "", "database", ""], [1]),  # the newest settings and the newest copy of the database stay
        (2, ["settings database", "", ""], []),
        (1, ["images settings", "settings", "settings"], [1]),  # lost images are hard to get again
    ],
)
def test_the_oldest_backups_go(tmp_path: Path, kept: int, parts: list[str], gone: list[int]) -> None:
    folders = [make(tmp_path, NOW + number, *one.split()) for number, one in enumerate(parts)]
    other = make(tmp_path, NOW - 1, "settings", server="other:3306/")
    found = backup.of_database(backup.earlier(str(tmp_path), "support"), "db:3306/")
    for one in backup.superfluous(found, kept):
        backup.remove(one)
    assert [number for number, folder in enumerate(folders) if not folder.exists()] == gone
    assert other.exists()


def test_files_are_encrypted_as_ansible_vault_does() -> None:
    text = backup.encrypted(b"WA_DB_PASSWORD=x\n", PASSWORD)
    assert text.startswith(b"$ANSIBLE_VAULT;1.1;AES256\n")
    assert VaultLib([("default", VaultSecret(PASSWORD.encode()))]).decrypt(text) == b"WA_DB_PASSWORD=x\n"
    with pytest.raises(AnsibleVaultError):
        VaultLib([("default", VaultSecret(b"another-password"))]).decrypt(text)


@pytest.mark.parametrize(("given", "count"), [(None, 7), ("", 7), ("3", 3), (1, 1)])
def test_the_number_of_backups(given: t.Any, count: int) -> None:
    assert backup.kept_count(given) == count
    with pytest.raises(WaError, match="wa_backup_keep"):
        backup.kept_count("0")


@pytest.mark.parametrize(
    ("expires_on", "days"), [("2026-03-31", 29.9), ("", None), ("soon", None), ("2026-02-28", -1.1)]
)
def test_the_days_until_an_expiry(expires_on: str, days: float | None) -> None:
    found = backup.days_left(expires_on, NOW)
    assert (None if found is None else round(found, 1)) == days


NONE = "there is no settings backup. Run backup.yml"


@pytest.mark.parametrize(
    ("age", "left", "given", "text"),
    [
        (6.9 * DAY, None, True, ""),
        (6.9 * DAY, 3.0, True, ""),
        (8 * DAY, None, True, "the newest settings backup is 8 days old. Run backup.yml"),
        (None, None, True, NONE),
        (None, 31.0, True, NONE),
        (
            None,
            29.9,
            True,
            "the client expires in 29 days, and an expired one makes no settings backup: there is none. Run backup.yml",
        ),
        (None, 31.0, False, ""),
        (
            None,
            -1.1,
            False,
            "the client expires in 0 days, and an expired one makes no settings backup: there is none. Set "
            "wa_backup_dir and wa_backup_password, and run backup.yml",
        ),
    ],
)
def test_a_missing_or_old_settings_backup_is_named(
    age: float | None, left: float | None, given: bool, text: str
) -> None:
    assert backup.warning(age, left, given) == text
