# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The concern host: each missing requirement is named, and so is the holder of the lock."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path

import pytest
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.module_utils._concern import host
from ansible_collections.waba.onprem.plugins.module_utils._core import distribution
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._host import requirements

DOWN = "Docker Engine at unix:///run/docker.sock: nothing listens; expected an engine. Start it."
COMPLETE = {"docker": "", "missing": {}, "install": [], "without_package": [], "services": {}}


class Module:
    """The part of AnsibleModule that the comparison uses."""

    def __init__(self, folder: Path) -> None:
        one = {"owner": None, "group": None, "content": None, "sha256": None, "state": "directory", "mode": "0750"}
        self.params: dict[str, t.Any] = {
            "database_engine": "MYSQL",
            "dumps": False,
            "docker_host": None,
            "files": [{**one, "path": str(folder / name)} for name in ("project", "state")],
            "lock_file": str(folder / "state" / "a.lock"),
            "compose_file": str(folder / "project" / "compose.yml"),
            "identity_file": str(folder / "state" / "client-a.json"),
        }


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """A host that meets all requirements."""
    for name in ("project", "state"):
        (tmp_path / name).mkdir(mode=0o750)
    (tmp_path / "project" / "compose.yml").write_text(f"{HEADER}\nservices: {{}}\n")
    monkeypatch.setattr(requirements, "compose_problem", lambda _module: "")
    monkeypatch.setattr(requirements, "services", lambda _module: ({}, []))
    monkeypatch.setattr(requirements, "missing", lambda _module: {})
    return Module(tmp_path)


def hold(module: Module, stage: str, **more: t.Any) -> None:
    """Write the journal of an upgrade into the lock file."""
    claim = upgrade_journal.Claim("a", "run-1", "alice", "c1", "2.55.1")
    journal = {**upgrade_journal.begin(None, claim, time.time(), 600.0), **at(stage), **more}
    JournalFile(module.params["lock_file"]).save(journal)


def test_a_host_that_meets_all_requirements_is_in_sync(module: Module) -> None:
    assert host.observe(module, "").shown("now") == {"state": "in_sync"}


def test_all_missing_requirements_are_named(module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks = {"python_mysql": "the Python library pymysql cannot be imported", "cron": "no cron daemon is installed"}
    monkeypatch.setattr(requirements, "missing", lambda _module: lacks)
    monkeypatch.setattr(requirements, "packages", lambda *lacks: ([str(lacks)], ["cron"]))
    monkeypatch.setattr(distribution, "family", lambda: "Debian")
    monkeypatch.setattr(requirements, "services", lambda _module: ({"cron": "does not run"}, []))
    (tmp_path / "project").chmod(0o755)
    (tmp_path / "state").rmdir()
    found = host.observe(module, "")
    assert found.requirements == {
        "docker": "",
        "missing": lacks,
        "install": [str((lacks, "Debian", "MYSQL"))],
        "without_package": ["cron"],
        "services": {"cron": "does not run"},
    }
    assert found.changes == [
        "cron is missing: no cron daemon is installed",
        "python_mysql is missing: the Python library pymysql cannot be imported",
        "cron does not run",
        f"{tmp_path}/project has the mode 0755, expected 0750",
        f"{tmp_path}/state is missing",
    ]


@pytest.mark.parametrize("compose", ["", "docker compose: not a docker command."])
@pytest.mark.parametrize("link", [False, True])
def test_docker_that_does_not_answer_is_the_error(
    module: Module, monkeypatch: pytest.MonkeyPatch, compose: str, link: bool
) -> None:
    monkeypatch.setattr(requirements, "compose_problem", lambda _module: compose)
    if link:  # another error
        Path(module.params["compose_file"]).write_text("services: {}\n")
    for engine, expected in ((DOWN, DOWN), ("", compose)):
        found = host.observe(module, engine)
        assert found.requirements == {**COMPLETE, "docker": expected}
        assert found.error == expected or (link and not expected)


def test_a_compose_file_of_another_tool_is_an_error(module: Module, tmp_path: Path) -> None:
    path = tmp_path / "project" / "compose.yml"
    path.write_text("services: {}\n")
    found = host.observe(module, "")
    assert found.error.startswith(f"{path}: a Compose file that is not this collection's; expected none, or one that ")
    assert found.requirements == COMPLETE  # the role reads them
    path.unlink()
    assert host.observe(module, "").changes == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a link to somebody else")
def test_a_symbolic_link_of_another_user_is_an_error(module: Module, tmp_path: Path) -> None:
    link = tmp_path / "linked"
    link.symlink_to(tmp_path / "project")
    os.lchown(link, 1, 1)
    module.params["compose_file"] = str(link / "compose.yml")
    assert host.observe(module, "").error.startswith(f"{link}: ")


@pytest.mark.parametrize(
    ("stage", "more", "blocks"),
    [
        ("locked", {}, True),
        ("migrating", {}, True),
        ("migrating", {"lease_until": 0}, True),  # a dead run, and the schema may be changed
        ("locked", {"lease_until": 0}, False),  # a dead run that changed nothing
    ],
)
def test_an_upgrade_that_holds_the_lock_is_a_change(
    module: Module, stage: str, more: dict[str, t.Any], blocks: bool
) -> None:
    hold(module, stage, **more)
    upgrade = upgrade_journal.describe_lock(JournalFile(module.params["lock_file"]).load())
    assert {key: upgrade[key] for key in ("blocking", "held", "stage", "target", "run_id")} == {
        "blocking": blocks,
        "held": not more,
        "stage": stage,
        "target": "2.55.1",
        "run_id": "run-1",
    }
    resume = {"wa_upgrade_version": "2.55.1", **({"wa_upgrade_take_over": True} if upgrade["held"] else {})}
    assert upgrade["resume"] == resume
    found = host.observe(module, "")
    assert (found.changes, found.lock["message"]) == ([upgrade["message"]] if blocks else [], upgrade["message"])


@pytest.mark.parametrize("lease", [600.0, -1.0])
def test_a_run_outside_an_upgrade_holds_the_lock_and_is_no_change(module: Module, lease: float) -> None:
    claim = upgrade_journal.Claim("a", "run-1", "alice", "c1")
    lock = upgrade_journal.hold(None, claim, "h1", time.time(), lease)
    JournalFile(module.params["lock_file"]).save(lock)
    found = upgrade_journal.describe_lock(lock)
    assert (found["held"], found["blocking"], "resume" in found) == (lease > 0, False, False)
    assert found["message"].startswith("locked by a run that changes its containers, by alice from c1, since ")
    assert host.observe(module, "").changes == []


def test_without_an_upgrade_nothing_is_reported(module: Module) -> None:
    assert upgrade_journal.describe_lock(None) == {}


def test_an_invalid_lock_file_is_an_error(module: Module) -> None:
    Path(module.params["lock_file"]).write_text("{")
    found = host.observe(module, "")
    assert found.error.startswith(f"lock file {module.params['lock_file']}: not written by this collection (")


def test_a_host_without_a_deployment_is_compared_with_its_requirements(module: Module) -> None:
    module.params.update(files=[], lock_file=None, compose_file=None, identity_file=None, database_engine=None)
    found = host.observe(module, "")
    assert found.shown("now") == {"state": "in_sync"}
    assert found.requirements == COMPLETE
