# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds stale containers, which run with other values than db.env contains."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose import environment
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._env import state

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker


def find(
    docker: Docker,
    containers: t.Sequence[Container],
    held: t.Mapping[str, t.Collection[str]],
    gone: t.Iterable[str],
    compose: environment.Compose,
) -> tuple[list[dict[str, t.Any]], list[dict[str, t.Any]]]:
    """Returns the containers created with other values than `held`, and those that differ only in overridden keys.

    Each has name, id, project, service, role, stale_keys, overridden_keys, keeps_configuration. Costs one request for each
    container, and one for each image whose environment is needed.
    """
    images: dict[str, dict[str, str]] = {}
    found: list[dict[str, t.Any]] = []
    overridden: list[dict[str, t.Any]] = []
    gone = list(gone)
    for container in containers:
        record = docker.inspect(container)
        if record is None:
            continue
        created_with = container.environment or {}
        keys = state.differing(created_with, held, gone)
        if not keys:
            continue
        if any(key not in held for key in keys) and record["Image"] not in images:
            images[record["Image"]] = docker_engine.variables((docker.image(record["Image"]) or {}).get("Config") or {})
        verdict = state.check(created_with, keys, held, images.get(record["Image"], {}), compose.overrides(container))
        if not verdict.stale and not verdict.overridden:
            continue
        entry = {
            "name": container.name,
            "id": container.id[:12],
            "project": container.project,
            "service": container.service,
            "role": container.role,
            "stale_keys": verdict.stale,
            "overridden_keys": verdict.overridden,
            "keeps_configuration": state.keeps_configuration(
                container.role, created_with, [mount.destination for mount in container.mounts if mount.kind != "tmpfs"]
            ),
        }
        (found if verdict.stale else overridden).append(entry)
    return found, overridden
