# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conventions of all roles: specs and defaults agree, no secret has a default."""

from __future__ import annotations

import functools
import pathlib
import re
import shlex
import subprocess
import sys
import typing as t

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import preflight
from ansible_collections.waba.onprem.plugins.plugin_utils import _backup as backup

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROLES = sorted(path.parent.parent.name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
SECRET = re.compile(r"password|secret|token|_key$")


@functools.cache
def parsed(path: pathlib.Path) -> t.Any:
    """The content of a YAML file. Hundreds of tests read the same files, and change nothing in what they get."""
    return yaml.safe_load(path.read_text())


def load(role: str, path: str) -> t.Any:
    file = ROOT / "roles" / role / path
    return parsed(file) if file.exists() else {}


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
    documented = {name: option["default"] for name, option in specs.items() if "default" in option}
    assert documented == {name: value for name, value in defaults.items() if name not in computed}


def test_a_default_that_another_role_repeats_is_the_same() -> None:
    defaults = {"wa_backup_keep": backup.KEPT}
    for role in ROLES:
        defaults.update(load(role, "defaults/main.yml") or {})
    texts = "".join(path.read_text() for path in sorted((ROOT / "roles").rglob("*.yml")))
    repeated = {
        (name, yaml.safe_load(value))
        for name, value in re.findall(r"\b(wa_\w+) \| default\(([^,)]+)", texts)
        if value != "omit" and defaults.get(name)
    }
    assert repeated == {(name, defaults[name]) for name, _value in repeated} != set()


def test_every_look_of_a_check_is_a_variable_of_the_role() -> None:
    looks = {f"__wa_upgrade_look_{one.look}" for one in preflight.CHECKS if one.look}
    assert looks - {*load("wa_upgrade", "vars/main.yml")} == set()


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_begins_with_the_name_of_its_role(role: str) -> None:
    assert all(name.startswith(f"{role}_") for name in options(role))
    assert all(name.startswith(f"__{role}_") for name in load(role, "vars/main.yml") or {})


def test_every_private_variable_that_is_read_is_defined() -> None:
    texts = "\n".join(
        path.read_text() for part in ("roles", "playbooks") for path in sorted((ROOT / part).rglob("*.yml"))
    )
    defined = {
        *re.findall(r"^[ -]*(__wa_\w+):", texts, re.M),
        *re.findall(r"(?:register|loop_var|index_var): (__wa_\w+)", texts),
    }
    assert {*re.findall(r"\b__wa_\w+\b(?! \| default)", texts)} - defined == set()


@pytest.mark.parametrize("role", ROLES)
def test_no_secret_has_a_default(role: str) -> None:
    secrets = [name for name in load(role, "defaults/main.yml") or {} if SECRET.search(name)]
    values = load(role, "defaults/main.yml")
    assert [name for name in secrets if values[name] not in (None, "", {}, [])] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_point_has_a_spec_and_tasks(role: str) -> None:
    for entry in load(role, "meta/argument_specs.yml")["argument_specs"]:
        assert (ROOT / "roles" / role / "tasks" / f"{entry}.yml").is_file()


def included(role: str, entry: str) -> str:
    """The text of an entry point's tasks and of all files that they include, without comments."""
    folder, text, seen, waiting = ROOT / "roles" / role / "tasks", "", set(), [f"{entry}.yml"]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        content = (folder / name).read_text()
        text += re.sub(r"(?m)^\s*#.*$", "", content)
        for task in flatten(parsed(folder / name)):
            file = task.get("ansible.builtin.include_tasks") or task.get("ansible.builtin.import_tasks") or ""
            file = file.get("file", "") if isinstance(file, dict) else file
            if file and "{{" not in file:
                waiting.append(file)
    return text


def reads(role: str, entry: str) -> set[str]:
    """The role's variables that an entry point reads, directly or through the role's own variables and templates."""
    text = included(role, entry)
    values = {
        name: str(value)
        for source in (f"{role}/vars/main.yml", f"{role}/defaults/main.yml", "wa_common/vars/main.yml")
        if (ROOT / "roles" / source).exists()
        for name, value in (parsed(ROOT / "roles" / source) or {}).items()
    }
    values.update({path.name: path.read_text() for path in (ROOT / "roles" / role / "templates").glob("*")})
    done: set[str] = set()
    while more := {name for name in values if re.search(rf"\b{re.escape(name)}\b", text)} - done:
        done |= more
        text += "".join("\n" + values[name] for name in more)
    named = set(re.findall(rf"(?<![\w#/])(?<!onprem\.)(?<!groups\.){role}_\w+", text))
    return {name for name in named if not name.endswith("_result")}


@functools.cache
def facts() -> set[str]:
    """Public names that a role sets for others."""
    tasks = [task for path in ROOT.glob("roles/*/tasks/**/*.yml") for task in flatten(parsed(path))]
    return {name for task in tasks for name in task.get("ansible.builtin.set_fact") or {}}


@pytest.mark.parametrize(
    ("role", "entry"),
    [(role, entry) for role in ROLES for entry in load(role, "meta/argument_specs.yml")["argument_specs"]],
)
def test_an_entry_point_lists_the_options_that_it_reads(role: str, entry: str) -> None:
    spec = load(role, "meta/argument_specs.yml")["argument_specs"][entry]
    assert spec["version_added"]
    listed, read = set(spec.get("options", {})), reads(role, entry) - facts()
    if (role, entry) == ("wa_upgrade", "main"):  # it checks the values of all options before it changes anything
        read = set(options(role))
    plugins = "".join(path.read_text() for path in ROOT.glob("plugins/**/*.py"))  # some read the inventory themselves
    assert read - listed == set()
    assert {name for name in listed - read if name not in plugins} == set()


@pytest.mark.parametrize("script", ["tables.py", "fault_table.py"])
def test_generated_tables_are_up_to_date(script: str) -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "script" / script), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_no_task_ignores_failures_or_hides_our_modules() -> None:
    for file in [
        *ROOT.glob("roles/*/tasks/**/*.yml"),
        *ROOT.glob("roles/*/handlers/*.yml"),
        *ROOT.glob("playbooks/*.yml"),
    ]:
        text = file.read_text()
        assert "ignore_errors" not in text, file
        for task in flatten(yaml.safe_load(text)):
            modules = [key for key in task if "." in key and key != "waba.onprem.wa_upgrade_step"]
            ours = [module for module in modules if module.startswith("waba.onprem.")]
            assert not (ours and "no_log" in task), f"{file}: {task['name']}"


