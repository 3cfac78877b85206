# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file of message GC: one that cannot be read, or written, or is another client's."""

from __future__ import annotations

from pathlib import Path

import pytest
from gc_module import Client

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._gc import state


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"version": 4, "cli',
        "[]",
        '{"version": 3, "client": {}, "run": null}',  # an older one
        '{"version": 4, "client": {}, "run": {"id": "x"}}',
        '{"version": 4, "client": {}, "run": "x"}',
        '{"version": 4, "client": [1], "run": null}',
    ],
)
def test_a_state_file_that_cannot_be_read_counts_as_none(client: Client, text: str) -> None:
    path = client.state_file
    path.write_text(text)
    client.run(check=True)
    assert path.read_text() == text
    assert client.run()["messages_after"] == 1_800
    warning = f"state file {path}: corrupt, or of another version of the collection; it counts as none"
    assert client.warned == [warning, warning]
    path.write_text(path.read_text().replace('"prefix": "wa"', '"prefix": "other"'))
    assert "belongs to another client (prefix other)" in client.run()["msg"]


def test_a_state_file_that_cannot_be_written(client: Client) -> None:
    assert "cannot be used" in client.run(state_file="/proc/nothing/gc.json")["msg"]
    assert client.web.requests == []
    folder, away = client.folder / "state", client.folder / "away"
    folder.mkdir()
    client.answer(client.collects(before=lambda: folder.rename(away)))
    assert "cannot be used" in client.run(state_file=str(folder / "gc.json"))["msg"]
    away.rename(folder)
    assert (client.run(state_file=str(folder / "gc.json"))["messages_after"], client.calls()) == (1_800, 1)


def test_the_last_gc_of_any_client_is_read(client: Client, tmp_path: Path) -> None:
    assert state.last(str(tmp_path / "none.json")) is None
    client.run()
    found = state.last(str(client.state_file))
    assert found is not None
    assert (found.over, found.failure, found.after) == (True, "", 1_800)
    client.state_file.write_text("[]")
    with pytest.raises(WaError, match="corrupt, or of another version of the collection"):
        state.last(str(client.state_file))
