# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's simulated client in this process, with its API over TLS and a real database server."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from database_servers import CANARY, Server
from simclient import auth
from simclient.database import Database
from simclient.ratelimit import Bucket
from simclient.seed import Seeder
from simclient.settings import DatabaseSettings
from simclient_deployment import PASSWORD, Deployment
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._gc import run as gc_run
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import Webapp

__all__ = ["PASSWORD", "Simulated", "auth", "gc_options", "gc_runner", "opened", "run_module"]

VERSION = "2.53.4"
# Number of messages of a client, number after GC, and the limit between them.
ROWS, LEFT, LIMIT = 3_000, 450, 1_000
Run = t.Callable[..., "dict[str, t.Any]"]


class Simulated(Deployment):
    """A client with Coreapps, a Webapp, and a webhook."""

    def __init__(self, folder: Path, where: Server, prefix: str, version: str = VERSION, **knobs: t.Any) -> None:
        folder.mkdir(parents=True)
        self.where = where
        self.prefix = prefix
        super().__init__(folder, version, **{"gc_batch": 1000, **knobs})

    def database(self) -> t.Any:
        """A new connection to the deployment's databases on the real server."""
        return Database(DatabaseSettings(self.where.engine, "127.0.0.1", self.where.port, "wa", CANARY, self.prefix))

    def open(self, *, fresh: bool = False) -> None:
        """Start the Webapp and wait for it. Unless `fresh`, do the first login and set the webhook."""
        self.start_web(core=next(iter(self.nodes)))
        web = self.web
        assert web is not None
        until(lambda: not web.broken, 120)  # beside other tests
        web.all_requests = Bucket(1000, 1000)  # the request rate is not tested here
        if not fresh:
            until(lambda: self.login("secret", PASSWORD)[0] == 200, 30)
            url = f"{self.control.url}/webhook"
            settings = {"webhooks": {"url": url}}
            until(lambda: self.call("PATCH", "/v1/settings/application", settings)[0] == 200, 30)

    def fill(self, rows: int) -> None:
        """Insert exactly this many messages. GC removes 17 of 20 rows."""
        name = f"{self.prefix}messageStore"
        if self.where.kind == "postgres":
            self.where.sql("TRUNCATE messages, message_receipt_log;", name)
        else:  # a foreign key may refer from one table to the other
            tables = (f"TRUNCATE `{name}`.{table};" for table in ("messages", "message_receipt_log"))
            self.where.sql("SET foreign_key_checks = 0; " + "".join(tables))
        seeder = Seeder(self.database().settings, int(self.version.split(".")[1]))
        seeder.prepare()
        seeder.add(rows)
        self._seen = len(self._requests())

    def _requests(self) -> list[str]:
        return re.findall(r" ([A-Z]+ /\S+) -> ", (self.folder / "weblog" / "web.log").read_text())

    def requests(self) -> list[str]:
        """The requests since the messages were filled in, as `METHOD /path`."""
        return self._requests()[self._seen :]

    def calls(self) -> int:
        """How often GC was called since the messages were filled in."""
        return self.requests().count("PUT /v1/services/message/gc")

    def repair(self) -> None:
        """Remove all injected faults, and wait for what they delay and for all notifications."""
        for faults in self._faults:
            faults._fixed.clear()
        until(lambda: not any(node.gc.running("message") for node in self.nodes.values()), 30)
        with self.database().session("callbackStore") as session:
            until(lambda: int(session.value("SELECT COUNT(*) FROM queue")) == 0, 30)
        self.control.state.forget()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.address[1]}"

    def env_file(self) -> str:
        """Write the client's db.env and return its name."""
        path = self.folder / "db.env"
        path.write_text(
            f"WA_DB_ENGINE={self.where.engine}\nWA_DB_HOSTNAME=db.only.among.containers\nWA_DB_PORT={self.where.port}\n"
            f"WA_DB_USERNAME=wa\nWA_DB_PASSWORD={CANARY}\nWA_DB_NAME_PREFIX={self.prefix}\n"
        )
        return str(path)


@contextlib.contextmanager
def opened(
    folder: Path,
    where: Server,
    prefix: str,
    version: str = VERSION,
    *,
    fresh: bool = False,
    nodes: t.Sequence[dict[str, t.Any]] = ({},),
    **knobs: t.Any,
) -> t.Iterator[Simulated]:
    """A client that answers, with one Coreapp or those in `nodes`; it is closed at the end."""
    client = Simulated(folder / prefix, where, prefix, version, **{"lock_after": 1000, **knobs})
    try:
        for node in nodes:
            client.core(**node)
        client.open(fresh=fresh)
        yield client
    finally:
        client.close()


def run_module(name: str, options: dict[str, t.Any], check: bool = False) -> dict[str, t.Any]:
    """Run a module in this process and return its result, which contains no secret."""
    module = importlib.import_module(f"ansible_collections.waba.onprem.plugins.modules.{name}")
    output = io.StringIO()
    arguments = dict(options, _ansible_check_mode=check, _ansible_diff=True)
    with patch_module_args(arguments), contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
        module.main()
    text = output.getvalue()
    assert CANARY not in text
    assert PASSWORD not in text
    # The client in this process also logs to standard output.
    found: dict[str, t.Any] = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    return found


def gc_options(client: Simulated, state_file: Path, **more: t.Any) -> dict[str, t.Any]:
    """Options of wa_message_gc for a client, with short times."""
    return {
        "api_url": client.url,
        "api_password": PASSWORD,
        "api_validate_certs": False,
        "env_file": client.env_file(),
        "state_file": str(state_file),
        "login_host": "127.0.0.1",
        "max_messages": LIMIT,
        "quiet_period": "1",
        "poll_interval": "0.3",
        "wait_timeout": "40",
        **more,
    }


def gc_runner(client: Simulated, state_file: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run(check=False, **options)`: wa_message_gc in this process. It retries failures of the API for 3.5 s."""
    monkeypatch.setattr(gc_run, "Webapp", functools.partial(Webapp, retry_time=3.5))
    return lambda check=False, **options: run_module("wa_message_gc", gc_options(client, state_file, **options), check)
