# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an adoption: what is there and what is to be written, encrypted or with blanks."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils._adopt_files import Loader, Writer

SECRET = VaultSecret(b"sesame")
VAULT = VaultLib([("default", SECRET)])
VARS, SECRETS = "host_vars/h1/vars.yml", "host_vars/h1/vault.yml"


def opened(path: str | Path) -> str:
    raw = Path(path).read_bytes()
    return (VAULT.decrypt(raw) if raw.startswith(b"$ANSIBLE_VAULT") else raw).decode()


def write(
    folder: Path, variables: t.Any, secrets: t.Any = None, vault: bool = True, overwrite: bool = False
) -> list[str]:
    writer = Writer(str(folder), opened, VAULT if vault else None, SECRET if vault else None, overwrite)
    writer.plain(VARS, variables)
    if secrets is not None:
        writer.secret(SECRETS, secrets)
    writer.check()
    writer.write()
    return [file.path for file in writer.files]


def test_what_is_written_is_not_written_again(tmp_path: Path) -> None:
    assert write(tmp_path, {"a": 1}, {"p": "Canary-1"}) == [VARS, SECRETS]
    assert b"Canary" not in (tmp_path / SECRETS).read_bytes()
    assert yaml.safe_load(opened(tmp_path / SECRETS)) == {"p": "Canary-1"}
    assert (tmp_path / SECRETS).stat().st_mode & 0o777 == 0o600
    assert write(tmp_path, {"a": 1}, {"p": "Canary-1"}) == []


def test_what_was_added_stays_and_what_was_changed_is_a_conflict(tmp_path: Path) -> None:
    write(tmp_path, {"a": {"x": 1}}, {"p": "Canary-1"})
    (tmp_path / VARS).write_text("a: {x: 1, y: 2}\nb: 3\n")
    (tmp_path / SECRETS).write_bytes(VAULT.encrypt("p: Canary-1\nwa_api_password: Canary-2\n", SECRET))
    assert write(tmp_path, {"a": {"x": 1}}, {"p": "Canary-1"}) == []
    with pytest.raises(WaError, match=r"host_vars/h1/vars.yml: a\.x") as error:
        write(tmp_path, {"a": {"x": 5}}, {"p": "Canary-1"})
    assert "Canary" not in str(error.value)
    assert write(tmp_path, {"a": {"x": 5}}, {"p": "Canary-3"}, overwrite=True) == [VARS, SECRETS]
    assert yaml.safe_load(opened(tmp_path / VARS)) == {"a": {"x": 5, "y": 2}, "b": 3}
    assert yaml.safe_load(opened(tmp_path / SECRETS)) == {"p": "Canary-3", "wa_api_password": "Canary-2"}


def test_without_a_vault_secrets_are_blanks_that_are_filled_later(tmp_path: Path) -> None:
    secrets = {"wa_db_env_password": "Canary-1", "extra": {"waweb": {"KEY": "Canary-2"}}}
    write(tmp_path, {}, secrets, vault=False)
    text = (tmp_path / SECRETS).read_text()
    assert "Canary" not in text
    assert yaml.safe_load(text) == {"wa_db_env_password": None, "extra": {"waweb": {"KEY": None}}}
    assert write(tmp_path, {}, secrets, vault=False) == []
    assert write(tmp_path, {}, secrets) == [SECRETS]
    assert yaml.safe_load(opened(tmp_path / SECRETS)) == secrets


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
