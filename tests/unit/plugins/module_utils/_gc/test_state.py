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
        '{"version": 3, "cli',
        "[]",
        '{"version": 2, "client": {}, "run": null, "last": null, "refused": null}',  # an older one
        '{"version": 3, "client": {}, "run": {"id": "x"}}',
        '{"version": 3, "client": {}, "run": "x"}',
        '{"version": 3, "client": [1], "run": null}',
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
    data = state(tmp_path)
    data["client"]["prefix"] = "other"
    path.write_text(json.dumps(data))
    assert "belongs to another client (prefix other)" in run()["msg"]


def test_a_state_file_that_cannot_be_written(run: Run, fake: FakeWebapp, table: Table, tmp_path: Path) -> None:
    assert "cannot be used" in run(state_file="/proc/nothing/gc.json")["msg"]
    assert fake.requests == []
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
