# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the fleet in a real browser: on a screen and a phone, light and dark, on paper, without JavaScript."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

import fleets
import pytest
from browser import Browser, Page
from fleets import NOW

from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_page as fleet_page

SIZES = (3, 30, 200)
VISIBLE = "[...document.querySelectorAll('.client')].filter(one => one.checkVisibility()).length"
RUN_AXE = """axe.run(document).then(found => found.violations.map(
    one => one.impact + ' ' + one.id + ' ' + one.nodes.map(node => node.html).slice(0, 3)))"""
Open = t.Callable[..., Page]


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[[int], Path]:
    """The file of the page of a fleet of so many deployments, with a day of earlier reports."""

    @functools.cache
    def made(number: int) -> Path:
        runs = [
            {
                "time": fleets.stamp(NOW - 60),
                "playbook": "waba.onprem.gc",
                "user": "ops",
                "changed": ["customer-001"],
            }
        ]
        path = tmp_path_factory.mktemp("page") / f"{number}.html"
        path.write_text(fleet_page.page(fleets.mixed(number), fleets.history(number, 24), runs, NOW), encoding="utf-8")
        return path

    return made


@pytest.fixture
def opened(browser: Browser, pages: t.Callable[[int], Path]) -> t.Iterator[Open]:
    """Opens the page of a fleet of so many deployments, ten minutes after its report."""
    made = []

    def call(number: int, clock: float = NOW + 600, **options: t.Any) -> Page:
        made.append(Page(browser, pages(number), clock=clock, **options))
        return made[-1]

    yield call
    for page in made:
        page.close()


@pytest.mark.parametrize("number", SIZES)
def test_nothing_is_fetched_and_the_console_is_silent(opened: Open, number: int) -> None:
    page = opened(number)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate(VISIBLE) == number
    assert (page.requests(), page.errors(), page.dialogs()) == ([page.url], [], 0)


@pytest.mark.parametrize(
    "script", ["new Image().src = 'http://127.0.0.1:9/x'", "console.error('x')", "setTimeout('y')"]
)
def test_a_request_and_an_error_are_noticed(opened: Open, script: str) -> None:
    page = opened(3)
    page.evaluate(f"{script}; 0")
    assert page.errors()


