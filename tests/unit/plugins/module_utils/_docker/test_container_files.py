# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in containers, which the engine returns as tar archives."""

from __future__ import annotations

import io
import tarfile
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker import container_files as files
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound


def archive(name: str, content: bytes | None = None, link: str = "") -> bytes:
    """The engine's archive of a file, a link, or (neither) a folder."""
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
def test_the_content_of_a_file_is_read_through_links(path: str, content: bytes | None) -> None:
    assert files.read(t.cast("t.Any", Engine()), "core", path) == content


MEDIA = "/usr/local/wamedia"
ABOVE = ["/usr", "/usr/local"]
FOLDERS = [MEDIA, f"{MEDIA}/incoming", f"{MEDIA}/outgoing"]


class Layer(Engine):
    """The changed paths of a container's layer with their archives. The second call of `changes` raises `later`."""

    def __init__(self, changed: list[str], content: dict[str, bytes], later: Exception | None = None) -> None:
        self.changed, self.content, self.later = changed, content, later
        self.requested: list[str] = []

    def changes(self, _container: str) -> list[str]:
        if self.requested and self.later:
            raise self.later
        return self.changed

    def archive(self, _container: str, path: str, limit: int) -> bytes:
        self.requested.append(path)
        if path not in self.content:
            raise NotFound(path, "no such file")
        return self.content[path][:limit]


FOLDER = archive("x")
LONG = "n" * 200  # too long for one tar header


@pytest.mark.parametrize(
    ("changed", "content", "found"),
    [
        ([], {}, ""),
        (["/run", "/run/x.pid", "/var", "/var/log", "/var/log/whatsapp", "/var/log/whatsapp/a.log"], {}, ""),
        ([*ABOVE, *FOLDERS], dict.fromkeys(FOLDERS, FOLDER), ""),
        ([*ABOVE, "/usr/local/wamedia2", "/usr/local/wamedia2/a"], {}, ""),
        (
            [*ABOVE, *FOLDERS, f"{MEDIA}/outgoing/a"],
            {f"{MEDIA}/incoming": FOLDER, f"{MEDIA}/outgoing/a": archive("a", b"1")},
            f"{MEDIA}/outgoing/a",
        ),
        ([MEDIA, f"{MEDIA}/{LONG}"], {f"{MEDIA}/{LONG}": archive(LONG, b"1" * 90_000)}, f"{MEDIA}/{LONG}"),
        ([MEDIA, f"{MEDIA}/{LONG}"], {f"{MEDIA}/{LONG}": archive(LONG)}, ""),
        ([MEDIA], {MEDIA: archive("wamedia", link="/srv")}, MEDIA),
        ([MEDIA, f"{MEDIA}/socket"], {f"{MEDIA}/socket": b""}, f"{MEDIA}/socket"),
        # a file that was removed again, such as the client's probe
        ([MEDIA, f"{MEDIA}/.probe"], {}, ""),
    ],
)
def test_a_file_in_the_container_layer_is_found(changed: list[str], content: dict[str, bytes], found: str) -> None:
    assert files.in_layer(t.cast("t.Any", Layer(changed, content)), "core", MEDIA) == found


@pytest.mark.parametrize(
    "layer",
    [
        Layer([f"{MEDIA}/a"], {}, NotFound("core", "no such container")),
        Layer([f"{MEDIA}/{number}" for number in range(257)], {f"{MEDIA}/{number}": FOLDER for number in range(257)}),
    ],
)
def test_an_unreadable_layer_is_an_error(layer: Layer) -> None:
    with pytest.raises(WaError):
        files.in_layer(t.cast("t.Any", layer), "core", MEDIA)
