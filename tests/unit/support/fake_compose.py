# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake `docker compose config`, `up` and `version`, in place of `run_command`."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from pathlib import Path

import yaml

from ansible_collections.waba.onprem.plugins.module_utils._compose import call

_VARIABLE = re.compile(r"(?<!\$)\$(?:\{(?P<name>\w+)(?:(?P<sign>:?[-?])(?P<rest>[^}]*))?\}|(?P<plain>\w+))")


def digest(body: t.Mapping[str, t.Any]) -> str:
    """The hash of a resolved service, which differs for any change."""
    return hashlib.sha256(json.dumps(_normal(body), sort_keys=True).encode()).hexdigest()


def _normal(body: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """A service with its networks as a mapping, as Compose prints it."""
    networks = body.get("networks")
    return {**body, **({"networks": dict.fromkeys(networks)} if isinstance(networks, list) else {})}


class Refused(Exception):
    """Why Compose refuses a document."""


class FakeCompose:
    """Resolves documents: merges files, sets variables, reads env files and doubles their dollar signs.

    With `complaint` it refuses all documents. `environment` is what each call has to set in its environment, with the folder.
    """

    def __init__(self, version: str = "2.40.3-3", environment: dict[str, str] | None = None) -> None:
        self.version = version
        self.complaint = ""
        self.environment = call.ENVIRONMENT if environment is None else environment
        self.commands: list[list[str]] = []
        self.up_complaint = ""
        self.ups: list[list[str]] = []  # the files, and the words after `up`, of each call
        self.documents: list[t.Any] = []  # the standard input of each call, or its only file
        self.env_files: list[Path] = []  # the env files that were read
        self.interpolation: list[tuple[Path, str]] = []  # the files with variables that were given, with their texts

    def __call__(
        self,
        command: list[str],
        data: str | None = None,
        environ_update: dict[str, str] | None = None,
        handle_exceptions: bool = True,
    ) -> tuple[int, str, str]:
        if command[0] != "timeout" or "compose" not in command:
            raise OSError(2, "No such file or directory")
        given = dict(environ_update or {})
        folder = given.pop("PWD")
        assert (given, handle_exceptions) == (self.environment, False)
        assert _values(command, "--project-directory") in ([folder], [])
        self.commands.append(command)
        if "up" in command:
            self.ups.append([*_values(command, "--file"), *command[command.index("up") + 1 :]])
            return (1, "", self.up_complaint) if self.up_complaint else (0, "", "")
        if command[-2:] == ["version", "--short"]:
            return 0, f"v{self.version}\n", ""
        if self.complaint:
            return 15, "", self.complaint
        try:
            document = self._config(command, data)
        except Refused as error:
            return 15, "", f"{error}\n"
        if command[-2:] == ["--hash", "*"]:
            return 0, "".join(f"{name} {digest(body)}\n" for name, body in document["services"].items()), ""
        return 0, json.dumps(document, ensure_ascii=False), ""

    def _config(self, command: t.Sequence[str], data: str | None) -> dict[str, t.Any]:
        files = _values(command, "--file")
        assert (data is not None) == ("-" in files), "the standard input is read for the file - only"
        folder = Path(_values(command, "--project-directory")[0])
        given = [_load(data or "" if file == "-" else _read(Path(file))) for file in files]
        self.documents += [given[files.index("-")]] if "-" in files else given if len(given) == 1 else []
        merged: dict[str, t.Any] = {}
        for one in given:
            merged = _merge(merged, one)
        if "--no-interpolate" in command:
            return merged
        merged = _interpolate(merged, self._variables(folder, _values(command, "--env-file")))
        words = command[command.index("config") + 1 :]
        selected = [word for word in words if not word.startswith("--") and word not in ("json", "*")]
        return self.resolve(_select(merged, selected, _values(command, "--profile")), folder)

    def _variables(self, folder: Path, paths: t.Sequence[str]) -> dict[str, str]:
        files = [Path(path) for path in paths] or [path for path in [folder / ".env"] if path.exists()]
        variables: dict[str, str] = {}
        for path in files:
            text = _read(path)
            self.interpolation += [(path, text)] if paths else []
            lines = [line.removeprefix("export ") for line in text.splitlines() if not line.startswith("#")]
            variables.update(
                (key, value.strip("'\"")) for key, equals, value in (one.partition("=") for one in lines) if equals
            )
        return variables

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
            services[name] = _normal({**body, **({"environment": environment} if environment else {})})
        return {**document, "services": services}


def _values(command: t.Sequence[str], option: str) -> list[str]:
    """The values of an option, written as `--file PATH` or `--file=PATH`."""
    pairs = zip(command, [*command[1:], ""])
    return [
        following if word == option else word.partition("=")[2]
        for word, following in pairs
        if word == option or word.startswith(f"{option}=")
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refused(f"open {path}: no such file or directory") from None


def _load(text: str) -> dict[str, t.Any]:
    found = yaml.safe_load(text)
    if not isinstance(found, dict):
        raise Refused("Top-level object must be a mapping")
    return found


def _merge(below: t.Any, above: t.Any) -> t.Any:
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}


def _interpolate(value: t.Any, variables: t.Mapping[str, str]) -> t.Any:
    if isinstance(value, dict):
        return {key: _interpolate(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [_interpolate(one, variables) for one in value]

    def one(match: re.Match[str]) -> str:
        name, sign = match["name"] or match["plain"], match["sign"] or ""
        if name in variables and (variables[name] or not sign.startswith(":")):
            return variables[name]
        if sign.endswith("?"):
            raise Refused(f"required variable {name} is missing a value: {match['rest']}")
        return match["rest"] or ""

    return _VARIABLE.sub(one, value) if isinstance(value, str) else value


def _select(document: dict[str, t.Any], selected: t.Sequence[str], profiles: t.Sequence[str]) -> dict[str, t.Any]:
    """The document with the selected services, those that they depend on, and those of the enabled profiles."""
    services = document.get("services", {})
    for name in selected:
        if name not in services:
            raise Refused(f"no such service: {name}")
    wanted = list(selected) or [
        name for name, body in services.items() if not body.get("profiles") or {"*", *body["profiles"]} & {*profiles}
    ]
    for name in wanted:  # which grows
        wanted += [one for one in services[name].get("depends_on", ()) if one not in wanted]
    return {**document, "services": {name: body for name, body in services.items() if name in wanted}}
