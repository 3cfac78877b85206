# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`lab down` fails if two Coreapps of one single client ran at once, and if nobody knows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from walab import cli, control, site, yard
from walab.model import Lab
from walab.shell import LabError, Shell

PAIR = {"client": "a_", "nodes": ["h1/wacore", "h2/wacore"]}


@pytest.mark.parametrize(
    ("state", "rows", "expected"),
    [
        ("running", [], ""),
        (
            "running",
            [PAIR, PAIR],
            "two Coreapps of one single client ran at once, .*: client a_: h1/wacore and h2/wacore$",
        ),
        ("running", None, "nobody knows whether two Coreapps of one single client ran at once: silent"),
        ("exited", None, ""),
        ("", None, ""),
    ],
)
def test_down_fails_after_a_collision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str, rows: list[dict[str, object]] | None, expected: str
) -> None:
    removed: list[str] = []

    def call(_lab: Lab, _method: str, _path: str) -> list[dict[str, object]]:
        if rows is None:
            raise LabError("silent")
        return rows

    found = {"control": SimpleNamespace(state=state)} if state else {}
    monkeypatch.setattr(control, "call", call)
    monkeypatch.setattr(Lab, "load", lambda _self: None)
    monkeypatch.setattr(yard.Yard, "found", lambda _self: found)
    monkeypatch.setattr(site.Site, "down", lambda self: removed.append(self.lab.name))
    verbs = cli.Verbs(cli.parser().parse_args(["down", "--name", "t"]), Lab("t", tmp_path), Shell())
    if expected:
        with pytest.raises(LabError, match=expected):
            verbs.do_down()
    else:
        assert verbs.do_down() == 0
    assert removed == ["t"]
