# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The built artifact: it installs with only PyPI's `ansible` package, contains only the runtime, and has documentation."""

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
ROLES = sorted(path.parent.name for path in ROOT.glob("roles/wa_*/tasks"))  # wa_common has only variables


def run(*argv: str, cwd: pathlib.Path, collections: pathlib.Path) -> str:
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(collections), ANSIBLE_NOCOLOR="1")
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(artifact: pathlib.Path) -> pathlib.Path:
    """A folder of collections in which the artifact is installed."""
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


def test_the_artifact_contains_only_the_runtime(artifact: pathlib.Path) -> None:
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


def test_ansible_doc_shows_every_module(installed: pathlib.Path) -> None:
    names = [f"waba.onprem.{module}" for module in MODULES]
    docs = json.loads(run("ansible-doc", "-t", "module", "--json", *names, cwd=installed, collections=installed))
    assert sorted(docs) == names
    for doc in docs.values():
        assert doc["examples"].strip()
        if doc["doc"]["description"] != ["Internal to the roles and playbooks of the collection."]:
            assert doc["doc"]["version_added"] == "0.1.0"
            assert doc["return"]


def test_ansible_doc_shows_every_role(installed: pathlib.Path) -> None:
    names = [f"waba.onprem.{role}" for role in ROLES]
    docs = json.loads(run("ansible-doc", "-t", "role", "--json", *names, cwd=installed, collections=installed))
    assert sorted(docs) == names
    assert [name for name in names if "main" not in docs[name]["entry_points"]] == []


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_playbook_runs_by_its_name(installed: pathlib.Path, playbook: str) -> None:
    output = run(
        "ansible-playbook",
        "-i",
        "localhost,",
        f"waba.onprem.{playbook}",
        "--list-tasks",
        cwd=installed,
        collections=installed,
    )
    assert f"onprem/playbooks/{playbook}.yml" in output
