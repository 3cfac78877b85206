# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file of message GC: one that cannot be read, or written, or is another client's."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp
from gc_module import CALL, GC, Run, Table, collects, state


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"version": 2, "cli',
        "[]",
        '{"format": 1, "client": {}, "run": null, "last": null, "refused": null, "marked": null}',
        '{"version": 2, "client": {}, "run": {"id": "x"}, "last": null, "refused": null}',
        '{"version": 2, "client": {}, "run": "x", "last": null, "refused": null}',
        '{"version": 2, "client": {}, "run": null, "last": {"id": "x"}, "refused": null}',
    ],
)
def test_a_state_file_that_cannot_be_read_is_set_aside(
    run: Run, fake: FakeWebapp, table: Table, tmp_path: Path, warned: list[str], text: str
) -> None:
    path = tmp_path / "gc.json"
    path.write_text(text)
    fake.on("PUT", GC, collects(table))
    run(check=True)
    assert path.read_text() == text
    assert run()["messages_after"] == 1_800
    assert Path(f"{path}.old").read_text() == text
    assert f"state file {path}: corrupt, or of another version of the collection; kept as {path}.old" in warned


def test_a_state_file_of_another_client(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    fake.on("PUT", GC, collects(table))
    run()
    data = state(tmp_path)
    data["client"]["prefix"] = "other"
    (tmp_path / "gc.json").write_text(json.dumps(data))
    assert "belongs to another client (prefix other)" in run()["msg"]


def test_a_state_file_that_cannot_be_written(run: Run, fake: FakeWebapp) -> None:
    assert "cannot be used" in run(state_file="/proc/nothing/gc.json")["msg"]
    assert fake.requests == []


def test_a_folder_that_turns_unwritable_in_the_middle(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    folder, away = tmp_path / "state", tmp_path / "away"
    folder.mkdir()
    options = {"state_file": str(folder / "gc.json")}

    def lose() -> t.Any:
        folder.rename(away)
        return collects(table)()

    fake.on("PUT", GC, lose)
    assert "cannot be used" in run(**options)["msg"]
    away.rename(folder)
    assert (run(**options)["messages_after"], fake.paths().count(CALL)) == (1_800, 1)
