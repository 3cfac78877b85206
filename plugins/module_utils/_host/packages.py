# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selects the distribution's packages for requirements that a host lacks. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution

_COLUMNS = ("docker_engine", "docker_compose", "cron")  # keys of `_host.requirements`
# By distribution, or by family.
_PACKAGES = {
    "Debian": ("docker.io docker-cli iptables", "docker-cli docker-compose", "cron"),
    "Ubuntu": ("docker.io", "docker.io docker-compose-v2", "cron"),
    "RedHat": ("docker-ce docker-ce-cli", "docker-ce-cli docker-compose-plugin", "cronie"),
    "Fedora": ("moby-engine", "docker-compose", "cronie"),
    "Amazon": ("docker", "", "cronie"),
    "Suse": ("docker", "docker-compose", "cronie"),
}
_LIBRARIES = {"python_requests": "requests", "python_mysql": "PyMySQL", "python_postgresql": "psycopg2"}
# Before Debian 13, docker.io includes the Docker CLI, and no package has the Compose plugin.
_OLDER_DEBIAN = {"docker_engine": "docker.io iptables", "docker_compose": ""}
_CRON_SERVICES = {"RedHat": "crond", "Debian": "cron", "Suse": "cron"}


def choose(
    facts: t.Mapping[str, t.Any], missing: t.Sequence[str], overrides: t.Mapping[str, str | t.Sequence[str]]
) -> dict[str, t.Any]:
    """Returns the packages to `install`, the requirements `without_package`, and the name of the `cron_service`.

    `facts` are Ansible's facts of the subset `distribution`, `overrides` is `wa_host_packages`: a package or several by
    requirement. An unknown distribution has no package.
    """
    family, major = facts["os_family"], str(facts["distribution_major_version"])
    row = _PACKAGES.get(facts["distribution"]) or _PACKAGES.get(family)
    libraries = {key: distribution.python_package(library, family) for key, library in _LIBRARIES.items()}
    known = {**dict(zip(_COLUMNS, row)), **libraries} if row else {}
    if facts["distribution"] == "Debian" and major.isdecimal() and int(major) < 13:
        known.update(_OLDER_DEBIAN)
    packages = {key: _names(overrides.get(key, known.get(key, "").split())) for key in missing}
    install = list(dict.fromkeys(name for names in packages.values() for name in names))
    return {
        "install": install,
        "without_package": [key for key, names in packages.items() if not names],
        # Debian has several packages with a cron daemon.
        "cron_service": "cronie" if "cronie" in install and family == "Debian" else _CRON_SERVICES.get(family, "crond"),
    }


def _names(value: str | t.Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else [*value]
