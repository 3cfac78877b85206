# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_upgrade_check: what a look returns, which checks fail, and what is written and displayed."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from preflight_samples import DEPLOYMENT

from ansible_collections.waba.onprem.plugins.action import wa_upgrade_check
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import next_step
from ansible_collections.waba.onprem.plugins.plugin_utils import _upgrade_checks as upgrade_checks

HOSTS = ["h1", "h2"]


class Templar:
    def template(self, value: t.Any) -> t.Any:
        if isinstance(value, Exception):
            raise value
        return value


def run(args: dict[str, t.Any], variables: dict[str, t.Any], check_mode: bool = False) -> dict[str, t.Any]:
    action = object.__new__(wa_upgrade_check.ActionModule)
    action._task = type("Task", (), {"args": args, "check_mode": check_mode, "diff": True})
    action._templar, action._display = Templar(), None  # as Ansible names its own
    found: dict[str, t.Any] = action.run(None, variables)
    return found


class Module:
    """What a look runs."""

    def __init__(self, answer: t.Any) -> None:
        self.answer = answer
        self.asked: list[t.Any] = []

    def __call__(self, _action: t.Any, name: str, options: t.Any, variables: t.Any, **task: t.Any) -> dict[str, t.Any]:
        self.asked.append((name, options, task))
        if isinstance(self.answer, Exception):
            raise self.answer
        return dict(self.answer)


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., t.Any]:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})

    def make(answer: t.Any, check_mode: bool = False, **wanted: t.Any) -> tuple[dict[str, t.Any], Module]:
        module = Module(answer)
        monkeypatch.setattr(wa_upgrade_check, "run_other", module)
        given = {"module": "waba.onprem.wa_info", "options": {}, "writes": False, **wanted}
        return run({"looks": ["a"]}, {"__wa_upgrade_look_a": given}, check_mode), module

    return make


@pytest.mark.parametrize(
    ("writes", "check_mode", "checks", "changed"),
    [(False, False, True, False), (True, False, False, True), (True, True, True, True)],
)
def test_a_look_that_does_not_write_is_made_in_check_mode(
    look: t.Callable[..., t.Any], writes: bool, check_mode: bool, checks: bool, changed: bool
) -> None:
    found, module = look({"changed": True, "failed": True, "msg": "no", "warnings": ["old"]}, check_mode, writes=writes)
    assert found == {"changed": changed, "a": {"changed": changed, "msg": "no"}, "warnings": ["old"]}
    assert module.asked == [("waba.onprem.wa_info", {}, {"check_mode": checks, "diff": False})]


def test_what_cannot_be_templated_is_what_was_found(look: t.Callable[..., t.Any]) -> None:
    look({})
    variables = {"__wa_upgrade_look_a": AnsibleError("no filter named x")}
    assert run({"look": "a"}, variables) == {"changed": False, "msg": "no filter named x"}


def test_an_unreachable_host_is_ansibles_to_report(look: t.Callable[..., t.Any]) -> None:
    with pytest.raises(AnsibleConnectionFailure):
        look(AnsibleConnectionFailure("refused"))


def verdict(*failures: str, check_only: bool = False) -> dict[str, t.Any]:
    return {
        "failures": list(failures),
        "message": [*failures],
        "check_only": check_only,
        "notes": ["waba: version 2.51.2"],
        "checks": [],
        "lines": [],
    }


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., dict[str, t.Any]]:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})

    def make(part: str, host: str = "h1", check_mode: bool = False, **verdicts: t.Any) -> dict[str, t.Any]:
        variables = {
            "__wa_upgrade_facts": {},
            "__wa_upgrade_deployment": {**DEPLOYMENT, "slug": "waba"},
            "__wa_upgrade_verdict": verdicts[host],
            "hostvars": {one: {"__wa_upgrade_verdict": verdicts.get(one, {})} for one in HOSTS},
            "inventory_hostname": host,
            "groups": {},
            "ansible_play_hosts": list(verdicts),
            "ansible_play_hosts_all": HOSTS,
        }

        def of_host(*_given: t.Any) -> dict[str, t.Any]:
            if isinstance(verdicts[host], Exception):
                raise verdicts[host]
            return t.cast("dict[str, t.Any]", verdicts[host])

        monkeypatch.setattr(upgrade_checks, "of_host", of_host)
        return run({"part": part}, variables, check_mode)

    return make


def test_a_host_fails_unless_its_deployment_is_only_checked(check: t.Callable[..., dict[str, t.Any]]) -> None:
    assert check("host", h1=verdict("a")) == {"failed": True, "msg": ["a"]}
    assert check("deployment", h1=verdict("a", check_only=True))["failures"] == ["a"]
    assert check("host", h1=verdict()) == {**verdict(), "changed": False}
    assert check("host", h1=WaError("a", "b", "c"))["msg"] == "a: b; expected c."


