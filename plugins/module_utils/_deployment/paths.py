# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Normalises and checks paths on a host from the inventory, so that none can harm the host. Pure rules."""

from __future__ import annotations

import posixpath
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

# Forbidden with everything below: programs, kernel file systems, folders emptied at boot, the engine's data.
_TREES = re.compile(
    r"/(bin|boot|dev|lib(32|64|x32)?|lost\+found|proc|run|sbin|snap|sys|usr(?!/local/)|var/(lib/(containerd|docker)|lock|run))(/.*)?"
)
# Folders shared with other programs, which our mode would lock out.
_SHARED = re.compile(
    r"/((etc|home|media|mnt|opt|root|srv|tmp|var)?"
    r"|etc/(apt|cron\.(d|daily|hourly|monthly|weekly)|default|docker|init\.d|logrotate\.d|pki|ssh|ssl|sudoers\.d|systemd)"
    r"|usr/local/(bin|etc|include|lib|lib64|sbin|share|src)"
    r"|var/(backups|cache|lib|log|mail|opt|spool|tmp))"
)
# Characters with a special meaning for shells, cron, Compose, its labels, or Ansible's path expansion.
_SPECIAL = frozenset("\"'`\\$,;*?[]{}<>|&!()")
_LONGEST = 200  # characters; with our file names appended a path stays within all limits except those of sockets


def normalise(subject: str, value: t.Any) -> str:
    """Returns an absolute path in normal form: no trailing or doubled slash, no `.`.

    `subject` names the option, for the error. Raises WaError if it is not an absolute path, or contains characters that a
    shell, cron or Compose would interpret.
    """
    cure = "Give an absolute path such as /srv/wa"
    if not isinstance(value, str):
        raise WaError(subject, f"{value!r} is no path", "text", cure)
    if not value.startswith("/"):
        found = f"{value!r} is relative" if value.strip() else "empty"
        raise WaError(subject, found, "an absolute path", cure)
    bad = sorted({letter for letter in value if letter in _SPECIAL or not letter.isprintable()})
    if bad:
        listed = " ".join(letter if letter.isprintable() else ascii(letter) for letter in bad)
        raise WaError(subject, f"{value!r} holds {listed}", "a path without characters that a shell reads", cure)
    parts = [part for part in value.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise WaError(subject, f"{value!r} goes up by ..", "the path itself", cure)
    if any(part != part.strip() for part in parts):
        raise WaError(subject, f"{value!r} has a space at an end of a name", "a path without it", cure)
    path = "/" + "/".join(parts)
    if len(path.encode()) > _LONGEST:
        raise WaError(subject, f"a path of {len(path.encode())} bytes", f"at most {_LONGEST}", "Give a shorter path")
    return path


def folder(subject: str, value: t.Any) -> str:
    """Returns a normalised folder for the deployment alone. Raises WaError if the system or other programs use it."""
    path = file(subject, value)
    if posixpath.dirname(path) == "/home":
        raise WaError(subject, f"{path} is a user's home", "a folder for the client alone", f"Use {path}/wa")
    return path


def file(subject: str, value: t.Any) -> str:
    """Returns a normalised path of a file. Raises WaError for a shared folder or a path of the system."""
    path = normalise(subject, value)
    if _SHARED.fullmatch(path) or _TREES.fullmatch(path):
        raise WaError(
            subject, f"{path} belongs to the system", "a path for the client alone", "Use one such as /srv/wa"
        )
    return path


def distinct(host: str, **paths: str) -> None:
    """Raises WaError if two of the options `paths` are equal, or a file has the path of a folder."""
    folders = {name: path for name, path in paths.items() if name.endswith("_dir")}
    for name, path in paths.items():
        for other, where in folders.items():
            if other == name:
                continue
            if path == where or (name not in folders and where.startswith(f"{path}/")):
                raise WaError(f"host {host}: {name} and {other}", f"{path} and {where}", "two places", "Change one")