@pytest.mark.parametrize(
    ("number", "width", "dark"),
    [(3, 1000, False), (30, 1000, False), (30, 1000, True), (30, 360, False), (30, 360, True), (200, 1000, False)],
)
def test_axe_finds_nothing(opened: Open, tools: Path, number: int, width: int, dark: bool) -> None:
    page = opened(number, width=width, dark=dark, clock=NOW + 2 * 86400)
    page.evaluate("document.querySelectorAll('details').forEach((one, index) => { one.open = index % 10 < 3; })")
    page.evaluate((tools / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8") + "; 0")
    assert page.evaluate(RUN_AXE) == []


@pytest.mark.parametrize("number", SIZES)
def test_the_filter_shows_what_has_all_words(opened: Open, number: int) -> None:
    page = opened(number)
    page.click("#words")
    page.type("CUSTOMER-001 unhealthy")
    assert page.evaluate(VISIBLE) == 1
    assert page.evaluate("document.getElementById('matches').textContent") == f"1 of {number}"
    page.type(" nothing")
    assert page.evaluate(VISIBLE) == 0
    page.evaluate("document.getElementById('words').select()")
    page.type(fleets.HOSTILE)
    assert page.evaluate(VISIBLE) == 1
    page.evaluate("document.getElementById('words').select()")
    page.type(" ")
    assert page.evaluate(VISIBLE) == number
    assert page.evaluate("document.getElementById('matches').textContent") == ""


def test_details_open_on_a_click_and_without_a_mouse(opened: Open) -> None:
    page = opened(30)
    shown = "document.querySelector('.drifted pre').checkVisibility()"
    assert page.evaluate(shown) is False
    page.click(".drifted summary")
    assert page.evaluate(shown) is True
    assert page.evaluate("document.querySelector('.drifted .chart polyline').getBoundingClientRect().width") > 100
    assert page.evaluate(
        "getComputedStyle(document.querySelector('.add')).color != getComputedStyle(document.querySelector('.remove')).color"
    )
    assert page.evaluate("[...document.querySelectorAll('summary')].every(one => one.tabIndex == 0)")


def test_a_command_is_selected_as_a_whole_by_a_click(opened: Open) -> None:
    page = opened(3)
    page.click(".unreachable .command")
    assert (
        page.evaluate("getSelection().toString()").strip()
        == "ansible -i hosts.yml customer-000 -m ansible.builtin.ping"
    )


def test_the_first_screen_says_what_to_do_and_where(opened: Open) -> None:
    """Of 40 deployments six need action: how many, the worst ones, why, and a command, without scrolling or a click."""
    page = opened(40, width=1000, height=800)
    seen = (
        "[...document.querySelectorAll('h1, .counts li, h3, .causes li, .command')]"
        ".filter(one => one.getBoundingClientRect().bottom <= innerHeight && one.checkVisibility()).map(one => one.innerText)"
    )
    text = " ".join(" ".join(page.evaluate(seen)).split())
    for words in (
        "6 of 40 deployments need action",
        "2 unreachable",
        "unreachable customer-000",
        "unhealthy customer-031",
        "-m ansible.builtin.ping",
    ):
        assert words in text


def test_a_count_leads_to_the_first_of_its_state(opened: Open) -> None:
    """Of 200 deployments seven are unreachable, and fill the first screen."""
    page = opened(200, width=1000, height=800)
    for state in ("unhealthy", "in_sync"):
        page.click(f".counts .{state} a")
        assert 0 <= page.evaluate(f"document.getElementById('{state}').getBoundingClientRect().top") < 400
        page.evaluate("scrollTo(0, 0)")


@pytest.mark.parametrize("number", SIZES)
@pytest.mark.parametrize("width", [320, 390, 800, 1300])
def test_nothing_is_wider_than_the_screen(opened: Open, number: int, width: int) -> None:
    page = opened(number, width=width, height=800)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.querySelector('h1').getBoundingClientRect().x") >= 8  # and does not touch its edge


def test_dark_and_light_follow_the_reader(opened: Open) -> None:
    background = "getComputedStyle(document.documentElement).backgroundColor"
    assert [opened(3, dark=dark).evaluate(background) for dark in (False, True)] == [
        "rgb(255, 255, 255)",
        "rgb(19, 23, 31)",
    ]


@pytest.mark.parametrize("dark", [False, True])
def test_paper_is_white_and_has_what_is_needed(opened: Open, dark: bool) -> None:
    page = opened(30, media="print", dark=dark)
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    seen = "[...document.querySelectorAll('{}')].map(one => one.checkVisibility())"
    assert {*page.evaluate(seen.format("#filter, #age"))} == {False}
    assert {*page.evaluate(seen.format("h1, .client > .causes .command, #made, .quiet summary"))} == {True}


@pytest.mark.parametrize(
    ("age", "shown", "said"),
    [
        (-3600, False, ", which this machine's clock has not reached yet"),
        (-60, False, ", less than a minute ago"),
        (7200, False, ", 2 hours ago"),
        (86399, False, ", 23 hours ago"),
        (86401, True, ", 1 day ago"),
        (21 * 86400, True, ", 21 days ago"),
    ],
)
def test_the_page_says_its_age_and_an_old_one_in_red(opened: Open, age: float, shown: bool, said: str) -> None:
    page = opened(3, clock=NOW + age)
    assert page.evaluate("document.getElementById('made').textContent") == "2026-11-18 11:06 UTC"
    assert page.evaluate("document.getElementById('age').textContent") == said
    assert page.evaluate("document.getElementById('old').checkVisibility()") is shown
    if shown:
        assert page.evaluate("getComputedStyle(document.getElementById('old')).color") == "rgb(176, 0, 32)"
        assert page.evaluate("document.getElementById('old').innerText").startswith(f"This report is {said[2:-4]} old.")
    assert page.evaluate("document.title").startswith("This report is" if shown else "3 of 3")


def test_without_javascript_all_is_there_but_the_filter(opened: Open) -> None:
    page = opened(30, javascript=False)
    assert page.evaluate(VISIBLE) == 30
    assert page.evaluate("document.getElementById('filter').checkVisibility()") is False
    assert page.evaluate("document.getElementById('made').textContent") == "2026-11-18 11:06 UTC"
    assert page.evaluate("document.getElementById('age').textContent") == ""
    page.click(".drifted summary")
    assert page.evaluate("document.querySelector('.drifted pre').checkVisibility()") is True
    assert (page.requests(), page.errors()) == ([page.url], [])


def test_hostile_names_are_shown_as_text(opened: Open) -> None:
    page = opened(30)
    assert fleets.HOSTILE in page.evaluate("document.querySelector('li.drifted h3').textContent")
    assert page.evaluate("document.scripts.length") == 1
    assert page.evaluate("document.images.length") == 0
    assert page.dialogs() == 0


def test_the_policy_stops_a_script_that_gets_in(
    browser: Browser, pages: t.Callable[[int], Path], tmp_path: Path
) -> None:
    """Should a name ever not be escaped."""
    path = tmp_path / "hostile.html"
    html = pages(3).read_text(encoding="utf-8")
    path.write_text(
        html.replace("<main>", "<main><script>window.got = 1</script><img src=x onerror='window.got = 2'>"),
        encoding="utf-8",
    )
    page = Page(browser, path)
    assert page.evaluate("window.got === undefined")
    assert page.errors()
