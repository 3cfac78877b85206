# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of the collection, installed or in a working copy."""

from __future__ import annotations

from pathlib import Path

import yaml

from ansible_collections.waba.onprem.plugins.plugin_utils import _collection as collection

ROOT = Path(__file__).resolve().parents[4]


def test_the_version_is_that_of_this_working_copy() -> None:
    assert collection.version() == yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]


def test_an_installed_collection_has_a_manifest(tmp_path: Path) -> None:
    assert collection.version(tmp_path) == ""
    (tmp_path / "MANIFEST.json").write_text('{"collection_info": {"version": "4.5.6"}}')
    assert collection.version(tmp_path) == "4.5.6"
