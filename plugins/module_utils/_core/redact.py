# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Detects and hides secrets: the redactor, the rule for names of secrets, and the list of patterns. Pure rules."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import quote

HIDDEN = "<hidden>"
CHANGED = "<changed>"
# A shorter secret is hidden only if it is the complete value: replacing every "a" would reveal it.
_SHORTEST_SUBSTRING = 4

_WORDS = "pass|secret|token|credential|basic_?auth"
# PWD is a shell's working directory, and names ending in SSL_KEY hold paths of files.
_NAME = re.compile(
    rf"{_WORDS}|.pwd|(?-i:^pwd)|(?:api|crypto|private|access|encryption)_?key|(?<!ssl_)key$", re.IGNORECASE
)
# A user or token before a host, a password that contains a slash, and user:password@host as in proxy settings.
_USER_INFO = re.compile(r"://[^/\s@]+@|://[^/\s:@]*:(?!\d+(?:/|$))\S*@|^[^\s:/@]+:[^\s/@]+@\S")
# Patterns with the visible prefix of a secret: NAME=value, --password value, URLs, headers, curl -u, docker login -p.
_FLAG = rf"--?[\w-]*(?:passphrase|passw(?:or)?d|{_WORDS}|pwd|key)"
_IN_TEXT = [
    re.compile(pattern)
    for pattern in (
        rf"(?i)([\w-]*(?:{_WORDS}|pwd|key)[\w-]*[\"']?[=:]\s*)(\"[^\"]+\"|'[^']+'|[\"']?[^\s'\",;]+)",
        rf"(?i)((?<!\S){_FLAG}\s+)([^\s-]\S*)",
        r"(://[^/\s:@]*:)((?!\d+/)[^\s\"'<>]+)(?=@)",
        r"(://)([^/\s:@\"'<>]{16,})(?=@)",
        r"(?i)(\b(?:bearer|basic|apikey)\s+)([\w.~+/=-]{8,})",
        r"((?<!\S)(?:-u|--user)[ =]*['\"]?(?!\d+:\d)[^\s:'\"]+:)([^\s'\"]+)",
        r"((?:\blogin\b[^|;&]*?\s|\bsshpass\s+)-p\s*)(\S+)",
        r"(\bmysql(?:dump|admin)?\b[^|;&]*?\s-p)(\S+)",
    )
]
_SECRET_FLAG = re.compile(rf"(?i){_FLAG}")
# The same in mount options, where a value ends at a comma only; `credentials` is the path of a file with a secret.
_IN_OPTIONS = [
    re.compile(pattern)
    for pattern in (
        rf"(?i)([\w.-]*(?:(?:{_WORDS}|pwd)[\w.-]*|key)=|\buser(?:name)?=[^,%]*%)([^,]+)",
        r"(//[^/@\s:]*:)([^/@\s]+)(?=@)",
    )
]
Options = t.Mapping[str, str]


class Redactor:
    """Hides secrets in nested values, also in common escaped forms."""

    def __init__(self, secrets: t.Iterable[str | None] = ()) -> None:
        self._secrets: set[str] = set()
        self.add(secrets)

    def add(self, secrets: t.Iterable[str | None]) -> None:
        """Adds secrets; None and empty values are ignored."""
        for secret in secrets:
            if secret:
                self._secrets.update((secret, quote(secret, safe=""), repr(secret)[1:-1]))
        # The longest first, so that a secret that contains another one is hidden completely.
        self._parts = sorted((s for s in self._secrets if len(s) >= _SHORTEST_SUBSTRING), key=len, reverse=True)

    def __call__(self, value: t.Any) -> t.Any:
        """Returns `value` with every secret replaced by `<hidden>`; dictionaries, lists and tuples are copied."""
        if isinstance(value, str):
            if value in self._secrets:
                return HIDDEN
            for part in self._parts:
                value = value.replace(part, HIDDEN)
            return value
        if isinstance(value, dict):
            return {self(key): self(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(item) for item in value]
        return value


def is_secret(name: str, declared: t.Container[str] = ()) -> bool:
    """Returns whether the value of a variable or option is a secret: declared so, or by its name."""
    return name in declared or bool(_NAME.search(name))


def holds_password(value: str) -> bool:
    """Returns whether a value is a URL with a user, a password or a token."""
    return bool(_USER_INFO.search(value))


def mask(value: t.Any) -> t.Any:
    """Returns `value` without anything that looks like a secret, and without the contents of files."""
    if isinstance(value, str):
        for pattern in _IN_TEXT:
            value = pattern.sub(lambda match: match.group(1) + HIDDEN, value)
        return value
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(one, str) and one and is_secret(str(key)) else mask(one)
            for key, one in value.items()
            if key != "text"
        }
    if isinstance(value, (list, tuple)):
        # In a command the secret may be the argument after its name.
        named = [False, *(isinstance(one, str) and bool(_SECRET_FLAG.fullmatch(one)) for one in value)]
        return [
            HIDDEN if before and isinstance(one, str) and not one.startswith("-") else mask(one)
            for before, one in zip(named, value)
        ]
    return value


def option_secrets(options: Options) -> set[str]:
    """Returns the secrets in the driver options of a volume."""
    found = {value for name, value in options.items() if is_secret(name)}
    for value in options.values():
        found.update(match.group(2) for pattern in _IN_OPTIONS for match in pattern.finditer(value))
    return found - {""}


def mask_options(options: Options) -> dict[str, str]:
    """Returns driver options with every secret replaced."""
    return {name: HIDDEN if is_secret(name) else mask_mount(value) for name, value in options.items()}


def mask_mount(text: str) -> str:
    """Returns mount options, or a text that quotes them, without passwords."""
    for pattern in _IN_OPTIONS:
        text = pattern.sub(lambda match: match.group(1) + HIDDEN, text)
    return text


def hide(value: t.Any, secrets: t.Any) -> t.Any:
    """Returns `value` without `secrets` (nested texts)."""
    return Redactor(_texts(secrets))(value)


def redact(value: t.Any, secrets: t.Any = ()) -> t.Any:
    """Returns `value`, such as another program's output, without `secrets` (nested texts) and what looks like a secret."""
    return mask(hide(value, secrets))


def _texts(value: t.Any) -> t.Iterator[str]:
    """Returns every text and number in `value`, without keys."""
    if isinstance(value, t.Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
