# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab host of these tests, its snapshots, and the types of the fixtures."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from engine import Engine
from observer import Lab

ROOT = Path(__file__).resolve().parents[2]
NAME, HOST = "over-ssh", "h1"
FOLDER, PROJECT = "/srv/whatsapp/biz", "biz"  # of the layout `single`


@dataclass
class Site:
    """The lab, its Engine, and its passwords."""

    lab: Lab
    engine: Engine
    secrets: dict[str, str] = field(repr=False)

    def snapshot(self) -> list[str]:
        """Everything that a module could change on the host, one line each."""
        return [*self.engine.snapshot(), *self.lab.files()]

    def stat(self, path: str) -> str:
        """Mode and owner of a file, empty if there is no file."""
        return self.lab.host(f"stat --format '%a %U:%G' '{path}' 2>/dev/null || true")

    def messages(self) -> int:
        """The number of the client's messages."""
        return int(self.lab.lab("sql", "SELECT COUNT(*) FROM messageStore.messages").split()[-1])


def start_client(lab: Lab, password: str) -> None:
    """Start the client by hand, without the collection."""
    settings = {"REGISTRY": "registry.lab:5000/whatsapp", "VERSION": "2.51.2", "DB_HOST": "mariadb.lab", "PREFIX": ""}
    lines = [f"export {key}='{value}'" for key, value in {**settings, "DB_PASSWORD": password}.items()]
    by_hand = (ROOT / "tests/lab/layouts/by-hand").read_text(encoding="utf-8")
    lab.host("\n".join([*lines, "set -- single", by_hand]))


class Module(t.Protocol):
    """`run("wa_info", True, gather=["containers"])`: the module's result on the host."""

    def __call__(self, module: str, check: bool = False, /, **options: t.Any) -> dict[str, t.Any]: ...


class Converge(t.Protocol):
    """`converge("wa_remove", files=[...])`: the result of the real run, between a run in check mode and a repeated run."""

    def __call__(self, module: str, /, **options: t.Any) -> dict[str, t.Any]: ...
