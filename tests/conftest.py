# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes `ansible_collections.waba.onprem` importable from a checkout, through Ansible's own import."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.plugins.loader import init_plugin_loader

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLLECTIONS = ROOT / ".lab" / "collections"


def _link() -> None:
    link = COLLECTIONS / "ansible_collections" / "waba" / "onprem"
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(ROOT, target_is_directory=True)


_link()
os.environ["ANSIBLE_COLLECTIONS_PATH"] = str(COLLECTIONS)
init_plugin_loader([str(COLLECTIONS)])
pytest.register_assert_rewrite("adopt_layouts")  # tests fail in it


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The warnings of a module that runs in this process."""
    found: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: found.append(text))
    return found
