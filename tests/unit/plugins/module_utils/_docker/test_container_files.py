# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files inside containers come as tar archives, links as links."""

from __future__ import annotations

import io
import tarfile
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._docker import container_files as files
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound


def archive(name: str, content: bytes | None = None, link: str = "") -> bytes:
    """What the engine sends for a file, a link, or (neither) a folder."""
    member = tarfile.TarInfo(name)
    if content is not None:
        member.size = len(content)
    else:
        member.type, member.linkname = (tarfile.SYMTYPE if link else tarfile.DIRTYPE), link
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


CONTENT = {
    "/opt/certs/ca.pem": archive("ca.pem", b"authority"),
    "/opt/certs/link.pem": archive("link.pem", link="ca.pem"),
    "/opt/certs/far.pem": archive("far.pem", link="../certs/link.pem"),
    "/etc/ca.pem": archive("ca.pem", link="/opt/certs/ca.pem"),
    "/opt/certs/gone.pem": archive("gone.pem", link="nowhere.pem"),
    "/opt/certs/round.pem": archive("round.pem", link="round.pem"),
    "/opt/certs": archive("certs"),
    "/empty": archive("empty", b""),
    "/cut": archive("cut", b"x" * 2000)[:1024],
    "/noise": b"no archive at all",
}


class Engine:
    def archive(self, _container: str, path: str, _limit: int) -> bytes:
        if path not in CONTENT:
            raise NotFound(path, "no such file")
        return CONTENT[path]


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/opt/certs/ca.pem", b"authority"),
        ("/opt/certs/link.pem", b"authority"),
        ("/opt/certs/far.pem", b"authority"),
        ("/etc/ca.pem", b"authority"),
        ("/empty", b""),
        ("/opt/certs/gone.pem", None),
        ("/opt/certs/round.pem", None),
        ("/opt/certs", None),
        ("/opt/certs/none.pem", None),
        ("/cut", None),
        ("/noise", None),
    ],
)
def test_the_content_of_a_file(path: str, content: bytes | None) -> None:
    assert files.read(t.cast("t.Any", Engine()), "core", path) == content
