# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares each concern of a host with its desired state in one process. Nothing is changed."""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
import traceback
import typing as t
from functools import cached_property

from ansible.module_utils.basic import FILE_COMMON_ARGUMENTS
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._deployment import hold, topology
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.images import EXPIRY_LABEL
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import Unreachable

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.waba.onprem.plugins.module_utils._concern.figures import Figures
    from ansible_collections.waba.onprem.plugins.module_utils._concern.health import Session

CONCERNS = ("host", "media_volume", "db_env", "client", "database", "log_cleanup", "health", "automatic_gc")
_OF_FILES = ("db_env", "database")  # with the options of Ansible's file modules
ENGINE_TIMEOUT = "15s"  # time-out of each Docker request: an engine that hangs must not delay other hosts
# They wait for the database and for the client's API, so they are asked beside the others.
_OF_DATABASE = ("database",)
_OF_API = ("health", "automatic_gc")
_DEFECTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
Desired = t.Mapping[str, t.Mapping[str, t.Any]]


def spec(concern: str) -> dict[str, dict[str, t.Any]]:
    """Returns the options of a concern. Each is imported where it is compared: loading all takes longer than one, which is often alone."""
    rules = importlib.import_module(f"ansible_collections.waba.onprem.plugins.module_utils._concern.{concern}")
    return {**(FILE_COMMON_ARGUMENTS if concern in _OF_FILES else {}), **rules.SPEC}


class Snapshot(Docker):
    """A Docker client that caches each GET request, so that all concerns see one state.

    An engine that has not answered once is not asked again: each request would cost its time-out.
    """

    def __init__(self, params: t.Mapping[str, t.Any]) -> None:
        self._answers: dict[str, t.Any] = {}
        self._one = threading.Lock()
        self._unreachable: Unreachable | None = None
        super().__init__(params)

    def request(self, subject: str, method: str, path: str, *more: t.Any, **options: t.Any) -> t.Any:
        """Returns the result of `Docker.request`; GET requests are cached."""
        if method != "GET":
            return super().request(subject, method, path, *more, **options)
        key = f"{path} {more} {options}"
        with self._one:
            if self._unreachable:
                raise self._unreachable
            if key not in self._answers:
                try:
                    self._answers[key] = super().request(subject, method, path, *more, **options)
                except Unreachable as error:
                    self._unreachable = error
                    raise
            return self._answers[key]


class ConcernModule:
    """The module with the options of one concern, always in check mode. Other attributes are the module's."""

    check_mode = True

    def __init__(self, module: AnsibleModule, params: dict[str, t.Any]) -> None:
        self._module, self.params, self.warnings = module, params, list[str]()

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._module, name)

    def warn(self, text: str) -> None:
        """Records a warning."""
        self.warnings.append(text)


