# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the variables that a container's Compose files set in addition to db.env (`environment:`, other `env_file:`s)."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.declared import Files, Reader, Run
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env.file import read_compose

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
        """Returns the keys that the container's service does not get from db.env but from `environment:` or other `env_file:`s."""
        files = Files.of(container.labels)
        if not files.paths:
            return set()
        try:
            keys, env_files = self._reader.environment(files, container.service)
        except WaError as error:
            return self._differing(files, container.service, error)
        found, paths = {*keys}, [os.path.realpath(path) for path in env_files]
        if paths and self._env_path not in paths:
            self._warn(
                f"container {container.name}: its service reads {', '.join(paths)} and not {self._env_path}; "
                "recreating it will not put the file in force"
            )
        if self._env_path in paths:
            for path in paths[paths.index(self._env_path) + 1 :]:
                found.update(self._keys_of(path))
        return found

    def _differing(self, files: Files, service: str, error: WaError) -> set[str]:
        """Returns the keys whose value in the service differs from that in db.env, where Compose does not show their sources."""
        try:
            body = (self._reader.document(files).get("services") or {}).get(service) or {}
            held = {entry.key: entry.value for entry in read_compose(core_files.read_text(self._env_path)) if entry.key}
        except (WaError, OSError, UnicodeDecodeError):
            self._warn(f"{str(error).rstrip('.')}: keys that it sets itself are reported as stale")
            return set()
        pairs = (body.get("environment") or {}).items()
        return {key for key, value in pairs if held.get(key) != (value or "").replace("$$", "$")}

    def _keys_of(self, path: str) -> list[str]:
        try:
            return [entry.key for entry in read_compose(core_files.read_text(path)) if entry.key]
        except (OSError, UnicodeDecodeError):
            self._warn(f"{path} is not read: keys that it overrides are reported as stale")
            return []
