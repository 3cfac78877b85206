# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detects the client's containers, for all modules, roles and the nightly log cleanup. Pure rules.

A container is the client's if its image is from a configured repository (`wa_images`); or if its command starts the
vendor's program; or if its image has the name of a client image and the container has another sign of the client. A name
such as `web` alone is not sufficient.
"""

from __future__ import annotations

import posixpath
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

KINDS = ("web", "coreapp")  # the last components of the vendor's two repositories
MEDIA_FOLDER = "/usr/local/wamedia"
# How a client outside Compose is moved into a project.
MOVE_GUIDE = "docs/guides/adopt.md, Move a client into a Compose project"
DATA_FOLDER = "/usr/local/waent"
# Commands that start the client, with any image name. A sidecar that runs cleanup.sh by `docker exec` does not match.
_LAUNCH = re.compile(r"^/opt/whatsapp/|/opt/whatsapp/bin/(?:launch|wait_on)_|launch_within_docker\.sh")
_PROGRAM_FOLDER = "/opt/whatsapp"
_VARIABLE = re.compile(r"WA_|(?:WACORE|COREAPP|WEBAPP)_HOSTNAME$")


@dataclass(frozen=True)
class ClientImages:
    """The configured repositories of each kind, in Docker's short form; if empty, the vendor's last components apply."""

    web: tuple[str, ...] = ()
    coreapp: tuple[str, ...] = ()

    @classmethod
    def of(cls, configured: t.Mapping[str, t.Any] | None, subject: str = "client_images") -> ClientImages:
        """Returns the images from a module's option or `wa_images`: one or several repositories for each kind. Raises WaError."""
        if not isinstance(configured or {}, t.Mapping):
            raise WaError(subject, repr(configured), "a repository for web and one for coreapp")
        found = {}
        for kind, values in (configured or {}).items():
            if kind not in KINDS:
                raise WaError(subject, f"the key {kind!r}", "web and coreapp")
            values = [values] if isinstance(values, str) else values or []
            found[kind] = tuple(image_reference.repository(f"{subject}.{kind}", value) for value in values)
        both = sorted({*found.get("web", ())} & {*found.get("coreapp", ())})
        if both:
            raise WaError(subject, f"{both[0]} for web and for coreapp", "a repository for each")
        return cls(**found)

    def configured(self, image: str) -> str:
        """Returns `web` or `coreapp` for an image from a configured repository, otherwise empty."""
        name = image_reference.parse(image).repository
        return "web" if name in self.web else "coreapp" if name in self.coreapp else ""

    def named(self, image: str) -> str:
        """Returns the kind of an image by its name: configured, or by its last component, which is not sufficient alone."""
        last = image_reference.parse(image).last
        alike = [kind for kind in KINDS if last in [image_reference.parse(one).last for one in getattr(self, kind)]]
        return self.configured(image) or next(iter(alike), last if last in KINDS else "")


@dataclass(frozen=True)
class Facts:
    """The input of the rule. `environment` are names of variables, None if not read."""

    image: str
    command: str = ""
    mounted: t.Sequence[str] = ()
    environment: t.Collection[str] | None = field(default=None, repr=False)


def evidence(facts: Facts) -> list[str]:
    """Returns the signs of the client in a container, as text."""
    folders = [posixpath.normpath(path) for path in facts.mounted]
    found = [
        f"a mount at {path}"
        for path in folders
        if any(path == top or path.startswith(top + "/") for top in (MEDIA_FOLDER, DATA_FOLDER))
    ]
    if _PROGRAM_FOLDER in facts.command:
        found.append(f"its command is in {_PROGRAM_FOLDER}")
    return found + sorted(name for name in facts.environment or () if _VARIABLE.match(name))


def is_client(facts: Facts, images: ClientImages) -> bool | None:
    """Returns whether a container is the client's; None if its environment has to be read to decide."""
    if images.configured(facts.image) or _LAUNCH.search(facts.command):
        return True
    if not images.named(facts.image):
        return False
    return True if evidence(facts) else None if facts.environment is None else False


def kind(image: str, images: ClientImages, environment: t.Mapping[str, str]) -> str:
    """Returns `web` or `coreapp` for a client container. If unknown it counts as a Coreapp, which holds the registration."""
    named = images.named(image)
    if named:
        return named
    web = {"WEBAPP_HOSTNAME", "WEBAPP_EXTERNAL_PORTS", "WACORE_HOSTNAME"} & set(environment)
    core = {"COREAPP_HOSTNAME", "COREAPP_EXTERNAL_PORTS", "WA_MASTER_NODE"} & set(environment)
    return "web" if web and not core else "coreapp"


def repositories(configured: t.Mapping[str, t.Any] | None, registry: str | None) -> dict[str, str]:
    """Returns the repository of each kind from `wa_images`, or in `wa_registry`, in Docker's short form. Raises WaError."""
    images = ClientImages.of(configured, "wa_images")
    found = {}
    for name in KINDS:
        own = getattr(images, name)
        if len(own) > 1:
            raise WaError(f"wa_images.{name}", ", ".join(own), "one repository")
        if not own and not registry:
            raise WaError("wa_registry", "not set", f"where the image {name} is pulled from", "Set it, or wa_images")
        found[name] = own[0] if own else image_reference.repository("wa_registry", f"{registry}/{name}")
    return found


def written_repositories(configured: t.Mapping[str, t.Any] | None, registry: str | None) -> dict[str, str]:
    """Returns the `repositories` as they are written: Compose hashes the name of an image as a file has it. Raises WaError."""
    found = {}
    for name, short in repositories(configured, registry).items():
        written = (configured or {}).get(name) or f"{registry}/{name}"
        found[name] = written if isinstance(written, str) else short
    return found
