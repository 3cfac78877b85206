# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How `docker compose` is called for a project. Pure rules, except for `values`, which reads env files."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

# Root's environment may have settings for other projects: with a profile, `up` would start a migration. Obsolete containers of
# the client are removed by tasks of their own; other containers in the project are the operator's. Each call has the folder in
# `PWD`, too: Compose files may have paths with it.
ENVIRONMENT = {"COMPOSE_PROFILES": "", "COMPOSE_REMOVE_ORPHANS": "false", "COMPOSE_IGNORE_ORPHANS": "true"}


def options(
    project: str,
    folder: str,
    files: t.Iterable[str],
    env_files: t.Iterable[str] = (),
    profiles: t.Iterable[str] = (),
) -> list[str]:
    """Returns the options before the command; `folder` is the project directory, `env_files` have the variables of the files."""
    return [
        f"--project-name={project}",
        f"--project-directory={folder}",
        *(f"--env-file={path}" for path in env_files),
        *(f"--profile={name}" for name in profiles),
        *(f"--file={path}" for path in files),
    ]


def folders(project_dir: str, compose_files: t.Iterable[str]) -> set[str]:
    """Returns the folders in which a plain `docker compose` may find Compose files of a project."""
    return {os.path.normpath(path) for path in (project_dir, *map(os.path.dirname, compose_files))}


def values(argv: t.Iterable[str]) -> list[str]:
    """Returns the values in the env files of a call, which an operator gives Compose and its messages may quote.

    A file that cannot be read as text has none: Compose itself says what is wrong with it.
    """
    found: list[str] = []
    for path in [word.partition("=")[2] for word in argv if word.startswith("--env-file=")]:
        with contextlib.suppress(OSError, ValueError, WaError):
            found += [line.partition("=")[2].strip("'\"") for line in files.read_text(path).splitlines()]
    return found
