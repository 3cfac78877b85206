# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's artifact, built from the files of the git repository."""

from __future__ import annotations

import pathlib

import commands
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The artifact from `ansible-galaxy collection build`."""
    folder = tmp_path_factory.mktemp("artifact")
    source = folder / "source"
    source.mkdir()
    listed = commands.run("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    commands.run("ansible-galaxy", "collection", "build", source, "--output-path", folder)
    return next(folder.glob("waba-onprem-*.tar.gz"))
