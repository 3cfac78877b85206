# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the operator's Compose files: as YAML if that is sufficient, else with `docker compose config`."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files

CONFIG_FILES_LABEL = "com.docker.compose.project.config_files"
WORKING_DIR_LABEL = "com.docker.compose.project.working_dir"
_SECONDS = "10"
Run = t.Callable[..., t.Any]  # AnsibleModule.run_command


def read(labels: t.Mapping[str, str], project: str, run: Run) -> dict[str, t.Any] | None:
    """Returns `services` and `volumes` of a container's Compose files as they are now; None if unknown.

    `run` is used if only Compose can resolve them, as for `${NAME}`.
    """
    folder = labels.get(WORKING_DIR_LABEL, "")
    paths = [os.path.join(folder, path) for path in labels.get(CONFIG_FILES_LABEL, "").split(",") if path]
    if not paths or not all(os.path.isfile(path) for path in paths):
        return None
    return _plain(paths) or _resolved(paths, folder, project, run)


def _plain(paths: t.Sequence[str]) -> dict[str, t.Any] | None:
    """Returns one file as YAML; None if Compose would have to resolve something in it."""
    if len(paths) != 1:
        return None
    try:
        import yaml  # imported only here: it is slow, and Ansible does not require it on a managed host
    except ImportError:
        return None
    try:
        read = yaml.load(files.read_text(paths[0]), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    if not isinstance(read, dict) or "include" in read or not isinstance(read.get("services"), dict):
        return None
    services = read["services"].values()
    if any(not isinstance(one, dict) or "extends" in one for one in services):
        return None
    parts = {
        "services": {key: {"volumes": one.get("volumes")} for key, one in read["services"].items()},
        "volumes": read.get("volumes"),
    }
    return None if "$" in json.dumps(parts, default=str) else parts


def _resolved(paths: t.Sequence[str], folder: str, project: str, run: Run) -> dict[str, t.Any] | None:
    """Returns the mounts from `docker compose config`. Its output contains the environment, which is not returned."""
    command = ["timeout", _SECONDS, "docker", "compose", *(f"--file={path}" for path in paths)]
    if folder:
        command.append(f"--project-directory={folder}")
    command += [f"--project-name={project}", "--profile=*", "config", "--format=json"]
    try:
        _rc, output, _errors = run(command, handle_exceptions=False)
        read = json.loads(output)
    except (OSError, ValueError):
        return None
    services = {key: {"volumes": one.get("volumes")} for key, one in (read.get("services") or {}).items()}
    return {"services": services, "volumes": read.get("volumes")}
