# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an operator's own Compose files name the version of the client, and how it is set there."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose.version import Update, update

WEB, CORE = "r/web:v2.53.4", "r/coreapp:v2.53.4"
FILE = "/srv/biz/compose.yml"
ENV = "/srv/biz/.env"
UNSET = (
    "service waweb has the image {}, and no env file sets {}: it comes from the environment of whoever runs docker compose. "
    "Put it into the file .env beside the Compose files, take it out of that environment, which comes first, and run adopt.yml again"
)


def web(image: str) -> str:
    """A Compose file with this text as the image of the Webapp."""
    return f"services:\n  waweb:\n    image: {image}\n    restart: always\n"


@pytest.mark.parametrize(
    ("image", "before", "after", "change"),
    [
        ("r/web:v${V}", "V=2.51.2\n", "V=2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v$V", "V=2.51.2\n", "V=2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V:?set it}", "V=2.51.2\n", "V=2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        # What an env file sets is in force, not the default.
        ("r/web:v${V:-2.50.0}", "V=2.51.2\n", "V=2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V-2.50.0}", "V=2.51.2\n", "V=2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V:-2.50.0}", "V=\n", "V=2.53.4\n", "V= becomes V=2.53.4"),
        # The letter v may be a part of the variable, and so may be more.
        ("r/web:${TAG}", "TAG=v2.51.2\n", "TAG=v2.53.4\n", "TAG=v2.51.2 becomes TAG=v2.53.4"),
        ("r/${WEB}", "WEB=web:v2.51.2\n", "WEB=web:v2.53.4\n", "WEB=web:v2.51.2 becomes WEB=web:v2.53.4"),
        ("${WEB}", "WEB=r/web:v2.51.2\n", "WEB=r/web:v2.53.4\n", "WEB=r/web:v2.51.2 becomes WEB=r/web:v2.53.4"),
        ("$WEB", "WEB=r/web:v2.51.2\n", "WEB=r/web:v2.53.4\n", "WEB=r/web:v2.51.2 becomes WEB=r/web:v2.53.4"),
        ("${REGISTRY}/web:v${V}", "REGISTRY=r\nV=2.51.2\n", "REGISTRY=r\nV=2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        ("${REGISTRY:-r}/web:v${V}", "V=2.51.2\n", "V=2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        ("${R}/${NAME}:${V}", "R=r\nNAME=web\nV=v1\n", "R=r\nNAME=web\nV=v2.53.4\n", "V=v1 becomes V=v2.53.4"),
        # However it is written, the other lines stay as they are.
        ("r/web:v${V}", "V='2.51.2'\n", "V='2.53.4'\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", 'V="2.51.2"\n', 'V="2.53.4"\n', "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "V=''\n", "V='2.53.4'\n", "V= becomes V=2.53.4"),
        ("r/web:v${V}", "V: 2.51.2\n", "V: 2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "  V = 2.51.2\t\n", "  V = 2.53.4\t\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "V=2.51.2", "V=2.53.4", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "export V=2.51.2\n", "export V=2.53.4\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "V=2.51.2  # V=1\nA=1\n", "V=2.53.4  # V=1\nA=1\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "V='2.51.2' # it's\n", "V='2.53.4' # it's\n", "V=2.51.2 becomes V=2.53.4"),
        (
            "r/web:v${V}",
            'export V="2.51.2" # x\r\nA=1\r\n',
            'export V="2.53.4" # x\r\nA=1\r\n',
            "V=2.51.2 becomes V=2.53.4",
        ),
        # Of several lines the last is in force; those of other variables stay, too.
        (
            "r/web:v${V}",
            "A=1\nV=2.50.0\nA=2\nV=2.51.2\n",
            "A=1\nV=2.50.0\nA=2\nV=2.53.4\n",
            "V=2.51.2 becomes V=2.53.4",
        ),
        # A line that Compose cannot read is for Compose to report.
        ("r/web:v${V}", "V=2.51.2\nA='open\n", "V=2.53.4\nA='open\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "V=2.51.2\r\nA=1\r\n", "V=2.53.4\r\nA=1\r\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "A=1\r\nV=2.51.2\r\n", "A=1\r\nV=2.53.4\r\n", "V=2.51.2 becomes V=2.53.4"),
        ("r/web:v${V}", "\ufeffV=2.51.2\nA=1\n", "\ufeffV=2.53.4\nA=1\n", "V=2.51.2 becomes V=2.53.4"),
        (
            "r/web:v${V}",
            "# V=2.50.0\n\n  A = ' x' # y\nexport B=\"$HOME\"\nV=2.51.2\nVV=2.51.2\nP='a\nV=2.49.0\n'\nlast",
            "# V=2.50.0\n\n  A = ' x' # y\nexport B=\"$HOME\"\nV=2.53.4\nVV=2.51.2\nP='a\nV=2.49.0\n'\nlast",
            "V=2.51.2 becomes V=2.53.4",
        ),
    ],
)
def test_a_variable_is_set_in_its_env_file(image: str, before: str, after: str, change: str) -> None:
    files = {FILE: web(image)}
    assert update({"waweb": image}, {"waweb": WEB}, files, {ENV: before}) == Update(
        {ENV: after}, [f"{ENV}: {change}"], []
    )
    # With what was written there is nothing to do.
    assert update({"waweb": image}, {"waweb": WEB}, files, {ENV: after}) == Update()


@pytest.mark.parametrize(
    "line", ["V=$W", "V=${W}", "V=${W:-2.51.2}", 'V="$W"', "V=2.${W}", "V", "V=2.51.2#x", "V='2.51\n.2'"]
)
def test_a_value_that_is_made_of_something_else_is_a_problem(line: str) -> None:
    env_files = {"a.env": "V=2.51.2\n", "b.env": f"W=2.51.2\n{line}\n"}
    assert update({"waweb": "r/web:v${V}"}, {"waweb": WEB}, {FILE: web("r/web:v${V}")}, env_files) == Update(
        {}, [], ["b.env makes V of something else: set V=2.53.4 there"]
    )


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a.env": "V=2.51.2\n", "b.env": "V=2.52.0\n"}, {"b.env": "V=2.53.4\n"}),
        ({"b.env": "V=2.52.0\n", "a.env": "V=2.51.2\n"}, {"a.env": "V=2.53.4\n"}),
        ({"a.env": "V=2.51.2\n", "b.env": "A=1\n"}, {"a.env": "V=2.53.4\n"}),
        ({"a.env": "V=2.51.2\n", "b.env": "# V=2.52.0\n"}, {"a.env": "V=2.53.4\n"}),
        # The later file has it, so that the earlier one does not count.
        ({"a.env": "V=2.51.2\n", "b.env": "V=2.53.4\n"}, {}),
    ],
)
def test_the_last_env_file_with_the_variable_is_in_force(files: dict[str, str], expected: dict[str, str]) -> None:
    found = update({"waweb": "r/web:v${V:-2.51.2}"}, {"waweb": WEB}, {FILE: web("r/web:v${V:-2.51.2}")}, files)
    assert (found.texts, found.problems) == (expected, [])
    assert [line.partition(":")[0] for line in found.changes] == [*expected]


@pytest.mark.parametrize(
    ("image", "written", "after"),
    [
        ("r/web:v${V:-2.51.2}", "r/web:v${V:-2.51.2}", "r/web:v${V:-2.53.4}"),
        ("r/web:v${V-2.51.2}", "r/web:v${V-2.51.2}", "r/web:v${V-2.53.4}"),
        ("r/web:v${V:-}", "r/web:v${V:-}", "r/web:v${V:-2.53.4}"),
        ("r/web:v${V:-2.51.2}", '"r/web:v${V:-2.51.2}"', '"r/web:v${V:-2.53.4}"'),
        ("r/web:${TAG:-v2.51.2}", "'r/web:${TAG:-v2.51.2}'  # pinned", "'r/web:${TAG:-v2.53.4}'  # pinned"),
        ("${WEB:-r/web:v2.51.2}", "${WEB:-r/web:v2.51.2}", "${WEB:-r/web:v2.53.4}"),
        ("${R:-r}/web:v${V:-2.51.2}", "${R:-r}/web:v${V:-2.51.2}", "${R:-r}/web:v${V:-2.53.4}"),
        ("${R}/web:v${V:-2.51.2}", "${R}/web:v${V:-2.51.2}", "${R}/web:v${V:-2.53.4}"),
        # A default of the same text elsewhere, and one of another variable.
        (
            "r/web:v${V:-2.51.2}",
            "r/web:v${V:-2.51.2}\n    environment: {A: '${V:-2.51.2}', B: '${W:-2.51.2}'}",
            "r/web:v${V:-2.53.4}\n    environment: {A: '${V:-2.53.4}', B: '${W:-2.51.2}'}",
        ),
        # A comment keeps the old text.
        (
            "r/web:v${V:-2.51.2}",
            "r/web:v${V:-2.51.2}\n  # it was ${V:-2.51.2}",
            "r/web:v${V:-2.53.4}\n  # it was ${V:-2.51.2}",
        ),
    ],
)
def test_a_default_is_set_in_the_compose_file(image: str, written: str, after: str) -> None:
    old, new = image[image.rindex("${") :], after.partition("\n")[0].partition("  #")[0].strip("'\"")
    new = new[new.rindex("${") :]
    for env_files in ({}, {ENV: "A=1\n"}):
        found = update({"waweb": image}, {"waweb": WEB}, {FILE: web(written)}, env_files)
        assert found == Update({FILE: web(after)}, [f"{FILE}: {old} becomes {new}"], [])


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("r/web:v${V}", "V"),
        ("r/web:v$V", "V"),
        ("r/web:v${V:?}", "V"),
        ("r/web:v${V?not set}", "V"),
        ("${R:-r}/web:v${V}", "V"),
        ("${WEB:?}", "WEB"),
    ],
)
@pytest.mark.parametrize("env_files", [{}, {ENV: "# V=1\nR=r\n"}])
def test_a_variable_that_no_file_sets_is_a_problem(image: str, name: str, env_files: dict[str, str]) -> None:
    assert update({"waweb": image}, {"waweb": WEB}, {FILE: web(image)}, env_files) == Update(
        {}, [], [UNSET.format(image, name)]
    )


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("mirror/web:v${V}", "V"),  # another repository
        ("r/web:${V}-slim", "V"),
        ("r/web:version-${V}", "V"),
        ("r/web@${DIGEST}", "DIGEST"),
        ("r/web:v${V}@sha256:1", "V"),
        ("r/web:v2.53.4${V}", "V"),  # an empty value is none
    ],
)
def test_an_image_that_no_value_makes_the_wanted_one_is_a_problem(image: str, name: str) -> None:
    assert update({"waweb": image}, {"waweb": WEB}, {FILE: web(image)}, {ENV: f"{name}=2.51.2\n"}) == Update(
        {},
        [],
        [
            f"service waweb has the image {image}, and no value of {name} is found with which it is {WEB} (a default with another variable "
            "is not read)"
        ],
    )


