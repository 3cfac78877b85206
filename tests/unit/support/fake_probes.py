# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fake probes of the media volume in containers, for FakeDocker.on_exec: they share a folder, and each may fail."""

from __future__ import annotations

import typing as t
from pathlib import Path

from fake_docker import FakeExec


class FakeProbes:
    """`programs` replaces a container's probe. `orders` has the orders that each container received."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: dict[str, t.Callable[[FakeExec], int]] = {}
        self.orders: dict[str, list[str]] = {}
        self.commands: list[FakeExec] = []

    def __call__(self, command: FakeExec) -> int:
        self.commands.append(command)
        name = command.container["Name"]
        return self.programs.get(name, self.probe)(command)

    def probe(
        self,
        command: FakeExec,
        first: str = "user\t1000\n",
        wrote: str = "wrote\t\tok\n",
        more: str = "",
        folder: Path | None = None,
        taken: bool = True,
        left: str = "",
    ) -> int:
        """Write a file in the folder, follow the orders, and remove the file, like the real script."""
        folder = folder or self.folder
        _path, now, token, write = command.argv[-4:]
        own = folder / f".wa-probe-{now}-{token}"
        if "ok" in wrote and write:
            own.write_text(token)
        command.write(f"{first}{wrote}{more}ready\n")
        orders = self.orders.setdefault(command.container["Name"], [])
        while (line := command.read_line()) not in ("end\n", ""):
            orders.append(line.split()[0])
            other = folder / f".wa-probe-{now}-{line.split()[1]}"
            if line.startswith("drop"):
                other.unlink(missing_ok=True)
                command.write("done\n")
            else:
                found = "ok" if other.exists() else f"cat: {other}: No such file or directory"
                command.write(f"read\t\t{found}\ndone\n")
        if taken:
            own.unlink(missing_ok=True)
        command.write(f"{left}gone\n")
        return 0
