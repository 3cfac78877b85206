# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_adopt: the surveys of the hosts; what is written from them is tested by the scenario adopt."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.action.wa_adopt import ActionModule
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError


def surveys(**readings: t.Any) -> tuple[dict[str, t.Any], dict[str, str]]:
    """The surveys and the failures of hosts with these results."""
    hostvars = {host: {"read": reading} for host, reading in readings.items()}
    found: tuple[dict[str, t.Any], dict[str, str]] = ActionModule._surveys(
        "read", {"ansible_play_hosts_all": list(readings), "hostvars": hostvars}
    )
    return found


def test_the_surveys_of_the_hosts(tmp_path: Path) -> None:
    path = tmp_path / "survey.json"
    path.write_text('{"containers": []}')
    found, failed = surveys(h1={"survey": str(path)}, h2={"msg": "no\n Docker"}, h3=None)
    assert found == {"h1": {"containers": []}}
    assert failed == {"h2": "no Docker", "h3": "not reached"}


@pytest.mark.parametrize(("text", "reason"), [(None, "No such file or directory"), ("{", "no complete JSON")])
def test_a_survey_that_cannot_be_read(tmp_path: Path, text: str | None, reason: str) -> None:
    path = tmp_path / "survey.json"
    if text is not None:
        path.write_text(text)
    message = (
        f"survey {path}: {reason}; expected the file that the operation read of this run wrote. Run adopt.yml again"
    )
    with pytest.raises(WaError, match=f"^{re.escape(message)}"):
        surveys(h1={"survey": str(path)})
