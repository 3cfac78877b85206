# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a desired state may be shown."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._concern import comparison
from ansible_collections.waba.onprem.plugins.plugin_utils._secret_options import SECRETS, split


@pytest.mark.parametrize("concern", comparison.CONCERNS)
def test_the_options_with_no_log_are_the_secrets(concern: str) -> None:
    spec = comparison.spec(concern)
    assert {name for name, one in spec.items() if one.get("no_log")} == SECRETS & {*spec}


def test_options_with_no_log_and_the_content_of_files_are_secrets() -> None:
    wanted: dict[str, dict[str, t.Any]] = {
        "database": {"path": "/e", "password": "Canary-1", "extra_secrets": {"K": "Canary-2"}},
        "client": {"project": "wa-a", "files": [{"path": "/c", "content": "Canary-3"}, {"path": "/d"}]},
    }
    shown, secrets = split(wanted)
    assert "Canary" not in str(shown)
    assert secrets["database"] == {"password": "Canary-1", "extra_secrets": {"K": "Canary-2"}}
    assert secrets["client"]["files"] == [{"content": "Canary-3"}, {}]
    assert shown["client"] == {"project": "wa-a", "files": [{"path": "/c"}, {"path": "/d"}]}
