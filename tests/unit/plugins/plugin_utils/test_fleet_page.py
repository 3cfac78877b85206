# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the fleet: what it says first, what it says of a deployment, charts, escaping, size. `tests/report` opens it in a browser."""

from __future__ import annotations

import copy
import re
import typing as t
from html.parser import HTMLParser

import fleets
import pytest
from fleets import NOW

from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_page as fleet_page

DAY = 86400


class Reader(HTMLParser):
    """The elements of a page: those without an end, all attributes, and the text outside of scripts and styles."""

    VOID: t.ClassVar = {"meta", "br", "input"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read(
    fleet: fleets.Report, earlier: t.Iterable[fleets.Report] = (), runs: t.Sequence[t.Any] = (), now: float = NOW
) -> Reader:
    return Reader(fleet_page.page(fleet, earlier, runs, now))


def one_of(deployment: fleets.Report) -> str:
    """What the page says of a fleet of one deployment."""
    return read(fleets.fleet([deployment])).text


@pytest.mark.parametrize(
    ("deployments", "headline"),
    [
        ([], "No deployment in this report"),
        ([fleets.deployment("a")], "Nothing to do: the deployment is in sync"),
        ([fleets.deployment("a"), fleets.deployment("b")], "Nothing to do: all 2 are in sync"),
        ([fleets.drifted("a")], "1 of 1 deployment needs action"),
        ([fleets.drifted("a"), fleets.deployment("b")], "1 of 2 deployments needs action"),
        ([fleets.drifted("a"), fleets.unreachable("b"), fleets.deployment("c")], "2 of 3 deployments need action"),
    ],
)
def test_the_headline_says_how_much_is_to_do(deployments: list[fleets.Report], headline: str) -> None:
    page = read(fleets.fleet(deployments))
    assert page.text.startswith(f"{headline} {headline} WhatsApp clients, as of 2026-11-18 ")
    assert (page.open, page.wrong) == ([], [])


def test_what_needs_action_comes_first_and_the_worst_of_it() -> None:
    text = read(
        fleets.fleet(
            [fleets.deployment("fine"), fleets.drifted("moved"), fleets.unreachable("lost"), fleets.unhealthy("ill")]
        )
    ).text
    order = [
        "1 unreachable",
        "1 unhealthy",
        "0 unknown",
        "1 drifted",
        "0 attention",
        "1 in sync",
        "What to do now",
        "lost",
    ]
    order += ["ill", "moved", "No action needed", "fine"]
    assert re.search(".*? ".join(map(re.escape, order)), text)


def test_causes_of_the_worst_state_are_in_full_and_the_others_in_short() -> None:
    text = one_of(fleets.unhealthy("ill"))
    before = text.partition("Details:")[0].partition("What to do now")[2]
    assert before.split("unhealthy ill ")[1] == (
        "the client does not serve: no Coreapp is connected "
        "ansible -i hosts.yml ill --become -m ansible.builtin.command -a 'docker logs --tail 50 wa-ill-wacore-1' "
        f"{fleets.SESSIONS} Also: 2.4 M rows; no settings backup "
    )
    assert (
        "Also to do messages has 2412345 rows, more than 2000000 ansible-playbook -i hosts.yml --limit ill waba.onprem.gc"
        in text
    )


def test_a_command_that_several_causes_share_is_there_once() -> None:
    one = fleets.with_causes(
        fleets.deployment("a"),
        *(fleets.cause("drift", "drifted", f"db_env: {text}", command="correct it") for text in ("first", "second")),
    )
    assert "db_env: first db_env: second correct it Details:" in one_of(one)


@pytest.mark.parametrize(
    ("hosts", "shown"), [(["h1", "h2"], "set WA_DB_PORT (h1)"), (["h1"], "set WA_DB_PORT ansible-playbook")]
)
def test_a_cause_has_its_host_where_that_is_not_clear(hosts: list[str], shown: str) -> None:
    assert shown in one_of(fleets.drifted("a", *hosts))


def test_names_are_text() -> None:
    fleet = fleets.mixed(30)
    runs = [
        {"time": fleets.stamp(NOW), "playbook": "<i>", "user": "<b>", "controller": fleets.HOSTILE, "changed": ["h2"]}
    ]
    page = read(fleet, runs=runs)
    assert (page.open, page.wrong, page.tags.count("script")) == ([], [], 1)
    assert {"i", "img"} & {*page.tags} == set()
    assert [name for name, _value in page.attributes if name.startswith("on") or name in ("src", "style")] == []
    assert {value for name, value in page.attributes if name == "href"} == {
        f"#{state}" for state in ("unreachable", "unhealthy", "drifted", "in_sync")
    }
    assert page.text.count(fleets.HOSTILE) > 4
    assert '"><img src=x onerror=alert(2)>' in page.text
    assert "</script><b>bold</b> & {{ 7 * 7 }}" in page.text


def test_what_is_not_seen_or_turns_the_order_of_others_is_shown_as_a_question_mark() -> None:
    text = one_of(fleets.drifted("a\u202eb", "h\x1b\u200b1", "h2"))
    assert "a?b on h??1, h2" in text
    assert "--limit a?b waba.onprem.provision" in text
    assert {one for one in text if not one.isprintable()} == set()


def test_the_policy_lets_only_the_page_itself_run() -> None:
    html = fleet_page.page(fleets.mixed(3), (), (), NOW)
    found = re.search('Content-Security-Policy" content="([^"]*)"', html)
    assert found
    directives = {one.split()[0]: one.split()[1:] for one in found[1].replace("&#39;", "'").split("; ")}
    assert directives["default-src"] == ["'none'"]
    assert directives["img-src"] == ["data:"]
    assert [len(directives[name]) for name in ("script-src", "style-src")] == [1, 2]
    assert all(one.startswith("'sha256-") for name in ("script-src", "style-src") for one in directives[name])


def test_the_stylesheet_has_its_licence() -> None:
    html = fleet_page.page(fleets.mixed(3), (), (), NOW)
    assert "MIT License" in html
    assert "Copyright (c) 2019-2024 Pico" in html
    assert "://" not in re.sub(r"http://www\.w3\.org/\S+", "", html)


@pytest.mark.parametrize(
    ("age", "said"),
    [(DAY - 1, ""), (DAY + 1, "This report is 1 day old."), (21 * DAY, "This report is 21 days old.")],
)
def test_an_old_report_is_called_old_without_javascript(age: float, said: str) -> None:
    html = fleet_page.page(fleets.mixed(3), (), (), NOW + age)
    assert f'<p id="old" role="status"{"" if said else " hidden"}>{said}</p>\n<h1>' in html


def changed(path: str, value: t.Any) -> fleets.Report:
    """A deployment with another value at a path such as `health/state`."""
    one = fleets.deployment("a", "h1")
    *parents, last = path.split("/")
    place: t.Any = one
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[int(last) if last.isdigit() else last] = value
    return one


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("health/state", "not_asked", "Health not asked 2 of 2 services run and are well coreapp connected"),
        ("health/error", "no password", "not known: no password"),
        ("wanted_version", "2.55.1", "Version 2.53.4; the inventory wants 2.55.1"),
        ("version", None, "Version not known; the inventory wants 2.53.4"),
        ("expiry", {"day": "2026-11-20", "seconds": 1.5 * DAY, "error": None}, "Expires 2026-11-20, in 1 day"),
        ("expiry", {"day": "2026-11-10", "seconds": -8.2 * DAY, "error": None}, "Expires 2026-11-10, 8 days ago"),
        ("expiry", {"day": None, "seconds": None, "error": "no label"}, "Expires not known: no label"),
        ("messages/rows", 2_412_345, "2.4 M rows (estimated), limit 2 M"),
        ("messages/tables", [{"database": "m1", "rows": 5}, {"database": "m2", "rows": None}], "m1: 5 m2: not known"),
        ("gc/automatic", True, "the client does it by itself last one began"),
        ("gc/text", "no rows went", "complete: no rows went"),
        ("callbacks/waiting", 1834, "1.8 k wait, 0 refused by the webhook, 48.2 k sent"),
        ("callbacks/error", "not asked", "not known: not asked"),
        ("database/unknown_sessions", 3, "31 of 151 connections used 3 sessions that are not this client's"),
        ("database/connections_allowed", None, "31 connections used"),
        ("backups/settings", None, "settings: none copy of the database: 11 hours old images: none"),
        ("backups/database/place", "host", "copy of the database: 11 hours old, on the leader"),
        ("backups/error", "wa_backup_dir is not set", "Backups not known: wa_backup_dir is not set"),
        ("drill", {"time": None, "age_seconds": None, "error": None}, "Proven drill none"),
        (
            "upgrade",
            {"held": False, "stage": "migrating", "target": "2", "text": "left at migrating"},
            "Upgrade left at migrating",
        ),
        ("hold", {"text": "held since May", "since": None, "old": True}, "Hold held since May"),
        ("images/0/pullable", False, "cannot be pulled any more, not kept in a backup"),
        ("images/0/kept", True, "can be pulled, kept in a backup"),
        ("images/0/on_host", False, "a host that runs it has no image of this name"),
        ("images/0/error", "503", "(503)"),
        ("certificates/0/day", None, "API on h1:"),
        ("members/0/containers/1/state", "exited", "wa-h1-waweb-1 2.53.4: exited"),
        ("members/0/disk/logs/free_bytes", None, "logs: not known"),
        ("members/0/log_cleanup/result", "failed", "Log cleanup failed 2026-11-18"),
        (
            "members/0/concerns/client",
            fleets.concern(pending=["restart"], warnings=["w"], alarms=["a"]),
            "alarm: a waits: restart warning: w",
        ),
        ("members/0/concerns/client", fleets.concern("unknown", error="no Docker"), "not known: no Docker"),
    ],
)
def test_what_is_known_is_in_the_details(path: str, value: t.Any, said: str) -> None:
    assert said in one_of(changed(path, value))


