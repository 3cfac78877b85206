# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution of this host, and the names of its packages of Python libraries."""

from __future__ import annotations

import typing as t

# By family, as Ansible calls it (`os_family`).
_PYMYSQL = {"Debian": "python3-pymysql", "RedHat": "python3-PyMySQL", "Suse": "python3-PyMySQL"}
_FAMILIES = {
    "debian": "Debian",
    "ubuntu": "Debian",
    "rhel": "RedHat",
    "fedora": "RedHat",
    "amzn": "RedHat",
    "suse": "Suse",
}


def os_release(text: str) -> dict[str, str]:
    """Returns the fields of an os-release file."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _equals, value in pairs}


def read_release() -> dict[str, str]:
    """Returns the host's os-release; empty if it has none."""
    for path in ("/etc/os-release", "/usr/lib/os-release"):
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                return os_release(stream.read())
        except OSError:
            continue
    return {}


def family(release: t.Mapping[str, str]) -> str:
    """Returns the family of an os-release; empty for an unknown one."""
    names = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".lower().replace("-", " ").split()
    return next((_FAMILIES[name] for name in names if name in _FAMILIES), "")


def python_package(library: str, of: str) -> str:
    """Returns the package of a library (its name on PyPI) in a family; empty for an unknown family."""
    if library == "PyMySQL":
        return _PYMYSQL.get(of, "")
    return f"python3-{library}" if of in _PYMYSQL else ""


def named(library: str) -> str:
    """Returns a library with its package on this host, if that is known."""
    package = python_package(library, family(read_release()))
    return f"the Python library {library}" + (f" (package {package})" if package else "")


def install(library: str) -> str:
    """Returns the advice to install a library on this host, by its package if that is known."""
    package = python_package(library, family(read_release()))
    return f"Install the package {package}" if package else f"Install the Python library {library}"
