# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an operator's own files have the version of the client, and how it is set there."""

from __future__ import annotations

import re

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose.version import Update, update, variable
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

NEW = "2.53.4"
FILE = "/srv/biz/compose.yml"
ENV = "/srv/biz/.env"


def web(image: str) -> str:
    """A Compose file with this text as the image of the Webapp."""
    return f"services:\n  waweb:\n    image: {image}\n    restart: always\n"


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (["r/web:v2.51.2", "r/coreapp:v2.51.2"], ("", "")),
        (["r/web:v${V}", "r/coreapp:v${V}"], ("V", "v")),
        (["r/web:v$V", "r/coreapp:v${V:?set it}", "r/coreapp:v${V-2.50.0}"], ("V", "v")),
        (["${REGISTRY:-r}/web:${TAG}", "${REGISTRY}/coreapp:$TAG"], ("TAG", "")),
        (["${REGISTRY}/web:v2.51.2"], ("", "")),
        (["h:5000/web"], ("", "")),
        (["r/web:v$$V"], ("", "")),
    ],
)
def test_one_variable_or_the_tags_have_the_version(images: list[str], expected: tuple[str, str]) -> None:
    assert variable(images) == expected


@pytest.mark.parametrize(
    "images",
    [
        ["r/web:v${A}", "r/coreapp:v${B}"],
        ["r/web:v${V}", "r/coreapp:v2.51.2"],
        ["r/web:v${V}", "r/coreapp:${V}"],  # one value cannot serve both
        ["${WEB}", "${CORE}"],
        ["r/${WEB}"],
        ["r/web:v${MAJOR}.${MINOR}"],
        ["r/web:${V}-slim"],
        ["r/web:version-${V}"],
        ["r/web:v${V:-${W}}"],
        ["r/web@${DIGEST}"],
        ["r/web:v${V}@sha256:1"],
        ["r/web:v2.51.2@sha256:1"],
    ],
)
def test_a_version_elsewhere_is_refused(images: list[str]) -> None:
    assert variable(images) is None
    refusal = f"its version: in more than one place: {', '.join(sorted(images))}. Use one variable of .env, or tags alone in one Compose file, for all images of the client"
    with pytest.raises(WaError, match=f"^{re.escape(refusal)}$"):
        update(images, NEW, {FILE: ""}, {})


@pytest.mark.parametrize(
    ("image", "before", "after"),
    [
        ("r/web:v${V}", "V=2.51.2\n", "V=2.53.4\n"),
        ("r/web:v$V", "V=2.51.2\n", "V=2.53.4\n"),
        # What an env file sets is in force, not the default.
        ("r/web:v${V:-2.50.0}", "V=2.51.2\n", "V=2.53.4\n"),
        ("r/web:${V}", "V=v2.51.2\n", "V=v2.53.4\n"),
        ("${REGISTRY}/web:v${V}", "REGISTRY=r\nV=2.51.2\n", "REGISTRY=r\nV=2.53.4\n"),
        # However it is written, the other lines stay as they are.
        ("r/web:v${V}", "V='2.51.2'\n", "V='2.53.4'\n"),
        ("r/web:v${V}", 'V="2.51.2"\n', 'V="2.53.4"\n'),
        ("r/web:v${V}", "  V = 2.51.2\t\n", "  V = 2.53.4\t\n"),
        ("r/web:v${V}", "V=2.51.2", "V=2.53.4"),
        ("r/web:v${V}", "V=2.51.2  # was 2.51.2\nA=1\n", "V=2.53.4  # was 2.51.2\nA=1\n"),
        ("r/web:v${V}", 'export V="2.51.2" # x\r\nA=1\r\n', 'export V="2.53.4" # x\r\nA=1\r\n'),
        # Of several lines the last is in force; those of other variables stay, too.
        ("r/web:v${V}", "A=1\nV=2.50.0\nA=2\nV=2.51.2\n", "A=1\nV=2.50.0\nA=2\nV=2.53.4\n"),
        # A line that Compose cannot read is for Compose to report.
        ("r/web:v${V}", "V=2.51.2\nA='open\n", "V=2.53.4\nA='open\n"),
        ("r/web:v${V}", "A=1\r\nV=2.51.2\r\n", "A=1\r\nV=2.53.4\r\n"),
        ("r/web:v${V}", "\ufeffV=2.51.2\nA=1\n", "\ufeffV=2.53.4\nA=1\n"),
        (
            "r/web:v${V}",
            "# V=2.50.0\n\n  A = ' x' # y\nexport B=\"$HOME\"\nV=2.51.2\nVV=2.51.2\nP='a\nV=2.49.0\n'\nlast",
            "# V=2.50.0\n\n  A = ' x' # y\nexport B=\"$HOME\"\nV=2.53.4\nVV=2.51.2\nP='a\nV=2.49.0\n'\nlast",
        ),
    ],
)
def test_a_variable_is_set_in_its_env_file(image: str, before: str, after: str) -> None:
    v = "v" if ":v" not in image else ""
    images, files = [image, image.replace("web", "coreapp")], {FILE: web(image)}
    change = f"{ENV}: V={v}2.51.2 becomes V={v}2.53.4"
    assert update(images, NEW, files, {ENV: before}) == Update(ENV, after, (change,))
    # With what was written there is nothing to do.
    assert update(images, NEW, files, {ENV: after}) == Update()