def test_what_needs_action_is_marked_in_the_details() -> None:
    assert [fact["name"] for fact in fleet_page.facts(fleets.unhealthy("a")) if fact["bad"]] == [
        "Health",
        "Messages",
        "Database",
        "Backups",
    ]
    assert [fact["name"] for fact in fleet_page.facts(fleets.deployment("a")) if fact["bad"]] == []


def test_a_long_diff_is_cut() -> None:
    one = fleets.drifted("a")
    diff = {"path": "/f", "text": "\n".join(f"+{index} {'x' * 500}" for index in range(1000))}
    one["members"][0]["concerns"]["db_env"]["diff"] = [diff]
    html = fleet_page.page(fleets.fleet([one]), (), (), NOW)
    assert "940 more lines, see fleet.json" in html
    assert len(html) < 80_000


def test_the_last_runs_that_concern_its_hosts_are_there_the_newest_first() -> None:
    concerned: list[dict[str, list[str]]] = [
        {"changed": ["other"]},
        {"changed": ["h1"]},
        {"changed": ["h2", "h1"], "failed": ["h1"]},
        {"changed": []},
        {"unreachable": ["h1"]},
        *[{"changed": ["h1"]}] * 5,
    ]
    runs = [
        {
            "time": fleets.stamp(NOW - back * 3600),
            "playbook": f"waba.onprem.p{back}",
            "user": "ops",
            "hosts": ["h1"],
            **one,
        }
        for back, one in enumerate(concerned)
    ]
    runs.append(
        {"time": fleets.stamp(NOW - 1.5 * 3600), "playbook": "own", "user": "a", "controller": "c", "failed": ["h1"]}
    )
    text = read(fleets.fleet([fleets.deployment("a", "h1")]), runs=[*runs[::-1], {"failed": None}, {}]).text
    assert text.partition("Last runs ")[2].startswith(
        "2026-11-18 10:06 UTC p1 by ops: changed 2026-11-18 09:36 UTC own by a@c: failed 2026-11-18 09:06 UTC p2 by ops: failed "
        "2026-11-18 07:06 UTC p4 by ops: unreachable 2026-11-18 06:06 UTC p5 by ops: changed waba.onprem"
    )


