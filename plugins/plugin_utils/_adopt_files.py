# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the files of an adoption on the controller: plain ones, and ones encrypted with ansible-vault."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

import yaml
from ansible.parsing.vault import VaultLib, is_encrypted

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import HIDDEN

RECORD = ".adopted"  # the folder, hidden from Ansible, with what the last adoption wrote
HEAD = "# Written by waba.onprem.adopt from what runs; it is yours from now on.\n"


class Dumper(yaml.SafeDumper):
    """YAML for an inventory: what looks like a template and was read from a host is never one."""

    def ignore_aliases(self, data: t.Any) -> bool:
        """Write everything out: an anchor is hard to edit."""
        return True


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    tag = "!unsafe" if any(mark in data for mark in ("{{", "{%", "{#")) else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, data, style='"' if tag == "!unsafe" else None)


Dumper.add_representer(str, _text)


class Vaulted(str):
    """A value that is encrypted by itself; it is read and written as it is."""


Dumper.add_representer(Vaulted, lambda dumper, data: dumper.represent_scalar("!vault", str(data), style="|"))


class Loader(yaml.SafeLoader):
    """YAML of an inventory, without opening or templating anything."""


def _scalar(loader: t.Any, node: t.Any) -> str:
    return str(loader.construct_scalar(node))


Loader.add_constructor("!vault", lambda loader, node: Vaulted(_scalar(loader, node)))
Loader.add_constructor("!unsafe", _scalar)


def dump(document: t.Any) -> str:
    """A document as an inventory's file holds it."""
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


@dataclass
class File:
    """One file to write: its text (`bytes` when it is encrypted), and what may be shown of it."""

    path: str
    content: bytes = field(repr=False)
    before: str
    after: str
    mode: int = 0o600


class Writer:
    """Compares what is to be written with a folder, then writes it."""

    def __init__(
        self, folder: str, read: t.Callable[[str], str], vault: VaultLib, secret: t.Any, overwrite: bool
    ) -> None:
        """`read` gives the text of a file, encrypted or not; `secret` encrypts."""
        self._folder = folder
        self._open = read
        self._vault = vault
        self._secret = secret
        self._overwrite = overwrite
        self.files: list[File] = []
        self.kept: list[str] = []  # what the operator edited, and hosts have as before
        self._conflicts: list[str] = []

    def plain(self, name: str, document: t.Any) -> None:
        """Plan a file of variables."""
        for path, merged in self._changed(name, document):
            text = HEAD + dump(merged)
            self.files.append(File(path, text.encode(), self._read(path), text))

    def text(self, name: str, text: str) -> None:
        """Plan a file without secrets that each run writes as a whole; the owner's group may read it."""
        before = self._read(name)
        if before != text:
            self.files.append(File(name, text.encode(), before, text, 0o640))

    def secret(self, name: str, document: t.Mapping[str, t.Any]) -> None:
        """Plan an encrypted file of secrets."""
        changed = dict(self._changed(name, document))
        if name not in changed and not is_encrypted(self._bytes(os.path.join(self._folder, name))):
            changed[name] = self._load(name)
        for each, merged in changed.items():
            content = self._vault.encrypt(HEAD + dump(merged), self._secret)
            shown = "".join(f"{key}: {HIDDEN}\n" for key in merged)
            self.files.append(File(each, content, "", shown))

    def check(self) -> None:
        """Raises WaError if an operator's changes in existing files would be lost."""
        if self._conflicts:
            raise WaError(
                f"folder {self._folder}",
                "what runs differs from what was edited there: " + "; ".join(self._conflicts),
                "the same values",
                "Name another folder in wa_adopt_dir and compare, or set wa_adopt_overwrite: true to replace them",
            )

    def write(self) -> None:
        """Writes the planned files, each atomically."""
        for file in self.files:
            path = os.path.join(self._folder, file.path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            files.replace(path, file.content, file.mode)

    def _changed(self, name: str, document: t.Any) -> t.Iterator[tuple[str, t.Any]]:
        """Yields the file and the record of this adoption, each with its document, unless they already contain it.

        What differs from the record of the previous adoption was edited by the operator.
        """
        record = os.path.join(RECORD, name)
        there, before = self._load(name), self._load(record)
        # A host that is not read this time stays in the inventory, and a secret that is not readable this time in its file.
        merging = Merging(self._overwrite, drop=name.endswith("vars.yml"))
        merged = merging.merge(there, before, document)
        self.kept += [f"{name}: {key}" for key in merging.kept]
        if merging.conflicts:
            self._conflicts.append(f"{name}: {', '.join(sorted(merging.conflicts))}")
        for path, old, new in ((name, there, merged), (record, before, document)):
            if old != new:
                yield path, new

    def _load(self, name: str) -> t.Any:
        """Returns the document of a file; None if there is no file."""
        path = os.path.join(self._folder, name)
        if not os.path.exists(path):
            return None
        try:
            return yaml.load(self._open(path), Loader=Loader) or {}
        except yaml.YAMLError:
            # The parser's text quotes the file, which may hold secrets.
            raise WaError(
                path, "no YAML that can be read", "an inventory's file", "Put it right, or name another folder"
            ) from None

    @staticmethod
    def _bytes(path: str) -> bytes:
        with open(path, "rb") as file:
            return file.read()

    def _read(self, name: str) -> str:
        path = os.path.join(self._folder, name)
        return self._bytes(path).decode(errors="replace") if os.path.exists(path) else ""


_MISSING: t.Any = object()


class Merging:
    """Merges what runs into what is there, by what the previous adoption wrote."""

    def __init__(self, overwrite: bool, drop: bool) -> None:
        """`overwrite` replaces edited values; `drop` removes unedited keys that no longer run. Lists keys by their path."""
        self._overwrite = overwrite
        self._drop = drop
        self.kept: list[str] = []  # edited by the operator, and unchanged on the host
        self.conflicts: list[str] = []  # edited by the operator, and changed on the host

    def merge(self, there: t.Any, before: t.Any, wanted: t.Any, where: str = "") -> t.Any:
        """Returns the merged value of one key: the operator's own keys stay."""
        if isinstance(there, dict) and isinstance(wanted, dict):
            known = before if isinstance(before, dict) else {}
            merged = {}
            for key in {**there, **wanted}:
                path = f"{where}.{key}" if where else str(key)
                value = self.merge(there.get(key, _MISSING), known.get(key, _MISSING), wanted.get(key, _MISSING), path)
                if value is not _MISSING:
                    merged[key] = value
            return merged
        if wanted is _MISSING:
            return _MISSING if there == before and self._drop else there
        if there == wanted or self._overwrite:
            return wanted
        if before == wanted:
            self.kept.append(where)
            return there
        if there not in (_MISSING, before):
            self.conflicts.append(where)
        return wanted
