# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what the Compose files of containers declare. Their only reader is `docker compose config`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.waba.onprem.plugins.module_utils._compose import call, messages
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine

_TIMEOUT = "30"  # seconds, for a local command; a comparison has three, and 180 s for all
Document = dict[str, t.Any]
Run = t.Callable[..., tuple[int, str, str]]  # AnsibleModule.run_command


def complete_limits(services: t.Mapping[str, Document]) -> None:
    """Adds the limits of 0 that `docker compose config` leaves out (`ulimits: {core: 0}`), without which it refuses its own output."""
    for body in services.values():
        for name, limit in (body.get("ulimits") or {}).items():
            if isinstance(limit, dict) and "single" not in limit:
                body["ulimits"][name] = {"soft": 0, "hard": 0, **limit}


# Replaces the colons of `${NAME:-value}` and `${NAME:?error}`: Compose splits a mount at them also without interpolation.
_COLON = "\ua789"
_BRACED = re.compile(r"\$\{[^}\n]*\}")


@contextlib.contextmanager
def uninterpolated(paths: t.Iterable[str]) -> t.Iterator[dict[str, str]]:
    """Returns private temporary copies, by path, of Compose files that `config --no-interpolate` would misread.

    What Compose prints of them goes through `as_written`.
    """
    texts = {}
    for path in paths:
        with contextlib.suppress(OSError, UnicodeDecodeError):  # of which Compose has words
            text = core_files.read_text(path)
            masked = _BRACED.sub(lambda variable: variable[0].replace(":", _COLON), text)
            texts.update({path: masked} if masked != text else {})
    with core_files.private_copies(texts) as copies:
        yield copies


def as_written(output: str, copies: t.Mapping[str, str]) -> str:
    """Returns what Compose prints of `uninterpolated` files with what the files have."""
    for path, place in sorted(copies.items(), key=lambda copy: -len(copy[1])):
        output = output.replace(place, path)
    return output.replace(_COLON, ":")


def environment(body: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns a service's `environment` as a mapping; without interpolation it is as it is written. None for what is passed through."""
    found = body.get("environment") or {}
    if isinstance(found, t.Mapping):
        return dict(found)
    pairs = (str(line).partition("=") for line in found)
    return {name: value if equals else None for name, equals, value in pairs}


@dataclass(frozen=True)
class Files:
    """The Compose files that a container was created from, in their order; none for a container outside Compose."""

    project: str
    folder: str  # as Compose recorded it; may be empty
    paths: tuple[str, ...]
    env_files: tuple[str, ...] = ()  # with the variables of the files; none for `.env` of the folder

    @classmethod
    def of(cls, labels: t.Mapping[str, str]) -> Files:
        """Returns the files in a container's labels."""
        project, folder = (labels.get(name, "") for name in (docker_engine.PROJECT_LABEL, docker_engine.FOLDER_LABEL))
        given = (
            os.path.join(folder, path) for path in labels.get(docker_engine.ENV_FILES_LABEL, "").split(",") if path
        )
        variables = tuple(path for path in given if os.path.exists(path))
        return cls(project, folder, tuple(docker_engine.compose_files(labels)), variables)

    @property
    def base(self) -> str:
        """Returns the folder of relative paths."""
        return self.folder or os.path.dirname(self.paths[0])


def config(
    run: Run, files: Files, *options: str, copies: t.Mapping[str, str] | None = None, data: str | None = None
) -> Document:
    """Returns what `docker compose config` prints of the files, of which `copies` are read for some. Raises WaError with Compose's words."""
    there = copies or {}
    paths, env_files = ([there.get(one, one) for one in some] for some in (files.paths, files.env_files))
    where = call.options(files.project, files.base, paths, env_files, ["*"])
    command = ["timeout", _TIMEOUT, "docker", "compose", *where, "config", "--format=json", *options]
    try:
        environment = {"PWD": files.base}  # as in `program`
        code, output, complaint = run(command, data=data, environ_update=environment, handle_exceptions=False)
        if code == 0:
            document = t.cast("Document", json.loads(as_written(output, there)))
            complete_limits(document.get("services") or {})
            return document
        found = messages.one_line(as_written(complaint, there)) or f"exit status {code}"
    except (OSError, ValueError) as error:
        found = f"{type(error).__name__} of docker compose"
    raise WaError(", ".join(files.paths), f"docker compose config: {found}", "files that Compose can read")


def written(run: Run, files: Files) -> Document:
    """Returns what `config` does, with variables as they are written: Compose does not fail if one is not set.

    `env_file` is left, too, which is otherwise merged into `environment` (tested with Compose 2.26 and 2.40).
    """
    with uninterpolated(files.paths) as copies:
        return config(run, files, "--no-interpolate", copies=copies)


class Reader:
    """Reads Compose files, each set of them once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._documents: dict[tuple[Files, bool], Document | WaError] = {}

    def document(self, files: Files, interpolated: bool = True) -> Document:
        """Returns the merged files as `config` does, or `written` if not `interpolated`. Raises WaError with Compose's words."""
        key = files, interpolated
        if key not in self._documents:
            try:
                self._documents[key] = (config if interpolated else written)(self._run, files)
            except WaError as error:
                self._documents[key] = error
        found = self._documents[key]
        if isinstance(found, WaError):
            raise found
        return found

    def environment(self, files: Files, service: str) -> tuple[list[str], list[str]]:
        """Returns the keys of a service's `environment`, and its env files in their order. Raises WaError as `document` does."""
        body = (self.document(files, interpolated=False).get("services") or {}).get(service) or {}
        return [*environment(body)], [self._path(files, one["path"]) for one in body.get("env_file") or []]

    def _path(self, files: Files, path: str) -> str:
        """Returns a path with its variables replaced by Compose; unchanged if one is not set."""
        if "$" not in path:
            return path
        if path.startswith(f"{files.base}/$"):  # Compose takes a path that begins with a variable for a relative one
            path = path[len(files.base) + 1 :]
        document = {"services": {"any": {"image": "any", "labels": {"path": path}}}}
        try:
            found = config(self._run, replace(files, folder=files.base, paths=("-",)), data=json.dumps(document))
        except WaError:
            return path
        given = str(found["services"]["any"]["labels"]["path"]).replace("$$", "$")
        return os.path.normpath(os.path.join(files.base, given))