def test_of_a_lost_host_it_is_said_once_that_nothing_is_known() -> None:
    assert [fact["name"] for fact in fleet_page.facts(fleets.unreachable("a"))] == ["Health", "Version", "Backups"]


def charts(fleet: fleets.Report, earlier: t.Sequence[fleets.Report]) -> dict[str, str]:
    """The text of each chart of the first deployment, and of the fleet."""
    html = fleet_page.page(fleet, earlier, (), NOW)
    return dict(one.split(": ", 1) for one in reversed(re.findall(r"<figcaption>([^<]*)</figcaption>", html)))


def test_charts_show_rows_disk_and_drift_over_the_kept_reports() -> None:
    earlier = []
    for back, rows in ((3, 1_000_000), (2, 1_200_000), (1, 900_000)):
        one = fleets.drifted("a") if back == 2 else fleets.deployment("a", rows=rows)
        one["messages"]["rows"] = rows
        one["members"][0]["disk"]["docker"]["free_bytes"] = back * 10 << 30
        earlier.append(fleets.fleet([one], NOW - back * DAY))
    fleet = fleets.fleet([fleets.deployment("a", rows=1_500_000)])
    expected = {
        "Rows of messages": "from 1 M to 1.5 M in 3 days, at most 1.5 M, limit 2 M",
        "Free disk": "from 30 % to 60 % in 3 days, at most 60 %",
        "Drift": "from 0 to 0 in 3 days, at most 2",
        "Deployments that need action": "from 0 to 0 in 3 days, at most 1",
    }
    assert charts(fleet, earlier) == expected
    assert charts(fleet, earlier[::-1]) == expected, "their order does not matter"
    assert charts(fleet, [*earlier, fleets.fleet([fleets.drifted("a")], NOW + DAY)]) == expected, (
        "later ones do not count"
    )
    assert charts(fleet, [*earlier, {**earlier[0], "format": 0}]) == expected, "what has another format does not count"
    assert charts(fleet, []) == {}


