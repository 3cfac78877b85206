# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the unit tests of wa_message_gc share."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from fake_webapp import FakeWebapp
from gc_module import DATABASE_PASSWORD, PASSWORD, Run, RunModule, Table

from ansible_collections.waba.onprem.plugins.module_utils._database import activity as pulses
from ansible_collections.waba.onprem.plugins.module_utils._database import messages


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Table]:
    found = Table(2_200)
    for name in ("find_tables", "gate", "tidy"):
        monkeypatch.setattr(messages, name, getattr(found, name))
    monkeypatch.setattr(pulses, "pulse", found.pulse)
    yield found
    for thread in found.threads:
        thread.join()


@pytest.fixture
def fake() -> t.Iterator[FakeWebapp]:
    server = FakeWebapp()
    yield server
    server.close()


@pytest.fixture
def run(run_module: RunModule, fake: FakeWebapp, table: Table, tmp_path: Path) -> Run:
    env = tmp_path / "db.env"
    env.write_text(
        "WA_DB_ENGINE=PGSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=5432\nWA_DB_USERNAME=wa\n"
        f"WA_DB_PASSWORD={DATABASE_PASSWORD}\nWA_DB_NAME_PREFIX=wa\n"
    )

    def call(check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given = {
            "api_url": fake.url,
            "api_password": PASSWORD,
            "env_file": str(env),
            "state_file": str(tmp_path / "gc.json"),
            "lock_file": str(tmp_path / "wa.lock"),
            "max_messages": 2_000,
            "quiet_period": "0.3",
            "poll_interval": "0.1",
            "wait_timeout": "30",
        }
        result = run_module("wa_message_gc", {**given, **options}, check)
        assert DATABASE_PASSWORD not in json.dumps(result)
        if (fake.requests or table.gates) and not check and not result.get("failed"):
            # Whatever asked the client or the database has left its record.
            assert PASSWORD not in Path({**given, **options}["state_file"]).read_text()
        return result

    return call
