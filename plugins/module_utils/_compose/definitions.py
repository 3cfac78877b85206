# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is recorded of each service when the client was last healthy, and how its definition has changed since.

Of each service it has the hashes that Compose gave its containers, in a label. They change with Compose's version as well, and say nothing
but that something is different: of an operator's files each key of a resolved service has a digest, too, keyed, so that a difference has
a name and the record no secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import typing as t
from dataclasses import dataclass, field

Digests = dict[str, str]  # by key of a service
# The image is compared by name and build, the environment with the container's; the others say how Compose treats a service, and not
# what a container of it is.
_LEFT_OUT = ("image", "environment", "build", "depends_on", "develop", "profiles", "pull_policy", "scale")


@dataclass(frozen=True)
class Recorded:
    """What was recorded when the client was last healthy; empty for nothing.

    A service has the hashes of its containers (`hash`); with digests also by which version of Compose they were read (`compose`) from which
    files (`inputs`).
    """

    services: t.Mapping[str, Digests] = field(default_factory=dict)
    salt: str = ""

    def text(self) -> dict[str, str]:
        """Returns it as values of the record on the host."""
        pairs = [f"{name}/{key}={digest}" for name, one in sorted(self.services.items()) for key, digest in one.items()]
        return {"digests": " ".join(pairs), "salt": self.salt} if pairs else {}


KEYS = ("digests", "salt")  # of the record on the host
_ABOUT = {"hash", "inputs", "compose"}


def recorded(values: t.Mapping[str, str]) -> Recorded:
    """Returns what the record on the host holds, with a new salt where it has none."""
    services: dict[str, Digests] = {}
    for pair in values.get("digests", "").split():
        place, _equals, digest = pair.rpartition("=")
        name, _slash, key = place.partition("/")
        services.setdefault(name, {})[key] = digest
    return Recorded(services, values.get("salt") or secrets.token_hex(8))


def inputs(texts: t.Iterable[str]) -> str:
    """Returns a digest of the contents of files."""
    found = hashlib.sha256()
    for text in texts:
        found.update(hashlib.sha256(text.encode()).digest())
    return found.hexdigest()[:16]


def digests(body: t.Mapping[str, t.Any], salt: str) -> Digests:
    """Returns a digest for each key of a resolved service."""
    values = {key: value for key, value in body.items() if key not in _LEFT_OUT}
    values["deploy"] = {key: value for key, value in (body.get("deploy") or {}).items() if key != "replicas"} or None
    return {key: _digest(salt, value) for key, value in sorted(values.items()) if value is not None}


def _digest(salt: str, value: t.Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()[:12]


def changed(before: Digests, now: Digests) -> tuple[str, ...]:
    """Returns why a service is defined otherwise than it was, with the names of the keys; empty if it is not."""
    keys = sorted(key for key in {*before, *now} - _ABOUT if before.get(key) != now.get(key))
    return (f"is defined otherwise in its Compose files: {', '.join(keys)}",) if keys else ()


def is_of(recorded: Digests, found: str) -> bool:
    """Returns whether the recorded digests are those of a container with the hash `found` in its label."""
    return bool(found) and found in recorded.get("hash", "").split(",")
