# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The built artifact: it installs with only PyPI's `ansible` package beside it, holds the runtime alone, and documents itself."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tarfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODULES = sorted(path.stem for path in ROOT.glob("plugins/modules/wa_*.py"))
PLAYBOOKS = sorted(path.stem for path in ROOT.glob("playbooks/*.yml"))
ROLES = sorted(path.parent.name for path in ROOT.glob("roles/wa_*/tasks"))  # wa_common holds variables alone


def run(*argv: str, cwd: pathlib.Path, collections: pathlib.Path) -> str:
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(collections), ANSIBLE_NOCOLOR="1")
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(artifact: pathlib.Path) -> pathlib.Path:
    """A folder of collections into which the artifact was installed."""
    collections = artifact.parent / "collections"
    run(
        "ansible-galaxy",
        "collection",
        "install",
        str(artifact),
        "-p",
        str(collections),
        cwd=artifact.parent,
        collections=collections,
    )
    return collections


def test_the_artifact_holds_the_runtime_alone(artifact: pathlib.Path) -> None:
    with tarfile.open(artifact) as archive:
        top = {name.split("/")[0] for name in archive.getnames()}
    assert top == {
        "FILES.json",
        "MANIFEST.json",
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "LICENSE",
        "README.md",
        "SECURITY.md",
        "changelogs",
        "docs",
        "meta",
        "playbooks",
        "plugins",
        "requirements.txt",
        "roles",
    }


def test_every_module_documents_itself(installed: pathlib.Path) -> None:
    names = [f"waba.onprem.{module}" for module in MODULES]
    told = json.loads(run("ansible-doc", "-t", "module", "--json", *names, cwd=installed, collections=installed))
    assert sorted(told) == names
    for doc in told.values():
        assert doc["doc"]["version_added"] == "0.1.0"
        assert doc["examples"].strip()
        assert doc["return"]


def test_every_role_documents_itself(installed: pathlib.Path) -> None:
    names = [f"waba.onprem.{role}" for role in ROLES]
    told = json.loads(run("ansible-doc", "-t", "role", "--json", *names, cwd=installed, collections=installed))
    assert sorted(told) == names
    assert [name for name in names if "main" not in told[name]["entry_points"]] == []


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_runs_by_its_name(installed: pathlib.Path, playbook: str) -> None:
    told = run(
        "ansible-playbook",
        "-i",
        "localhost,",
        f"waba.onprem.{playbook}",
        "--list-tasks",
        cwd=installed,
        collections=installed,
    )
    assert f"onprem/playbooks/{playbook}.yml" in told