@pytest.mark.parametrize("role", ROLES)
def test_no_result_hides_a_variable_of_a_task(role: str) -> None:
    """A registered variable or a fact comes before the `vars` of each later task on that host."""
    tasks = [one for file in ROOT.glob(f"roles/{role}/tasks/**/*.yml") for one in flatten(parsed(file) or [])]
    results = {task["register"] for task in tasks if "register" in task}
    results |= {name for task in tasks for name in task.get("ansible.builtin.set_fact", {})}
    given = {name for task in tasks for name in task.get("vars", {})} | set(load(role, "vars/main.yml") or {})
    assert results & given == set()


@pytest.mark.parametrize("role", ROLES)
def test_no_task_replaces_what_it_waits_to_be_missing(role: str) -> None:
    """A task that is skipped registers its result all the same: the one that is there would be lost."""
    tasks = [one for file in ROOT.glob(f"roles/{role}/tasks/**/*.yml") for one in flatten(parsed(file) or [])]
    missing = r"\b{}\b[^,]*\bis (undefined|not defined)"
    replaced = [
        one["name"]
        for one in tasks
        if "register" in one and re.search(missing.format(one["register"]), str(one.get("when", "")))
    ]
    assert replaced == []


@pytest.mark.parametrize("role", ROLES)
def test_no_task_that_check_mode_skips_replaces_a_result(role: str) -> None:
    """What reads the result of the task before it would find a skipped one."""
    tasks = [task for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml")) for task in flatten(parsed(path))]
    names = [task["register"] for task in tasks if "register" in task]
    skipped = {
        task["register"] for task in tasks if "register" in task and task.get("when") == "not ansible_check_mode"
    }
    assert [name for name in sorted(skipped) if names.count(name) > 1] == []


def unwrapped(task: dict[str, t.Any]) -> dict[str, t.Any]:
    """The task; one of `wa_upgrade_step` has the module that it runs, with its options, as well."""
    step = task.get("waba.onprem.wa_upgrade_step")
    return {**task, step["module"]: step.get("options", {})} if isinstance(step, dict) else task


def guarded(conditions: t.Any) -> bool:
    """Whether one of the conditions of a task skips it in check mode."""
    listed = conditions if isinstance(conditions, list) else [conditions]
    return any(str(one).strip() == "not ansible_check_mode" for one in listed)


def walk(tasks: t.Any, safe: bool = False) -> t.Iterator[tuple[dict[str, t.Any], bool]]:
    """Each task, and whether it, or a block around it, is skipped in check mode."""
    for task in tasks or []:
        skipped = safe or guarded(task.get("when"))
        yield unwrapped(task), skipped
        for part in ("block", "rescue", "always"):
            yield from walk(task.get(part), skipped)


def unguarded(role: str) -> dict[str, list[dict[str, t.Any]]]:
    """The tasks that check mode can reach, by file. Files that are only included outside of check mode are left out."""
    folder = ROOT / "roles" / role / "tasks"
    files = {
        str(file.relative_to(folder)): list(walk(yaml.safe_load(file.read_text()))) for file in folder.rglob("*.yml")
    }
    included: dict[str, list[tuple[str, bool]]] = {}
    for name, tasks in files.items():
        for task, safe in tasks:
            given = task.get("ansible.builtin.include_tasks") or task.get("ansible.builtin.import_tasks")
            target = given.get("file", "") if isinstance(given, dict) else given or ""
            included.setdefault(target, []).append((name, safe))
    reached = {name for name in files if name not in included}  # main, entry points, and files that a variable names
    while True:
        more = {
            name
            for name in set(files) - reached
            if any(includer in reached and not safe for includer, safe in included[name])
        }
        if not more:
            return {name: [task for task, safe in files[name] if not safe] for name in reached}
        reached |= more


@pytest.mark.parametrize("role", ROLES)
def test_check_mode_never_calls_compose(role: str) -> None:
    """`docker compose up -d --dry-run`, which docker_compose_v2 runs in check mode, changes things in some versions."""
    for file, tasks in unguarded(role).items():
        for task in tasks:
            assert "community.docker.docker_compose_v2" not in task, f"{file}: {task['name']}"
    for path in (ROOT / "roles" / role / "tasks").rglob("*.yml"):
        for task, _safe in walk(yaml.safe_load(path.read_text())):
            if "community.docker.docker_compose_v2" in task:
                assert "check_mode" not in task, f"{path}: {task['name']}"


def test_no_dry_run_of_compose_is_used() -> None:
    for file in [*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("plugins/**/*.py")]:
        assert not re.search(r"""^\s*- --dry-run|["']--dry-run""", file.read_text(), re.MULTILINE), file


def test_every_included_file_exists() -> None:
    """Ansible notices a missing file only at the include, possibly during an outage."""
    lost = []
    for role in ROLES:
        folder = ROOT / "roles" / role / "tasks"
        for file in folder.rglob("*.yml"):
            for task in flatten(yaml.safe_load(file.read_text())):
                name = task.get("ansible.builtin.include_tasks") or task.get("ansible.builtin.import_tasks") or ""
                name = name.get("file", "") if isinstance(name, dict) else name
                if name and "{{" not in name and not (folder / name).is_file():
                    lost.append(f"{file.relative_to(ROOT)}: {name}")
    assert lost == []


def test_every_unreachable_host_in_an_outage_is_a_failure() -> None:
    """Ansible ends the play of an unreachable host without its rescue, so a task on a host is a step there."""
    local = {"assert", "debug", "fail", "include_tasks", "set_fact", "wa_upgrade_check", "wa_upgrade_step"}
    tasks = ROOT / "roles" / "wa_upgrade" / "tasks"
    found = [("upgrade_deployment.yml", parsed(tasks / "upgrade_deployment.yml"))]
    for folder in ("common", "stop", "migrate", "start", "rollback"):
        found += [(file.name, parsed(file)) for file in sorted((tasks / folder).glob("*.yml"))]
    assert len(found) > 6
    lost = [
        f"{name}: {task['name']}"
        for name, those in found
        for task in flatten(those)
        if "block" not in task
        and not {key.rpartition(".")[2] for key in task} & local
        and task.get("delegate_to") != "localhost"
    ]
    assert lost == []


def flatten(tasks: list[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    for task in tasks:
        yield unwrapped(task)
        for inner in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
            yield from flatten(task.get(inner, []))


RECURSIVE_COMMAND = re.compile(
    r"\brm\s+(-\w*\s+)*-\w*[rR]|\brm\b.*--recursive|find\b.*-delete|volume\s+(rm|prune)|system\s+prune|down\b.*\s(-v|--volumes)\b"
)
RECURSIVE_CALL = re.compile(r"\brmtree\b|\bremovedirs\b|remove_volume\b|volumes?/prune|\brm\b[\"', ]+-\w*[rR]")


def removals(task: dict[str, t.Any]) -> t.Iterator[str]:
    """The actions of a task that could remove a folder with its content, or a volume with its data."""
    for key, given in task.items():
        name, options = key.rpartition(".")[2], given if isinstance(given, dict) else {}
        state = str(options.get("state", ""))
        if name == "file" and (state == "absent" or "{{" in state):
            yield f"file with state {state}: wa_client removes files"
        if name == "docker_volume" and state != "present":
            yield f"docker_volume with state {state}"
        if name in ("docker_prune", "docker_host_info") and options.get("volumes"):
            yield f"{name} with volumes"
        if name.startswith("docker_compose") and options.get("remove_volumes"):
            yield f"{name} with remove_volumes"
        if name == "docker_container" and state == "absent" and options.get("keep_volumes") is not True:
            yield "docker_container with state absent and without keep_volumes"
        if name == "synchronize" and options.get("delete"):
            yield "synchronize with delete"
        argv = options.get("argv") or options.get("cmd") or options.get("_raw_params") or given
        text = " ".join(map(str, argv)) if isinstance(argv, list) else str(argv)
        if name in ("command", "shell", "raw", "script", "expect") and RECURSIVE_COMMAND.search(text):
            yield f"{name}: {text}"


@pytest.mark.parametrize(
    "task",
    [
        {"ansible.builtin.file": {"path": "/a", "state": "absent"}},
        {"file": {"path": "/a", "state": "{{ state }}"}},
        {"community.docker.docker_volume": {"name": "m", "state": "absent"}},
        {"community.docker.docker_compose_v2": {"project_src": "/a", "state": "absent", "remove_volumes": True}},
        {"ansible.builtin.command": {"argv": ["rm", "-f", "-r", "/a"]}},
        {"ansible.builtin.shell": "cd / && rm -rf a"},
        {"ansible.builtin.command": "docker compose down --timeout 5 -v"},
        {"ansible.builtin.command": {"cmd": "docker volume rm m"}},
    ],
)
def test_a_removal_of_data_is_recognised(task: dict[str, t.Any]) -> None:
    assert len(list(removals(task))) == 1


def test_no_task_removes_the_content_of_a_folder_or_volume() -> None:
    found = [
        f"{file.relative_to(ROOT)}: {task['name']}: {what}"
        for file in [*ROOT.glob("roles/**/*.yml"), *ROOT.glob("playbooks/**/*.yml")]
        if {"tasks", "handlers", "playbooks"} & {*file.relative_to(ROOT).parts}
        for task in flatten(yaml.safe_load(file.read_text()) or [])
        for what in removals(task)
    ]
    scripts = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in [*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/*/files/*"), *ROOT.glob("roles/*/templates/*")]
        for line in file.read_text().splitlines()
        if RECURSIVE_CALL.search(line) or (file.suffix != ".py" and RECURSIVE_COMMAND.search(line))
    ]
    assert found + scripts == []


def test_every_search_for_client_containers_uses_the_configured_images() -> None:
    """`wa_images` decides which containers are the client's. A task without it finds none."""
    modules = ("wa_db_env", "wa_media_volume", "wa_log_cleanup")
    missing = []
    for path in ROOT.glob("roles/*/tasks/**/*.yml"):
        for task in flatten(yaml.safe_load(path.read_text()) or []):
            calls = [task[f"waba.onprem.{module}"] for module in modules if f"waba.onprem.{module}" in task]
            info = task.get("waba.onprem.wa_info")
            gathered = info.get("gather", "containers") if isinstance(info, dict) else info
            if info is not None and {"containers", "images"} & set(re.findall(r"\w+", str(gathered))):
                calls.append(info)
            # The desired state has them: `_desired.docker`.
            wanted = str(task.get("module_defaults", "")).count("waba.onprem.desired")
            missing += [
                f"{path.parent.parent.name}/{path.name}" for one in calls if "client_images" not in one and not wanted
            ]
    assert missing == []


# They run while the client is down. Without a limit, a hung engine would leave it down without a message.
def test_every_command_of_an_outage_has_a_limit() -> None:
    unlimited, commands = [], 0
    for path in sorted((ROOT / "roles" / "wa_upgrade" / "tasks" / "stop").glob("*.yml")):
        for task in flatten(yaml.safe_load(path.read_text(encoding="utf-8")) or []):
            command = task.get("ansible.builtin.command")
            if command is None and "community.docker.docker_compose_v2" not in task:
                continue
            commands += 1
            argv = command_of(command).get("argv") or str(command_of(command).get("cmd"))
            words = " ".join(argv) if isinstance(argv, list) else re.sub(r"^{{ (__wa_upgrade_|\[')|'|,", "", argv)
            # The command ends on its host, where the keyword ends nothing, and the keyword helps where the connection hangs.
            if not words.startswith("timeout ") or not {"async", "timeout"} & {*task}:
                unlimited.append(f"{path.name}: {task['name']}")
    assert (unlimited, commands > 0) == ([], True)


def test_the_state_of_a_failed_upgrade_is_displayed_before_a_hook_takes_its_time() -> None:
    (upgrade, *_more) = parsed(ROOT / "roles" / "wa_upgrade" / "tasks" / "upgrade_deployment.yml")
    tasks = list(flatten(upgrade["rescue"]))
    names = [task["name"] for task in tasks]
    hook = names.index("Run the hook after the outage")
    assert names.index("Release the lock, and keep the journal unless the old version serves") < hook
    assert names.index("Fail and explain the state of the deployment") == hook - 1
    assert tasks[hook]["ansible.builtin.include_tasks"]["apply"]["timeout"]


def test_every_call_of_members_during_an_outage_has_a_limit() -> None:
    calls = [task for _file, task in role_tasks() if "waba.onprem.wa_client" in task and "loop" in task]
    # Those of files do not wait for a container.
    calls = [one for one in calls if not re.search("settled|versioned", str(one["waba.onprem.wa_client"]))]
    assert [bool({"async", "timeout"} & {*task}) for task in calls] == [True] * 4


def command_of(given: t.Any) -> dict[str, t.Any]:
    """The options of a command, which may be a variable of the role."""
    if isinstance(given, str):
        found = parsed(ROOT / "roles" / "wa_upgrade" / "vars" / "main.yml")[given.strip("{} ")]
        return t.cast("dict[str, t.Any]", found)
    return dict(given or {})


# `linear` by its short name: otherwise ansible.posix.jsonl, which compares with it, fails at a skipped meta task, with a warning.
STRATEGIES = ("linear", "ansible.builtin.host_pinned")


def test_every_play_sets_its_strategy() -> None:
    """With an operator's `strategy = free`, `run_once` would run once per host, and two plays in parallel."""
    plays = [
        (file.name, play.get("name"), play.get("strategy"))
        for file in ROOT.glob("playbooks/*.yml")
        for play in yaml.safe_load(file.read_text())
        if "hosts" in play
    ]
    assert len(plays) >= 5
    assert [play for play in plays if play[2] not in STRATEGIES] == []


def test_compose_variables_of_roots_environment_have_no_effect() -> None:
    """With COMPOSE_PROFILES=* in it, `up` started the one-shot migration with the client. A role may be used alone."""
    calls = [
        (f"{file.relative_to(ROOT)}: {task['name']}", task.get("environment"))
        for file, task in role_tasks()
        if "community.docker.docker_compose_v2" in task
        or (
            re.search(r"compose_command|migration_command|compose\.command", str(task))
            and "waba.onprem.wa_client" not in task
        )
    ]
    assert len(calls) == 1
    ours = r"""\{\{ (\w+_compose|(item|\w+_member)\.compose|lookup\('waba\.onprem\.desired', 'compose'\))\.environment( \| combine\(.*\))? \}\}"""
    assert [name for name, environment in calls if not re.fullmatch(ours, str(environment))] == []


def test_every_task_uses_the_engine_of_the_inventory() -> None:
    """Without `docker_host`, one module uses DOCKER_HOST of root's environment and the next one the local socket."""
    found = [
        f"{file.relative_to(ROOT)}: {task['name']}"
        for file, task in role_tasks()
        for options in task.values()
        if isinstance(options, dict) and "omit" in str(options.get("docker_host", ""))
    ]
    assert found == []


def role_tasks() -> t.Iterator[tuple[pathlib.Path, dict[str, t.Any]]]:
    for file in [*ROOT.glob("roles/*/tasks/**/*.yml"), *ROOT.glob("playbooks/**/*.yml")]:
        for task in flatten(parsed(file)):
            yield file, task


def test_no_task_runs_on_the_controller() -> None:
    """It would become root there, where the inventory sets `ansible_become`. Actions need no task for what they write."""
    assert not [
        task["name"]
        for _file, task in role_tasks()
        if task.get("delegate_to") in ("localhost", "127.0.0.1")
        or "local_action" in task
        or task.get("connection") == "local"
    ]


def typed(kind: str) -> set[str]:
    return {name for role in ROLES for name, option in options(role).items() if option.get("type") == kind}


def test_a_string_is_never_used_as_a_list_or_a_boolean() -> None:
    """`-e name=false` and `-e name=a` are strings. The specs of a role check them, but do not convert them."""
    bare = r"(?<![\w.'\"]){}(?![\w:]|\s*\|)"
    given = r"^\s*-?\s*[\w.]+: \"\{{\{{ {}(?: \| default\((?:omit|true|false)(?:, true)?\))? \}}\}}\"$"
    lists = typed("list")
    filters_of = [(name, "text_list") for name in lists] + [(name, "bool") for name in typed("bool")]
    found = []
    for file in [
        *ROOT.glob("roles/*/tasks/**/*.yml"),
        *ROOT.glob("roles/*/vars/*.yml"),
        *ROOT.glob("roles/*/templates/*"),
    ]:
        for line in file.read_text().splitlines():
            # A module converts its own options, and a name in a message is not evaluated.
            code = " ".join(re.findall(r"\{\{.*?\}\}|when:.*|that:.*|^\s+- .*", line))
            for name, filter_name in filters_of:
                if name not in code:
                    continue
                used = re.search(bare.format(name), code) or (
                    re.search(rf"\b{name}\s*\|", code)
                    and not re.search(rf"\b{name}( \| default\([^)]*\))? \| (waba\.onprem\.)?{filter_name}\b", code)
                )
                if used and not re.search(given.format(name), line) and "is not none" not in line:
                    found.append(f"{file.relative_to(ROOT)}: {line.strip()}")
    assert found == []


def test_the_task_whose_message_the_demo_shows_exists_once() -> None:
    (name,) = re.findall(r'^REPORT = "(.*)"', (ROOT / "script/demo.py").read_text(), re.MULTILINE)
    texts = [path.read_text() for folder in ("roles", "playbooks") for path in ROOT.glob(f"{folder}/**/*.yml")]
    assert sum(text.count(f"- name: {name}\n") for text in texts) == 1
    assert f"- name: {name}\n  ansible.builtin.debug:\n" in (ROOT / "roles/wa_upgrade/tasks/report.yml").read_text()


@pytest.mark.parametrize(
    ("leaders", "set_by", "waves"),
    [
        ({"wa_upgrade_leaders": ["h2", "h1"]}, "h2", [2]),
        ({"wa_upgrade_leaders": ["h2", "h1"]}, "h1", [1, "10%", "100%"]),
        ({}, "h1", [2]),  # no leader: an upgrade that is not made
    ],
)
def test_waves_may_stand_in_the_inventory(leaders: dict[str, list[str]], set_by: str, waves: list[t.Any]) -> None:
    """A play has no variables of a group or host: what is templated for it is read from those of a host."""
    _prepare, upgrade = parsed(ROOT / "playbooks" / "upgrade.yml")
    hostvars = {name: {"wa_provision_waves": [2]} if name == set_by else {} for name in ("h1", "h2")}
    variables = {"hostvars": hostvars, "groups": {"all": ["h1", "h2"], **leaders}}
    found = Templar(loader=DataLoader(), variables=variables).template(trust_as_template(upgrade["serial"]))
    assert found == waves


def test_no_order_of_hosts_is_left_to_chance() -> None:
    """`union`, `difference` and `intersect` of Ansible return the elements of a set, which have another order in each process."""
    found = []
    for file in sorted(path for folder in ("roles", "playbooks") for path in ROOT.glob(f"{folder}/**/*.yml")):
        for line in file.read_text().splitlines():
            used = re.search(r"\| (union|difference|symmetric_difference|intersect)\(", line)
            if used and not re.search(r"\) \| (sort|length)\b", line[used.end() :]):
                found.append(f"{file.relative_to(ROOT)}: {line.strip()}")
    assert found == []


def test_tasks_give_modules_the_options_that_they_have() -> None:
    """Of a module whose work an action does ansible-lint sees no argument spec."""
    found: list[str] = []

    def look(tasks: t.Any, file: pathlib.Path) -> None:
        for task in tasks if isinstance(tasks, list) else []:
            for key, value in task.items():
                if key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
                    look(value, file)
                elif key.startswith("waba.onprem.") and isinstance(value, dict):
                    source = (ROOT / "plugins/modules" / f"{key.rpartition('.')[2]}.py").read_text()
                    documented = re.search(r'DOCUMENTATION = r?"""(.*?)"""', source, re.DOTALL)
                    assert documented
                    spec = yaml.safe_load(documented[1])
                    known = {*spec.get("options", {})} | _fragments(spec.get("extends_documentation_fragment", []))
                    action = ROOT / "plugins/action" / f"{key.rpartition('.')[2]}.py"
                    known |= {*re.findall(r'"(\w+)"', action.read_text())} if action.exists() else set()
                    found.extend(f"{file.relative_to(ROOT)}: {key} {name}" for name in value.keys() - known)

    for file in sorted(path for folder in ("roles", "playbooks") for path in ROOT.glob(f"{folder}/**/*.yml")):
        look(parsed(file), file)
    assert found == []


def _fragments(names: t.Sequence[str]) -> set[str]:
    """The options of documentation fragments of the collection."""
    found: set[str] = set()
    for name in names:
        source = (
            (ROOT / "plugins/doc_fragments" / f"{name.split('.')[2]}.py").read_text()
            if name.startswith("waba.")
            else ""
        )
        for text in re.findall(r'= r?"""(.*?)"""', source, re.DOTALL):
            found |= {*(yaml.safe_load(text).get("options") or {})}
    return found


LOCK = "/var/lib/waba/eu.lock"


def restoring(leader: str, host: str) -> Templar:
    """Renders the tasks of restore.yml on a `host` of two."""
    place = {"leader": leader, "members": ["h1", "h2"], "is_leader": host == leader, "lock_file": LOCK}
    place["compose_file"] = "/opt/waba/eu/compose.yml"
    plan = {"path": "/b/eu.json", "hosts": ["h1", "h2"]}
    variables = {"__wa_common_deployment": place, "__wa_upgrade_restore": plan, "ansible_check_mode": False}
    more = {"wa_restore_snapshot_command": "sh /opt/undo 'a b'", "inventory_hostname": host}
    return Templar(loader=DataLoader(), variables={**variables, **more})


def lock_steps(leader: str) -> t.Iterator[tuple[str, str]]:
    """What restore.yml does with the locks in its order: `begin`, `end` with the host, and what is noted as `complete`."""
    (everything,) = [task for task in parsed(ROOT / "roles/wa_upgrade/tasks/restore.yml") if "block" in task]
    for task in everything["block"]:
        step = task.get("waba.onprem.wa_upgrade_step", {})
        options = (
            step.get("options")
            if step.get("module") == "waba.onprem.wa_upgrade_journal"
            else task.get("waba.onprem.wa_upgrade_journal", task.get("waba.onprem.wa_db_restore"))
        )
        if options is None or options["operation"] == "restore":
            continue
        when = [task["when"]] if isinstance(task["when"], str) else task["when"]
        for host in ("h1", "h2"):
            templar = restoring(leader, host)
            if all(templar.template(trust_as_template(f"{{{{ {one} }}}}")) for one in when):
                hosts = templar.template(trust_as_template(task["loop"])) if "loop" in task else [host]
                yield from ((options["operation"], there) for there in hosts)


@pytest.mark.parametrize("leader", ["h1", "h2"])
def test_a_restore_that_is_cut_off_between_two_locks_is_the_leaders(leader: str) -> None:
    """A member's lock counts while its leader's does. The leader's is the one from which the next run goes on, until all is complete."""
    other = "h2" if leader == "h1" else "h1"
    steps = list(lock_steps(leader))
    assert steps == [
        ("begin", leader),
        ("begin", other),
        ("end", other),
        ("complete", leader),
        ("end", leader),
    ]
    held: set[str] = set()
    for operation, host in steps:
        held = {"begin": held | {host}, "end": held - {host}, "complete": held}[operation]
        assert leader in held or not held


@pytest.mark.parametrize(
    ("locked", "done", "touched"),
    [
        ([], None, False),
        ([{"failed": True, "msg": "locked"}], None, False),
        ([{"restores_on": False}, {"restores_on": True}], None, False),
        ([{"restores_on": False}], {"touched": False}, False),
        ([{"restores_on": False}], {"touched": True}, True),
        ([{"restores_on": False}], {"skipped": True}, True),
        ([{"restores_on": True}], None, True),
        ([{"restores_on": True}], {"touched": False}, True),
    ],
)
def test_a_restore_that_goes_on_gives_nothing_back(locked: t.Any, done: t.Any, touched: bool) -> None:
    """A run that was cut off may have replaced something, which one that fails after it early does not know."""
    known = {
        "__wa_upgrade_restore_locked": {"results": locked},
        **({"__wa_upgrade_restore_done": done} if done else {}),
    }
    variables = {"hostvars": {"h1": known}, "__wa_common_deployment": {"leader": "h1"}}
    rendered = restore_variable("__wa_upgrade_restore_touched", **variables)
    assert rendered is touched


@pytest.mark.parametrize(
    ("known", "run"),
    [
        ({}, ""),  # the check of the copy comes before the lock
        ({"__wa_upgrade_restore_locked": {"results": [{"journal": {}}]}}, ""),  # check mode locks nothing
        ({"__wa_upgrade_restore_locked": {"results": [{"journal": {"run_id": "m/1/5"}}, {"journal": {}}]}}, "m/1/5"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_restore_stops_and_replaces_only_with_the_lock_that_it_has_taken(
    known: dict[str, t.Any], run: str, check: bool
) -> None:
    variables = {"hostvars": {"h1": known}, "__wa_common_deployment": {"leader": "h1", "lock_file": LOCK}}
    assert restore_variable("__wa_upgrade_restore_run", **variables) == run
    options = load("wa_upgrade", "vars/main.yml")["__wa_upgrade_restore_options"]
    assert options["run_id"] == "{{ __wa_upgrade_restore_run }}"
    (everything,) = [task for task in parsed(ROOT / "roles/wa_upgrade/tasks/restore.yml") if "block" in task]
    (stop,) = [task["waba.onprem.wa_client"] for task in everything["block"] if task["name"] == "Stop the client"]
    assert stop["run_id"] == "{{ __wa_upgrade_restore_run }}"
    place = {"__wa_common_deployment": {"lock_file": LOCK}, "ansible_check_mode": check, "omit": "omitted"}
    templar = Templar(loader=DataLoader(), variables=place)
    assert templar.template(trust_as_template(stop["lock_file"])) == ("omitted" if check else LOCK)


def restore_variable(name: str, **variables: t.Any) -> t.Any:
    """The value of a variable of the role, which may need others of it."""
    ours = {
        one: trust_as_template(text)
        for one, text in load("wa_upgrade", "vars/main.yml").items()
        if "_restore_" in one and isinstance(text, str)
    }
    templar = Templar(loader=DataLoader(), variables={**ours, **variables})
    return templar.template(trust_as_template(ours[name]))


def test_a_snapshot_is_restored_by_one_run_at_a_time(tmp_path: pathlib.Path) -> None:
    """The command of a run that was killed goes on: the next run's waits for it, and not that of another deployment."""
    (task,) = [
        one for _file, one in role_tasks() if "wa_restore_snapshot_command" in str(one.get("ansible.builtin.command"))
    ]
    command = restoring("h1", "h1").template(trust_as_template(task["ansible.builtin.command"]["cmd"]))
    assert command == "flock --close /opt/waba/eu/compose.yml sh /opt/undo 'a b'"
    script, log = tmp_path / "undo", tmp_path / "log"
    script.write_text(f"echo begin >>{log}; sleep 0.3; echo end >>{log}")
    argv = shlex.split(command.replace("/opt/waba/eu", str(tmp_path)).replace("/opt/undo", str(script)))
    runs = [subprocess.Popen(argv) for _number in range(2)]
    assert [one.wait(30) for one in runs] == [0, 0]
    assert log.read_text().split() == ["begin", "end", "begin", "end"]


@pytest.mark.parametrize(
    ("at", "notes", "asked", "copies", "checked"),
    [
        ("serve", {}, True, True, True),
        ("stop", {"copied_at": 5.0}, True, False, True),
        ("stop", {"copied_at": 5.0}, False, False, True),
        ("stop", {"copied_at": 0}, True, True, True),
        ("stop", {"copied_at": 0}, False, False, False),
        ("stop", {}, False, False, False),
        ("migrate", {"copied_at": 5.0}, True, False, False),
    ],
    ids=[
        *("of this run", "of an earlier run", "of an earlier run that was asked for one"),
        *("that counts no more", "that counts no more, and none is asked for", "none", "the schema may be changed"),
    ],
)
def test_a_copy_is_used_only_where_no_client_has_run_since_the_stop(
    at: str, notes: dict[str, t.Any], asked: bool, copies: bool, checked: bool
) -> None:
    (included,) = [one for _file, one in role_tasks() if str(one.get("name")).startswith("Copy the database, unless")]
    copy, check = load("wa_upgrade", "tasks/stop/copy_database.yml")
    assert (check["name"], "when" in check) == ("Assert that no client has run since the stop", False)
    variables = {"__wa_upgrade_step": {"at": at, "notes": notes}, "wa_upgrade_dump": asked}
    templar = Templar(loader=DataLoader(), variables=variables)
    conditions = [*included["when"], copy["when"]]
    *reaches, is_new = [templar.template(trust_as_template(f"{{{{ {one} }}}}")) for one in conditions]
    assert (all(reaches) and is_new, all(reaches)) == (copies, checked)


@pytest.mark.parametrize(
    ("given", "recorded", "due"),
    [
        ({"wa_api_password": "p"}, {}, True),
        ({"wa_api_password": "p"}, {"first_login": "completed"}, False),
        ({"wa_api_password": None}, {}, False),
        ({"wa_api_password": ""}, {}, False),
        ({}, {}, False),
    ],
)
def test_a_first_login_needs_a_password(given: dict[str, t.Any], recorded: dict[str, str], due: bool) -> None:
    variables = {**given, "__wa_host_found": {"identity": {"recorded": recorded}}}
    text = load("wa_client", "vars/main.yml")["__wa_client_first_login"]
    assert Templar(loader=DataLoader(), variables=variables).template(trust_as_template(text)) is due


@pytest.mark.parametrize(
    ("due", "kind", "fails"), [(True, "login", False), (True, "lost", True), (False, "login", True)]
)
def test_a_refused_login_may_be_a_first_login_only_where_one_is_due(due: bool, kind: str, fails: bool) -> None:
    (task,) = [one for _file, one in role_tasks() if one.get("name") == "Read the health before the change"]
    variables = {"__wa_client_first_login": due, "__wa_client_before": {"failed": True, "kind": kind}}
    templar = Templar(loader=DataLoader(), variables=variables)
    assert templar.template(trust_as_template(f"{{{{ {task['failed_when']} }}}}")) is fails


def test_the_role_and_the_backup_have_one_folder_of_dumps() -> None:
    assert load("wa_upgrade", "vars/main.yml")["__wa_upgrade_dump_dir"] == topology.DUMP_DIR
