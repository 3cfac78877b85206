# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The distribution of this host, and the names of its packages of Python libraries."""

from __future__ import annotations

from ansible.module_utils import distro

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


def family() -> str:
    """Returns the family of this host; empty for an unknown one."""
    names = f"{distro.id()} {distro.like()}".lower().replace("-", " ").split()
    return next((_FAMILIES[name] for name in names if name in _FAMILIES), "")


def python_package(library: str, of: str) -> str:
    """Returns the package of a library (its name on PyPI) in a family; empty for an unknown family."""
    if library == "PyMySQL":
        return _PYMYSQL.get(of, "")
    return f"python3-{library}" if of in _PYMYSQL else ""


def named(library: str) -> str:
    """Returns a library with its package on this host, if that is known."""
    package = python_package(library, family())
    return f"the Python library {library}" + (f" (package {package})" if package else "")


def install(library: str) -> str:
    """Returns the advice to install a library on this host, by its package if that is known."""
    package = python_package(library, family())
    return f"Install the package {package}" if package else f"Install the Python library {library}"
