# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What looks like a secret in commands, labels, URLs and lines of others' scripts. Pure rules."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import result
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules

HIDDEN = result.HIDDEN
# Each with what stays before the secret: NAME=value, --password value, a URL's or a header's, curl -u, docker login -p.
_SECRET_WORDS = [
    re.compile(pattern)
    for pattern in (
        r"(?i)([\w-]*(?:pass|pwd|secret|token|credential|key|basicauth)[\w-]*[\"']?[=:]\s*)"
        r"(\"[^\"]+\"|'[^']+'|[\"']?[^\s'\",;]+)",
        r"(?i)((?<!\S)--?[\w-]*(?:passw(?:or)?d|passphrase|pass|pwd|secret|token|key)\s+)([^\s-]\S*)",
        r"(://[^/\s:@]*:)((?!\d+/)[^\s\"'<>]+)(?=@)",
        r"(://)([^/\s:@\"'<>]{16,})(?=@)",
        r"(?i)(\b(?:bearer|basic|apikey)\s+)([\w.~+/=-]{8,})",
        r"((?<!\S)(?:-u|--user)[ =]*['\"]?(?!\d+:\d)[^\s:'\"]+:)([^\s'\"]+)",
        r"(\blogin\b[^|;&]*?\s-p\s*)(\S+)",
        r"(\bmysql(?:dump|admin)?\b[^|;&]*?\s-p)(\S+)",
    )
]
_SECRET_FLAG = re.compile(r"(?i)--?[\w-]*(?:passw(?:or)?d|passphrase|pass|pwd|secret|token|key)")


def mask(value: t.Any) -> t.Any:
    """`value` without what looks like a secret, and without the texts of files."""
    if isinstance(value, str):
        for pattern in _SECRET_WORDS:
            value = pattern.sub(lambda match: match.group(1) + HIDDEN, value)
        return value
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(one, str) and one and env_rules.is_secret(str(key)) else mask(one)
            for key, one in value.items()
            if key != "text"
        }
    if isinstance(value, (list, tuple)):
        # In a command the secret may be the word behind its name.
        named = [False, *(isinstance(one, str) and bool(_SECRET_FLAG.fullmatch(one)) for one in value)]
        return [
            HIDDEN if before and isinstance(one, str) and not one.startswith("-") else mask(one)
            for before, one in zip(named, value)
        ]
    return value


def holds_secret(value: t.Any) -> bool:
    """Whether `mask` would hide a part of it, or has: what was there before may be shown beside it."""
    return bool(mask(value) != value) or HIDDEN in str(value)


def redact(value: t.Any, secrets: t.Any = ()) -> t.Any:
    """`value`, others' words above all, without known `secrets` (text, or anything that holds text) and what looks like one."""
    return mask(result.Redactor(_texts(secrets))(value))


def _texts(value: t.Any) -> t.Iterator[str]:
    """Every text and number in `value`, keys apart."""
    if isinstance(value, t.Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
