# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A db.env file is changed as planned: content, owner and mode. Check mode only predicts."""

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._env import apply as env_apply
from ansible_collections.waba.onprem.plugins.module_utils._env import plan as env_plan
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

BASE = "WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD=Canary-62-Pw\n"
SPEC: dict[str, t.Any] = {
    "path": {"type": "path"},
    "state": {"default": "present"},
    "format": {"default": "portable"},
    "hostname": {},
    "extra": {"type": "dict"},
    "extra_secrets": {"type": "dict"},
}
Apply = t.Callable[..., Result]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "db.env"
    made.write_text(BASE)
    made.chmod(0o640)
    return made


@pytest.fixture
def apply(path: Path) -> Apply:
    """Read, plan and apply with a real module. With `check`, nothing may change."""

    def call(check: bool = False, **options: t.Any) -> Result:
        given = {"path": str(path), **options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(given):
            module = AnsibleModule(SPEC, add_file_common_args=True, supports_check_mode=True)
        result = Result(module)
        store = Store(str(path))
        before = sorted((one.name, one.read_bytes(), one.stat().st_mode) for one in path.parent.iterdir())
        text = store.read()
        env_apply.apply(module, result, store, env_plan.make(module.params, str(path), text))
        if check:
            after = sorted((one.name, one.read_bytes(), one.stat().st_mode) for one in path.parent.iterdir())
            assert after == before
        return result

    return call


def summary(result: Result) -> dict[str, t.Any]:
    return {
        "changed": result.changed,
        "actions": result.actions,
        "diff": result._diff,
        **{key: result.values[key] for key in ("changed_keys", "removed_keys")},
    }


@pytest.mark.parametrize(
    ("options", "actions", "keys"),
    [
        ({"hostname": "new"}, ["set WA_DB_HOSTNAME"], (["WA_DB_HOSTNAME"], [])),
        ({"mode": "0600"}, ["changed mode from 0640 to 0600"], ([], [])),
        ({"mode": "u=rw,go="}, ["changed mode from 0640 to 0600"], ([], [])),
        (
            {"hostname": "new", "mode": "0600"},
            ["set WA_DB_HOSTNAME", "changed mode from 0640 to 0600"],
            (["WA_DB_HOSTNAME"], []),
        ),
        ({"mode": "0640", "owner": str(os.geteuid()), "hostname": "db"}, [], ([], [])),
        ({}, [], ([], [])),
    ],
)
def test_check_mode_predicts_the_run_and_a_second_run_changes_nothing(
    apply: Apply, path: Path, options: dict[str, t.Any], actions: list[str], keys: t.Any
) -> None:
    predicted, done = summary(apply(check=True, **options)), summary(apply(**options))
    assert predicted == done
    assert (done["changed"], done["actions"]) == (bool(actions), actions)
    assert (done["changed_keys"], done["removed_keys"]) == keys
    assert ("=new\n" in path.read_text()) is ("hostname" in options and options["hostname"] == "new")
    assert stat.S_IMODE(path.stat().st_mode) == (0o600 if options.get("mode") in ("0600", "u=rw,go=") else 0o640)
    assert summary(apply(**options))["actions"] == []


def test_the_diff_contains_the_mode_and_no_secret(apply: Apply, path: Path) -> None:
    diff = summary(apply(hostname="new", mode="0600"))["diff"]
    shown = BASE.replace("Canary-62-Pw", "<hidden>")
    assert diff == {
        "before": "(mode: 0640)\n" + shown,
        "after": "(mode: 0600)\n" + shown.replace("=db\n", "=new\n"),
        "before_header": str(path),
        "after_header": str(path),
    }


def test_a_missing_key_leaves_no_new_file(apply: Apply, path: Path) -> None:
    path.unlink()
    extra = dict(line.split("=") for line in BASE.split()) | {"X": "1"}
    given = {"extra": {"X": extra["X"]}, "mode": "0604", "hostname": "db"}
    with pytest.raises(WaError, match="WA_DB_ENGINE: missing"):
        apply(**given)
    assert not path.exists()


def test_state_absent_is_predicted_and_done(apply: Apply, path: Path) -> None:
    previous = path.with_name("db.env.previous")
    previous.write_text(BASE)
    predicted, done = apply(check=True, state="absent"), apply(state="absent")
    assert summary(predicted) == summary(done)
    assert done.actions == [f"removed {path}"]
    assert done.values["removed_keys"] == [line.partition("=")[0] for line in BASE.split()]
    assert list(path.parent.iterdir()) == []
    again = apply(state="absent")
    assert (again.changed, again.actions) == (False, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"owner": "nobody-here"},
            "option owner: nobody-here does not exist here; expected a name or a number of this host.",
        ),
        (
            {"group": "nobody-here"},
            "option group: nobody-here does not exist here; expected a name or a number of this host.",
        ),
        ({"owner": "²"}, "option owner: ² does not exist here; expected a name or a number of this host."),
        ({"mode": "u=q"}, "option mode: 'u=q'; expected octal or symbolic permissions, such as 0640."),
    ],
)
def test_an_attribute_that_cannot_be_set_keeps_the_old_file(
    apply: Apply, path: Path, options: dict[str, t.Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ansible's own check would end the module with another message.
    monkeypatch.setattr(env_apply, "_differ", lambda *_arguments: False)
    with pytest.raises(WaError) as refused:
        apply(hostname="new", **options)
    assert str(refused.value) == message
    assert [one.name for one in path.parent.iterdir()] == ["db.env"]
    assert path.read_text() == BASE


def test_an_owner_that_cannot_be_changed_is_an_error(apply: Apply, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: t.Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(env_apply, "_differ", lambda *_arguments: False)
    with pytest.raises(WaError) as refused:
        apply(hostname="new", owner=str(os.geteuid() + 1))
    assert str(refused.value) == (
        f"{path}: cannot be given owner or mode: Operation not permitted. It may be immutable (see lsattr): chattr -i"
    )
    assert path.read_text() == BASE


def test_a_symbolic_link_created_meanwhile_is_not_followed(apply: Apply, path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not ours")
    other.chmod(0o644)
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(WaError, match="a symbolic link; expected a file"):
        apply(mode="0600")
    assert stat.S_IMODE(other.stat().st_mode) == 0o644
