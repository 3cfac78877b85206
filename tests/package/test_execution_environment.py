# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-builder makes an execution environment's files from the example, and finds what the collection needs in the artifact."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import commands
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "controllers" / "execution-environment.yml"


def test_the_example_is_accepted_and_takes_the_artifact(artifact: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    shutil.copy(artifact, tmp_path)
    commands.run("ansible-builder", "create", "--file", EXAMPLE.name, "--context", "context", cwd=tmp_path)
    made = tmp_path / "context" / "_build"
    assert (made / artifact.name).read_bytes() == artifact.read_bytes()
    collections = yaml.safe_load((made / "requirements.yml").read_text())["collections"]
    assert collections[0] == {"name": artifact.name, "type": "file"}


def test_the_libraries_of_the_collection_are_found(artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ansible_collections" / "waba" / "onprem"
    folder.mkdir(parents=True)
    with tarfile.open(artifact) as archive:
        archive.extractall(folder, filter="data")
    pip = tmp_path / "pip.txt"
    commands.run("ansible-builder", "introspect", "--write-pip", pip, tmp_path)
    found = {line.partition("#")[0].strip() for line in pip.read_text().splitlines()}
    assert found == {*(ROOT / "requirements.txt").read_text().split()}
