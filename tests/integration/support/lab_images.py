# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's images for tests that need no complete lab: a server, a host, the simulated client, or the base image."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def _ensure(choose: t.Callable[[t.Any], t.Any], versions: t.Sequence[tuple[str, str]] = ()) -> str:
    from walab.images import Builder, Catalogue
    from walab.shell import Shell

    catalogue = Catalogue(versions=versions)
    wanted = choose(catalogue)
    Builder(Shell(), catalogue, REPOSITORY / ".lab" / "build").ensure([wanted])
    return str(wanted.tag)


def base() -> str:
    """The base of all other images: a shell, coreutils, gzip and Python."""
    return _ensure(lambda catalogue: catalogue.debian)


def machine(kind: str) -> str:
    """The image of a machine by its kind (`host`, `mariadb`, `postgres`, ...)."""
    return _ensure(lambda catalogue: catalogue.machines[kind])


def vendor(server: str) -> str:
    """The image of a database server (`mariadb`, `postgres-13`, ...) as its maker's: its password is in the environment."""
    return _ensure(lambda catalogue: catalogue.vendors[server])


def client(role: str, version: str = "2.53.4") -> str:
    """The simulated client's image of a role (`web`, `coreapp`), built as a lab of today builds it."""
    from walab.images import expires_on

    versions = [(version, expires_on(datetime.date.today()))]
    return _ensure(lambda catalogue: catalogue.clients[f"whatsapp/{role}:v{version}"], versions)
