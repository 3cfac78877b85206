# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages the role wa_host installs, by distribution and release."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

VARIABLES = pathlib.Path(__file__).resolve().parents[2] / "roles/wa_host/vars/main.yml"
ALL = ["docker_engine", "docker_compose", "cron"]


def read(name: str, distribution: str, major: str, missing: list[str], own: dict[str, list[str]]) -> t.Any:
    """A variable of the role on a host that lacks `missing`; `own` is wa_host_packages."""
    loader = DataLoader()
    given = {
        "ansible_facts": {
            "distribution": distribution,
            "distribution_major_version": major,
            "os_family": "RedHat" if distribution == "Rocky" else "Debian",
        },
        "wa_host_packages": own,
        "__wa_host_found": {"missing": missing},
    }
    variables = {**loader.load_from_file(str(VARIABLES), trusted_as_template=True), **given}
    return Templar(loader=loader, variables=variables).template(variables[name])


@pytest.mark.parametrize(
    ("distribution", "major", "expected"),
    [
        ("Debian", "11", ["docker.io", "iptables", "cron"]),
        ("Debian", "12", ["docker.io", "iptables", "cron"]),
        ("Debian", "13", ["docker.io", "docker-cli", "iptables", "docker-compose", "cron"]),
        ("Debian", "forky/sid", ["docker.io", "docker-cli", "iptables", "docker-compose", "cron"]),
        ("Ubuntu", "24", ["docker.io", "docker-compose-v2", "cron"]),
        ("Rocky", "9", ["docker-ce", "docker-ce-cli", "docker-compose-plugin", "cronie"]),
        ("Devuan", "5", ["docker.io", "docker-cli", "iptables", "docker-compose", "cron"]),
    ],
)
def test_every_release_gets_packages_that_it_has(distribution: str, major: str, expected: list[str]) -> None:
    assert read("__wa_host_install", distribution, major, ALL, {}) == expected


@pytest.mark.parametrize(
    ("major", "missing", "own", "expected"),
    [
        ("12", ALL, {}, ["docker_compose"]),
        ("12", ["docker_engine"], {}, []),
        ("12", ALL, {"docker_compose": ["docker-compose-plugin"]}, []),
        ("13", ALL, {}, []),
    ],
)
def test_what_no_package_has_is_known_before_anything_is_installed(
    major: str, missing: list[str], own: dict[str, list[str]], expected: list[str]
) -> None:
    assert read("__wa_host_without_package", "Debian", major, missing, own) == expected