def test_members_fail_together(check: t.Callable[..., dict[str, t.Any]]) -> None:
    shown = check("display", h1=verdict(), h2=verdict())
    assert shown == {"changed": False, "msg": ["waba: version 2.51.2"], "_ansible_verbose_always": True}
    assert check("members", h1=verdict(), h2=verdict()) == {"changed": False}
    found = check("members", h1=verdict())
    (refusal,) = found["msg"]
    assert found["failed"]
    assert refusal.startswith("h1: h2 of deployment waba did not pass the checks above or could not be reached.")


def test_a_check_of_its_own_is_written_and_displayed_once(
    check: t.Callable[..., dict[str, t.Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", str(tmp_path))
    file = tmp_path / "wa-checks" / "waba.json"
    both = {host: verdict(check_only=True) for host in HOSTS}
    assert check("display", host="h2", **both) == {"changed": False, "msg": [], "_ansible_verbose_always": False}
    assert check("display", check_mode=True, **both)["msg"][0] == "waba: 0 of 0 checks failed"
    assert check("members", **both) == {"changed": False}
    assert not file.exists()
    failed = {**both, "h2": verdict("h2: no", check_only=True)}
    assert check("display", **failed)["msg"][0] == "waba: 0 of 0 checks failed"
    assert check("members", **failed) == {"failed": True, "msg": ["waba: 0 of 0 checks failed", "h2: no"]}
    assert check("members", host="h2", **failed) == {"changed": False}
    assert json.loads(file.read_text())["failed"] == ["h2: no"]
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_checks_that_cannot_be_written_fail(
    check: t.Callable[..., dict[str, t.Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", str(tmp_path))
    (tmp_path / "wa-checks").write_text("no folder")
    found = check("display", **{host: verdict(check_only=True) for host in HOSTS})
    assert (found["failed"], found["msg"][0]) == (True, "waba: 0 of 0 checks failed")
    assert "wa-checks" in found["msg"][-1]


def test_where_an_upgrade_cannot_go_on_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    observed = {"__wa_upgrade_observed": {"deployment": "waba", "journal": {"schema": "untouched"}}}
    for refusal, found in (
        ("", {"at": "serve", "refusal": "", "schema": "untouched", "changed": False}),
        ("no", {"failed": True, "msg": "waba: no"}),
    ):
        step = {"at": "" if refusal else "serve", "refusal": refusal, "schema": "untouched"}
        monkeypatch.setattr(next_step, "next_step", lambda _facts, step=step: step)
        assert run({"part": "step"}, observed) == found


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"changed": True, "journal": {"schema": "started"}}, {"changed": True, "journal": {"schema": "started"}}),
        ({"failed": True, "msg": "lock: gone"}, {"failed": True, "msg": "lock: gone"}),
        # An unreachable host is a failure in an outage, which the step sees to.
        ({"failed": True, "reached": False, "msg": "h1: no"}, {"failed": True, "reached": False, "msg": "h1: no"}),
    ],
)
def test_what_was_found_of_the_schema_is_written_at_once(
    monkeypatch: pytest.MonkeyPatch, answer: t.Any, expected: dict[str, t.Any]
) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    step = {"at": "migrate", "refusal": "", "schema": "started", "notes": {"down_at": 1.0}}
    module = Module(answer)
    monkeypatch.setattr(wa_upgrade_check, "run_other", module)
    monkeypatch.setattr(next_step, "next_step", lambda _facts: step)
    facts = {"deployment": "waba", "leader": "h1", "lock_file": "/l", "journal": {"schema": "untouched"}}
    found = run({"part": "step"}, {"__wa_upgrade_observed": facts})
    assert found == (expected if "failed" in expected else {**step, **expected})
    step["refusal"] = "no"
    refused = run({"part": "step"}, {"__wa_upgrade_observed": facts})
    assert (refused["failed"], refused["msg"]) == (True, expected.get("msg", "waba: no"))
    noted = {"operation": "note", "path": "/l", "schema": "started", "notes": {"down_at": 1.0}}
    asked = {"module": "waba.onprem.wa_upgrade_journal", "options": noted}
    assert module.asked == [("waba.onprem.wa_upgrade_step", asked, {})] * 2


@pytest.mark.parametrize(("state", "failed"), [("running", False), ("exited", True)])
def test_an_upgrade_that_is_not_proven_fails(monkeypatch: pytest.MonkeyPatch, state: str, failed: bool) -> None:
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    one = {"id": "c", "name": "core", "image": "r/coreapp:v2", "project": "", "service": "wacore", "role": "core"}
    core = {**one, "version": "2", "state": state, "one_shot": False}
    read = {"item": {"host": "h1"}, "containers": [core]}
    facts = {"deployment": "waba", "members": ["h1"], "containers": [read], "target": "2"}
    found = run({"part": "proof"}, {"__wa_upgrade_started_facts": facts})
    if failed:
        said = "waba: not running version 2: core (r/coreapp:v2, outside Compose, exited)"
        assert found == {"failed": True, "msg": said}
    else:
        assert (found["changed"], found["nodes"]) == (False, ["c"])
