# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of certificates as OpenSSL makes them: PEM, DER, chains, years of two and of four digits."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import commands
import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core import certificate


def make(folder: Path, last: str, *more: str) -> bytes:
    """A certificate whose last second is `last`, as OpenSSL writes times."""
    target = folder / "c.pem"
    commands.run(
        *(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=a",
        ),
        *(
            "-keyout",
            str(folder / "k.pem"),
            "-out",
            str(target),
            "-not_before",
            "19990101000000Z",
            "-not_after",
            last,
            *more,
        ),
    )
    return target.read_bytes()


@pytest.mark.parametrize("last", ["20300102030405Z", "20491231235959Z", "20500101000000Z", "20010203040506Z"])
@pytest.mark.parametrize("more", [(), ("-set_serial", "0x" + "7f" * 20)])
def test_the_end_is_read(tmp_path: Path, last: str, more: tuple[str, ...]) -> None:
    expected = datetime.strptime(last, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
    pem = make(tmp_path, last, *more)
    assert certificate.ends(pem) == [expected]
    der = tmp_path / "c.der"
    commands.run("openssl", "x509", "-in", tmp_path / "c.pem", "-outform", "DER", "-out", der)
    assert certificate.ends(der.read_bytes()) == [expected]


def test_a_chain_has_the_end_of_each(tmp_path: Path) -> None:
    both = make(tmp_path, "20300102030405Z") + b"\ncomment\n" + make(tmp_path, "20310102030405Z")
    assert [one.year for one in certificate.ends(both)] == [2030, 2031]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"\x30\x82\xff\xff",
        b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
        bytes(64),
        b"\x30\x1e" * 20,
    ],
)
def test_anything_else_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(no|time) "):
        certificate.ends(content)


def test_a_certificate_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "20300102030405Z")
    der = tmp_path / "c.der"
    commands.run("openssl", "x509", "-in", tmp_path / "c.pem", "-outform", "DER", "-out", der)
    with pytest.raises(ValueError, match="no complete certificate"):
        certificate.ends(der.read_bytes()[:-1])
