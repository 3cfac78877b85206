# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client's images: local versions, availability in the registry, and free disk space."""

from __future__ import annotations

import os
import re
import time
import typing as t
from urllib.parse import quote

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import registry_login
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound, Unauthorized

_VERSION = re.compile(r"\d+(\.\d+)+")
EXPIRY_LABEL = "EXPIRES_ON"  # of the vendor's images: a day as 2026-03-31
_ASK_EVERY = 5.0  # seconds between two requests to a registry
_RETRIES = 4  # of a request about an image that an upgrade or a restore needs


def local(engine: docker_engine.Docker) -> list[dict[str, t.Any]]:
    """Returns the host's tagged client images, sorted by name.

    They are from the configured repositories, by default from those with the vendor's last component.
    """
    images = engine.images
    is_one = images.configured if images.web or images.coreapp else images.named
    found = [
        {
            "name": name,
            "version": image_reference.parse(name).version,
            "expires_on": (row.get("Labels") or {}).get(EXPIRY_LABEL, ""),
        }
        for row in engine.request("list of images", "GET", "/images/json")
        for name in row.get("RepoTags") or []
        if is_one(name)
    ]
    return sorted(found, key=lambda image: str(image["name"]))


def missing(
    engine: docker_engine.Docker, names: t.Iterable[str], run: registry_login.Run
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the images of `names` that neither the host nor the registry has, and those with an unclear answer, see `absent`."""
    return absent(engine, [name for name in names if engine.image(name) is None], run, _RETRIES)


def absent(
    engine: docker_engine.Docker, names: t.Iterable[str], run: registry_login.Run, retries: int = 0
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the images of `names` that their registry does not have, and those with an unclear answer.

    Each has the registry's message. The engine queries the registry with this user's login; `run` is
    `AnsibleModule.run_command`. Registries answer 403, 429 and 5xx under load, so these are retried.
    """
    lacking: dict[str, str] = {}
    unknown = dict.fromkeys(names, "")
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


def wrong_builds(engine: docker_engine.Docker, names: t.Iterable[str], run: registry_login.Run) -> dict[str, str]:
    """Returns the host's images of `names` that are another build than their name says, each with the evidence.

    The evidence is another name of the same build (another version, or the other image of the client), or the registry's
    digest. Images loaded from a file have no digest; a registry that does not answer is ignored.
    """
    wrong: dict[str, str] = {}
    for name in names:
        record = engine.image(name)
        if record is None:
            continue
        others = [other for other in record.get("RepoTags") or [] if _contradicts(engine, name, other)]
        if others:
            wrong[name] = f"on this host it is the image {others[0]}"
            continue
        repository = image_reference.parse(name).repository
        parsed = map(image_reference.parse, record.get("RepoDigests") or [])
        digests = sorted(one.digest for one in parsed if one.repository == repository)
        theirs = _registry_digest(engine, name, run) if digests else ""
        if theirs and theirs not in digests:
            wrong[name] = f"on this host it is {', '.join(digests)}, in the registry {theirs}"
    return wrong


def _contradicts(engine: docker_engine.Docker, name: str, other: str) -> bool:
    """Returns whether one build cannot have both names: they have different versions, or are different client images."""
    kinds = [engine.images.configured(one) or engine.images.named(one) for one in (name, other)]
    versions = [image_reference.parse(one).version for one in (name, other)]
    if not all(kinds):
        return False
    return kinds[0] != kinds[1] or (all(map(_VERSION.match, versions)) and versions[0] != versions[1])


def _registry_digest(engine: docker_engine.Docker, name: str, run: registry_login.Run) -> str:
    """Returns the registry's digest of a name; empty if unknown."""
    path = f"/distribution/{quote(name, safe='/:@')}/json"
    try:
        answer = engine.request(f"image {name}", "GET", path, headers=registry_login.header(name, run))
    except WaError:
        return ""
    return str(answer["Descriptor"].get("digest", ""))


def free_bytes(engine: docker_engine.Docker) -> int | None:
    """Returns the free bytes of the engine's file system for images; None if it is not on this host."""
    folder = str(engine.info().get("DockerRootDir", ""))
    if not os.path.isdir(folder):
        return None
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize
