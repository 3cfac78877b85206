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
ROLES = sorted(path.name for path in ROOT.glob("roles/wa_*"))


def run(*argv: str, cwd: pathlib.Path, collections: pathlib.Path) -> str:
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(collections), ANSIBLE_NOCOLOR="1")
    done = subprocess.run(argv, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of collections into which the artifact was built and installed."""
    folder = tmp_path_factory.mktemp("artifact")
    source = folder / "source"
    source.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run(
        "ansible-galaxy",
        "collection",
        "build",
        str(source),
        "--output-path",
        str(folder),
        cwd=folder,
        collections=folder,
    )
    artifact = next(folder.glob("waba-onprem-*.tar.gz"))
    collections = folder / "collections"
    run(
        "ansible-galaxy",
        "collection",
        "install",
        str(artifact),
        "-p",
        str(collections),
        cwd=folder,
        collections=collections,
    )
    return collections


def test_the_artifact_holds_the_runtime_alone(installed: pathlib.Path) -> None:
    with tarfile.open(next(installed.parent.glob("*.tar.gz"))) as archive:
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


@pytest.mark.parametrize("module", MODULES)
def test_a_module_documents_itself(installed: pathlib.Path, module: str) -> None:
    told = run("ansible-doc", "-t", "module", "--json", f"waba.onprem.{module}", cwd=installed, collections=installed)
    doc = json.loads(told)[f"waba.onprem.{module}"]
    assert doc["doc"]["version_added"] == "0.1.0"
    assert doc["examples"].strip()
    assert {"check_mode", "diff_mode", "idempotent"} <= set(doc["doc"]["attributes"])
    assert doc["return"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_documents_itself(installed: pathlib.Path, role: str) -> None:
    told = run("ansible-doc", "-t", "role", "--json", f"waba.onprem.{role}", cwd=installed, collections=installed)
    assert "main" in json.loads(told)[f"waba.onprem.{role}"]["entry_points"]


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
