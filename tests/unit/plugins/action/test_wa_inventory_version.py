# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_inventory_version in real plays: what it writes, predicts, and says of a line that it leaves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

from ansible_collections.waba.onprem.plugins.action import wa_inventory_version
from ansible_collections.waba.onprem.plugins.plugin_utils import _version_line as version_line

LITERAL = "# ours\nwa_version: '2.51.2'  # since March\nwa_api_password: Canary-1\n"
WRITTEN = LITERAL.replace("2.51.2", "2.53.4")


@pytest.fixture
def run(tmp_path: Path) -> t.Callable[..., list[dict[str, t.Any]]]:
    """Runs the action at each leader, the deployments of which are upgraded one after the other, and returns its results."""

    def play(
        files: dict[str, str], leaders: t.Sequence[str], *options: str, update: bool = True, **variables: t.Any
    ) -> list[dict[str, t.Any]]:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        result = {
            "outcome": "predicted" if "--check" in options else "upgraded",
            "target": "2.53.4",
            "members": ["{{ inventory_hostname }}"],
        }
        tasks: list[dict[str, t.Any]] = [
            {
                "name": "Upgrade",
                "ansible.builtin.set_fact": {"wa_upgrade_result": result},
            },
            {
                "name": "Set it",
                "waba.onprem.wa_inventory_version": {
                    "target": "2.53.4",
                    "members": "{{ [inventory_hostname] }}",
                    "update": update,
                },
                "register": "found",
            },
            {
                "name": "Show it",
                "ansible.builtin.debug": {"msg": "RESULT {{ found | to_json }}"},
            },
        ]
        hosts = "\n".join(["[wa_upgrade_leaders]", *leaders, ""])
        (tmp_path / "leaders.ini").write_text(hosts)
        (tmp_path / "play.yml").write_text(
            yaml.safe_dump(
                [
                    {
                        "name": "Play",
                        "hosts": "wa_upgrade_leaders",
                        "serial": 1,
                        "gather_facts": False,
                        "tasks": tasks,
                        **variables,
                    }
                ]
            )
        )
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", "hosts", "-i", "leaders.ini", "play.yml", "--diff", "-vvv", *options),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_LOCALHOST_WARNING": "0"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Canary" not in done.stdout + done.stderr
        texts = [json.loads(one) for one in re.findall(r'"msg": ("RESULT .*")$', done.stdout, re.MULTILINE)]
        return [json.loads(text.partition(" ")[2]) for text in texts]

    return play


def test_a_line_is_written_once_and_predicted(run: t.Callable[..., t.Any], tmp_path: Path) -> None:
    files = {"hosts": "h1\n", "host_vars/h1.yml": LITERAL}
    path = tmp_path / "host_vars/h1.yml"
    (predicted,) = run(files, ["h1"], "--check")
    assert path.read_text() == LITERAL
    (found,) = run(files, ["h1"])
    assert path.read_text() == WRITTEN
    assert predicted["lines"][0] == f"wa_version would be set in {path}:2:"
    assert found["lines"] == [f"wa_version is set in {path}:2:", "- wa_version: '2.51.2'", "+ wa_version: '2.53.4'"]
    assert predicted["diff"] == found["diff"]
    assert (found["diff"]["before"], found["diff"]["after"]) == ("wa_version: '2.51.2'\n", "wa_version: '2.53.4'\n")
    assert predicted["changed"]
    assert found["changed"]
    (again,) = run({"hosts": "h1\n"}, ["h1"])
    assert (again["changed"], again["lines"]) == (False, [])


def test_without_leave_the_line_is_named(run: t.Callable[..., t.Any], tmp_path: Path) -> None:
    (found,) = run({"hosts": "h1\n", "host_vars/h1.yml": LITERAL}, ["h1"], update=False)
    assert (tmp_path / "host_vars/h1.yml").read_text() == LITERAL
    assert (found["changed"], found["lines"]) == (
        False,
        [
            "Set wa_version: 2.53.4 in the inventory, so that provision.yml agrees, in "
            f"{tmp_path}/host_vars/h1.yml:2 (now wa_version: '2.51.2')."
        ],
    )


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_the_last_of_the_deployments_that_share_a_line_writes_it(
    run: t.Callable[..., t.Any], tmp_path: Path, options: list[str]
) -> None:
    first, second = run({"hosts": "h1\nh2\n", "group_vars/all.yml": LITERAL}, ["h1", "h2"], *options)
    assert [first["changed"], second["changed"]] == [False, True]
    assert first["lines"][0].endswith(
        "It was not written, since that line counts for h2, too, not upgraded in this run so far."
    )
    assert (tmp_path / "group_vars/all.yml").read_text() == (LITERAL if options else WRITTEN)


def test_a_line_that_counts_for_a_host_that_stays_as_it_is(run: t.Callable[..., t.Any], tmp_path: Path) -> None:
    found = run({"hosts": "h1\nh2\nh3\n", "group_vars/all.yml": LITERAL}, ["h1", "h2"])
    assert [one["changed"] for one in found] == [False, False]
    assert (tmp_path / "group_vars/all.yml").read_text() == LITERAL


def test_two_lines_of_one_file(run: t.Callable[..., t.Any], tmp_path: Path) -> None:
    lines = "all:\n  hosts:\n    h1: {wa_version: 2.51.2}\n    h2: {wa_version: 2.51.2}\n"
    run({"hosts": lines}, ["h1", "h2"])
    assert (tmp_path / "hosts").read_text() == lines.replace("2.51.2", "2.53.4")


@pytest.mark.parametrize(
    ("options", "variables"),
    [(["-e", "wa_version=2.51.2"], {}), ([], {"vars": {"wa_version": "2.51.2"}})],
)
def test_what_counts_before_the_inventory(
    run: t.Callable[..., t.Any], tmp_path: Path, options: list[str], variables: dict[str, t.Any]
) -> None:
    (found,) = run({"hosts": "h1\n", "group_vars/all.yml": LITERAL}, ["h1"], *options, **variables)
    assert not found["changed"]
    assert found["lines"][0].endswith("It was not written, since it is not set in one line of one file.")
    assert (tmp_path / "group_vars/all.yml").read_text() == LITERAL


def test_a_file_that_cannot_be_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests may run as root, whom no mode of a folder keeps away."""
    path = tmp_path / "hosts"
    path.write_text("h1 wa_version=2.51.2\n")
    loader = DataLoader()
    inventory = InventoryManager(loader=loader, sources=[str(path)])
    hostvars = HostVars(inventory, VariableManager(loader=loader, inventory=inventory), loader)

    def write(_path: str, _text: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(version_line, "write", write)
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    action = object.__new__(wa_inventory_version.ActionModule)
    action._task = SimpleNamespace(
        args={"target": "2.53.4", "members": ["h1"], "update": True}, check_mode=False, action="a"
    )
    found = action.run(None, {**hostvars.raw_get("h1"), "hostvars": hostvars, "groups": {}})
    assert (found["changed"], "diff" in found) == (False, False)
    assert found["lines"] == [
        f"Set wa_version: 2.53.4 in the inventory, so that provision.yml agrees, in {path}:1. It was not written, since the file cannot be "
        "written: Permission denied."
    ]
