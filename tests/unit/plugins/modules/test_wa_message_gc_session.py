# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc in steps: one login for all of them, and no token where anybody could read it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp
from gc_module import GC, PASSWORD, Run, Table, collects

KEY = "k" * 64


def drive(run: Run, **first: t.Any) -> list[dict[str, t.Any]]:
    """The results of all steps, each with the session of the one before, as the action plugin does it."""
    steps = [run(wait=False, **{"seal_key": KEY, **first})]
    while steps[-1]["running"]:
        before = steps[-1]
        steps.append(run(wait=False, seal_key=KEY, run_id=before["run_id"], session=before["session"]))
    return steps


def test_one_login_serves_all_rounds(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table, 80))
    steps = drive(run)
    assert (steps[-1]["rounds"], steps[-1]["messages_after"], fake.logins) == (3, 1_960, 1)
    assert steps[-1]["session"] is None
    shown = json.dumps(steps) + "".join(path.read_text() for path in tmp_path.iterdir())
    assert all(step["session"] for step in steps[:-1])
    assert "token-1" not in shown
    assert KEY not in shown


def test_a_session_that_has_ended_is_followed_by_one_login(run: Run, fake: FakeWebapp, table: Table) -> None:
    def collects_and_forgets() -> t.Any:
        fake.tokens.clear()
        return collects(table, 120)()

    fake.on("PUT", GC, collects_and_forgets, collects(table, 120))
    steps = drive(run)
    assert (steps[-1]["rounds"], steps[-1]["messages_after"], fake.logins) == (2, 1_960, 2)


@pytest.mark.parametrize(
    "other", [{"seal_key": "another"}, {"api_username": "operator"}, {"session": "bm90aGluZw=="}, {"session": "?"}]
)
def test_a_session_that_is_not_ours_counts_for_nothing(
    run: Run, fake: FakeWebapp, table: Table, other: dict[str, str]
) -> None:
    fake.passwords["operator"] = PASSWORD
    fake.on("PUT", GC, collects(table, 80))
    one = run(wait=False, seal_key=KEY)
    given = {"seal_key": KEY, "session": one["session"], "run_id": one["run_id"], "wait": True, **other}
    assert (run(**given)["messages_after"], fake.logins) == (1_960, 2)


def test_a_token_that_was_given_is_not_handed_on(run: Run, fake: FakeWebapp, table: Table) -> None:
    fake.tokens.add("given")
    fake.on("PUT", GC, collects(table))
    assert run(wait=False, seal_key=KEY, api_token="given", api_password=None)["session"] is None
    assert fake.logins == 0
