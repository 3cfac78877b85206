# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Closes what a module reads so that only the run that asked for it can open it. Pure rules.

A module's answer is printed by `-vvv`, kept by callbacks and fact caches; a value in it that the controller needs and
nobody may read travels sealed, with a key that exists for one run only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import typing as t
import zlib

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

_NONCE = 16
_MARK = 32


def _parts(key: str, nonce: bytes) -> tuple[bytes, bytes]:
    """Two keys for one sealing: to hide, to prove."""
    secret = key.encode()
    return hmac.digest(secret, b"hide" + nonce, "sha256"), hmac.digest(secret, b"prove" + nonce, "sha256")


def _mix(key: bytes, data: bytes) -> bytes:
    stream = hashlib.shake_256(key).digest(len(data))
    return bytes(one ^ other for one, other in zip(data, stream))


def seal(key: str, value: t.Any) -> str:
    """`value` (anything that JSON holds) as a text that tells nothing without `key`."""
    nonce = os.urandom(_NONCE)
    hide, prove = _parts(key, nonce)
    body = nonce + _mix(hide, zlib.compress(json.dumps(value).encode()))
    return base64.b64encode(hmac.digest(prove, body, "sha256") + body).decode()


def unseal(key: str, text: str) -> t.Any:
    """What `seal` was given. Raises WaError when another key closed it or it was changed."""
    raw = base64.b64decode(text)
    mark, body = raw[:_MARK], raw[_MARK:]
    hide, prove = _parts(key, body[:_NONCE])
    if not hmac.compare_digest(mark, hmac.digest(prove, body, "sha256")):
        raise WaError("what the host was read", "sealed by another run", "to be read and used in one run")
    return json.loads(zlib.decompress(_mix(hide, body[_NONCE:])))
