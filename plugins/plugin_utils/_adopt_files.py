# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the files of an adoption on the controller: plain ones, and ones encrypted with ansible-vault."""

from __future__ import annotations

import itertools
import json
import os
import re
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from ansible.parsing.vault import VaultLib, is_encrypted

from ansible_collections.waba.onprem.plugins.module_utils._adopt import placing
from ansible_collections.waba.onprem.plugins.module_utils._adopt.inventory import Adoption
from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import HIDDEN

RECORD = ".adopted"  # the folder, hidden from Ansible, with what the last adoption wrote
_UNFINISHED = f"{RECORD}/unfinished.json"  # all files of a run until they are written; encrypted ones as they will be
Documents = dict[str, dict[str, t.Any]]  # by path
_WIDTH = 120
HEAD = "# Written by waba.onprem.adopt from what runs; it is yours from now on.\n"


class Dumper(yaml.SafeDumper):
    """YAML for an inventory: what looks like a template and was read from a host is never one."""

    def ignore_aliases(self, data: t.Any) -> bool:
        """Write everything out: an anchor is hard to edit."""
        return True


def _is_template(text: str) -> bool:
    return any(mark in text for mark in ("{{", "{%", "{#"))


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    tag = "!unsafe" if _is_template(data) else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, data, style='"' if tag == "!unsafe" else None)


Dumper.add_representer(str, _text)
Dumper.add_representer(
    list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, len(str(data)) < _WIDTH)
)


class Vaulted(str):
    """A value that is encrypted by itself; it is read and written as it is."""


Dumper.add_representer(Vaulted, lambda dumper, data: dumper.represent_scalar("!vault", str(data), style="|"))


class Template(str):
    """A template of the operator's, which stays one."""


Dumper.add_representer(Template, yaml.SafeDumper.represent_str)


class Loader(yaml.SafeLoader):
    """YAML of an inventory, without opening or templating anything."""


def _scalar(loader: t.Any, node: t.Any) -> str:
    return str(loader.construct_scalar(node))


Loader.add_constructor("!vault", lambda loader, node: Vaulted(_scalar(loader, node)))
Loader.add_constructor("!unsafe", _scalar)
Loader.add_constructor(
    "tag:yaml.org,2002:str", lambda _loader, node: (Template if _is_template(node.value) else str)(node.value)
)


def dump(document: t.Any) -> str:
    """A document as an inventory's file holds it."""
    return yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


@dataclass
class File:
    """One file to write: its text (`bytes` when it is encrypted; None removes it), and what may be shown of it."""

    path: str
    content: bytes | None = field(repr=False)
    before: str
    after: str
    mode: int = 0o600


