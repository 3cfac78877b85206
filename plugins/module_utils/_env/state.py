# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a container's environment with db.env, to decide whether the file is in force. Pure rules."""

from __future__ import annotations

import posixpath
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._env.rules import DATABASE_KEYS

CONFIG_ON_DB = "WA_CONFIG_ON_DB"
CONFIG_FOLDER = "/usr/local/waent/data"
REGISTRATION_GUIDE = "docs/guides/adopt.md, Move a registration out of its container"
CONFIG_CURE = (
    f"Take a settings backup, copy {CONFIG_FOLDER} out of the stopped container (docker cp), and create it with that folder "
    f"mounted there ({REGISTRATION_GUIDE}); or start it with WA_CONFIG_ON_DB=1 and register again"
)


@dataclass
class Verdict:
    """The keys that differ between a container and the file: `stale` needs a recreation, `overridden` is intended."""

    stale: list[str] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)


def differing(
    environment: t.Mapping[str, str],
    held: t.Mapping[str, t.Collection[str]],
    gone: t.Iterable[str] = (),
) -> list[str]:
    """Returns the keys whose value in a container's environment is not the file's.

    `held` is the file's content: key -> values for its readers, without keys whose value is unknown. `gone` are removed
    keys; the standard keys of a db.env are always checked for removal.
    """
    found = [key for key, values in held.items() if environment.get(key) not in values]
    suspects = [*DATABASE_KEYS, CONFIG_ON_DB, *gone]
    return found + [key for key in dict.fromkeys(suspects) if key not in held and environment.get(key)]


def check(
    environment: t.Mapping[str, str],
    keys: t.Iterable[str],
    held: t.Container[str],
    image: t.Mapping[str, str],
    overrides: t.Container[str],
) -> Verdict:
    """Sorts the `differing` keys of a container.

    `image` is the image's environment, which explains a key that is not in the file; `overrides` are the keys set by the
    Compose file, which a recreation would not change.
    """
    verdict = Verdict()
    for key in keys:
        if key in overrides:
            # A key set only by the Compose file does not concern db.env.
            if key in held:
                verdict.overridden.append(key)
        elif key in held or image.get(key) != environment.get(key):
            verdict.stale.append(key)
    return verdict


def keeps_configuration(role: str, environment: t.Mapping[str, str], mounted: t.Iterable[str]) -> bool:
    """Returns whether the client's configuration, including its registration, survives a removal of this container.

    `role` is `web`, `core` or `master`; `mounted` are the mount points in the container. It is lost if it is neither in
    the database nor on a volume (domain: WA_CONFIG_ON_DB).
    """
    if role not in ("core", "master") or environment.get(CONFIG_ON_DB) == "1":
        return True
    return any(holds_configuration(folder) for folder in mounted)


def holds_configuration(folder: str) -> bool:
    """Returns whether a mount at `folder` in a container contains the configuration files."""
    folder = posixpath.normpath(folder)
    return folder == "/" or f"{CONFIG_FOLDER}/".startswith(f"{folder}/")


def configuration_mount(role: str, environment: t.Mapping[str, str], mounts: t.Iterable[tuple[str, str]]) -> str:
    """Returns the volume or host folder with a container's configuration; empty if it is in the database.

    `mounts` are names and mount points; the innermost one counts.
    """
    if role not in ("core", "master") or environment.get(CONFIG_ON_DB) == "1":
        return ""
    found = [(len(posixpath.normpath(folder)), name) for name, folder in mounts if holds_configuration(folder)]
    return max(found)[1] if found else ""