@pytest.mark.parametrize("line", ["V=$W", "V=${W}", "V=${W:-2.51.2}", 'V="$W"', "V=2.${W}", "V", "V=", "V: 2.51.2"])
def test_a_value_that_is_made_of_something_else_is_refused(line: str) -> None:
    env_files = {"a.env": "V=2.51.2\n", "b.env": f"W=2.51.2\n{line}\n"}
    with pytest.raises(WaError, match=r"^b\.env: makes V of something else; expected V=2\.53\.4\.$"):
        update(["r/web:v${V}"], NEW, {FILE: web("r/web:v${V}")}, env_files)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.env": "V=2.51.2\n", "b.env": "V=2.52.0\n"}, "b.env"),
        ({"b.env": "V=2.52.0\n", "a.env": "V=2.51.2\n"}, "a.env"),
        ({"a.env": "V=2.51.2\n", "b.env": "A=1\n"}, "a.env"),
        ({"a.env": "V=2.51.2\n", "b.env": "# V=2.52.0\n"}, "a.env"),
        # The later file has it, so that the earlier one does not count.
        ({"a.env": "V=2.51.2\n", "b.env": "V=2.53.4\n"}, ""),
    ],
)
def test_the_last_env_file_with_the_variable_is_in_force(files: dict[str, str], expected: str) -> None:
    found = update(["r/web:v${V:-2.51.2}"], NEW, {FILE: web("r/web:v${V:-2.51.2}")}, files)
    assert (found.path, found.text) == (expected, "V=2.53.4\n" if expected else "")


@pytest.mark.parametrize("image", ["r/web:v${V}", "r/web:v${V:-2.51.2}"])
@pytest.mark.parametrize("env_files", [{}, {ENV: "# V=1\nR=r\n"}])
def test_a_variable_that_no_file_sets_is_refused(image: str, env_files: dict[str, str]) -> None:
    with pytest.raises(WaError, match=r"^variable V: set in no env file; expected V=2\.53\.4 in the file \.env\.$"):
        update([image], NEW, {FILE: web(image)}, env_files)


