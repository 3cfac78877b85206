# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificate of the API is read of a real TLS server that nobody trusts; without one the reason is named."""

from __future__ import annotations

from pathlib import Path

import commands
import pytest
from fake_webapp import FakeWebapp

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp import certificate


def test_the_end_is_read_without_a_request(tmp_path: Path) -> None:
    files = tmp_path / "c.pem", tmp_path / "k.pem"
    commands.run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", "-days", "9"),
        *("-out", files[0], "-keyout", files[1]),
    )
    server = FakeWebapp(files)
    try:
        end = certificate.end(server.url, 5)
        shown = commands.run("openssl", "x509", "-in", files[0], "-noout", "-enddate")
        assert end.strftime("%b %e %H:%M:%S %Y") in shown
        assert server.requests == []
    finally:
        server.close()


def test_a_server_without_tls_or_none_is_an_error(fake: FakeWebapp) -> None:
    url = fake.url.replace("http:", "https:")
    with pytest.raises(WaError, match=r"certificate of https://127\.0\.0\.1:\d+: "):
        certificate.end(url, 5)
    with pytest.raises(WaError, match="Connection refused"):
        certificate.end("https://127.0.0.1:1", 5)
