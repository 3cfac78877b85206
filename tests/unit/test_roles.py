# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every role keeps the house's promises: specs and defaults in step, a state, no secret with a default."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.name for path in ROOT.glob("roles/*/meta"))
SECRET = re.compile(r"password|secret|token|_key$")


def load(role: str, path: str) -> t.Any:
    file = ROOT / "roles" / role / path
    return yaml.safe_load(file.read_text()) if file.exists() else {}


def options(role: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for spec in load(role, "meta/argument_specs.yml")["argument_specs"].values():
        found.update(spec.get("options", {}))
    return found


@pytest.mark.parametrize("role", ROLES)
def test_defaults_and_specs_agree(role: str) -> None:
    defaults = load(role, "defaults/main.yml") or {}
    specs = options(role)
    assert set(defaults) <= set(specs), "defaults without a spec"
    computed = {name for name, value in defaults.items() if isinstance(value, str) and "{{ __" in value}
    told = {name: option["default"] for name, option in specs.items() if "default" in option}
    assert told == {name: value for name, value in defaults.items() if name not in computed}


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_bears_the_roles_name(role: str) -> None:
    assert all(name.startswith(f"{role}_") for name in options(role))
    assert all(name.startswith(f"__{role}_") for name in load(role, "vars/main.yml") or {})


@pytest.mark.parametrize("role", ROLES)
def test_every_role_has_a_state(role: str) -> None:
    state = options(role)[f"{role}_state"]
    assert state["choices"] == ["present", "absent"]
    assert state["default"] == "present"


@pytest.mark.parametrize("role", ROLES)
def test_no_secret_has_a_default(role: str) -> None:
    secrets = [name for name in load(role, "defaults/main.yml") or {} if SECRET.search(name)]
    values = load(role, "defaults/main.yml")
    assert [name for name in secrets if values[name] not in (None, "", {}, [])] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_has_a_spec_and_tasks(role: str) -> None:
    for entry in load(role, "meta/argument_specs.yml")["argument_specs"]:
        assert (ROOT / "roles" / role / "tasks" / f"{entry}.yml").is_file()


def test_readme_tables_are_in_step() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "script" / "role_tables.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_no_task_hides_a_failure_or_our_own_modules() -> None:
    for file in [
        *ROOT.glob("roles/*/tasks/*.yml"),
        *ROOT.glob("roles/*/handlers/*.yml"),
        *ROOT.glob("playbooks/*.yml"),
    ]:
        text = file.read_text()
        assert "ignore_errors" not in text, file
        for task in flatten(yaml.safe_load(text)):
            ours = [key for key in task if key.startswith("waba.onprem.")]
            assert not (ours and "no_log" in task), f"{file}: {task['name']}"


def test_an_upgrade_loses_no_host_without_a_word() -> None:
    """Under `ignore_unreachable` a task that asks a host must be followed by the look whether it was reached.

    The rescue is left out: it says what it found of whom, and asks who is still there.
    """
    local = {"assert", "debug", "fail", "include_role", "include_tasks", "set_fact", "wait_for_connection"}
    before = {"main", "absent", "preflight", "refuse", "database", "prepare", "shrink", "pull", "upgrade", "report"}
    rescue = {"rescue", "back", "unlock"}
    judged_otherwise = {
        "Stop the client on the other members",  # with the leader, once all have been waited for
        "Start the new version on the other members",  # and so it is here
        "Put the new Compose file in force on all hosts",  # once the migration has been waited for, whoever is lost
        "Wait for a migration that is soon over",  # and so it is here
        "Look whether it is over",  # a leader that is away for a while is waited for
        "Read the migration's log",  # adds to a failure that is certain
    }
    lost = []
    for file in (ROOT / "roles" / "wa_upgrade" / "tasks").glob("*.yml"):
        if file.stem in before | rescue:
            continue
        tasks = [task for task in flatten(yaml.safe_load(file.read_text())) if "block" not in task]
        for task, following in zip(tasks, [*tasks[1:], {}]):
            asks = not {key.rpartition(".")[2] for key in task} & local and task.get("delegate_to") != "localhost"
            if (
                asks
                and task["name"] not in judged_otherwise
                and following.get("ansible.builtin.include_tasks") not in ("reached.yml", "await.yml")
            ):
                lost.append(f"{file.name}: {task['name']}")
    assert lost == []


def flatten(tasks: list[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    for task in tasks:
        yield task
        for inner in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from flatten(task.get(inner, []))