class HostComparison:
    """One comparison of a host. With `probe` containers check the media volume, with `write` by writing probe files.

    With `compare_record` the record of the last complete run is compared, too, with `asked` also the figures of `status.yml` are read.
    """

    def __init__(
        self,
        module: AnsibleModule,
        probe: bool,
        write: bool,
        compare_record: bool = True,
        asked: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        self.asked = asked  # options of `figures`, None if they are not asked for
        self.figures: dict[str, dict[str, t.Any]] = {}
        self.module, self.probe, self.write, self.compare_record = module, probe, write, compare_record
        self.engine: Docker | None = None
        self.engine_error = ""
        self.redact = redact.Redactor()
        # What the module returns beside the findings: who uses the client's database, and what it holds; the hold set by a file on the host;
        # whether a container of the project runs, and the first day on which it refuses to serve; the content of the marker file in the media
        # volume, None if it was not read; what the host lacks, and who has its lock; what is to be recorded when the run has ended well.
        self.values: dict[str, t.Any] = {
            "database": {},
            "hold": {},
            "lock": {},
            "runs": False,
            "expires_on": "",
            "unmanaged": [],
            "marker": None,
            "requirements": None,
            "record": {},
            "record_changed": False,
        }
        self.stale: set[str] = set()  # containers that were created with another db.env
        self.records: t.Callable[[], None] = lambda: None  # sets `record`, once the tables are known
        self.steps: dict[
            str, bool
        ] = {}  # whether one is to be removed, and whether one that is no Webapp is to be started

    @cached_property
    def session(self) -> Session:
        """The session with the client's API, which its concerns share."""
        from ansible_collections.waba.onprem.plugins.module_utils._concern.health import Session

        return Session(self.write)

    def run(self, desired: Desired) -> dict[str, Finding]:
        """Returns the finding of each concern in `desired`."""
        concerns = {name: self._validate(name, options) for name, options in desired.items()}
        options = next(
            (
                one.params
                for one in concerns.values()
                if isinstance(one, ConcernModule) and "docker_timeout" in one.params
            ),
            {},
        )
        try:
            self.engine = Snapshot({**options, "docker_timeout": ENGINE_TIMEOUT}) if options else None
        except WaError as error:
            self.engine_error = str(error)
        found = {name: Finding(error=f"{name}: not compared") for name in concerns}

        def find(names: t.Iterable[str]) -> None:
            for name in names:
                if name in concerns:
                    found[name] = self._finding(name, concerns[name])

        def ask_api() -> None:
            if not any(name in concerns for name in _OF_API):
                return
            find(_OF_API)
            if self.asked and isinstance(concerns.get("health"), ConcernModule):
                from ansible_collections.waba.onprem.plugins.module_utils._concern import health

                self.figures["api"] = health.figures(t.cast("ConcernModule", concerns["health"]).params, self.session)
            self.session.close()

        beside = [
            threading.Thread(target=find, args=(_OF_DATABASE,), daemon=True),
            threading.Thread(target=ask_api, daemon=True),
        ]
        reading = self._read_figures(options) if self.asked else None
        for thread in beside:
            thread.start()
        find([name for name in concerns if name not in (*_OF_DATABASE, *_OF_API)])
        for thread in beside:
            thread.join()
        if reading:
            self.figures.update(reading.collect())
            self.figures["database"] = self.values["database"].pop("figures", {})
        self.records()
        if "db_env" in found and "client" in found and found["client"].kept:
            found["db_env"].pending += found["db_env"].restarts
            found["db_env"].restarts = []
        return found

    def _read_figures(self, options: t.Mapping[str, t.Any]) -> Figures:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import figures

        registry = None
        with contextlib.suppress(WaError):  # the engine does not answer
            registry = Docker({**options, "docker_timeout": figures.REGISTRY_TIMEOUT})
        return figures.Figures(self.asked or {}, self.engine, registry, self.module.run_command)

    def _finding(self, name: str, concern: ConcernModule | Finding) -> Finding:
        """Returns the finding of one concern."""
        if isinstance(concern, Finding):
            return concern
        finding = self._observe(name, concern)
        finding.warnings += concern.warnings
        return finding

    def _observe(self, name: str, concern: ConcernModule) -> Finding:
        """Returns the finding of one concern; an error is one, too."""
        try:
            return t.cast("Finding", getattr(self, f"_{name}")(concern))
        except WaError as error:
            return Finding(error=str(error))
        except OSError as error:
            return Finding(error=str(WaError(error.filename or name, error.strerror or str(error))))
        except _DEFECTS as error:  # other concerns are still reported; the error's text may contain a secret
            place = traceback.extract_tb(error.__traceback__)[-1]
            return Finding(
                error=f"{name}: {type(error).__name__} in {os.path.basename(place.filename)}:{place.lineno}."
            )

    def _validate(self, name: str, options: t.Mapping[str, t.Any]) -> ConcernModule | Finding:
        """Returns the module with one concern's options, or a finding with the reason why they are invalid."""
        options_of = spec(name)
        checked = ArgumentSpecValidator(options_of).validate(dict(options))
        if checked.error_messages:
            # The validator's messages quote values, which may be secrets.
            names = sorted(name for name, one in options_of.items() if one.get("no_log"))
            secrets = [options[one] for one in names if options.get(one)]
            return Finding(error=redact.redact("; ".join(checked.error_messages), secrets))
        self.module.no_log_values.update(checked._no_log_values)
        return ConcernModule(self.module, checked.validated_parameters)

    def _docker(self) -> Docker:
        if self.engine is None:
            raise WaError("Docker Engine", "does not answer")  # the concern `host` reports the reason
        return self.engine

    def _host(self, concern: t.Any) -> Finding:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import host

        if concern.params["lock_file"]:
            self.values["hold"] = hold.read(topology.hold_file(concern.params["lock_file"]), time.time())
        found = host.observe(concern, self.engine_error)
        self.values.update(requirements=found.requirements, lock=found.lock)
        return found

    def _media_volume(self, concern: t.Any) -> Finding:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import media_volume

        engine = self._docker()
        params, result = media_volume.prepare(concern)
        volume = media_volume.MediaVolume(params, result, engine)
        try:
            volume.run()
            actual = engine.volume(volume.name)
            if self.probe and actual and not result.changed and any(one.running for one in volume.containers):
                volume.prove(actual, self.write)
        except Unreachable:
            raise
        except WaError as error:  # a volume that cannot be used is drifted
            return Finding(changes=[redact.mask_mount(str(error))])
        self.values["marker"] = result.values.get("marker")
        return Finding(changes=list(result.actions))

    def _db_env(self, concern: t.Any) -> Finding:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import db_env

        result = Result(concern, self.redact)
        # The role logs in before it writes; a comparison must not lock an account.
        concern.params["check_connection"] = "false"
        self.redact.add([str(concern.params["password"] or "")])
        self.redact.add(str(value) for value in (concern.params["extra_secrets"] or {}).values())
        db_env.run(concern, result, self._docker if concern.params["containers"] else None)
        found = Finding(changes=list(result.actions))
        path = concern.params["path"]
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

    def _client(self, concern: t.Any) -> Finding:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import client

        engine = self._docker()
        # The options are hidden in logs and with -vvv. Diffs have their own redaction, so the content itself is not a secret.
        self.module.no_log_values.difference_update(
            {one["content"] for one in (concern.params, *concern.params["files"])}
        )
        self.values["unmanaged"] = client.unmanaged(engine, concern.params["project"], concern.params["neighbours"])
        there = engine.services(concern.params["project"], concern.params["container_names"])
        running = [one for one, _record in there if one.running]
        # A container has the labels of its image.
        expiries = [one.labels[EXPIRY_LABEL] for one in running if one.labels.get(EXPIRY_LABEL)]
        self.values.update(runs=bool(running and concern.params["project"]), expires_on=min(expiries, default=""))
        finding, project = client.observe(
            engine, concern.params, self.module._diff, self.module.run_command, self.compare_record, self.stale
        )
        if project and finding.differs:
            steps = project.plan()
            webapps = {one.name for one in engine.client_containers(project.compose.project) if one.role == "web"}
            acting = [step for step in steps if step.action != "none"]
            self.steps = {
                "only_starts": bool(acting) and {step.action for step in acting} <= {"start", "unpause"},
                "starts_coreapp": any(step.container not in webapps for step in acting if step.action != "remove"),
                "recreates": any(step.action in ("recreate", "remove") for step in acting),
                "loses": any(step.action == "remove" for step in acting),
            }
        before = client_inspection.record(concern.params["identity_file"])
        made, wanted = project.next_record().text() if project else {}, client.identity(concern.params)

        def records() -> None:
            after = client_inspection.next_record(before, wanted, made, self.values["database"].get("definitions", ""))
            compared = [client_inspection.compared(one) for one in (before, after)]
            self.values.update(record=after if after != before else {}, record_changed=compared[0] != compared[1])

        self.records = records
        return finding

    def _database(self, concern: t.Any) -> Finding:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import database

        # What the tables are is recorded at the end of a run, and read again before a start.
        concern.params["tables"] &= not concern.params["look"] or not self.compare_record
        if concern.params["look"]:
            finding, self.values["database"] = database.observe(concern, self._docker(), self.redact)
            return finding
        self.values["database"] = database.read(concern, self._docker(), self.redact)
        return Finding()

    def _log_cleanup(self, concern: t.Any) -> Finding:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import log_cleanup

        return log_cleanup.observe(concern.params)

    def _automatic_gc(self, concern: t.Any) -> Finding:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import automatic_gc

        return automatic_gc.observe(concern.params, self.session)

    def _health(self, concern: t.Any) -> Finding:
        from ansible_collections.waba.onprem.plugins.module_utils._concern import health

        if self.engine is None:
            return Finding()  # the concern `host` reports the reason
        return health.observe(self.engine, concern.params, self.session)
