# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line of an inventory that sets `wa_version`, by tables of lines, and of inventories that Ansible itself reads."""

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.vars.manager import VariableManager

from ansible_collections.waba.onprem.plugins.plugin_utils import _version_line as version_line

SECRET = VaultSecret(b"Canary-vault")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("wa_version: 2.51.2", "wa_version: 2.53.4"),
        ("wa_version: 2.51.2\r", "wa_version: 2.53.4\r"),
        ("    wa_version:   '2.51.2'  # since March, wa_version: 2.49.1 before", "    wa_version:   '2.53.4'  # since March, wa_version: 2.49.1 before"),
        ('"wa_version": "v2.51.2",', '"wa_version": "v2.53.4",'),
        ("h1: {wa_version: 2.51.2, wa_registry: r}", "h1: {wa_version: 2.53.4, wa_registry: r}"),
        ("{wa_version: 2.51.2}", "{wa_version: 2.53.4}"),
        ("wa_version = 2.51.2   ; old", "wa_version = 2.53.4   ; old"),
        ("h1 ansible_host=10.0.0.1 wa_version=2.51.2 wa_deployment=a", "h1 ansible_host=10.0.0.1 wa_version=2.53.4 wa_deployment=a"),
        ('h1 wa_version="2.51.2"', 'h1 wa_version="2.53.4"'),
    ],
)  # fmt: skip
def test_a_literal_line_is_rewritten(before: str, after: str) -> None:
    text = f"# wa_version: 1.2.3\n{before}\n# end"
    known = "v2.51.2" if "v2.51.2" in before else "2.51.2"
    found = version_line.edit(text, 2, known, "2.53.4")
    assert found
    assert found.text == f"# wa_version: 1.2.3\n{after}\n# end"
    assert "wa_registry" not in found.before + found.after
    assert "2.51.2" in found.before
    assert "2.53.4" in found.after


@pytest.mark.parametrize(
    "line",
    [
        'wa_version: "{{ newest }}"',
        "wa_version: &v 2.51.2",
        "wa_version: *v",
        "wa_version: !vault |",
        "wa_version:",
        "# wa_version: 2.51.2",
        "my_wa_version: 2.51.2",
        "wa_version_before: 2.51.2",
        "wa_version: 2.51.2-rc1",
        "wa_version: \"2.51.2'",
        "h1 wa_version=2.51.2 wa_version=2.51.2",
        "x: [wa_version, wa_version: 2.51.2]",
        "  2.51.2",
    ],
)
def test_any_other_line_is_not(line: str) -> None:
    assert version_line.edit(f"a: b\n{line}\n", 2, "2.51.2", "2.53.4") is None


def test_neither_is_a_line_of_a_vault_or_one_that_is_not_there() -> None:
    assert version_line.edit("$ANSIBLE_VAULT;1.1;AES256\nwa_version: 2.51.2\n", 2, "2.51.2", "2.53.4") is None
    assert version_line.edit("wa_version: 2.51.2", 2, "2.51.2", "2.53.4") is None
    assert version_line.edit("wa_version: 2.51.2", 0, "2.51.2", "2.53.4") is None


def test_a_line_that_was_changed_since_ansible_has_read_it() -> None:
    assert version_line.edit("wa_version: 2.52.1", 1, "2.51.2", "2.53.4") is None
    found = version_line.edit("wa_version: 2.53.4", 1, "2.51.2", "2.53.4")
    assert found
    assert found.before == found.after


