# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a module: one structure, the diff if requested, and no secret in any part."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result

SECRET = "Canary-55-Pw"


@pytest.fixture
def ended(capsys: pytest.CaptureFixture[str]) -> t.Callable[..., dict[str, t.Any]]:
    """Run `fill` with a Result of a real module, and return the module's output as Ansible reads it."""

    def run(fill: t.Callable[[Result], t.Any], diff: bool = True) -> dict[str, t.Any]:
        with patch_module_args({"_ansible_diff": diff}), pytest.raises(SystemExit) as exited:
            fill(Result(AnsibleModule({}), Redactor([SECRET])))
        printed: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        assert bool(exited.value.code) is bool(printed.get("failed"))
        return {key: printed[key] for key in printed if key not in ("invocation", "_ansible_new_secrets")}

    return run


def test_without_an_action_the_result_is_unchanged(ended: t.Callable[..., dict[str, t.Any]]) -> None:
    assert ended(Result.exit) == {"changed": False, "actions": []}


def test_as_a_context_it_ends_the_module(ended: t.Callable[..., dict[str, t.Any]]) -> None:
    def work(result: Result, *failures: Exception) -> None:
        with result:
            result.record_change("restarted")
            for failure in failures:
                raise failure

    assert ended(work) == {"changed": True, "actions": ["restarted"]}
    failed = ended(lambda result: work(result, WaError("lock", f"holds {SECRET}")))
    assert (failed["failed"], failed["msg"], failed["actions"]) == (True, "lock: holds <hidden>.", ["restarted"])


def fill(result: Result) -> Result:
    result.values.update(found=f"password {SECRET}", nested=[{"key": SECRET}])
    result.record_change(f"set {SECRET}")
    result.record_change("restarted")
    result.diff({"a": SECRET}, f"b {SECRET}\n", "db.env")
    return result


FILLED = {
    "changed": True,
    "actions": ["set <hidden>", "restarted"],
    "found": "password <hidden>",
    "nested": [{"key": "<hidden>"}],
}
DIFF = {"before": {"a": "<hidden>"}, "after": "b <hidden>\n", "before_header": "db.env", "after_header": "db.env"}


@pytest.mark.parametrize("diff", [True, False])
def test_a_change_has_its_actions_and_the_diff_if_requested(
    ended: t.Callable[..., dict[str, t.Any]], diff: bool
) -> None:
    shown = {**FILLED, "diff": DIFF} if diff else FILLED
    assert ended(lambda result: fill(result).exit(), diff) == shown


@pytest.mark.parametrize("error", [WaError("db.env", f"holds {SECRET}", "no such text"), f"db.env: holds {SECRET}"])
def test_an_error_keeps_what_was_found_before(ended: t.Callable[..., dict[str, t.Any]], error: WaError | str) -> None:
    message = "db.env: holds <hidden>" + ("; expected no such text." if isinstance(error, WaError) else "")
    shown = {**FILLED, "diff": DIFF, "failed": True, "msg": message}
    assert ended(lambda result: fill(result).fail(error)) == shown


def test_a_diff_without_an_object_has_no_header(ended: t.Callable[..., dict[str, t.Any]]) -> None:
    def compare(result: Result) -> None:
        result.diff("a\n", "b\n")
        result.exit()

    assert ended(compare) == {"changed": False, "actions": [], "diff": {"before": "a\n", "after": "b\n"}}


def test_a_value_cannot_replace_changed_or_actions(ended: t.Callable[..., dict[str, t.Any]]) -> None:
    def claim(result: Result) -> None:
        result.values.update(changed=False, actions=["none"])
        result.record_change("restarted")
        result.exit()

    assert ended(claim) == {"changed": True, "actions": ["restarted"]}


def test_a_warning_contains_no_secret(warned: list[str]) -> None:
    with patch_module_args({}):
        Result(AnsibleModule({}), Redactor([SECRET])).warn(f"{SECRET} is weak")
    assert warned == ["<hidden> is weak"]


def test_a_secret_added_later_is_hidden(ended: t.Callable[..., dict[str, t.Any]]) -> None:
    def learn(result: Result) -> None:
        result.record_change("set Later-77-Pw")
        result.redact.add(["Later-77-Pw"])
        result.exit()

    assert ended(learn)["actions"] == ["set <hidden>"]


@pytest.mark.parametrize(
    ("check_mode", "work", "expected"),
    [
        (False, lambda result: fill(result).exit(), ["set <hidden>; restarted"]),
        (
            False,
            lambda result: fill(result).fail(f"{SECRET}\nis weak"),
            ["set <hidden>; restarted; failed: <hidden> is weak"],
        ),
        (False, Result.exit, []),
        (True, lambda result: fill(result).exit(), []),
        (True, lambda result: result.fail("weak"), []),
    ],
)
def test_changes_and_failures_are_logged_on_the_host(
    monkeypatch: pytest.MonkeyPatch, check_mode: bool, work: t.Callable[[Result], t.Any], expected: list[str]
) -> None:
    said: list[str] = []
    with patch_module_args({"_ansible_check_mode": check_mode}):
        module = AnsibleModule({}, supports_check_mode=True)
        monkeypatch.setattr(module, "log", said.append)
        with pytest.raises(SystemExit):
            work(Result(module, Redactor([SECRET])))
    assert said == expected
