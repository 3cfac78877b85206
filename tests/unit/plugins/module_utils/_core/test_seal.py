# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealed value reveals nothing and can be opened with its key only."""

from __future__ import annotations

import base64
import zlib

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.seal import seal, unseal

VALUE = {"password": "Canary-" * 20, "list": [1, None, "ü$"]}


def test_a_sealed_value_opens_with_its_key_and_differs_each_time() -> None:
    one, other = seal("key", VALUE), seal("key", VALUE)
    assert unseal("key", one) == unseal("key", other) == VALUE
    assert one != other


def test_a_sealed_value_reveals_nothing() -> None:
    raw = base64.b64decode(seal("key", VALUE))
    assert b"Canary" not in raw
    with pytest.raises(zlib.error):
        zlib.decompress(raw[48:])


@pytest.mark.parametrize("damage", [0, 40, -1])
def test_another_key_or_a_changed_text_is_refused(damage: int) -> None:
    raw = bytearray(base64.b64decode(seal("key", VALUE)))
    with pytest.raises(WaError, match="sealed by another run"):
        unseal("other", base64.b64encode(raw).decode())
    raw[damage] ^= 1
    with pytest.raises(WaError, match="sealed by another run"):
        unseal("key", base64.b64encode(raw).decode())
