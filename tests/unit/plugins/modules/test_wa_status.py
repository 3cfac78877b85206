# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_status has no code on hosts: its options are those that its action takes."""

from __future__ import annotations

import yaml

from ansible_collections.waba.onprem.plugins.modules import wa_status


def test_its_options_are_documented() -> None:
    documented = yaml.safe_load(wa_status.DOCUMENTATION)
    assert sorted(documented["options"]) == ["failing", "part"]
    assert documented["options"]["part"]["choices"] == ["report", "notify", "verdict"]
