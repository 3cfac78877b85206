# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The family of a host by its distribution, and the packages of Python libraries there."""

from __future__ import annotations

import pytest
from ansible.module_utils import distro

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution


@pytest.mark.parametrize(
    ("ident", "like", "library", "advice"),
    [
        ("debian", "", "PyMySQL", "Install the package python3-pymysql"),
        ("ubuntu", "debian", "requests", "Install the package python3-requests"),
        ("linuxmint", "ubuntu debian", "psycopg2", "Install the package python3-psycopg2"),
        ("rocky", "rhel centos fedora", "PyMySQL", "Install the package python3-PyMySQL"),
        ("amzn", "", "cryptography", "Install the package python3-cryptography"),
        ("opensuse", "suse opensuse", "PyMySQL", "Install the package python3-PyMySQL"),
        ("sles", "suse", "requests", "Install the package python3-requests"),
        ("arch", "", "PyMySQL", "Install the Python library PyMySQL"),
        ("", "", "psycopg2", "Install the Python library psycopg2"),
    ],
)
def test_a_library_is_named_by_its_package(
    monkeypatch: pytest.MonkeyPatch, ident: str, like: str, library: str, advice: str
) -> None:
    monkeypatch.setattr(distro, "id", lambda: ident)
    monkeypatch.setattr(distro, "like", lambda: like)
    assert distribution.install(library) == advice
