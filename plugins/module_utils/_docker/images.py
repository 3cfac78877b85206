# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's images: which versions a host has, which the registry has, and the room that there is for more."""

from __future__ import annotations

import os
import time
import typing as t
from urllib.parse import quote

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import registry_login
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound, Unauthorized

_ASK_EVERY = 5.0  # seconds between two questions to a registry


def local(engine: docker_engine.Docker) -> list[dict[str, t.Any]]:
    """The tagged client images that the host has, sorted by name; two requests.

    Of the configured repositories where there are any, otherwise of those whose last component is the vendor's.
    """
    used = {row["ImageID"] for row in engine.rows("list of containers")}
    images = engine.images
    is_one = images.configured if images.web or images.coreapp else images.named
    found = []
    for row in engine.request("list of images", "GET", "/images/json"):
        for name in row.get("RepoTags") or []:
            if is_one(name):
                found.append(_described(name, row.get("Labels") or {}, row["Id"] in used))
    return sorted(found, key=lambda image: str(image["name"]))


def missing(
    engine: docker_engine.Docker, names: t.Iterable[str], run: registry_login.Run, retries: int = 0
) -> tuple[dict[str, str], dict[str, str]]:
    """Those of the images `names` that neither the host nor the registry has, and those of which the registry did not tell.

    Each is told with the registry's own words. The engine asks the registry, with the login that this user has for it; `run`
    is `AnsibleModule.run_command`. Registries answer 403, 429 and 5xx under load, so these are asked again.
    """
    lacking: dict[str, str] = {}
    unknown = {name: "" for name in names if engine.image(name) is None}
    final: dict[str, str] = {}
    for again in range(retries + 1):
        if again and unknown:
            time.sleep(_ASK_EVERY)
        for name in list(unknown):
            try:
                path = f"/distribution/{quote(name, safe='/:@')}/json"
                engine.request(f"image {name}", "GET", path, headers=registry_login.header(name, run))
            except NotFound as error:
                lacking[name] = error.found
            except Unauthorized as error:
                final[name] = error.found
            except WaError as error:
                unknown[name] = error.found
                continue
            del unknown[name]
    return lacking, {**final, **unknown}


def free_bytes(engine: docker_engine.Docker) -> int | None:
    """The free bytes of the file system that the engine keeps images on; None when it is not on this host."""
    folder = str(engine.info().get("DockerRootDir", ""))
    if not engine.local or not os.path.isdir(folder):
        return None
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def _described(name: str, labels: dict[str, str], used: bool) -> dict[str, t.Any]:
    reference = image_reference.parse(name)
    return {
        "name": name,
        "repository": reference.repository,
        "version": reference.version,
        "expires_on": labels.get("EXPIRES_ON", ""),
        "in_use": used,
    }
