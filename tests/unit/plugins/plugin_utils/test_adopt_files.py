# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an adoption: what is there and what is to be written, encrypted or not."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils._adopt_files import Loader, Merging, Writer

SECRET = VaultSecret(b"sesame")
VAULT = VaultLib([("default", SECRET)])
RECORD = ".adopted/"  # the record of what was written
VARS, SECRETS = "host_vars/h1/vars.yml", "host_vars/h1/vault.yml"


def opened(path: str | Path) -> str:
    raw = Path(path).read_bytes()
    return (VAULT.decrypt(raw) if raw.startswith(b"$ANSIBLE_VAULT") else raw).decode()


def write(folder: Path, variables: t.Any, secrets: t.Any = None, overwrite: bool = False) -> list[str]:
    writer = Writer(str(folder), opened, VAULT, SECRET, overwrite)
    writer.plain(VARS, variables)
    if secrets is not None:
        writer.secret(SECRETS, secrets)
    writer.check()
    writer.write()
    return [file.path for file in writer.files if not file.path.startswith(RECORD)]


def test_what_is_written_is_not_written_again(tmp_path: Path) -> None:
    assert write(tmp_path, {"a": 1}, {"p": "Canary-1"}) == [VARS, SECRETS]
    assert b"Canary" not in (tmp_path / SECRETS).read_bytes()
    assert yaml.safe_load(opened(tmp_path / SECRETS)) == {"p": "Canary-1"}
    assert (tmp_path / SECRETS).stat().st_mode & 0o777 == 0o600
    assert write(tmp_path, {"a": 1}, {"p": "Canary-1"}) == []


def test_what_was_added_stays_and_what_was_changed_on_both_sides_is_a_conflict(tmp_path: Path) -> None:
    write(tmp_path, {"a": {"x": 1}}, {"p": "Canary-1"})
    (tmp_path / VARS).write_text("a: {x: 1, y: 2}\nb: 3\n")
    (tmp_path / SECRETS).write_bytes(VAULT.encrypt("p: Canary-1\nwa_api_password: Canary-2\n", SECRET))
    assert write(tmp_path, {"a": {"x": 1}}, {"p": "Canary-1"}) == []
    (tmp_path / VARS).write_text("a: {x: 3, y: 2}\nb: 3\n")
    with pytest.raises(WaError, match=r"host_vars/h1/vars.yml: a\.x") as error:
        write(tmp_path, {"a": {"x": 5}}, {"p": "Canary-1"})
    assert "Canary" not in str(error.value)
    assert write(tmp_path, {"a": {"x": 5}}, {"p": "Canary-3"}, overwrite=True) == [VARS, SECRETS]
    assert yaml.safe_load(opened(tmp_path / VARS)) == {"a": {"x": 5, "y": 2}, "b": 3}
    assert yaml.safe_load(opened(tmp_path / SECRETS)) == {"p": "Canary-3", "wa_api_password": "Canary-2"}


def test_a_secret_that_is_not_readable_this_time_stays(tmp_path: Path) -> None:
    write(tmp_path, {"a": 1, "b": 2}, {"p": "Canary-1", "q": "Canary-2"})
    assert write(tmp_path, {"a": 1}, {"p": "Canary-1"}) == [VARS]
    assert yaml.safe_load(opened(tmp_path / VARS)) == {"a": 1}
    assert yaml.safe_load(opened(tmp_path / SECRETS)) == {"p": "Canary-1", "q": "Canary-2"}


def test_a_clear_file_of_secrets_is_encrypted(tmp_path: Path) -> None:
    (tmp_path / SECRETS).parent.mkdir(parents=True)
    (tmp_path / SECRETS).write_text("p: Canary-1\n")
    assert write(tmp_path, {}, {"p": "Canary-1"})[-1] == SECRETS
    assert b"Canary" not in (tmp_path / SECRETS).read_bytes()


def test_values_that_are_encrypted_by_themselves_stay_closed(tmp_path: Path) -> None:
    write(tmp_path, {"a": 1})
    with (tmp_path / VARS).open("a") as file:
        file.write("p: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n")
    write(tmp_path, {"a": 2}, overwrite=True)
    text = (tmp_path / VARS).read_text()
    assert "p: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n" in text