@pytest.mark.parametrize("reached", [False, True])
def test_a_line_is_broken_where_nothing_is_known(reached: bool) -> None:
    earlier = []
    for back in range(6, 0, -1):
        one = fleets.unreachable("a") if back in (2, 3) else fleets.deployment("a")
        for member in one["members"] if reached else ():  # with a wrong inventory it is reached and not compared
            member["reached"] = True
        earlier.append(fleets.fleet([one], NOW - back * 3600))
    html = fleet_page.page(fleets.fleet([fleets.deployment("a")]), earlier, (), NOW)
    lines = [re.findall('<polyline points="([^"]*)"', one) for one in html.split("<svg ")[1:]]
    assert [[len(line.split()) for line in one] for one in lines] == [[3, 2], [3, 2], [3, 2], [7]]


def test_many_reports_make_no_longer_lines() -> None:
    earlier = fleets.history(3, 300)
    html = fleet_page.page(fleets.mixed(3), earlier, (), NOW)
    lines = re.findall('<polyline points="([^"]*)"', html)
    assert lines
    assert max(len(line.split()) for line in lines) == 38  # every eighth of 301
    for line in lines:
        xs, ys = zip(*(map(float, point.split(",")) for point in line.split()))
        assert xs[-1] == 240
        assert sorted(xs) == list(xs)
        assert all(0 <= y <= 48 for y in ys)


def test_two_hundred_hosts_stay_below_a_megabyte() -> None:
    """Also where each has drifted, with a diff, runs and all charts."""
    runs = [
        {
            "time": fleets.stamp(NOW - index),
            "playbook": "waba.onprem.provision",
            "user": "ops",
            "controller": "c",
            "changed": [f"c-{index % 200:03d}"],
        }
        for index in range(1000)
    ]
    made = [[fleets.drifted(f"c-{index:03d}", now=NOW - back * 3600) for index in range(200)] for back in range(3)]
    earlier = []
    for back in range(40, 0, -1):
        earlier.append(fleets.fleet(made[back % 3], NOW - back * 3600))
    html = fleet_page.page(fleets.fleet(made[0]), earlier, runs, NOW)
    assert html.count("<polyline") == 601
    assert len(html.encode()) < 1_000_000


def test_the_reports_are_not_changed() -> None:
    fleet, earlier = fleets.mixed(5), fleets.history(5, 2)
    before = copy.deepcopy((fleet, earlier))
    fleet_page.page(fleet, earlier, (), NOW)
    assert (fleet, earlier) == before
