# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of wa_notify_command in docs/guides/status.md, with its message: what mail and curl would send."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.waba.onprem.plugins.plugin_utils import _reports as reports

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "status.md").read_text(encoding="utf-8")
MESSAGE = json.loads(re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)[0])
(EXAMPLES,) = (block for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) if "wa_notify_command" in block)
SENT = {
    "Mail": "globex: in_sync -> drifted\n  db_env: set WA_DB_PORT\n",
    "A webhook": MESSAGE,
    "Slack": {"text": "globex: drifted"},
}


@pytest.mark.parametrize("name", SENT)
def test_an_example_sends_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("mail", "curl"):
        path = tmp_path / program
        path.write_text(f"#!/bin/sh\nexec cat >{tmp_path}/sent\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    examples = dict(re.findall(r"(?m)^# (.*)\n((?:(?!# ).*\n)+)", EXAMPLES))
    assert [*examples] == [*SENT]
    assert reports.notify(yaml.safe_load(examples[name])["wa_notify_command"], MESSAGE) == ""
    sent = (tmp_path / "sent").read_text()
    assert (sent if name == "Mail" else json.loads(sent)) == SENT[name]
