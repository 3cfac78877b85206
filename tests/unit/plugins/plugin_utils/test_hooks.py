# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of tasks an upgrade must not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils._hooks import refusal

PAUSE, META = "ansible.builtin.pause", "ansible.builtin.meta"
CURES = {
    PAUSE: "Use ansible.builtin.wait_for with timeout instead.",
    "ansible.builtin.add_host": "Add hosts to the inventory instead.",
    META: "Fail, or put a when on the tasks behind it instead.",
}


ONCE = "its failure would fail the other deployments of the wave, too"
NOTIFY = "the hook brings no such handler, which would end all upgrades of the run"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- debug:\n  run_once: true", f": run_once: {ONCE}"),
        ("- name: A\n  debug:\n  run_once: '{{ once }}'", f": run_once (task 'A'): {ONCE}"),
        ("- run_once: true\n  block: [{debug: }]", f": run_once: {ONCE}"),
        ("- include_tasks: once.yml", f"/once.yml: run_once: {ONCE}"),
        ("- include_role: {name: own, tasks_from: once}", f": run_once: {ONCE}"),
        ("- debug:\n  run_once: false", ""),
        ("- name: A\n  debug:\n  notify: reload", f": notify: reload (task 'A'): {NOTIFY}"),
        ("- block: [{debug: }]\n  notify: [reload]", f": notify: reload: {NOTIFY}"),
        ("- import_role: {name: own, tasks_from: includes}\n- debug:\n  notify: [reload, all]", ""),
        ("- import_role: {name: own, tasks_from: notifies}\n- debug:\n  notify: other", f": notify: other: {NOTIFY}"),
        ("- include_role: {name: own, tasks_from: includes}\n- debug:\n  notify: reload", ""),
        ("- include_tasks: lb.yml\n- debug:\n  notify: reload", ""),  # which may bring it
        ("- import_role: {name: own, tasks_from: includes}\n- debug:\n  notify: 'own : reload'", ""),
        ("- debug:\n  notify: 5", f": notify: 5: {NOTIFY}"),
        ("- debug:\n  notify: '{{ name }}'", ""),
    ],
)
def test_what_would_fail_other_deployments_is_refused(text: str, words: str, folder: Path) -> None:
    found = refusal(str(folder / "lb.yml"), text)
    assert words in found if words else found == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pause.yml").write_text("- name: Wait\n  pause: {seconds: 5}\n")
    (tmp_path / "again.yml").write_text("- include_tasks: lb.yml\n- include_tasks: again.yml\n")
    (tmp_path / "vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n00\n")
    (tmp_path / "dots.yml").write_text("- include_tasks: ./dots.yml\n  when: later\n")
    (tmp_path / "roles" / "own" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "own" / "tasks" / "main.yml").write_text("- meta: end_role\n")
    (tmp_path / "roles" / "own" / "tasks" / "wait.yml").write_text("- pause:\n")
    (tmp_path / "roles" / "own" / "tasks" / "again.yml").write_text("- include_role: {name: own, tasks_from: again}\n")
    (tmp_path / "roles" / "own" / "tasks" / "flavour.yml").write_text("- import_tasks: '{{ flavour }}.yml'\n")
    (tmp_path / "roles" / "own" / "tasks" / "beside.yml").write_text("- include_tasks: pause.yml\n")
    (tmp_path / "roles" / "own" / "tasks" / "pause.yml").write_text("- debug:\n")  # as a file beside the hook is called
    (tmp_path / "roles" / "ends" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "ends" / "tasks" / "main.yml").write_text("- meta: end_host\n")
    (tmp_path / "roles" / "own" / "tasks" / "once.yml").write_text("- debug:\n  run_once: true\n")
    (tmp_path / "roles" / "own" / "tasks" / "includes.yml").write_text("- include_tasks: notifies.yml\n")
    (tmp_path / "roles" / "own" / "tasks" / "notifies.yml").write_text("- debug:\n  notify: reload\n")
    (tmp_path / "roles" / "own" / "handlers").mkdir()
    (tmp_path / "roles" / "own" / "handlers" / "main.yml").write_text("- name: reload\n  debug:\n  listen: all\n")
    (tmp_path / "once.yml").write_text("- debug:\n  run_once: true\n")
    (tmp_path / "broken.yml").write_text("- debug: {}\n  whne: x\n")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "action", "name"),
    [
        ("- name: Wait\n  pause: {seconds: 5}", PAUSE, "Wait"),
        ("- pause:", PAUSE, ""),
        ("- debug:\n- ansible.legacy.add_host: {name: x}", "ansible.builtin.add_host", ""),
        ("- action: pause seconds=5", PAUSE, ""),
        ("- local_action: pause seconds=5", PAUSE, ""),
        ("- block: [{debug: }]\n  rescue: [{pause: }]", PAUSE, ""),
        ("- block: [{block: [{debug: }], always: [{add_host: {name: x}}]}]", "ansible.builtin.add_host", ""),
        ("- ansible.builtin.meta: end_host", f"{META} end_host", ""),
        ("- action: meta end_play", f"{META} end_play", ""),
        ("- import_tasks: pause.yml", PAUSE, "Wait"),
        ("- include_tasks: pause.yml", PAUSE, "Wait"),
        ("- include_tasks: {file: pause.yml}", PAUSE, "Wait"),
        ("- import_role: {name: ends}", f"{META} end_host", ""),
        ("- include_role: {name: ends}", f"{META} end_host", ""),
        ("- include_role: {name: own, tasks_from: wait}", PAUSE, ""),
    ],
)
def test_what_ends_the_play_is_refused(folder: Path, text: str, action: str, name: str) -> None:
    path = folder / ("pause.yml" if "include_tasks" in text else "lb.yml")
    named = f" (task {name!r})" if name else ""
    cure = CURES[action.partition(" ")[0]]
    found = refusal(str(folder / "lb.yml"), text)
    assert found == f"{path}: {action}{named} would end the upgrade in the middle. {cure}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- no.such.module: {}", "couldn't resolve module/action 'no.such.module'"),
        ("- debug: {}\n  whne: x", "conflicting action statements: debug, whne"),
        ("- import_tasks: gone.yml", "gone.yml"),
        ("- import_role: {name: gone}", "role 'gone' was not found"),
        ("- debug: msg='a", "unbalanced jinja2 block or quotes"),
        ("- what is no task", "should be a dict"),
        ("- {}", "no module/action detected in task"),
        ("- a: [", "YAML"),
        ("- include_tasks: broken.yml", "conflicting action statements: debug, whne"),
    ],
)
def test_what_ansible_cannot_load_is_refused(folder: Path, text: str, words: str) -> None:
    path = folder / ("broken.yml" if "include" in text else "lb.yml")
    found = refusal(str(folder / "lb.yml"), text)
    assert found.startswith(f"{path}: Ansible cannot load it: ")
    assert words in found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "- ansible.builtin.wait_for: {timeout: 5}",
        "- meta: flush_handlers",
        "- name: pause\n  waba.onprem.wa_info:\n  vars: {pause: 5}",
        "- include_tasks: '{{ pool }}.yml'",
        "- include_tasks: gone.yml",  # as a failed task this can be rescued
        "- include_tasks: again.yml",
        "- include_tasks: vault.yml",
        "- import_tasks: vault.yml",
        "- include_tasks: ./dots.yml",
        "- import_role: {name: own}",
        "- include_role: {name: own}",
        "- include_role: {name: own, tasks_from: again}",
        "- include_role: {name: '{{ pool }}'}",
        "- include_role: {name: gone}",  # it may be beside another playbook
        "- include_role: {name: own, tasks_from: gone}\n  when: false",
        "- include_role: {name: own, tasks_from: flavour}\n  vars: {flavour: main}",
        "- include_role: {name: own, tasks_from: flavour}",  # which its caller may set
        "- include_role: {name: own, tasks_from: beside}",
        "- debug: {msg: '{{ later }}', token: !vault '$ANSIBLE_VAULT;1.1;AES256'}",
    ],
)
def test_what_does_no_harm_passes(folder: Path, text: str) -> None:
    assert refusal(str(folder / "lb.yml"), text) == ""


def test_a_file_that_holds_no_tasks_is_refused() -> None:
    assert refusal("lb.yml", "hosts: all") == "lb.yml: no list of tasks."
