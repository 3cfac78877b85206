# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages that the role wa_host installs, by distribution and release."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._host import packages

ALL = ["docker_engine", "docker_compose", "cron"]
FAMILIES = {
    **dict.fromkeys(("Rocky", "AlmaLinux", "Fedora", "Amazon"), "RedHat"),
    **dict.fromkeys(("SLES", "openSUSE Leap"), "Suse"),
    **{name: name for name in ("Archlinux", "Alpine")},
}


def choose(distribution: str, major: str, missing: list[str], own: dict[str, t.Any]) -> dict[str, t.Any]:
    """Returns the choice for a host that lacks `missing`; `own` is wa_host_packages."""
    facts = {
        "distribution": distribution,
        "distribution_major_version": major,
        "os_family": FAMILIES.get(distribution, "Debian"),
    }
    return packages.choose(facts, missing, own)


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
    assert choose(distribution, major, ALL, {})["install"] == expected


@pytest.mark.parametrize(
    ("major", "missing", "own", "expected"),
    [
        ("12", ALL, {}, ["docker_compose"]),
        ("12", ["docker_engine"], {}, []),
        ("12", ALL, {"docker_compose": ["docker-compose-plugin"]}, []),
        ("13", ALL, {}, []),
    ],
)
def test_a_requirement_without_a_package_is_named(
    major: str, missing: list[str], own: dict[str, list[str]], expected: list[str]
) -> None:
    assert choose("Debian", major, missing, own)["without_package"] == expected


@pytest.mark.parametrize(
    ("distribution", "expected"), [("Amazon", ["docker_compose"]), ("SLES", []), ("Alpine", ALL), ("Archlinux", ALL)]
)
def test_an_unknown_package_must_be_set_in_the_inventory(distribution: str, expected: list[str]) -> None:
    assert choose(distribution, "15", ALL, {})["without_package"] == expected
    own = {word: ["x"] for word in ALL}
    assert choose(distribution, "15", ALL, own)["without_package"] == []
    assert choose(distribution, "15", ALL, own)["install"] == ["x"]


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
def test_the_name_of_the_cron_service(distribution: str, own: dict[str, t.Any], service: str) -> None:
    assert choose(distribution, "13", ["cron"], own)["cron_service"] == service


def test_libraries_of_each_family() -> None:
    libraries = ["python_requests", "python_mysql", "python_postgresql"]
    for distribution, mysql in {"Debian": "python3-pymysql", "Rocky": "python3-PyMySQL"}.items():
        assert choose(distribution, "13", libraries, {}) == {
            "install": ["python3-requests", mysql, "python3-psycopg2"],
            "without_package": [],
            "cron_service": {"Debian": "cron", "Rocky": "crond"}[distribution],
        }
