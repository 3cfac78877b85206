# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings backup: settings and registration, sealed with a password, never messages."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from typing import Any

from .errors import ApiError

ROUNDS = 20000


def _stream(key: bytes, size: int) -> bytes:
    out = b""
    counter = 0
    while len(out) < size:
        out += hmac.new(key, counter.to_bytes(8, "big"), "sha256").digest()
        counter += 1
    return out[:size]


def _keys(password: str, salt: bytes) -> tuple[bytes, bytes]:
    material = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS, 64)
    return material[:32], material[32:]


def seal(data: dict[str, Any], password: str) -> str:
    """Base64 text that only the password opens again. Good enough for a test bed, no more."""
    salt = secrets.token_bytes(16)
    key, mac = _keys(password, salt)
    plain = json.dumps(data, sort_keys=True).encode()
    sealed = bytes(a ^ b for a, b in zip(plain, _stream(key, len(plain))))
    tag = hmac.new(mac, salt + sealed, "sha256").digest()
    return base64.b64encode(salt + tag + sealed).decode()


def open_sealed(text: str, password: str) -> dict[str, Any]:
    """The data of a backup. Raises ApiError 1009 for a wrong password or a broken text."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise ApiError(1009, "data is not a backup") from None
    salt, tag, sealed = raw[:16], raw[16:48], raw[48:]
    key, mac = _keys(password, salt)
    if not hmac.compare_digest(tag, hmac.new(mac, salt + sealed, "sha256").digest()):
        raise ApiError(1009, "wrong password, or the backup is damaged")
    return dict(json.loads(bytes(a ^ b for a, b in zip(sealed, _stream(key, len(sealed))))))