@pytest.mark.parametrize(
    ("written", "after"),
    [
        ("r/web:v2.51.2", "r/web:v2.53.4"),
        ('"r/web:v2.51.2"', '"r/web:v2.53.4"'),
        ("'r/web:v2.51.2'", "'r/web:v2.53.4'"),
        ("&web r/web:v2.51.2", "&web r/web:v2.53.4"),
        ("r/web:v2.51.2\r", "r/web:v2.53.4\r"),
        # Comments keep the old text.
        ("r/web:v2.51.2\n    # r/web:v2.51.2 until spring", "r/web:v2.53.4\n    # r/web:v2.51.2 until spring"),
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
    assert update({"waweb": "r/web:v2.51.2"}, {"waweb": WEB}, {FILE: web(written)}, {ENV: "V=2.51.2\n"}) == Update(
        {FILE: web(after)}, [f"{FILE}: r/web:v2.51.2 becomes r/web:v2.53.4"], []
    )


@pytest.mark.parametrize(
    ("raw", "wanted", "new"),
    [
        ("r/web", "r/web:v2.53.4", "r/web:v2.53.4"),
        ("h.example.com:5000/r/web", "h.example.com:5000/r/web:v2.53.4", "h.example.com:5000/r/web:v2.53.4"),
        ("h.example.com:5000/r/web:latest", "h.example.com:5000/r/web:v2.53.4", "h.example.com:5000/r/web:v2.53.4"),
        ("r/web:2.51.2", "r/web:v2.53.4", "r/web:v2.53.4"),
        ("web:v2.51.2", "web:v2.53.4", "web:v2.53.4"),
    ],
)
def test_an_image_gets_the_wanted_tag(raw: str, wanted: str, new: str) -> None:
    assert update({"waweb": raw}, {"waweb": wanted}, {FILE: web(raw)}, {}) == Update(
        {FILE: web(new)}, [f"{FILE}: {raw} becomes {new}"], []
    )


def test_an_image_without_a_tag_is_no_part_of_another_name() -> None:
    others = (
        "\n  a: {image: r/web-admin}\n  b: {image: r/web.old}\n  c: {image: x/r/web}\n  d: {image: 'r/web@sha256:1'}"
    )
    found = update({"waweb": "r/web"}, {"waweb": WEB}, {FILE: web(f"r/web{others}")}, {})
    assert found.texts == {FILE: web(f"r/web:v2.53.4{others}")}


@pytest.mark.parametrize(
    "text",
    [
        'services: {{web: {{image: {0}, container_name: web, hostname: web}}, core: {{links: [web, "web:api"]}}}}\n',
        "services:\n  web:\n    container_name: web\n    image: {0} # web\n  core:\n    links:\n      - web\n",
        "services:\n  web: &web\n    image: {0}\n    depends_on: [web]\n",
        "services:\n  web: {{image: &web {0}, init: true}}\n  web2: {{image: *web, networks: {{web: }}}}\n",
    ],
)
def test_an_image_of_the_name_of_its_service_renames_no_service(text: str) -> None:
    found = update({"web": "web"}, {"web": "web:v2.53.4"}, {FILE: text.format("web")}, {})
    assert found == Update({FILE: text.format("web:v2.53.4")}, [f"{FILE}: web becomes web:v2.53.4"], [])


@pytest.mark.parametrize("raw", ["r/web@sha256:1", "r/web:v2.51.2@sha256:1", "r/web:v2.53.4@sha256:1"])
def test_a_digest_is_a_problem(raw: str) -> None:
    assert update({"waweb": raw}, {"waweb": WEB}, {FILE: web(raw)}, {}) == Update(
        {}, [], [f"service waweb has its image by digest, {raw}: give it the image {WEB}"]
    )


@pytest.mark.parametrize(
    ("raw", "env"),
    [
        (WEB, ""),
        ("r/web:v${V}", "V=2.53.4\n"),
        ("r/web:v${V}", "V='2.53.4'\r\n"),
        ("r/web:v${V:-2.53.4}", ""),
        ("${WEB}", f"WEB={WEB}\n"),
    ],
)
def test_what_has_the_version_is_left_as_it_is(raw: str, env: str) -> None:
    assert update({"waweb": raw}, {"waweb": WEB}, {FILE: web(raw)}, {ENV: env}) == Update()


@pytest.mark.parametrize(
    ("raw", "new", "files"),
    [
        ("r/web:v2.51.2", WEB, {FILE: "include: [wa.yml]\n"}),
        ("r/web:v2.51.2", WEB, {FILE: "services: {waweb: {extends: {file: base.yml, service: web}}}\n"}),
        ("r/web:v2.51.2", WEB, {FILE: "# image: r/web:v2.51.2\ninclude: [wa.yml]\n"}),
        ("r/web:v2.51.2", WEB, {FILE: f"# image: {WEB}\ninclude: [wa.yml]\n"}),
        ("r/web:v2.51.2", WEB, {FILE: f"services: {{a: {{image: '{WEB}-slim'}}, b: {{image: '{WEB}.1'}}}}\n"}),
        ("r/web:v2.51.2", WEB, {FILE: "services: {a: {container_name: 'r/web:v2.51.2'}}\n"}),
        ("r/web:v2.51.2", WEB, {FILE: "include: [wa.yml]\n", "/srv/biz/b.yml": "services: {}\n"}),
        ("r/web:v${V:-2.51.2}", "${V:-2.53.4}", {FILE: "include: [wa.yml]\n"}),
    ],
)
def test_an_image_that_is_in_no_file_is_a_problem(raw: str, new: str, files: dict[str, str]) -> None:
    old = "${V:-2.51.2}" if "$" in raw else raw
    assert update({"waweb": raw}, {"waweb": WEB}, files, {}) == Update(
        {}, [], [f"service waweb has {old}, which is in none of {', '.join(files)}: set {new} where it stands"]
    )


@pytest.mark.parametrize("declared", [{}, {"waweb": ""}, {"wacore": CORE}])
def test_a_service_without_an_image_is_a_problem(declared: dict[str, str]) -> None:
    assert update(declared, {"waweb": WEB}, {FILE: "services: {waweb: {build: .}}\n"}, {}) == Update(
        {}, [], ["service waweb has no image in the Compose files"]
    )


def test_a_variable_of_two_services_is_one_change() -> None:
    declared = {"waweb": "r/web:v${V}", "wacore": "r/coreapp:v${V}"}
    text = "services: {waweb: {image: 'r/web:v${V}'}, wacore: {image: 'r/coreapp:v${V}'}}\n"
    assert update(declared, {"waweb": WEB, "wacore": CORE}, {FILE: text}, {ENV: "V=2.51.2\nA=1\n"}) == Update(
        {ENV: "V=2.53.4\nA=1\n"}, [f"{ENV}: V=2.51.2 becomes V=2.53.4"], []
    )


def test_a_default_of_two_services_is_one_change() -> None:
    declared = {"waweb": "r/web:v${V:-2.51.2}", "wacore": "r/coreapp:v${V:-2.51.2}"}
    text = "services: {{waweb: {{image: 'r/web:v${{V:-{0}}}'}}, wacore: {{image: 'r/coreapp:v${{V:-{0}}}'}}}}\n"
    files = {FILE: text.format("2.51.2")}
    assert update(declared, {"waweb": WEB, "wacore": CORE}, files, {}) == Update(
        {FILE: text.format("2.53.4")}, [f"{FILE}: ${{V:-2.51.2}} becomes ${{V:-2.53.4}}"], []
    )


def test_an_image_of_two_services_is_one_change() -> None:
    declared = dict.fromkeys(("wacore1", "wacore2"), "r/coreapp:v2.51.2")
    text = "services: {{wacore1: {{image: &core 'r/coreapp:v{0}'}}, wacore2: {{image: *core}}}}\n"
    wanted = dict.fromkeys(declared, CORE)
    assert update(declared, wanted, {FILE: text.format("2.51.2")}, {}) == Update(
        {FILE: text.format("2.53.4")}, [f"{FILE}: r/coreapp:v2.51.2 becomes {CORE}"], []
    )


def test_services_of_several_files_have_a_change_each() -> None:
    declared = {"waweb": "r/web:v2.51.2", "wacore": "r/coreapp:v${CORE:-2.51.2}", "wacore2": "r/coreapp:${TAG}"}
    files = {"a.yml": web("r/web:v2.51.2"), "b.yml": web("r/coreapp:v${CORE:-2.51.2}"), "c.yml": "services: {}\n"}
    found = update(declared, {"waweb": WEB, "wacore": CORE, "wacore2": CORE}, files, {ENV: "A=1\nTAG=v2.51.2\n"})
    assert found == Update(
        {"a.yml": web(WEB), "b.yml": web("r/coreapp:v${CORE:-2.53.4}"), ENV: "A=1\nTAG=v2.53.4\n"},
        [
            f"a.yml: r/web:v2.51.2 becomes {WEB}",
            "b.yml: ${CORE:-2.51.2} becomes ${CORE:-2.53.4}",
            f"{ENV}: TAG=v2.51.2 becomes TAG=v2.53.4",
        ],
        [],
    )


def test_two_changes_of_one_file_are_both_made() -> None:
    declared = {"waweb": "r/web:v${WEB}", "wacore": "r/coreapp:v${CORE}"}
    found = update(declared, {"waweb": WEB, "wacore": CORE}, {}, {ENV: "WEB=2.51.2\nCORE=2.51.3\n"})
    assert found.texts == {ENV: "WEB=2.53.4\nCORE=2.53.4\n"}
    declared = {"waweb": "r/web:v2.51.2", "wacore": "r/coreapp:v2.51.2"}
    text = "services: {{waweb: {{image: 'r/web:v{0}'}}, wacore: {{image: 'r/coreapp:v{0}'}}}}\n"
    found = update(declared, {"waweb": WEB, "wacore": CORE}, {FILE: text.format("2.51.2")}, {})
    assert found.texts == {FILE: text.format("2.53.4")}


def test_all_problems_are_returned() -> None:
    declared = {"waweb": "r/web:v${V}", "wacore": "r/coreapp@sha256:1"}
    assert update(declared, {"waweb": WEB, "wacore": CORE}, {}, {}).problems == [
        UNSET.format("r/web:v${V}", "V"),
        f"service wacore has its image by digest, r/coreapp@sha256:1: give it the image {CORE}",
    ]


@pytest.mark.parametrize(
    ("raw", "image", "text", "expected"),
    [
        ("r/web:v2.53.4", "r/web:v2.53.4", "include: [wa.yml]\n", ""),
        ("r/web:v${V:-2.53.4}", "r/web:v2.53.4", "include: [wa.yml]\n", ""),
        ("r/web", "r/web:v2.53.4", "image: r/web\nimage: r/web:v2.51.2\nimage: r/web/x\n", "image: r/web:v2.53.4\nimage: r/web:v2.51.2\nimage: r/web/x\n"),
        ("web", "web:v2.53.4", "container_name: &n web\nthe.image: web\nimage: web\n", "container_name: &n web\nthe.image: web\nimage: web:v2.53.4\n"),
        ("r/web:v1", "r/web:v2", "image: r/web:v1  # image: r/web:v1\n", "image: r/web:v2  # image: r/web:v1\n"),
        ("r/web:v1", "r/web:v2", "x-web: &web r/web:v1\n", "x-web: &web r/web:v2\n"),
    ],
)  # fmt: skip
def test_only_the_image_is_changed(raw: str, image: str, text: str, expected: str) -> None:
    found = update({"w": raw}, {"w": image}, {"f": text}, {})
    assert (found.texts.get("f", ""), found.problems) == (expected, [])


def test_another_spelling_of_an_image_is_the_same_image() -> None:
    found = update(
        {"waweb": "acme/web:v${V}"}, {"waweb": "docker.io/acme/web:v2.53.4"}, {FILE: ""}, {ENV: "V=2.51.2\n"}
    )
    assert (found.texts, found.problems) == ({ENV: "V=2.53.4\n"}, [])
