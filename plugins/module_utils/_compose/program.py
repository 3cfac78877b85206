# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs `docker compose` for one project: `config`, its hashes, and `up`."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field
from functools import cached_property

from ansible_collections.waba.onprem.plugins.module_utils._compose import call, messages
from ansible_collections.waba.onprem.plugins.module_utils._compose.declared import complete_limits
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

_TIMEOUT = "60"  # seconds, for a local command
_UP_TIMEOUT = "3600"  # seconds: images may be pulled
Document = dict[str, t.Any]
Run = t.Callable[..., tuple[int, str, str]]  # AnsibleModule.run_command


@dataclass
class Compose:
    """`docker compose` with the files of one project. Every method raises WaError with Compose's words, without secrets."""

    run: Run
    host: str  # of the engine
    project: str
    folder: str
    # In their order; `-` is the place of the collection's file, which is not written yet, and has the content `document`.
    files: t.Sequence[str] = ("-",)
    document: Document = field(default_factory=dict)
    interpolation: t.Sequence[str] = ()  # files with the variables of the Compose files
    profiles: t.Sequence[str] = ()
    secrets: list[str] = field(default_factory=list, repr=False)  # read so far, to be redacted in messages

    @property
    def rendered(self) -> bool:
        """Whether the collection's file is all that there is."""
        return tuple(self.files) == ("-",)

    def _call(self, *arguments: str, data: str | None = None, timeout: str = _TIMEOUT, failure: str = "") -> str:
        command = ["timeout", timeout, "docker", "--host", self.host, "compose", *arguments]
        environment = {**call.ENVIRONMENT, "PWD": self.folder}
        code, output, complaint = self.run(command, data=data, environ_update=environment, handle_exceptions=False)
        if code == 0:
            return output
        words = (messages.one_line(text, self.secrets) for text in (complaint, output))
        said = next(filter(None, words), f"exit status {code}")
        if failure:
            raise WaError.of(f"{failure}: {said}")
        raise WaError(
            f"Compose file of project {self.project}",
            f"Compose refuses it: {said}",
            "a file that docker compose config takes",
        )

    @cached_property
    def version(self) -> str:
        """Returns the version of the installed Compose."""
        return self._call("version", "--short").strip().lstrip("v")

    def config(self, *arguments: str) -> str:
        """Returns what `config` prints of the files."""
        where = call.options(self.project, self.folder, self.files, self.interpolation, self.profiles)
        data = json.dumps(self.document) if "-" in self.files else None
        return self._call(*where, "config", *arguments, data=data)

    def resolved(self, services: t.Sequence[str]) -> Document:
        """Returns the services, with those that they depend on: interpolated, with profiles applied and env files read."""
        found = t.cast("Document", json.loads(self.config("--format", "json", *services)))
        complete_limits(found.get("services") or {})
        self.secrets += [
            str(value)
            for service in (found.get("services") or {}).values()
            for key, value in (service.get("environment") or {}).items()
            if value and redact.is_secret(key)
        ]
        return found

    def hashes(self, resolved: Document) -> dict[str, set[str]]:
        """Returns the hashes of each service as they are in the labels of its containers.

        Compose before 2.40 gives a service another one if it is made without those that it depends on. `config --hash` does not read env
        files, so it gets the resolved document (tested with 2.26 and 2.40), in which a service was enabled by a profile, or by being named.
        """
        where = call.options(self.project, self.folder, ["-"], (), ["*"])
        services = resolved.get("services") or {}
        alone = {
            name: {key: value for key, value in body.items() if key != "depends_on"} for name, body in services.items()
        }
        found: dict[str, set[str]] = {}
        for bodies in (services, alone) if alone != services else (services,):
            text = self._call(*where, "config", "--hash", "*", data=json.dumps({**resolved, "services": bodies}))
            for name, digest in (line.split() for line in text.splitlines() if line.strip()):
                found.setdefault(name, set()).add(digest)
        return found

    def up(self, files: t.Sequence[str], services: t.Sequence[str], *options: str) -> None:
        """Calls `up` for services with these files, which are written; a missing image is pulled."""
        where = call.options(self.project, self.folder, files, self.interpolation, self.profiles)
        given = ("--detach", "--quiet-pull", "--pull=missing", *options)
        failure = f"the client in {self.folder} did not come up"
        self._call("--progress=quiet", *where, "up", *given, "--", *services, timeout=_UP_TIMEOUT, failure=failure)
