# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns on a database server: one at a time, whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils import process, turns


def test_a_second_operator_of_one_deployment_takes_no_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "has_ended", lambda run: run == "m/9/9")
    first, second = turns.Turns(str(tmp_path), "m/1/1"), turns.Turns(str(tmp_path), "m/2/2")
    assert first.take("db:3306", "a.lock@h1", 60) is None
    assert first.take("db:3306", "a.lock@h1", 60) is None
    assert second.take("db:3306", "a.lock@h1", 60) == "a.lock@h1"
    second.give_back("a.lock@h1")
    assert second.take("DB:3306", "b.lock@h2", 60) == "a.lock@h1"
    first.give_back("a.lock@h1")
    assert second.take("db:3306", "b.lock@h2", 60) is None


def test_a_run_that_has_ended_has_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "has_ended", lambda run: run == "m/9/9")
    assert turns.Turns(str(tmp_path), "m/9/9").take("db:3306", "a.lock@h1", 60) is None
    assert turns.Turns(str(tmp_path), "m/1/1").take("db:3306", "a.lock@h1", 60) is None


def test_a_turn_lasts_no_longer_than_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment whose host was lost in a hook says no more, and its process lives as long as others are upgraded."""
    monkeypatch.setattr(process, "has_ended", lambda _run: False)
    first, second = turns.Turns(str(tmp_path), "m/1/1"), turns.Turns(str(tmp_path), "m/2/2")
    assert first.take("db:3306", "a.lock@h1", 60) is None
    assert second.take("db:3306", "b.lock@h2", 60) == "a.lock@h1"
    first.keep("a.lock@h1", 0)
    assert second.take("db:3306", "b.lock@h2", 60) is None


def test_a_migration_is_left_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "has_ended", lambda run: run == "m/9/9")
    killed, other = turns.Turns(str(tmp_path), "m/9/9"), turns.Turns(str(tmp_path), "m/2/2")
    killed.take("db:3306", "a.lock@h1", 60)
    killed.keep("a.lock@h1", 60, migrates=True)
    assert other.take("db:3306", "b.lock@h2", 60) == "a.lock@h1"
    assert turns.Turns(str(tmp_path), "m/3/3").take("db:3306", "a.lock@h1", 60) is None
