# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implements `wa_media_volume`: the volume, its mounts in the containers, and the write probe. See the module."""

from __future__ import annotations

import typing as t
from dataclasses import asdict

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import ONE_OFF_LABEL, Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules
from ansible_collections.waba.onprem.plugins.module_utils._media import probe_results
from ansible_collections.waba.onprem.plugins.module_utils._media import rules as media_rules
from ansible_collections.waba.onprem.plugins.module_utils._media import volume as media_volume
from ansible_collections.waba.onprem.plugins.module_utils._media.probe import write_marker
from ansible_collections.waba.onprem.plugins.module_utils._media.rules import Consumer, Plan

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

SPEC: dict[str, dict[str, t.Any]] = {
    "name": {"type": "str", "default": "whatsappMedia"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "driver": {"type": "str", "default": "local"},
    # no_log keeps its secrets out of the system log; values that are not secret are shown again below
    "driver_options": {"type": "dict", "no_log": True},
    "on_drift": {"type": "str", "choices": ["fail", "report"], "default": "fail"},
    "probe": {"type": "bool", "default": True},
    "write_marker": {"type": "bool", "default": False},
    "expect_marker": {"type": "str"},
    "project": {"type": "str"},
    "confirm_identity": {"type": "dict", "default": {}},
    **ARGUMENT_SPEC,
}


def prepare(module: AnsibleModule) -> tuple[dict[str, t.Any], Result]:
    """Returns the options for `MediaVolume`, and a result that redacts their secrets."""
    params = dict(module.params)
    options = {str(name): str(value) for name, value in (params["driver_options"] or {}).items()}
    module.no_log_values.difference_update(options.values())
    if params["driver_options"] is not None:
        module.params["driver_options"] = redact.mask_options(options)
        params["driver_options"] = options
    return params, Result(module, Redactor(redact.option_secrets(options)))


class MediaVolume:
    """One run of the module."""

    def __init__(self, params: dict[str, t.Any], result: Result, docker: Docker | None = None) -> None:
        self.params, self.result = params, result
        self.name: str = params["name"]
        self.docker = docker or Docker(params)
        self.containers: list[Container] = []
        self.consumers: list[Consumer] = []

    def run(self) -> None:
        """Observes, plans, checks, applies, and probes the volume."""
        result, check = self.result, self.result.module.check_mode
        present = self.params["state"] == "present"
        actual = self.docker.volume(self.name)
        if actual:
            result.redact.add(redact.option_secrets(actual.get("Options") or {}))
        result.values.update(volume=self.describe(actual), drift=[])
        if present:
            self.observe_consumers()
        plan = media_rules.plan(self.params, actual)
        if actual and plan.actions:
            plan.obstacle = media_volume.why_not_remove(self.docker, actual)
        result.values["drift"] = plan.drift
        result.diff(media_rules.show(plan.before), media_rules.show(plan.after), header=f"volume {self.name}")
        if plan.obstacle:
            raise plan.obstacle
        if plan.after and actual is None:
            self.check_identity()
        if plan.after:
            self.check(plan.after, new=actual is None)
        if plan.actions:
            actual = None if check else self.apply(plan)
            for action in plan.actions:
                result.record_change(action)
            result.values["volume"] = media_rules.show(plan.after) or None if check else self.describe(actual)
        if present and plan.drift and self.params["on_drift"] == "report":
            result.warn(f"volume {self.name}: {media_rules.drift_text(plan.drift)}")
        if present and not check:
            if self.params["probe"]:
                self.prove(actual or {})
            writers = [
                one for one, consumer in zip(self.containers, self.consumers) if one.running and not consumer.reason
            ]
            if self.params["write_marker"] and writers:
                result.values["marker"] = write_marker(self.docker, writers[0], MEDIA_FOLDER)

    # Observe

    def describe(self, actual: dict[str, t.Any] | None) -> dict[str, t.Any] | None:
        """Returns the volume in the module's format; None if it does not exist."""
        shown = media_rules.show(media_rules.shape(actual)) if actual else None
        return dict(shown, mountpoint=actual.get("Mountpoint") or None) if actual and shown else None

    def observe_consumers(self) -> None:
        """Records how each client container mounts the media folder."""
        found = self.docker.client_containers(self.params["project"])
        # One-off containers of docker compose run and a finished migration write no media.
        found = [one for one in found if one.running or not self.ended(one)]
        for one in found:
            if (
                media_rules.is_without_media(one.mounts)
                and self.docker.inspect(one) is not None
                and one.role == "master"  # some of the vendor's templates have such masters (domain: masters)
            ):
                self.result.warn(
                    f"{one.name} is a master that mounts nothing at {MEDIA_FOLDER}: it has no part in media"
                )
                continue
            self.containers.append(one)
            mounted = media_rules.mount_state_of(one.mounts)
            consumer = Consumer(one.name, one.service, one.state, mounted)
            folder = media_rules.folder_of(self.params["driver_options"] or {})
            media_rules.check_consumer(consumer, one.mounts, self.name, one.project, folder)
            self.consumers.append(consumer)
        self.result.values["consumers"] = [one.shown() for one in self.consumers]

    def ended(self, one: Container) -> bool:
        """Returns whether a stopped container was a one-off container or a migration."""
        if one.labels.get(ONE_OFF_LABEL) == "True":
            return True
        mounted = any(mount.destination.rstrip("/") == MEDIA_FOLDER for mount in one.mounts)
        if mounted or self.docker.inspect(one) is None:  # inspected only where it would be reported
            return False
        return (one.environment or {}).get(env_rules.UPGRADE) == "1"

    # Check

    def check(self, wanted: dict[str, t.Any], new: bool) -> None:
        """Raises WaError, before any change, if the volume, which may be a `new` one, could not be used."""
        if wanted["driver"] == "local":
            media_volume.check_device(wanted["driver_options"])
        elif new and self.result.module.check_mode:
            media_volume.check_driver(self.docker, self.name, wanted["driver"])
        if self.params["probe"]:
            media_rules.check_mounts(self.consumers)

    def check_identity(self) -> None:
        """Raises WaError if a new, empty volume would replace the one that the containers mount."""
        containers = [
            {"name": one.name, "state": one.state, "role": one.role, "mounts": [asdict(mount) for mount in one.mounts]}
            for one in self.containers
        ]
        there = {"media_volume": client_identity.by_containers(containers, "media_volume")}
        folder = media_rules.folder_of(self.params["driver_options"] or {})
        confirmed = self.params["confirm_identity"]
        differences = client_identity.differences(there, {"media_volume": self.name}, confirmed, folder)
        client_identity.refuse(f"volume {self.name}", differences, "confirm_identity")

    # Apply

    def apply(self, plan: Plan) -> dict[str, t.Any] | None:
        """Applies the plan. Returns Docker's record of the new volume."""
        if plan.after is None:
            media_volume.remove(self.docker, self.name)
            return None
        wanted = plan.after["driver"], plan.after["driver_options"]
        actual = media_volume.create(self.docker, self.name, *wanted)
        # Another process may have created the volume meanwhile: Docker then returns that one.
        drift = media_rules.drift(actual, *wanted)
        if drift:
            raise WaError(f"volume {self.name}", f"made by somebody else meanwhile: {media_rules.drift_text(drift)}")
        return actual

    def prove(self, actual: dict[str, t.Any], write: bool = True) -> None:
        """Probes the volume from the running containers, without `write` only their permissions. Raises WaError with all problems."""
        home = media_volume.home(self.docker, actual) if any(one.running for one in self.containers) else None
        marker = self.params["expect_marker"] or ""
        proof = probe_results.prove(self.docker, self.containers, self.consumers, MEDIA_FOLDER, home, marker, write)
        self.result.values["consumers"] = [one.shown() for one in self.consumers]
        for text in proof.warnings:
            self.result.warn(f"volume {self.name}: {text}")
        self.result.values["marker"] = proof.marker
        proof.check()
