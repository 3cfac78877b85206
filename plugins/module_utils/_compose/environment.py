# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the variables that a container's Compose files set otherwise than db.env (`environment:`, other `env_file:`s)."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.declared import Files, Reader, Run
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env.file import read_compose
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container


class Compose:
    """The Compose files of containers, read only if a container differs from db.env."""

    def __init__(self, env_path: str, warn: t.Callable[[str], None], run: Run) -> None:
        """`run` is `module.run_command`."""
        self._env_path = os.path.realpath(env_path)
        self._warn = warn
        self._reader = Reader(run)

    def overrides(self, container: Container) -> set[str]:
        """Returns the keys that the container's service has otherwise than db.env, which a recreation does not change."""
        files = Files.of(container.labels)
        if not files.paths:
            return set()
        try:
            body = (self._reader.document(files).get("services") or {}).get(container.service) or {}
            held = {entry.key: entry.value for entry in read_compose(Store(self._env_path).read() or "") if entry.key}
        except WaError as error:
            self._warn(
                f"{str(error).rstrip('.')}: keys that {container.name} does not have from db.env are reported as stale"
            )
            return set()
        given = {key: (value or "").replace("$$", "$") for key, value in (body.get("environment") or {}).items()}
        if held and not held.items() & given.items():
            self._warn(
                f"container {container.name}: its service does not read {self._env_path}; recreating it will not put the file in force"
            )
        return {key for key, value in given.items() if held.get(key) != value}