def test_what_looks_like_a_template_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"label": "{{ lookup('pipe', 'id') }}"})
    assert 'label: !unsafe "{{ lookup(' in (tmp_path / VARS).read_text()
    assert yaml.load((tmp_path / VARS).read_text(), Loader=Loader) == {"label": "{{ lookup('pipe', 'id') }}"}


def test_a_file_that_cannot_be_parsed_is_told_without_its_text(tmp_path: Path) -> None:
    (tmp_path / VARS).parent.mkdir(parents=True)
    (tmp_path / VARS).write_text("p: [Canary-1\n")
    with pytest.raises(WaError, match="no YAML that can be read") as error:
        write(tmp_path, {"a": 1})
    assert "Canary" not in str(error.value)


def test_the_report_is_readable_by_the_group(tmp_path: Path) -> None:
    for text, written in (("one\n", ["report.md"]), ("one\n", []), ("two\n", ["report.md"])):
        writer = Writer(str(tmp_path), opened, None, None, False)
        writer.text("report.md", text)
        writer.write()
        assert [file.path for file in writer.files] == written
        assert (tmp_path / "report.md").read_text() == text
        assert (tmp_path / "report.md").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("there", "before", "wanted", "merged", "kept", "conflicts"),
    [
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, [], []),  # changed on the host
        ({"a": 9}, {"a": 1}, {"a": 1}, {"a": 9}, ["a"], []),  # edited
        ({"a": 9}, {"a": 1}, {"a": 2}, {"a": 2}, [], ["a"]),  # both
        ({"a": 2}, {"a": 1}, {"a": 2}, {"a": 2}, [], []),  # both, to the same
        ({"a": 9}, None, {"a": 2}, {"a": 2}, [], ["a"]),  # without a record
        ({}, {"a": 1}, {"a": 1}, {}, ["a"], []),  # removed by the operator
        ({}, {"a": 1}, {"a": 2}, {"a": 2}, [], []),
        ({"a": 1, "own": 5}, {"a": 1}, {}, {"own": 5}, [], []),  # gone from the host
        ({"a": 9}, {"a": 1}, {}, {"a": 9}, [], []),
        ({"a": {"x": 9, "y": 2}}, {"a": {"x": 1, "z": 3}}, {"a": {"x": 1, "z": 4}}, {"a": {"x": 9, "y": 2, "z": 4}}, ["a.x"], []),
    ],
)  # fmt: skip
def test_edited_values_are_kept_and_others_follow_the_host(
    there: t.Any, before: t.Any, wanted: t.Any, merged: t.Any, kept: list[str], conflicts: list[str]
) -> None:
    merging = Merging(overwrite=False, drop=True)
    assert merging.merge(there, before, wanted) == merged
    assert (merging.kept, merging.conflicts) == (kept, conflicts)


def test_overwriting_replaces_edited_values_and_keeps_added_ones() -> None:
    merging = Merging(overwrite=True, drop=True)
    assert merging.merge({"a": 9, "own": 5}, {"a": 1, "b": 2}, {"a": 1, "b": 2}) == {"a": 1, "own": 5, "b": 2}
    assert (merging.kept, merging.conflicts) == ([], [])


def test_a_host_that_is_not_read_stays_in_the_inventory(tmp_path: Path) -> None:
    for names in (["h1", "h2"], ["h1"]):
        writer = Writer(str(tmp_path), opened, None, None, False)
        writer.plain("inventory.yml", {"all": {"hosts": {name: {} for name in names}}})
        writer.check()
        writer.write()
    assert yaml.safe_load((tmp_path / "inventory.yml").read_text()) == {"all": {"hosts": {"h1": {}, "h2": {}}}}


def test_a_file_that_was_edited_is_kept_and_named(tmp_path: Path) -> None:
    write(tmp_path, {"a": 1, "b": 1})
    (tmp_path / VARS).write_text("a: 9\nb: 1\n")
    writer = Writer(str(tmp_path), opened, None, None, False)
    writer.plain(VARS, {"a": 1, "b": 2})
    writer.check()
    writer.write()
    assert writer.kept == [f"{VARS}: a"]
    assert yaml.safe_load((tmp_path / VARS).read_text()) == {"a": 9, "b": 2}
    assert yaml.safe_load((tmp_path / RECORD / VARS).read_text()) == {"a": 1, "b": 2}
