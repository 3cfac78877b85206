# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/gc.yml and the role for a deployment of two hosts, against the simulated client over a real database."""

from __future__ import annotations

import json
import sys
import time
import typing as t
import uuid
from pathlib import Path

import pytest
from commands import REPOSITORY
from database_servers import CANARY
from playbook import Play, start
from simulated import LEFT, LIMIT, PASSWORD, ROWS, Simulated, auth

from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.upgrade_journal import Claim, begin


class Site:
    """A deployment of two hosts that are this machine, with a name of its own; `h1` is its leader."""

    def __init__(self, client: Simulated, folder: Path) -> None:
        self.folder = folder
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "wa_deployment": self.name,
            "wa_topology": "high_availability",
            "ansible_become": False,
            "wa_env_file": client.env_file(),
            "wa_db_login_host": "127.0.0.1",
            "wa_api_url": client.url,
            "wa_api_validate_certs": False,
            "wa_api_password": PASSWORD,
            "wa_message_gc_window": "",
            "wa_message_gc_max_messages": LIMIT,
            "__wa_message_gc_quiet_period": "1s",
            "__wa_message_gc_poll_interval": "1s",
        }

    def run(self, *arguments: str, **variables: t.Any) -> tuple[dict[str, list[dict[str, t.Any]]], str]:
        """Run gc.yml: the results of the role's tasks by name, and all that was printed."""
        inventory = self.folder.with_suffix(".json")
        deployment = {"hosts": {"h1": {}, "h2": {}}, "vars": {**self.variables, **variables}}
        inventory.write_text(json.dumps({self.name: deployment}))
        done = Play.end(start("-i", str(inventory), *arguments, str(REPOSITORY / "playbooks" / "gc.yml")))
        assert "WARNING" not in done.stderr, done.stderr
        found: dict[str, list[dict[str, t.Any]]] = {}
        for task in done.tasks:
            ran = [dict(result, host=host) for host, result in task["hosts"].items() if not result.get("skipped")]
            found.setdefault(task["task"]["name"].rpartition(" : ")[2], []).extend(ran)
        return found, done.stdout + done.stderr

    def states(self) -> list[Path]:
        """The files of the deployment in the folder of states."""
        return sorted(Path(topology.STATE_DIR).glob(f"*{self.name}*"))


CLIENT = {"prefix": "gcr_"}
GC = "Reduce the messages table to its limit"
SKIPPED = "Display why no GC was called"


@pytest.fixture
def site(client: Simulated, tmp_path: Path) -> t.Iterator[Site]:
    Path(topology.STATE_DIR).mkdir(mode=0o750, exist_ok=True)  # which wa_host makes
    found = Site(client, tmp_path)
    yield found
    for path in found.states():
        path.unlink()


def test_once_a_day_at_the_leader(site: Site, client: Simulated) -> None:
    predicted, _output = site.run("--check")
    assert [(task["host"], task["changed"]) for task in predicted[GC]] == [("h1", True)]
    assert client.count() == ROWS
    done, output = site.run()
    # started first, then watched
    assert [(task["host"], task["running"]) for task in done[GC]] == [("h1", True), ("h1", False)]
    assert (done[GC][-1]["messages_after"], done[GC][-1]["rounds"]) == (LEFT, 1)
    assert "h1 | message GC round 1 | " in output
    for arguments in ((), ("--check",)):
        again, _output = site.run(*arguments)
        [task], [shown] = again[GC], again[SKIPPED]
        assert not task["changed"]
        assert "less than 24h00m" in task["skip_reason"]
        assert shown["msg"] == f"{site.name}: no message GC: {task['skip_reason']}; next at {task['next_due']}"
    # no credential is left on the host
    assert [path.name for path in site.states()] == [f"gc-{site.name}.json", f"gc-{site.name}.json.lock"]
    texts = [output, *(path.read_text() for path in site.states())]
    assert not any(secret in text for text in texts for secret in (PASSWORD, CANARY))


def test_each_call_logs_in_and_out(site: Site, client: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[str] = []
    original = auth.make_token

    def make_token(*arguments: t.Any) -> str:
        tokens.append(original(*arguments))
        return tokens[-1]

    monkeypatch.setattr(auth, "make_token", make_token)
    done, output = site.run(wa_message_gc_max_messages=LEFT - 1, __wa_message_gc_wait_timeout="20s")
    started, watched = done[GC]
    # The first round leaves more than the limit, and what comes after has less to delete.
    assert started["running"]
    assert watched["rounds"] >= 2
    assert len(tokens) == watched["rounds"]
    assert not any(token in output for token in tokens)
    assert client.call("GET", "/v1/health")[0] == 200, "another session ends with none of them"


def test_outside_the_window_and_without_the_leader(site: Site, client: Simulated) -> None:
    begin, end = ((time.localtime().tm_hour + hours) % 24 for hours in (2, 4))
    window = f"{begin:02d}:00-{end:02d}:00"
    closed, _output = site.run(wa_message_gc_window=window)
    [shown] = closed[SKIPPED]
    assert shown["msg"].startswith(f"{site.name}: no message GC: outside the window {window}; next at 20"), shown["msg"]
    elsewhere, _output = site.run("--limit", "h2")
    [shown] = elsewhere["Display that the leader is not in this run"]
    assert f"No message GC for deployment {site.name}: its leader h1 is not in this run" in shown["msg"]
    assert not elsewhere.get(GC)
    assert client.count() == ROWS


def test_a_deployment_that_an_upgrade_has_is_left_alone(site: Site, client: Simulated) -> None:
    claim = Claim(site.name, "m/1/5", "ann", "ops1", "2.53.4")
    Path(topology.STATE_DIR, f"{site.name}.lock").write_text(json.dumps(begin(None, claim, time.time(), lease=3600)))
    before = client.call("GET", "/v1/settings/application")[1]
    done, _output = site.run(wa_message_gc_automatic=True, wa_message_gc_policy="always")
    [shown] = done["Display that automatic GC is left unchanged during an upgrade"]
    assert "locked by the upgrade to 2.53.4" in shown["msg"]
    assert "the deployment is locked by the upgrade" in done[GC][0]["skip_reason"]
    assert "Read and set the application setting" not in {name for name, ran in done.items() if ran}
    assert client.call("GET", "/v1/settings/application")[1] == before
    assert client.count() == ROWS


def test_the_clients_own_gc_is_turned_on(site: Site, client: Simulated) -> None:
    for changed in (True, False):
        done, _output = site.run(wa_message_gc_automatic=True, wa_message_gc_policy="limit")
        assert next(task["changed"] for task in done["Read and set the application setting"]) is changed
    settings = client.call("GET", "/v1/settings/application")[1]["settings"]["application"]
    assert settings["garbagecollector_enable"]["messages"] is True
