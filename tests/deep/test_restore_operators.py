# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restore.yml with an operator's own Compose files: a failed migration is undone, and the files are the operator's as they were."""

from __future__ import annotations

import typing as t
from pathlib import Path

import adopt_layouts
import pytest
from adopt_layouts import NAME, Batch, Client
from engine import lab_engine
from observer import Lab
from operator_project import OLD

LAYOUTS = ("image tags in the file", "env_file and environment as lists, dollar signs in secrets")


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    with adopt_layouts.started_lab(["h1"], "2.40") as found:
        yield found


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_failed_migration_is_undone_by_one_command(lab: Lab, tmp_path: Path, name: str) -> None:
    lab.host(adopt_layouts.CLEAN)
    with lab_engine(NAME, "h1") as engine:
        client = Client(name, adopt_layouts.LAYOUTS[name], "h1", engine)
        batch = Batch([client], tmp_path)
        adopt_layouts.begin(batch)
        batch.adopt()
        batch.raise_failure()
        adopt_layouts.succeeds(batch.play("provision", wa_upgrade_dump=True)["h1"])  # installs the tool of the copy
        before = client.state()
        lab.lab("fault", "migration_fails", "on")
        failed = batch.upgrade(wa_upgrade_dump=True, wa_upgrade_skip=[])["h1"]
        lab.lab("fault", "all", "off")
        assert failed.failed
        assert "waba.onprem.restore" in failed.message
        for arguments in (["--check"], []):
            adopt_layouts.succeeds(batch.play("restore", *arguments)["h1"])
        batch.healthy(OLD)
        after = client.state()
        assert (after.images, after.files) == (before.images, before.files)
        assert (after.media, after.messages) == (before.media, before.messages)
        batch.assert_in_sync(wa_upgrade_dump=True)
        client.compose("up", "--detach")  # by the operator
        assert client.state().runs == after.runs
        batch.raise_failure()
