# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core import result

CANARY = "Canary-Pa55%20word'\\"


def test_a_secret_is_hidden_however_deep_and_however_escaped() -> None:
    redact = result.Redactor([CANARY, None, ""])
    told = redact(
        {"a": [f"login with {CANARY} failed", (CANARY,)], CANARY: 1, "repr": repr(CANARY), "n": None, "b": True}
    )
    assert "Pa55" not in str(told)
    assert told["n"] is None
    assert told["b"] is True


@given(st.text(min_size=4), st.text(), st.text())
def test_a_secret_never_stays_in_a_text(secret: str, before: str, after: str) -> None:
    assert secret not in result.Redactor([secret])(before + secret + after).replace(result.HIDDEN, "")


def test_a_longer_secret_leaves_no_rest() -> None:
    assert result.Redactor(["abcd", "abcdefgh"])("x abcdefgh y") == f"x {result.HIDDEN} y"


def test_a_short_secret_is_hidden_only_whole() -> None:
    redact = result.Redactor(["ab"])
    assert redact("ab") == result.HIDDEN
    assert redact("cab") == "cab"


def test_a_secret_in_a_diff_is_told_apart_and_never_shown() -> None:
    assert result.diff_secret("a", "a") == (result.HIDDEN, result.HIDDEN)
    assert result.diff_secret("a", "b") == (result.HIDDEN, result.CHANGED)
    assert result.diff_secret(None, "b") == (None, result.CHANGED)
    assert result.diff_secret("a", None) == (result.HIDDEN, None)
    assert result.diff_secret(None, None) == (None, None)
