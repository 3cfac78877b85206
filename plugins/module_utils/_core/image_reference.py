# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parses image references by Docker's rules: registry, repository, tag, digest. Pure rules."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

_HUB_NAMES = ("docker.io", "index.docker.io")  # Docker's default registry, omitted in short names
_OFFICIAL = "library/"  # namespace of names without a slash in the default registry
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_REPOSITORY = re.compile(rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*")


@dataclass(frozen=True)
class Reference:
    """The parts of an image reference; `registry` is empty for Docker's default, `tag` and `digest` if not set."""

    registry: str
    path: str
    tag: str
    digest: str
    written: str = field(default="", compare=False)  # registry and path as they were given

    @property
    def repository(self) -> str:
        """Returns registry and path as Docker displays them: `web`, `acme/web`, `registry.example.com:5000/wa/web`."""
        return f"{self.registry}/{self.path}" if self.registry else self.path

    @property
    def last(self) -> str:
        """Returns the last component of the path."""
        return self.path.rpartition("/")[2]

    @property
    def version(self) -> str:
        """Returns the client's version from the tag, without one leading `v`; empty without a tag."""
        return self.tag[1:] if self.tag.startswith("v") else self.tag


def without_v(version: str) -> str:
    """Returns a version of operators or the client without leading `v`, which is sometimes doubled. Tags are exact."""
    return version.strip().lstrip("vV")


def has_tag(image: str) -> bool:
    """Returns whether an image reference has a tag."""
    return ":" in image.partition("@")[0].rpartition("/")[2]


def parse(image: str) -> Reference:
    """Returns the parts of an image reference; accepts any text.

    The first component is a registry if it has a dot, a colon or an upper-case letter, or is `localhost`. Without tag and
    digest Docker takes the tag `latest`.
    """
    name, _at, digest = image.partition("@")
    written = name.rpartition(":")[0] if has_tag(name) else name
    registry, slash, path = name.partition("/")
    if not slash or not _is_registry(registry):
        registry, path = "", name
    head, colon, tag = path.rpartition(":")
    if not colon or "/" in tag:
        head, tag = path, ""
    if registry in _HUB_NAMES:
        registry = ""
    if not registry and head.count("/") == 1 and head.startswith(_OFFICIAL):
        head = head[len(_OFFICIAL) :]
    return Reference(registry, head, tag if tag or digest else "latest", digest, written)


def _is_registry(component: str) -> bool:
    return "." in component or ":" in component or component == "localhost" or component != component.lower()


def repository(subject: str, text: t.Any) -> str:
    """Returns a configured repository in Docker's short form.

    Raises WaError for an invalid repository, also for one with a tag or digest: the version is configured separately.
    """
    name = str(text)
    found = parse(name)
    if found.digest or has_tag(name):
        raise WaError(subject, f"{name!r} has a tag or a digest", "a repository alone", f"Write {found.repository}")
    if not _REPOSITORY.fullmatch(name):
        raise WaError(subject, f"{name!r} is no image repository", "one such as registry.example.com:5000/whatsapp/web")
    return found.repository
