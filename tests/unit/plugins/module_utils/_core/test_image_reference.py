# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image references are parsed as Docker parses them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

DIGEST = "sha256:" + "0a" * 32
COMPONENTS = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}", fullmatch=True)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
HOSTS = st.sampled_from(
    ["reg.lab", "reg.lab:5000", "localhost", "localhost:5000", "10.0.0.7", "h:1", "[::1]:5000", "REG"]
)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True)


@pytest.mark.parametrize(
    ("image", "registry", "path", "tag", "digest"),
    [
        ("web", "", "web", "latest", ""),
        ("web:v2.53.4", "", "web", "v2.53.4", ""),
        ("library/web:1", "", "web", "1", ""),
        ("docker.io/library/web", "", "web", "latest", ""),
        ("docker.io/acme/web:v1", "", "acme/web", "v1", ""),
        ("index.docker.io/acme/web", "", "acme/web", "latest", ""),
        ("acme/web:v1", "", "acme/web", "v1", ""),
        ("acme/team/web", "", "acme/team/web", "latest", ""),
        ("library/team/web", "", "library/team/web", "latest", ""),
        ("reg.lab/library/web", "reg.lab", "library/web", "latest", ""),
        ("localhost/web", "localhost", "web", "latest", ""),
        ("localhost:5000/a/web:v2", "localhost:5000", "a/web", "v2", ""),
        ("reg:5000/web", "reg:5000", "web", "latest", ""),
        ("reg:5000", "", "reg", "5000", ""),
        ("registry.lab:5000/ops/wa-core@" + DIGEST, "registry.lab:5000", "ops/wa-core", "", DIGEST),
        ("registry.lab:5000/ops/wa-core:v2@" + DIGEST, "registry.lab:5000", "ops/wa-core", "v2", DIGEST),
        ("[::1]:5000/web:v1", "[::1]:5000", "web", "v1", ""),
        (DIGEST, "", "sha256", "0a" * 32, ""),
        ("", "", "", "latest", ""),
    ],
)
def test_a_reference_is_split_into_its_parts(image: str, registry: str, path: str, tag: str, digest: str) -> None:
    assert image_reference.parse(image) == image_reference.Reference(registry, path, tag, digest)


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("r/web:v2.53.4", "2.53.4"),
        ("r/web:2.53.4", "2.53.4"),
        ("r/web:vv2.53.4", "v2.53.4"),
        ("r/web", "latest"),
        ("reg:5000/web@" + DIGEST, ""),
    ],
)
def test_the_version_is_the_tag_without_one_v(image: str, version: str) -> None:
    assert image_reference.parse(image).version == version


@given(host=st.none() | HOSTS, path=PATHS, tag=st.none() | TAGS, digest=st.booleans())
def test_a_composed_reference_is_split_into_the_same_parts(
    host: str | None, path: str, tag: str | None, digest: bool
) -> None:
    first, slash, _rest = path.partition("/")
    if host is None and slash and ("." in first or first == "localhost"):
        return  # Docker also takes this for a registry
    image = f"{host}/{path}" if host else path
    found = image_reference.parse(image + (f":{tag}" if tag else "") + (f"@{DIGEST}" if digest else ""))
    short = path[len("library/") :] if host is None and re.fullmatch("library/[^/]+", path) else path
    assert (found.registry, found.path) == (host or "", short)
    assert found.tag == (tag or ("" if digest else "latest"))
    assert found.digest == (DIGEST if digest else "")
    assert found.last == path.rpartition("/")[2]
    assert image_reference.repository("wa_images.web", image) == found.repository
    if tag or digest:
        with pytest.raises(WaError, match="a tag or a digest"):
            image_reference.repository("wa_images.web", image + (f":{tag}" if tag else f"@{DIGEST}"))


@given(st.text(max_size=30))
def test_any_text_is_parsed(image: str) -> None:
    found = image_reference.parse(image)
    assert "@" not in found.repository
    assert found.repository.endswith(found.last)


@pytest.mark.parametrize(
    "text", ["", "/web", "reg.lab//web", "Web", "reg.lab:5000/", "web ", "a/B", None, "reg.lab:x/web", "$x"]
)
def test_an_invalid_repository_is_refused(text: str | None) -> None:
    with pytest.raises(WaError, match=r"wa_images\.web: "):
        image_reference.repository("wa_images.web", text)


@pytest.mark.parametrize(
    ("image", "tagged"),
    [("web:v2", True), ("r:5000/web", False), ("r:5000/web:v2@sha256:ab", True), ("web@sha256:ab", False)],
)
def test_a_port_or_a_digest_is_no_tag(image: str, tagged: bool) -> None:
    assert image_reference.has_tag(image) == tagged


def test_without_v_removes_every_leading_v() -> None:
    assert [image_reference.without_v(text) for text in (" vv2.53.4 ", "V2.53.4", "2.53.4", "")] == [
        "2.53.4",
        "2.53.4",
        "2.53.4",
        "",
    ]
