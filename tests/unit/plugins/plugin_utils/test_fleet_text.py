# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the fleet as text: worst first, twenty at most, each cause with its command, a last line with all counts."""

from __future__ import annotations

import typing as t

import fleet_samples as samples
from fleet_samples import COMMANDS, NOW

from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet as fleet
from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_text as fleet_text


def lines(everything: bool = False, /, **hosts: dict[str, t.Any]) -> list[str]:
    return fleet_text.lines(fleet.report(hosts, NOW, COMMANDS), everything)


def test_what_needs_action_comes_first_and_the_counts_last() -> None:
    globex = {**samples.drifted("db_env", changes=["set WA_DB_PORT"]), "about": samples.about("globex")}
    globex["figures"] = samples.figures(
        database={**samples.figures()["database"], "tables": [{"database": "m", "rows": 2_400_000}]}
    )
    assert lines(globex=globex, initech=samples.lost("initech"), a=samples.read("a"), b=samples.read("b")) == [
        "initech   ?                        initech unreachable",
        "  initech is unreachable: No route to host",
        "    initech ping",
        "globex    2.53.4    2/2 healthy    db_env: 1 drift  2.4 M rows!",
        "  db_env: set WA_DB_PORT",
        "    provision globex",
        "  messages has about 2400000 rows, more than 2000",
        "    gc globex",
        "2 more in sync and healthy.",
        "4 deployments: 1 unreachable, 0 unhealthy, 0 not known, 1 drifted, 0 to be looked at, 2 in sync.",
    ]


def test_causes_with_one_command_stand_together() -> None:
    read = samples.drifted("db_env", changes=["set WA_DB_PORT"])
    read["concerns"]["log_cleanup"] = {"state": "drifted", "changes": ["F is missing"]}
    assert lines(support=read)[1:-1] == [
        "  db_env: set WA_DB_PORT",
        "  log_cleanup: F is missing",
        "    provision support",
    ]


def test_of_several_members_the_one_is_named() -> None:
    about = samples.about("c", leader="h1", members=["h1", "h2"])
    bad = {**samples.drifted("db_env", changes=["set X"]), "about": about}
    assert "  h2: db_env: set X" in lines(h1={**samples.read(), "about": about}, h2=bad)


def test_at_most_twenty_are_listed_unless_all_are_asked_for() -> None:
    hosts = {f"h{number:02}": samples.lost(f"h{number:02}") for number in range(23)}
    found = lines(**hosts, z=samples.read("z"))
    assert [line.split()[0] for line in found if line.startswith("h")] == [f"h{number:02}" for number in range(20)]
    assert found[-3:-1] == ["3 more need action: -e wa_status_all=true lists all.", "1 more in sync and healthy."]
    every = lines(True, **hosts, z=samples.read("z"))
    assert [line.split()[0] for line in every if line[0] in "hz"] == [*hosts, "z"]
    assert every[-1] == found[-1]


def test_a_fleet_in_sync_is_two_lines() -> None:
    assert lines(a=samples.read("a"))[0] == "1 in sync and healthy."
    assert len(lines(a=samples.read("a"))) == 2


def test_a_client_that_nobody_asks_is_named() -> None:
    read = samples.read(figures=samples.figures(api={}))
    assert lines(support=read)[0] == "1 not asked whether the client serves: set wa_api_key or wa_api_password."
    assert len(lines(support={**read, "held": "held by the inventory"})) == 2


def test_a_held_client_is_no_healthy_one() -> None:
    assert "2/2 held" in lines(True, support=samples.read(held="held by the inventory"))[0]


def test_what_a_terminal_would_obey_is_not_displayed() -> None:
    found = lines(support=samples.drifted("client", changes=["\x1b[2Jgone\nnext"]))
    assert "  client: ?[2Jgone?next" in found
