# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads until when an X.509 certificate is valid: Python's `ssl` says it only of one that it has verified. No I/O."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime, timezone

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x17, 0x18, 0xA0


def ends(content: bytes) -> list[datetime]:
    """Returns the end of each certificate in a PEM file, or of one in DER. Raises ValueError for anything else."""
    found = [_der(block) for block in _PEM.findall(content)] or [content]
    return [_end(one) for one in found]


def _der(block: bytes) -> bytes:
    try:
        return base64.b64decode(block)
    except binascii.Error:
        raise ValueError("no base64") from None


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """Returns the tag of the element at `at`, and where its content begins and ends."""
    try:
        tag, length, begin = data[at], data[at + 1], at + 2
        if length & 0x80:  # so many bytes hold the length
            count = length & 0x7F
            length, begin = int.from_bytes(data[begin : begin + count], "big"), begin + count
    except IndexError:
        raise ValueError("no certificate") from None
    if begin + length > len(data):
        raise ValueError("no complete certificate")
    return tag, begin, begin + length


def _end(data: bytes) -> datetime:
    _tag, at, _stop = _element(data, 0)  # Certificate
    _tag, at, _stop = _element(data, at)  # TBSCertificate
    tag, _begin, stop = _element(data, at)
    skipped = 4 if tag == _VERSION else 3  # version, serial number, signature, issuer
    for _number in range(skipped):
        _tag, _begin, at = _element(data, at)
    _tag, at, _stop = _element(data, at)  # Validity
    _tag, _begin, at = _element(data, at)  # notBefore
    tag, begin, stop = _element(data, at)
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no certificate")
    text = data[begin:stop].decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280: two digits of the year are 1950 to 2049
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
