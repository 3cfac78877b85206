# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the variables that a container's Compose files set in addition to db.env (`environment:`, other `env_file:`s)."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose import yaml_tags
from ansible_collections.waba.onprem.plugins.module_utils._core import distribution
from ansible_collections.waba.onprem.plugins.module_utils._core import files as core_files
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state
from ansible_collections.waba.onprem.plugins.module_utils._env.file import read_compose

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container

_FILES_LABEL = "com.docker.compose.project.config_files"
_FOLDER_LABEL = "com.docker.compose.project.working_dir"
_UNKNOWN = "keys that it sets itself are reported as stale"
_TIMEOUT = "20"  # seconds, for a local command
_DEEPEST = 8  # limit of nested `extends`


class Compose:
    """The Compose files of containers, each read once, and only if a container differs."""

    def __init__(
        self,
        env_path: str,
        warn: t.Callable[[str], None],
        run: t.Callable[[list[str]], tuple[int, str, str]],
    ) -> None:
        """`run` is `module.run_command`: it returns exit code, stdout and stderr."""
        self._env_path = os.path.realpath(env_path)
        self._warn = warn
        self._run = run
        self._documents: dict[str, t.Any] = {}

    def overrides(self, container: Container) -> set[str]:
        """Returns the keys that the container's service does not get from db.env but from `environment:` or other `env_file:`s."""
        folder = container.labels.get(_FOLDER_LABEL, "")  # Compose v1 records the files relative to it
        files = [os.path.join(folder, path) for path in container.labels.get(_FILES_LABEL, "").split(",") if path]
        if files and (not self._yaml() or self._needs_compose(files, container.service)):
            return self._by_compose(container, files)
        keys: set[str] = set()
        env_files: list[str] = []
        for path in files:
            self._collect(path, container.service, container.labels.get(_FOLDER_LABEL), keys, env_files, 0)
        if env_files and self._env_path not in env_files:
            self._warn(
                f"container {container.name}: its service reads {', '.join(env_files)} and not {self._env_path}; "
                "recreating it will not put the file in force"
            )
        if self._env_path in env_files:
            for path in env_files[env_files.index(self._env_path) + 1 :]:
                keys.update(self._keys_of(path))
        return keys

    def _needs_compose(self, files: t.Sequence[str], service: str) -> bool:
        """Returns whether only Compose can resolve the service: it uses `include`, or variables in file names."""
        documents = [self._document(path) for path in files]
        if not any(isinstance(document, dict) and document.get("include") for document in documents):
            settings = [env_state.service_settings(document, service) for document in documents]
            return any("$" in path for _keys, paths, extends in settings for path in (*paths, str(extends)))
        return True

    def _collect(
        self, path: str, service: str, folder: str | None, keys: set[str], env_files: list[str], depth: int
    ) -> None:
        names, paths, extends = env_state.service_settings(self._document(path), service)
        if extends and depth < _DEEPEST:
            other = extends if isinstance(extends, dict) else {"service": extends}
            source = other.get("file")
            source = os.path.join(os.path.dirname(path), source) if source else path
            self._collect(source, str(other.get("service", "")), None, keys, env_files, depth + 1)
        keys.update(names)
        base = folder or os.path.dirname(path)
        env_files.extend(os.path.realpath(os.path.join(base, name)) for name in paths)

    def _document(self, path: str) -> t.Any:
        if path not in self._documents:
            self._documents[path] = self._load(path)
        return self._documents[path]

    def _yaml(self) -> t.Any:
        """Returns the module yaml, or None: Ansible does not require it on a managed host."""
        try:
            import yaml
        except ImportError:
            return None
        return yaml

    def _load(self, path: str) -> t.Any:
        yaml = self._yaml()
        try:
            return yaml.load(core_files.read_bytes(path), Loader=yaml_tags.loader(yaml))
        except OSError as error:
            self._warn(f"{path} is not read ({error.strerror}): {_UNKNOWN}")
        except yaml.YAMLError:
            # The parser's message quotes the file, which may contain secrets.
            self._warn(f"{path} is no YAML that can be read: {_UNKNOWN}")
        return None

    def _by_compose(self, container: Container, files: t.Sequence[str]) -> set[str]:
        """Returns the same from `docker compose config`: variables of a service that the current db.env does not set."""
        command = ["docker", "compose", *(f"--file={path}" for path in files), f"--project-name={container.project}"]
        folder = container.labels.get(_FOLDER_LABEL)
        command += [f"--project-directory={folder}"] if folder else []
        try:
            _code, output, _stderr = self._run(
                ["timeout", _TIMEOUT, *command, "--profile=*", "config", "--format=json"]
            )
            service = json.loads(output)["services"][container.service]
            held = {entry.key: entry.value for entry in read_compose(core_files.read_text(self._env_path)) if entry.key}
        except (OSError, ValueError, KeyError, TypeError):  # TypeError: no services at all
            lack = "" if self._yaml() else f" (without the Python library PyYAML. {distribution.install('PyYAML')})"
            self._warn(f"docker compose config does not tell what {', '.join(files)} sets{lack}: {_UNKNOWN}")
            return set()
        # The output is a Compose file, in which a dollar sign is doubled.
        environment = {
            key: (value or "").replace("$$", "$") for key, value in (service.get("environment") or {}).items()
        }
        return {key for key, value in environment.items() if held.get(key) != value}

    def _keys_of(self, path: str) -> list[str]:
        try:
            return [entry.key for entry in read_compose(core_files.read_text(path)) if entry.key]
        except (OSError, UnicodeDecodeError):
            self._warn(f"{path} is not read: keys that it overrides are reported as stale")
            return []