@pytest.mark.parametrize(
    ("written", "after"),
    [
        ("r/web:v2.51.2", "r/web:v2.53.4"),
        ('"r/web:v2.51.2"', '"r/web:v2.53.4"'),
        ("'r/web:v2.51.2'", "'r/web:v2.53.4'"),
        ("&web r/web:v2.51.2", "&web r/web:v2.53.4"),
        ("r/web:v2.51.2\r", "r/web:v2.53.4\r"),
        # Comments keep the old text.
        ("r/web:v2.51.2 # r/web:v2.51.2 until spring", "r/web:v2.53.4 # r/web:v2.51.2 until spring"),
        ("r/web:v2.51.2\n#image: r/web:v2.51.2", "r/web:v2.53.4\n#image: r/web:v2.51.2"),
        # A tag of which the old one is the start, and an image of which it is the end.
        (
            "r/web:v2.51.2\n  a: {image: r/web:v2.51.20}\n  b: {image: r/web:v2.51.2.1}\n  c: {image: r/web:v2.51.2-slim}",
            "r/web:v2.53.4\n  a: {image: r/web:v2.51.20}\n  b: {image: r/web:v2.51.2.1}\n  c: {image: r/web:v2.51.2-slim}",
        ),
        (
            "r/web:v2.51.2\n  a: {image: mirror/r/web:v2.51.2}\n  b: {image: other-r/web:v2.51.2}",
            "r/web:v2.53.4\n  a: {image: mirror/r/web:v2.51.2}\n  b: {image: other-r/web:v2.51.2}",
        ),
        ("r/web:v2.51.2\n  a: {image: 'r/web:v2.51.2@sha256:1'}", "r/web:v2.53.4\n  a: {image: 'r/web:v2.51.2@sha256:1'}"),
        # Elsewhere the same text is no image.
        (
            "r/web:v2.51.2\n    container_name: r/web:v2.51.2\n    labels: {a: 'r/web:v2.51.2'}",
            "r/web:v2.53.4\n    container_name: r/web:v2.51.2\n    labels: {a: 'r/web:v2.51.2'}",
        ),
        ("*i\nx-image: &i r/web:v2.51.2", "*i\nx-image: &i r/web:v2.53.4"),
        ("*i\nx-image: &the-i.1 'r/web:v2.51.2'", "*i\nx-image: &the-i.1 'r/web:v2.53.4'"),
        # The same image of another service.
        ("r/web:v2.51.2\n  web2: {image: r/web:v2.51.2, init: true}", "r/web:v2.53.4\n  web2: {image: r/web:v2.53.4, init: true}"),
    ],
)  # fmt: skip
def test_a_tag_is_replaced_in_the_image(written: str, after: str) -> None:
    files = {"/srv/biz/other.yml": "services: {}\n", FILE: web(written)}
    change = f"{FILE}: r/web:v2.51.2 becomes r/web:v2.53.4"
    assert update(["r/web:v2.51.2"], NEW, files, {ENV: "V=2.51.2\n"}) == Update(FILE, web(after), (change,))


@pytest.mark.parametrize(
    "image", ["h.example.com:5000/r/web:latest", "r/web:2.51.2", "web:v2.51.2", "${R}/web:v2.51.2"]
)
def test_an_image_gets_the_tag_of_the_version(image: str) -> None:
    new = f"{image.rpartition(':')[0]}:v2.53.4"
    assert update([image], NEW, {FILE: web(image)}, {}) == Update(FILE, web(new), (f"{FILE}: {image} becomes {new}",))


@pytest.mark.parametrize(
    ("image", "env"),
    [
        ("r/web:v2.53.4", ""),
        ("r/web:v${V}", "V=2.53.4\n"),
        ("r/web:v${V}", "V='2.53.4'\r\n"),
        ("r/web:$V", "V=v2.53.4"),
    ],
)
def test_what_has_the_version_is_left_as_it_is(image: str, env: str) -> None:
    assert update([image], NEW, {FILE: web(image)}, {ENV: env}) == Update()


OLD = ["r/coreapp:v2.51.2", "r/web:v2.51.2"]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({FILE: "include: [wa.yml]\n"}, "none"),
        ({FILE: "services: {waweb: {extends: {file: base.yml, service: web}}}\n"}, "none"),
        ({FILE: "# image: r/web:v2.51.2\ninclude: [wa.yml]\n"}, "none"),
        ({FILE: "services: {a: {container_name: 'r/web:v2.51.2'}}\n"}, "none"),
        ({FILE: web("r/web:v2.51.2"), "b.yml": web("r/coreapp:v2.51.2")}, "more than one"),
        ({FILE: web("r/web:v2.51.2"), "b.yml": web("r/web:v2.51.2")}, "more than one"),
    ],
)
def test_images_in_another_or_in_several_files_are_refused(files: dict[str, str], found: str) -> None:
    with pytest.raises(WaError) as refused:
        update(OLD, NEW, files, {})
    assert str(refused.value) == (
        f"r/coreapp:v2.51.2, r/web:v2.51.2: in {found} of {', '.join(files)}; expected r/coreapp:v2.53.4, r/web:v2.53.4 in one file. "
        "Use one variable of .env, or tags alone in one Compose file, for all images of the client"
    )