def read(folder: Path, files: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The values of `wa_version` of all hosts of an inventory of these files, as Ansible reads them."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    loader = DataLoader()
    loader.set_vault_secrets([("default", SECRET)])
    inventory = InventoryManager(
        loader=loader, sources=[str(folder / name) for name in files if name.startswith("hosts")]
    )
    manager = VariableManager(loader=loader, inventory=inventory)
    return {
        host.name: manager.get_vars(host=host, include_hostvars=False).get("wa_version")
        for host in inventory.get_hosts()
    }


def plan(
    folder: Path,
    files: t.Mapping[str, str],
    members: t.Sequence[str] = ("h1",),
    upgraded: t.Sequence[str] = ("h1",),
    target: str = "2.53.4",
) -> version_line.Plan:
    return version_line.plan(read(folder, files), members, upgraded, target, lambda path: Path(path).read_text())


INI = "[a]\nh1\nh2\n[b]\nh3\n"


@pytest.mark.parametrize(
    ("files", "members", "line", "after"),
    [
        ({"hosts": INI, "host_vars/h1.yml": "---\nwa_version: 2.51.2\n"}, ["h1"], "host_vars/h1.yml:2", "wa_version: 2.53.4"),
        ({"hosts": INI, "host_vars/h1/main.yml": "wa_version: '2.51.2'\n"}, ["h1"], "host_vars/h1/main.yml:1", "wa_version: '2.53.4'"),
        ({"hosts": "[a]\nh1 wa_version=2.51.2\nh2\n"}, ["h1"], "hosts:2", "wa_version=2.53.4"),
        ({"hosts": f"{INI}[a:vars]\nwa_version = 2.51.2\n"}, ["h1", "h2"], "hosts:7", "wa_version = 2.53.4"),
        ({"hosts": INI, "group_vars/a.yaml": "x: y\n\nwa_version: 2.51.2\n"}, ["h1", "h2"], "group_vars/a.yaml:3", "wa_version: 2.53.4"),
        ({"hosts.yml": "a:\n  hosts:\n    h1: {wa_version: 2.51.2, x: y}\n    h2:\n"}, ["h1"], "hosts.yml:3", "wa_version: 2.53.4"),
        # What is more specific counts for the others, so that the line is one deployment's alone.
        (
            {"hosts": INI, "group_vars/all.yml": "wa_version: 2.51.2\n", "host_vars/h2.yml": "wa_version: 2.51.2\n",
             "group_vars/b.yml": "wa_version: 2.51.2\n"},
            ["h1"], "group_vars/all.yml:1", "wa_version: 2.53.4",
        ),
    ],
)  # fmt: skip
def test_the_line_that_decides_a_deployment(
    tmp_path: Path, files: dict[str, str], members: list[str], line: str, after: str
) -> None:
    found = plan(tmp_path, files, members)
    assert [str(one) for one in found.places] == [f"{tmp_path}/{line}"]
    assert found.reason == ""
    assert found.edit
    assert found.edit.after == after
    # Ansible reads what was written, and nothing else has changed.
    name = line.rpartition(":")[0]
    again = read(tmp_path, {**files, name: found.edit.text})
    assert [host for host, value in again.items() if value == "2.53.4"] == members
    assert len(found.edit.text.splitlines()) == len(files[name].splitlines())


ALL = {"hosts": INI, "group_vars/all.yml": "wa_version: 2.51.2\n"}


@pytest.mark.parametrize(
    ("upgraded", "reason"),
    [
        (["h1"], "that line counts for h2, h3, too, not upgraded in this run so far"),
        (["h1", "h3"], "that line counts for h2, too, not upgraded in this run so far"),
        (["h1", "h2", "h3"], ""),
    ],
)
def test_a_line_of_several_deployments(tmp_path: Path, upgraded: list[str], reason: str) -> None:
    found = plan(tmp_path, ALL, upgraded=upgraded)
    assert (found.reason, bool(found.edit)) == (reason, not reason)


@pytest.mark.parametrize(
    ("files", "members", "lines", "reason"),
    [
        ({"hosts": INI}, ["h1"], [], "it is not set in one line of one file"),
        (
            {"hosts": INI, "host_vars/h1.yml": "wa_version: 2.51.2\n", "host_vars/h2.yml": "wa_version: 2.51.2\n"},
            ["h1", "h2"], ["host_vars/h1.yml:1", "host_vars/h2.yml:1"], "it is not set in one line of one file",
        ),
        ({"hosts": INI, "host_vars/h1.yml": "wa_version: 2.51.2\n"}, ["h1", "h2"], ["host_vars/h1.yml:1"], "it is not set in one line of one file"),
        (
            {"hosts": INI, "group_vars/a.yml": "new: 2.51.2\nwa_version: '{{ new }}'\n"},
            ["h1", "h2"], ["group_vars/a.yml:2"], "that line is not a literal wa_version alone",
        ),
        ({"hosts": INI, "group_vars/a.yml": "wa_version:\n  2.51.2\n"}, ["h1", "h2"], ["group_vars/a.yml:2"], "that line is not a literal wa_version alone"),
        ({"hosts": INI, "group_vars/a.json": '{"wa_version": "2.51.2"}'}, ["h1", "h2"], [], "it is not set in one line of one file"),
    ],
)  # fmt: skip
def test_a_version_that_no_single_line_sets(
    tmp_path: Path, files: dict[str, str], members: list[str], lines: list[str], reason: str
) -> None:
    found = plan(tmp_path, files, members)
    assert [str(one) for one in found.places] == [f"{tmp_path}/{one}" for one in lines]
    assert (found.reason, found.edit) == (reason, None)


def test_a_vault_is_never_written(tmp_path: Path) -> None:
    vault = VaultLib([("default", SECRET)]).encrypt("wa_version: 2.51.2\n").decode()
    found = plan(tmp_path, {"hosts": "h1\n", "host_vars/h1.yml": vault})
    assert (found.reason, found.edit) == ("the file is a vault", None)


def test_the_target_is_there_already(tmp_path: Path) -> None:
    assert plan(tmp_path, {"hosts": "h1 wa_version=v2.53.4\n"}) == version_line.Plan([])


def test_another_deployment_of_the_run_has_written_it(tmp_path: Path) -> None:
    values = read(tmp_path, ALL)
    (tmp_path / "group_vars/all.yml").write_text("wa_version: 2.53.4\n")
    found = version_line.plan(values, ["h1"], ["h1", "h2", "h3"], "2.53.4", lambda path: Path(path).read_text())
    assert found == version_line.Plan([])


def test_a_version_that_yaml_would_read_as_a_number(tmp_path: Path) -> None:
    assert plan(tmp_path, {"hosts": "h1 wa_version=2.51.2\n"}, target="2.60").reason == "2.60 would be read as a number"


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    values = read(tmp_path, {"hosts": "h1\n", "host_vars/h1.yml": "wa_version: 2.51.2\n"})
    (tmp_path / "host_vars/h1.yml").unlink()
    found = version_line.plan(values, ["h1"], ["h1"], "2.53.4", lambda path: Path(path).read_text())
    assert found.reason == "the file cannot be read: No such file or directory"


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_is_replaced_with_its_mode_and_through_a_link(tmp_path: Path, mode: int) -> None:
    real, link = tmp_path / "real.yml", tmp_path / "all.yml"
    real.write_text("wa_version: 2.51.2\n")
    real.chmod(mode)
    link.symlink_to(real)
    before = real.stat()
    version_line.write(str(link), "wa_version: 2.53.4\n")
    after = real.stat()
    assert link.is_symlink()
    assert real.read_text() == "wa_version: 2.53.4\n"
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert sorted(os.listdir(tmp_path)) == ["all.yml", "real.yml"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_the_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "all.yml"
    path.write_text("a\n")
    os.chown(path, 1234, 2345)
    version_line.write(str(path), "b\n")
    assert (path.stat().st_uid, path.stat().st_gid, path.read_text()) == (1234, 2345, "b\n")
