# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files of tasks an upgrade must not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.plugin_utils._hooks import refusal


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    (tmp_path / "pause.yml").write_text("- name: Wait\n  pause: {seconds: 5}\n")
    (tmp_path / "roles" / "own" / "tasks").mkdir(parents=True)
    (tmp_path / "roles" / "own" / "tasks" / "main.yml").write_text("- debug:\n")
    return tmp_path / "lb.yml"


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("- ansible.builtin.meta: end_host", "meta"),
        ("- action: meta end_play", "meta"),
        ("- meta: flush_handlers", "meta"),
        ("- name: Wait\n  pause: {seconds: 5}", "pause"),
        ("- local_action: pause seconds=5", "pause"),
        ("- import_tasks: pause.yml", "pause"),
        ("- debug:\n- ansible.legacy.add_host: {name: x}", "add_host"),
        ("- block: [{block: [{debug: }], rescue: [{pause: }]}]", "pause"),
        ("- block: [{debug: }]\n  always: [{meta: clear_facts}]", "meta"),
    ],
)
def test_what_would_end_the_upgrade_is_refused(hook: Path, text: str, action: str) -> None:
    hook.write_text(text)
    assert refusal(str(hook)) == (
        f"{hook}: ansible.builtin.{action} would end the upgrade in the middle. Fail, or wait with ansible.builtin.wait_for."
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "Could not find or access"),
        ("hosts: all", "should be a list"),
        ("- a: [", "YAML"),
        ("- {}", "no module/action detected in task"),
        ("- no.such.module: {}", "couldn't resolve module/action 'no.such.module'"),
        ("- debug: {}\n  whne: x", "conflicting action statements: debug, whne"),
        ("- import_tasks: gone.yml", "gone.yml"),
        ("- import_role: {name: gone}", "role 'gone' was not found"),
        ("$ANSIBLE_VAULT;1.1;AES256\n00", "A vault password must be specified"),
    ],
)
def test_what_ansible_cannot_load_is_refused(hook: Path, text: str | None, words: str) -> None:
    if text is not None:
        hook.write_text(text)
    found = refusal(str(hook))
    assert found.startswith(f"{hook}: Ansible cannot load it: ")
    assert words in found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "- ansible.builtin.wait_for: {timeout: 5}",
        "- name: pause\n  waba.onprem.wa_info:\n  vars: {pause: 5}",
        "- include_tasks: '{{ pool }}.yml'",
        "- import_role: {name: own}",
        "- include_role: {name: gone}",  # a failed task, which can be rescued
        "- debug: {msg: '{{ later }}', token: !vault '$ANSIBLE_VAULT;1.1;AES256'}",
    ],
)
def test_what_can_be_loaded_passes(hook: Path, text: str) -> None:
    hook.write_text(text)
    assert refusal(str(hook)) == ""
