# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at a host: each concern compared with its desired state by its own rules, in one process; nothing is changed."""

from __future__ import annotations

import os
import traceback
import typing as t

from ansible.module_utils.basic import FILE_COMMON_ARGUMENTS
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.waba.onprem.plugins.module_utils._concern import (
    automatic_gc,
    client,
    db_env,
    host,
    log_cleanup,
    media_volume,
)
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import Unreachable

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

SPECS: dict[str, dict[str, dict[str, t.Any]]] = {
    "host": host.SPEC,
    "media_volume": media_volume.SPEC,
    "db_env": {**FILE_COMMON_ARGUMENTS, **db_env.SPEC},
    "client": {**docker_options.ARGUMENT_SPEC, **client.SPEC},
    "log_cleanup": log_cleanup.SPEC,
    "automatic_gc": automatic_gc.SPEC,
}
PATIENCE = "15s"  # for an answer of the Docker Engine; one that hangs must not hold up a fleet
_DEFECTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
Desired = t.Mapping[str, t.Mapping[str, t.Any]]


class Snapshot(Docker):
    """The engine as it was at one moment: each question is asked once."""

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._answers: dict[tuple[str, str], t.Any] = {}
        super().__init__(params)

    def request(
        self,
        subject: str,
        method: str,
        path: str,
        query: t.Mapping[str, t.Any] | None = None,
        body: t.Any = None,
        headers: t.Mapping[str, str] | None = None,
    ) -> t.Any:
        """As `Docker.request`; what only asks is remembered."""
        if method != "GET":
            return super().request(subject, method, path, query, body, headers)
        key = (path, str(query))
        if key not in self._answers:
            self._answers[key] = super().request(subject, method, path, query, body, headers)
        return self._answers[key]


class Part:
    """The module as one concern sees it: with the concern's options, and always in check mode. All else is the module's."""

    check_mode = True

    def __init__(self, module: AnsibleModule, params: dict[str, t.Any]) -> None:
        self._module, self.params, self.warnings = module, params, list[str]()

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._module, name)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)


class Look:
    """One look. `probe`: whether containers are asked about the media volume, `write`: whether they write probe files into it.

    `compare_record`: whether what the last whole run has recorded counts, which a run only does when it has ended well.
    """

    def __init__(self, module: AnsibleModule, probe: bool, write: bool, compare_record: bool = True) -> None:
        self.module, self.probe, self.write, self.compare_record = module, probe, write, compare_record
        self.engine: Docker | None = None
        self.engine_error = ""
        self.redact = redact.Redactor()
        self.unmanaged: list[dict[str, t.Any]] = []
        self.stale: set[str] = set()  # containers that were created with another db.env
        self.hashes: dict[str, str] = {}  # Compose's hash of each service of the project
        self.marker: str | None = None  # what the marker file in the media volume holds; None when nobody looked

    def run(self, desired: Desired) -> dict[str, Finding]:
        """What was found of each concern in `desired`."""
        parts = {name: self._part(name, options) for name, options in desired.items()}
        options = next(
            (one.params for one in parts.values() if isinstance(one, Part) and "docker_timeout" in one.params), {}
        )
        try:
            self.engine = Snapshot({**options, "docker_timeout": PATIENCE}) if options else None
        except WaError as error:
            self.engine_error = str(error)
        found = {}
        for name, part in parts.items():
            if isinstance(part, Finding):
                found[name] = part
                continue
            try:
                finding = getattr(self, f"_{name}")(part)
            except WaError as error:
                finding = Finding(error=str(error))
            except OSError as error:
                finding = Finding(error=str(WaError(error.filename or name, error.strerror or str(error))))
            except _DEFECTS as error:  # it hides no other concern; its text may quote a secret
                place = traceback.extract_tb(error.__traceback__)[-1]
                finding = Finding(
                    error=f"{name}: {type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}."
                )
            finding.warnings += part.warnings
            found[name] = finding
        if "db_env" in found and "client" in found and found["client"].kept:
            found["db_env"].pending += found["db_env"].restarts
            found["db_env"].restarts = []
        return found

    def _part(self, name: str, options: t.Mapping[str, t.Any]) -> Part | Finding:
        """The module with one concern's options, or why they are refused."""
        checked = ArgumentSpecValidator(SPECS[name]).validate(dict(options))
        if checked.error_messages:
            # Messages quote values; those of secrets are none of them to show.
            names = sorted(name for name, one in SPECS[name].items() if one.get("no_log"))
            secrets = [options[one] for one in names if options.get(one)]
            return Finding(error=redact.redact("; ".join(checked.error_messages), secrets))
        self.module.no_log_values.update(checked._no_log_values)
        return Part(self.module, checked.validated_parameters)

    def _docker(self) -> Docker:
        if self.engine is None:
            raise WaError("Docker Engine", "does not answer")  # why, the host's own concern says
        return self.engine

    def _host(self, part: t.Any) -> Finding:
        return host.observe(part, self.engine_error)

    def _media_volume(self, part: t.Any) -> Finding:
        engine = self._docker()
        params, result = media_volume.prepare(part)
        volume = media_volume.MediaVolume(params, result, engine)
        try:
            volume.run()
            actual = engine.volume(volume.name)
            if self.probe and actual and not result.changed and any(one.running for one in volume.containers):
                volume.prove(actual, self.write)
        except Unreachable:
            raise
        except WaError as error:  # a volume that is of no use is none that is in sync
            return Finding(changes=[redact.mask_mount(str(error))])
        self.marker = result.values.get("marker")
        return Finding(changes=list(result.actions))

    def _db_env(self, part: t.Any) -> Finding:
        result = Result(part, self.redact)
        part.params["check_connection"] = "false"  # the role logs in before it writes; a look locks no account
        self.redact.add(str(value) for value in (part.params["password"], part.params["login_password"]) if value)
        self.redact.add(str(value) for value in (part.params["extra_secrets"] or {}).values())
        db_env.run(part, result, self._docker if part.params["containers"] else None)
        found = Finding(changes=list(result.actions))
        path = part.params["path"]
        for one in result.values["stale_containers"]:
            keys = ", ".join(one["stale_keys"])
            self.stale.add(one["name"])
            found.restarts.append(f"{one['name']} was created with another {keys} than {path} holds")
        others: dict[str, list[str]] = {}
        for one in result.values["undeclared_containers"]:
            for key in one["undeclared_keys"]:
                others.setdefault(key, []).append(one["name"])
        found.pending += [
            f"{path} holds {key}, which the inventory does not declare; it is not in force in {', '.join(names)}. Declare it in "
            "wa_db_env_extra, or remove the line"
            for key, names in sorted(others.items())
        ]
        if self.module._diff and result._diff and result.changed:
            found.diff.append(result._diff)
        return found

    def _client(self, part: t.Any) -> Finding:
        engine = self._docker()
        # Hidden from logs and from what -vvv shows; a difference hides what is secret in it.
        self.module.no_log_values.difference_update({one["content"] for one in part.params["files"]})
        self.unmanaged = client.unmanaged(engine, part.params["project"], part.params["neighbours"])
        self.hashes = client.hashes(engine, part.params["project"])
        return client.observe(engine, part.params, self.module._diff, self.compare_record, self.stale)

    def _log_cleanup(self, part: t.Any) -> Finding:
        return log_cleanup.observe(part.params)

    def _automatic_gc(self, part: t.Any) -> Finding:
        return automatic_gc.observe(part.params)
