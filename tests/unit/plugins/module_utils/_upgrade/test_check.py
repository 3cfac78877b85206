# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a host when its checks are made."""

from __future__ import annotations

import pytest
from preflight_samples import GOOD, JOURNAL

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import check


def test_a_version_that_is_refused_needs_an_upgrade_all_the_same() -> None:
    assert check.Observed({**GOOD, "version": "2.9.1"}).needed
    assert not check.Observed({**GOOD, "version": ""}).needed
    assert check.Observed({**GOOD, "version": "2.51.2", "left": JOURNAL}).needed
    with pytest.raises(WaError):
        assert check.Observed({**GOOD, "version": "v"}).target


def test_a_read_without_an_answer_says_why_without_secrets() -> None:
    now = check.Observed({**GOOD, "secrets": ["Canary-1"]})
    assert check.message(now, {"msg": "no Canary-1", "healthy": True}, "healthy") == "no <hidden>"
    assert check.message(now, {"healthy": False}, "healthy") == ""
    assert check.message(now, {}, "healthy") == "it was not read"
