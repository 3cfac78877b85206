# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages that the role wa_host installs, by distribution and release."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

VARIABLES = pathlib.Path(__file__).resolve().parents[2] / "roles/wa_host/vars/main.yml"
ALL = ["docker_engine", "docker_compose", "cron"]
FAMILIES = {
    **dict.fromkeys(("Rocky", "AlmaLinux", "Fedora", "Amazon"), "RedHat"),
    **dict.fromkeys(("SLES", "openSUSE Leap"), "Suse"),
    **{name: name for name in ("Archlinux", "Alpine")},
}


def read(name: str, distribution: str, major: str, missing: list[str], own: dict[str, t.Any]) -> t.Any:
    """A variable of the role on a host that lacks `missing`; `own` is wa_host_packages."""
    loader = DataLoader()
    given = {
        "ansible_facts": {
            "distribution": distribution,
            "distribution_major_version": major,
            "os_family": FAMILIES.get(distribution, "Debian"),
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
        ("AlmaLinux", "9", ["docker-ce", "docker-ce-cli", "docker-compose-plugin", "cronie"]),
        ("Fedora", "42", ["moby-engine", "docker-compose", "cronie"]),
        ("Amazon", "2023", ["docker", "cronie"]),
        ("SLES", "15", ["docker", "docker-compose", "cronie"]),
        ("openSUSE Leap", "15", ["docker", "docker-compose", "cronie"]),
        ("Archlinux", "", []),
        ("Alpine", "3", []),
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
def test_a_requirement_without_a_package_is_known_before_the_installation(
    major: str, missing: list[str], own: dict[str, list[str]], expected: list[str]
) -> None:
    assert read("__wa_host_without_package", "Debian", major, missing, own) == expected


@pytest.mark.parametrize(
    ("distribution", "expected"), [("Amazon", ["docker_compose"]), ("SLES", []), ("Alpine", ALL), ("Archlinux", ALL)]
)
def test_requirements_of_an_unknown_distribution_need_wa_host_packages(distribution: str, expected: list[str]) -> None:
    assert sorted(read("__wa_host_without_package", distribution, "15", ALL, {})) == sorted(expected)
    own = {word: ["x"] for word in ALL}
    assert read("__wa_host_without_package", distribution, "15", ALL, own) == []
    assert read("__wa_host_install", distribution, "15", ALL, own) == ["x"]


@pytest.mark.parametrize(
    ("distribution", "own", "service"),
    [
        ("Debian", {}, "cron"),
        ("Debian", {"cron": "cronie"}, "cronie"),
        ("Debian", {"cron": ["cronie"]}, "cronie"),
        ("Ubuntu", {}, "cron"),
        ("Rocky", {}, "crond"),
        ("Amazon", {}, "crond"),
        ("SLES", {}, "cron"),
        ("Alpine", {"cron": "cronie"}, "crond"),
    ],
)
def test_the_service_name_of_cron(distribution: str, own: dict[str, t.Any], service: str) -> None:
    assert read("__wa_host_cron_service", distribution, "13", ["cron"], own) == service