class Writer:
    """Compares what is to be written with a folder, then writes it. Nothing is ever on disk in clear that is to be encrypted."""

    def __init__(self, folder: str, read: t.Callable[[str], str], vault: VaultLib, secret: t.Any) -> None:
        """`read` gives the text of a file, encrypted or not; `secret` encrypts."""
        self._folder = folder
        self._open = read
        self._vault = vault
        self._secret = secret
        self.files: list[File] = []
        self.kept: list[str] = []  # what the operator edited, and hosts have otherwise

    def recorded(self) -> Adoption:
        """Returns what earlier runs have written, without hosts that the operator has removed from the inventory since."""
        record = self._load(f"{RECORD}/record.yml") or {}
        there = _hosts({"children": self._load("inventory.yml")})
        secrets = self._load(f"{RECORD}/secrets.yml") or {}
        hosts = {name: one for name, one in record.get("hosts", {}).items() if name in there}
        return Adoption(hosts, {name: one for name, one in secrets.items() if name in hosts}, record.get("report", {}))

    def plan(self, adoption: Adoption) -> None:
        """Plans the files of the inventory, and the record. What differs from the record was edited by the operator."""
        recorded, after = self.recorded(), placing.place(adoption.hosts, adoption.secrets)
        before = placing.place(recorded.hosts, recorded.secrets)
        for kind, file in (("documents", "vars.yml"), ("secrets", "vault.yml")):
            old, new = getattr(before, kind), getattr(after, kind)
            self._leave_edited(placing.groups(recorded.hosts), [*recorded.hosts], old, new, file)
            for name in dict.fromkeys([*new, *old]):
                there = self._load(name)
                merged = merge(there or {}, old.get(name, {}), new.get(name, {}), f"{name}: ", self.kept)
                clear = kind == "secrets" and there is not None and not self._is_encrypted(name)
                if merged != (there or {}) or clear:
                    self._file(name, merged, kind == "secrets", after.comments.get(name, {}))
        self.record(adoption)

    def _leave_edited(
        self, groups: t.Mapping[str, t.Sequence[str]], hosts: t.Sequence[str], old: Documents, new: Documents, file: str
    ) -> None:
        """Leaves out of `new` what would override a value of a group that the operator edited, and that hosts no longer have in common."""
        inventory = new.get("inventory.yml", {"all": {"hosts": {}}})["all"]["hosts"]
        labels = [f"group_vars/{label}" for label in groups]
        for group, narrower, names in (
            ("group_vars/all", labels, hosts),
            *((f"group_vars/{label}", [], names) for label, names in groups.items()),
        ):
            path = f"{group}/{file}"
            there, wanted = self._load(path) or {}, new.get(path, {})
            edited = [
                key for key, value in old.get(path, {}).items() if key not in wanted and there.get(key, value) != value
            ]
            documents = [
                new.get(f"{folder}/{file}", {}) for folder in (*narrower, *(f"host_vars/{name}" for name in names))
            ]
            for document in (*documents, *(inventory.get(name, {}) for name in names)):
                for key in edited:
                    document.pop(key, None)

    def record(self, adoption: Adoption) -> None:
        """Plans the record alone."""
        record = {"hosts": adoption.hosts, "report": adoption.report}
        for name, document in (("secrets.yml", adoption.secrets), ("record.yml", record)):
            path = f"{RECORD}/{name}"
            if (self._load(path) or {}) != document:
                self._file(path, document, name == "secrets.yml", {})

    def _file(self, name: str, document: t.Mapping[str, t.Any], encrypt: bool, comments: t.Mapping[str, str]) -> None:
        before, encrypt = self._text_of(name), encrypt or self._is_encrypted(name)
        if not document:
            self.files.append(File(name, None, "" if encrypt else before, ""))
            return
        text = edited(before, document, comments)
        if not encrypt:
            self.files.append(File(name, text.encode(), before, text))
            return
        shown = "".join(f"{key}: {HIDDEN}\n" for key in document)
        self.files.append(File(name, self._vault.encrypt(text, self._secret), "", shown))

    def text(self, name: str, text: str) -> None:
        """Plan a file without secrets that each run writes as a whole; the owner's group may read it."""
        before = self._text_of(name)
        if before != text:
            self.files.append(File(name, text.encode(), before, text, 0o640))

    def write(self) -> None:
        """Writes the planned files, all or none: what a run leaves that is cut off, `complete` writes."""
        if self.files:
            todo = [[one.path, one.content and one.content.decode(), one.mode] for one in self.files]
            self._replace(_UNFINISHED, json.dumps(todo), 0o600)
            self.complete()

    def complete(self) -> None:
        """Writes what an earlier run has planned, and was cut off."""
        todo = json.loads(self._text_of(_UNFINISHED) or "[]")
        for name, text, mode in [*todo, [_UNFINISHED, None, 0]]:
            path = os.path.join(self._folder, name)
            if text is not None:
                self._replace(name, text, mode)
            elif os.path.exists(path):
                os.unlink(path)

    def _replace(self, name: str, text: str, mode: int) -> None:
        path = os.path.join(self._folder, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            files.replace(path, text.encode(), mode)
        except OSError as error:
            cure = "Correct that, and run adopt.yml again, which then writes all of it"
            raise WaError(
                error.filename or path, error.strerror or "not written", "a path that can be written", cure
            ) from None

    def _load(self, name: str) -> t.Any:
        """Returns the document of a file, a mapping; None if there is no file."""
        path = os.path.join(self._folder, name)
        if not os.path.exists(path):
            return None
        try:
            document = yaml.load(self._open(path), Loader=Loader) or {}
        except yaml.YAMLError:  # its text quotes the file, which may hold secrets
            document = None
        if not isinstance(document, dict):
            raise WaError(path, "no mapping in YAML", "an inventory's file", "Put it right, or name another folder")
        return document

    def _is_encrypted(self, name: str) -> bool:
        path = Path(self._folder, name)
        return path.exists() and is_encrypted(path.read_bytes())

    def _text_of(self, name: str) -> str:
        path = os.path.join(self._folder, name)
        return self._open(path) if os.path.exists(path) else ""


def _hosts(group: t.Any) -> set[str]:
    """Returns the hosts of a group of an inventory, and of its children."""
    found = group if isinstance(group, dict) else {}
    return {*(found.get("hosts") or {})}.union(*map(_hosts, (found.get("children") or {}).values()))


_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_]*):(?:\s|$)")


