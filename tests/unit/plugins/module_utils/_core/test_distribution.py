# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The family of a host by its os-release, and the packages of Python libraries there."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution


def test_os_release_is_parsed() -> None:
    assert distribution.os_release("# x\nID=debian\nVERSION_ID=\"13\"\nNAME='a b'\n\nodd\n") == {
        "ID": "debian",
        "VERSION_ID": "13",
        "NAME": "a b",
    }


@pytest.mark.parametrize(
    ("text", "library", "advice"),
    [
        ("ID=debian", "PyMySQL", "Install the package python3-pymysql"),
        ("ID=ubuntu\nID_LIKE=debian", "requests", "Install the package python3-requests"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"', "psycopg2", "Install the package python3-psycopg2"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"', "PyMySQL", "Install the package python3-PyMySQL"),
        ('ID="amzn"', "cryptography", "Install the package python3-cryptography"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"', "PyMySQL", "Install the package python3-PyMySQL"),
        ('ID="sles"\nID_LIKE="suse"', "requests", "Install the package python3-requests"),
        ("ID=arch", "PyMySQL", "Install the Python library PyMySQL"),
        ("", "psycopg2", "Install the Python library psycopg2"),
    ],
)
def test_a_library_is_named_by_its_package(
    monkeypatch: pytest.MonkeyPatch, text: str, library: str, advice: str
) -> None:
    monkeypatch.setattr(distribution, "read_release", lambda: distribution.os_release(text))
    assert distribution.install(library) == advice
