# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state file of message GC: one that cannot be read, or written, or is another client's."""

from __future__ import annotations

import pytest
from gc_module import Client


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
