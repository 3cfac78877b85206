# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a db.env is in force: what a container was created with against what the file holds. Pure rules."""

from __future__ import annotations

import posixpath
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._env.rules import OPTIONS

CONFIG_ON_DB = "WA_CONFIG_ON_DB"
CONFIG_FOLDER = "/usr/local/waent/data"
CONFIG_CURE = (
    "Take a settings backup; then start it with WA_CONFIG_ON_DB=1 or a volume on "
    f"{CONFIG_FOLDER}, and restore or register again"
)


@dataclass
class Verdict:
    """The keys by which one container differs from the file: `stale` for want of a recreate, `overridden` on purpose."""

    stale: list[str] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)


def differing(
    environment: t.Mapping[str, str],
    held: t.Mapping[str, t.Collection[str]],
    gone: t.Iterable[str] = (),
) -> list[str]:
    """Keys whose value in a container's environment is not one that the file gives.

    `held` is what the file holds: key -> the values that a reader makes of it; keys whose value cannot be known from
    the file alone are not in it. `gone` are keys that the file has lost; those that every db.env may have are
    looked for anyway.
    """
    found = [key for key, values in held.items() if environment.get(key) not in values]
    suspects = [*OPTIONS.values(), CONFIG_ON_DB, *gone]
    return found + [key for key in dict.fromkeys(suspects) if key not in held and environment.get(key)]


def check(
    environment: t.Mapping[str, str],
    keys: t.Iterable[str],
    held: t.Container[str],
    image: t.Mapping[str, str],
    overrides: t.Container[str],
) -> Verdict:
    """Sort the `differing` keys of a container.

    `image` is the image's own environment, which explains a key that the file does not hold; `overrides` are the keys
    that the Compose file sets itself: recreating the container would change nothing about them.
    """
    verdict = Verdict()
    for key in keys:
        if key in overrides:
            # A key that only the Compose file knows is no business of db.env's.
            if key in held:
                verdict.overridden.append(key)
        elif key in held or image.get(key) != environment.get(key):
            verdict.stale.append(key)
    return verdict


def keeps_configuration(role: str, environment: t.Mapping[str, str], mounted: t.Iterable[str]) -> bool:
    """Whether the client's configuration, its registration included, outlives this container.

    `role` is `web`, `core` or `master`; `mounted` are the folders in the container that a volume or a folder of the
    host stands on. Not so: configuration neither in the database nor on a volume (domain: WA_CONFIG_ON_DB).
    """
    if role not in ("core", "master") or environment.get(CONFIG_ON_DB) == "1":
        return True
    return any(holds_configuration(folder) for folder in mounted)


def holds_configuration(folder: str) -> bool:
    """Whether what is mounted at `folder` in a container holds the configuration that is not in the database."""
    folder = posixpath.normpath(folder)
    return folder == "/" or f"{CONFIG_FOLDER}/".startswith(f"{folder}/")


def configuration_mount(role: str, environment: t.Mapping[str, str], mounts: t.Iterable[tuple[str, str]]) -> str:
    """The volume or folder of the host on which a container keeps its configuration; empty for none, as with a database.

    `mounts` are names and the folders in the container; of several the one nearest to the configuration has it.
    """
    if role not in ("core", "master") or environment.get(CONFIG_ON_DB) == "1":
        return ""
    found = [(len(posixpath.normpath(folder)), name) for name, folder in mounts if holds_configuration(folder)]
    return max(found)[1] if found else ""


def service_settings(document: t.Any, service: str) -> tuple[list[str], list[str], t.Any]:
    """What one Compose document says of a service: keys of `environment`, paths of `env_file`, and `extends`."""
    services = document.get("services") if isinstance(document, dict) else None
    body = services.get(service) if isinstance(services, dict) else None
    if not isinstance(body, dict):
        return [], [], None
    environment = body.get("environment") or {}
    keys = [str(item).partition("=")[0] for item in environment]
    files = body.get("env_file") or []
    files = files if isinstance(files, list) else [files]
    paths = [item.get("path", "") if isinstance(item, dict) else item for item in files]
    return keys, [str(path) for path in paths], body.get("extends")
