# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake `docker compose config` and `docker compose version`, in place of `run_command`."""

from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path


def digest(body: t.Mapping[str, t.Any]) -> str:
    """The hash of a resolved service, which differs for any change."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class FakeCompose:
    """Resolves JSON documents: reads env files and doubles their dollar signs. With `complaint` it refuses all documents."""

    def __init__(self, version: str = "2.40.3-3") -> None:
        self.version = version
        self.complaint = ""
        self.commands: list[list[str]] = []
        self.documents: list[t.Any] = []  # the standard input of each call
        self.env_files: list[Path] = []  # the env files that were read

    def __call__(
        self,
        command: list[str],
        data: str | None = None,
        environ_update: dict[str, str] | None = None,
        handle_exceptions: bool = True,
    ) -> tuple[int, str, str]:
        if command[0] != "timeout" or "compose" not in command:
            raise OSError(2, "No such file or directory")
        assert (environ_update, handle_exceptions) == ({"COMPOSE_PROFILES": ""}, False)
        self.commands.append(command)
        if self.complaint:
            return 15, "", self.complaint
        if command[-2:] == ["version", "--short"]:
            return 0, f"v{self.version}\n", ""
        file = command[command.index("--file") + 1]
        given = json.loads(data or "" if file == "-" else Path(file).read_text(encoding="utf-8"))
        self.documents.append(given)
        document = self.resolve(given, Path(command[command.index("--project-directory") + 1]))
        if command[-2:] == ["--hash", "*"]:
            return 0, "".join(f"{name} {digest(body)}\n" for name, body in document["services"].items()), ""
        return 0, json.dumps(document), ""

    def resolve(self, document: t.Any, folder: Path) -> dict[str, t.Any]:
        """Resolve a document as `config` prints it."""
        services = {}
        for name, given in document.get("services", {}).items():
            body = dict(given)
            files = body.pop("env_file", [])
            environment: dict[str, t.Any] = {}
            for one in files if isinstance(files, list) else [files]:
                self.env_files.append(folder / (one["path"] if isinstance(one, dict) else one))
                lines = self.env_files[-1].read_text(encoding="utf-8").splitlines()
                environment.update(line.replace("$", "$$").partition("=")[::2] for line in lines)
            environment.update(body.pop("environment", {}))
            services[name] = {**body, **({"environment": environment} if environment else {})}
        return {**document, "services": services}