def edited(text: str, document: t.Mapping[str, t.Any], comments: t.Mapping[str, str]) -> str:
    """Returns a file with the values of `document`: the operator's lines and comments stay where a value stays."""
    head, blocks = _blocks(text)
    if head is None:
        head, blocks = HEAD, {}
    parts = [head]
    for key in [*(key for key in blocks if key in document), *(key for key in document if key not in blocks)]:
        old = blocks.get(key, "")
        if old and yaml.load(old, Loader=Loader) == {key: document[key]}:
            parts.append(old)
            continue
        above = "".join(itertools.takewhile(lambda line: not _KEY.match(line), old.splitlines(keepends=True)))
        if not old and key in comments:
            above = f"# {comments[key]}\n"
        parts.append(above + dump({key: document[key]}))
    return "".join(parts)


def _blocks(text: str) -> tuple[str | None, dict[str, str]]:
    """Returns what is above the first key of a mapping, and the lines of each key with the comments above it; None for another form."""
    head, blocks, pending, key = "", dict[str, str](), "", ""
    for line in (f"{one}\n" for one in text.removesuffix("\n").split("\n")):
        found = _KEY.match(line)
        if found and found[1] not in blocks:
            key = found[1]
            blocks[key], pending = pending + line, ""
        elif line.startswith("#") or not line.strip() or (not key and line.strip() == "---"):
            # A comment at the beginning of the file is about the file.
            if not key:
                head += line
            else:
                pending += line
        elif key and line[0] in " \t-":
            blocks[key] += pending + line
            pending = ""
        else:
            return None, {}
    if key:
        blocks[key] += pending
    return (head, blocks) if key else (None, {})


_MISSING: t.Any = object()


def merge(there: t.Any, before: t.Any, wanted: t.Any, where: str, kept: list[str]) -> t.Any:
    """Returns a value of a file: the operator's own keys and edits stay, the edits are added to `kept`.

    `there` is what the file has, `before` what the last adoption wrote, `wanted` what this one has found.
    """
    if isinstance(there, dict) and isinstance(wanted, dict):
        known = before if isinstance(before, dict) else {}
        inner = "" if where.endswith(": ") else "."
        found = {
            key: merge(
                there.get(key, _MISSING),
                known.get(key, _MISSING),
                wanted.get(key, _MISSING),
                f"{where}{inner}{key}",
                kept,
            )
            for key in {**there, **wanted}
        }
        return {key: value for key, value in found.items() if value is not _MISSING}
    # What the operator has removed comes back when it changes on the host.
    if there in (wanted, before) or (there is _MISSING and before != wanted):
        return wanted
    if before is not _MISSING or wanted is not _MISSING:
        kept.append(where)
    return there
