# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The format of db.env: parses, writes and edits it for its two readers. Pure rules.

The readers are Docker Compose v2 (`env_file:`) and `docker run --env-file`. The rules were derived from Compose 2.26.1 and
Docker 26.1.5; the tests compare each of them with the real programs.
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

FORMATS = ("portable", "compose", "docker")
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Limits: docker's line scanner 64 KiB, the kernel 128 KiB.
LONGEST_LINE = 65000
_UNCLOSED = "a quote that is never closed"
_BOM = "\ufeff"
# Go's definition of white space, used by the readers. Compose trims less at the start of a value than at its end.
_SPACE = "\t\v\f\r \x85\xa0"
_ALL_SPACE = (
    _SPACE + "\n\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
# Go's (?i)[_a-z] also matches the long s and the Kelvin sign.
_DOLLAR = re.compile("\\$(?:(?P<escaped>\\$)|(?P<name>[_a-zA-Z\u017f\u212a{]))")
_ESCAPE = re.compile(r"\\(?:[abcfnrtv$\"\\]|0[0-9]{0,3})")
_ESCAPED = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "$": "$$",
    '"': '"',
    "\\": "\\",
}


@dataclass(frozen=True)
class Entry:
    """One or several lines of the file: a setting if `key` is not empty, else a comment or an empty line.

    `value` is the value for the reader, None if it depends on the reader's environment. `problem` is the reason why the
    reader cannot parse it.
    """

    raw: str = field(repr=False)
    line: int
    key: str = ""
    value: str | None = field(default=None, repr=False)
    problem: str = ""

    @property
    def name(self) -> str:
        """Returns the key for messages. A line that may be a part of a secret, such as a key's in base64, is named by its number."""
        bare = (self.value or "=") == "="
        plain = KEY.fullmatch(self.key) and (not bare or self.key.isupper() or self.key.startswith("WA_"))
        return self.key if plain else f"line {self.line}"


def read_docker(text: str) -> list[Entry]:
    """Returns the entries as read by `docker run --env-file`: the value is everything after `=`."""
    entries = []
    for number, raw in enumerate(_lines(text), start=1):
        line = raw[:-1] if raw.endswith("\n") else raw
        line = _without_bom(line[:-1] if line.endswith("\r") else line, number).lstrip(_ALL_SPACE)
        if not line or line.startswith("#"):
            entries.append(Entry(raw, number))
            continue
        key, equals, value = line.partition("=")
        problem = ""
        if not key:
            problem = "no name before ="
        elif " " in key or "\t" in key:
            problem = "white space in the name"
        elif len(line) > LONGEST_LINE // 4 and len(line.encode()) > LONGEST_LINE:
            problem = f"more than {LONGEST_LINE} bytes"
        # A name alone is trimmed; before an equals sign only spaces and tabs are, so a carriage return is kept.
        name = key if equals else key.strip(_ALL_SPACE)
        entries.append(Entry(raw, number, name or "=", value if equals else None, problem))
    return entries


def read_compose(text: str) -> list[Entry]:
    """Returns the entries as read by Docker Compose v2: with quotes, escapes, trailing comments, and `$` interpolation."""
    entries = []
    lines = _lines(text)
    index = 0
    while index < len(lines):
        number, raw = index + 1, lines[index]
        index += 1
        line = _without_bom(raw, number).lstrip(_ALL_SPACE)
        if not line or line.startswith("#"):
            entries.append(Entry(raw, number))
            continue
        line = re.sub(r"^export[\t\n\f\r ]+", "", line).lstrip(_SPACE)
        match = re.match(r"(?P<key>[^=:\n]*)(?P<sign>[=:]?)", line)
        key = (match["key"] if match else "").rstrip(_ALL_SPACE)
        problem = _key_problem(key)
        if not match or not match["sign"] or problem:
            entries.append(Entry(raw, number, (key.split() or ["="])[0], None, problem))
            continue
        rest = line[match.end() :].lstrip(_SPACE)
        if rest[:1] not in ("'", '"'):
            value = rest.partition("\n")[0].partition(" #")[0].rstrip(_ALL_SPACE)
            entries.append(Entry(raw, number, key, _interpolate(value)))
            continue
        # A quoted value may span lines; if it is never closed, only this line is invalid.
        inside, left, used = _quoted(rest, lines, index)
        if inside is None:
            entries.append(Entry(raw, number, key, None, _UNCLOSED))
            continue
        raw += "".join(lines[index : index + used])
        index += used
        parsed = _interpolate(_unescape(inside)) if rest[0] == '"' else inside
        behind = left.partition("\n")[0].strip(_ALL_SPACE)
        problem = "text behind the closing quote" if behind and not behind.startswith("#") else ""
        entries.append(Entry(raw, number, key, parsed, problem))
    return entries


def _lines(text: str) -> list[str]:
    """Returns `text` split after line feeds only: other line separators are ordinary characters for both readers."""
    parts = text.split("\n")
    return [part + "\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _without_bom(raw: str, number: int) -> str:
    """Returns line `number` without a byte order mark at the start of the file."""
    return raw.removeprefix(_BOM) if number == 1 else raw


def _key_problem(key: str) -> str:
    if not key:
        return "no name before ="
    if " " in key:
        return "white space in the name"
    if any(not (char.isalnum() or char in "_.-[]" or char in _SPACE) for char in key):
        return "a character in the name that Compose does not take"
    return ""


def _quoted(first: str, lines: t.Sequence[str], index: int) -> tuple[str | None, str, int]:
    """Returns the text in the quotes at the start of `first` with `\\quote` resolved, the rest of its last line, and the
    number of additional `lines` from `index`.

    The text is None if the quote is never closed.
    """
    quote, escaped = first[0], False
    chars: list[str] = []
    for used in range(len(lines) - index + 1):
        line = lines[index + used - 1] if used else first[1:]
        for position, char in enumerate(line):
            if char == quote and not escaped:
                return "".join(chars), line[position + 1 :], used
            if char == "\\" and not escaped:
                escaped = True
                continue
            if escaped and char != quote:
                chars.append("\\")
            escaped = False
            chars.append(char)
    return None, "", 0


def _unescape(value: str) -> str:
    def one(match: re.Match[str]) -> str:
        text = match.group()
        if text[1] != "0":
            return _ESCAPED.get(text[1], text)
        digits = text[2:]
        octal = len(digits) == 3 and all(digit in "01234567" for digit in digits) and int(digits, 8) < 256
        return chr(int(digits, 8)) if octal else "\\" + digits

    return _ESCAPE.sub(one, value)


def _interpolate(value: str) -> str | None:
    if any(match["name"] for match in _DOLLAR.finditer(value)):
        return None
    return _DOLLAR.sub("$", value)


# Reading a complete file


def read(text: str, env_format: str) -> list[Entry]:
    """Returns the entries for an edit: as read by docker for `docker`, as read by Compose for `compose` and `portable`."""
    return read_docker(text) if env_format == "docker" else read_compose(text)


def names(text: str) -> dict[str, str]:
    """Returns the name of each key of the file for messages.

    A key for docker only is a line within quotes for Compose, such as a line of a private key.
    """
    shown = {entry.key: entry.name for entry in read_compose(text) if entry.key}
    for entry in read_docker(text):
        if entry.key and entry.key not in shown:
            shown[entry.key] = entry.name if entry.key.startswith("WA_") else f"line {entry.line}"
    return shown


def disagreements(text: str) -> dict[str, str]:
    """Returns the keys that Compose and docker read differently, each with the reason. Both must be able to read the file."""
    compose, docker = ({entry.key: entry for entry in how(text) if entry.key} for how in (read_compose, read_docker))
    found = {}
    for key in [*compose, *(key for key in docker if key not in compose)]:
        one, other = compose.get(key), docker.get(key)
        if one is None or other is None:
            found[key] = "only one of the two readers sees it"
        elif one.value is None and other.value is not None:
            found[key] = "Compose replaces what follows $"
        elif one.value != other.value:
            found[key] = "quotes, a comment behind the value, or white space around it"
    return found


def check_readable(text: str, env_format: str, path: str) -> None:
    """Raises WaError if a reader of `env_format` cannot parse the file."""
    hows = {"compose": ("Docker Compose",), "docker": ("docker run",)}.get(env_format, ("Docker Compose", "docker run"))
    for name in hows:
        for entry in read_docker(text) if name == "docker run" else read_compose(text):
            if entry.problem:
                raise _unreadable(entry, name, env_format, path)


def _unreadable(entry: Entry, reader: str, env_format: str, path: str) -> WaError:
    return WaError(
        f"{path}, line {entry.line}" + (f" ({entry.key})" if entry.key.startswith("WA_") else ""),
        f"{entry.problem}: {reader} cannot read it",
        "NAME=value" if env_format != "compose" else "NAME=value, quotes closed",
        "Correct or remove the line",
    )


def load(text: str, env_format: str, path: str = "db.env") -> dict[str, str]:
    """Returns the settings in a db.env as read with `env_format`.

    With `portable` both readers must agree on every `WA_DB_` key, whose value must not depend on the reader's environment.
    Other keys with these problems are left out. Raises WaError with the key.
    """
    check_readable(text, env_format, path)
    differ = disagreements(text) if env_format == "portable" else {}
    values: dict[str, str] = {}
    found = {entry.key: entry.value for entry in read(text, env_format) if entry.key}
    for key in [*found, *(key for key in differ if key not in found)]:
        value = found.get(key)
        reason = differ.get(key, "" if value is not None else "its value depends on who reads it")
        if reason and key.startswith("WA_DB_"):
            raise WaError(
                f"{path}: {key}",
                f"not read the same by every reader: {reason}",
                "a plain value",
                "Give wa_db_env its value to write, or name the reader (compose or docker)",
            )
        if not reason and value is not None:
            values[key] = value
    return values


def held(text: str, env_format: str) -> dict[str, set[str]]:
    """Returns the values that a container may have got from the file: two if the readers of `portable` disagree.

    A key whose value depends on the reader's environment is left out.
    """
    hows = {"compose": [read_compose], "docker": [read_docker]}.get(env_format, [read_compose, read_docker])
    readings = [{entry.key: entry.value for entry in how(text) if entry.key} for how in hows]
    values = {key: [reading[key] for reading in readings if key in reading] for reading in readings for key in reading}
    return {key: {value for value in found if value is not None} for key, found in values.items() if None not in found}


# Writing


def portable_faults(value: str) -> list[str]:
    """Returns the names of characters in `value` that the readers treat differently, never the value."""
    faults = []
    if "$" in value:
        faults.append("a dollar sign ($)")
    if re.search(r"\s#", value):
        faults.append("a hash (#) behind white space")
    if value[:1] in ("'", '"'):
        faults.append(f"a quote ({value[:1]}) at the start")
    if value != value.strip(_ALL_SPACE):
        faults.append("white space at the start or the end")
    return faults


def write(key: str, value: str, env_format: str) -> str:
    """Returns the line (without its end) that sets `key` to `value` in `env_format`. Raises WaError if it is impossible."""
    if not KEY.fullmatch(key):
        raise WaError(f"{key!r}", "no name of a variable", "letters, digits and _, not a digit first")
    for char, name in (("\n", "a line feed"), ("\r", "a carriage return"), ("\0", "a NUL")):
        if char in value:
            raise WaError(key, f"contains {name}", "a value of one line", "No reader of db.env can be given it")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise WaError(key, "contains half a character (a lone surrogate)", "text that UTF-8 can hold") from None
    if size > LONGEST_LINE:
        raise WaError(key, f"{size} bytes", f"at most {LONGEST_LINE}", "docker refuses longer lines")
    faults = portable_faults(value)
    if not faults or env_format == "docker":
        return f"{key}={value}"
    if env_format == "portable":
        raise WaError(
            key,
            "contains " + " and ".join(faults),
            "a value that Docker Compose and docker run read alike",
            "Choose another value, or say who reads the file: format: compose or format: docker",
        )
    # Single quotes preserve everything but themselves; a backslash before the closing one would escape it.
    if "'" not in value and "\\" not in value:
        return f"{key}='{value}'"
    escaped = re.sub(r'([\\$"])', r"\\\1", value)
    return f'{key}="{escaped}"'


@dataclass(frozen=True)
class Edited:
    """A file's text after an edit, and the changed keys."""

    text: str = field(repr=False)
    changed: list[str]
    removed: list[str]
    duplicates: list[str]  # names for messages


def edit(
    text: str,
    settings: t.Mapping[str, str | None],
    env_format: str,
    path: str = "db.env",
) -> Edited:
    """Returns `text` with `settings` applied: a text sets the key, None removes it.

    Comments, order, unknown keys, line ends and unchanged settings are preserved byte for byte; of a duplicate key only
    the last is kept. Raises WaError.
    """
    lines = {key: write(key, value, env_format) for key, value in settings.items() if value is not None}
    entries = read(text, env_format)
    last = {entry.key: position for position, entry in enumerate(entries) if entry.key}
    counts = Counter(entry.key for entry in entries if entry.key)
    duplicates = [entries[position].name for key, position in last.items() if counts[key] > 1]
    changed = [key for key in lines if key not in last or not _is(entries[last[key]], settings[key], env_format)]
    removed = [key for key in last if key not in lines and key in settings]
    end = "\r\n" if text.count("\r\n") * 2 > text.count("\n") else "\n"
    out = []
    for position, entry in enumerate(entries):
        if entry.key and (position != last[entry.key] or entry.key in removed):
            continue
        # A quote in a line written below would close it, and everything in between would become its value.
        if entry.problem == _UNCLOSED and entry.key not in changed:
            raise _unreadable(entry, "Docker Compose", env_format, path)
        if entry.key in changed:
            bom = _BOM if entry.raw.startswith(_BOM) else ""
            out.append(bom + lines[entry.key] + ("\r\n" if entry.raw.endswith("\r\n") else "\n"))
        else:
            out.append(entry.raw)
    added = [key for key in changed if key not in last]
    if added and out and not out[-1].endswith("\n"):
        out[-1] += end
    return Edited("".join([*out, *(lines[key] + end for key in added)]), changed, removed, duplicates)


def _is(entry: Entry, value: str | None, env_format: str) -> bool:
    """Returns whether an existing entry has `value` for all readers of `env_format`."""
    if entry.problem or entry.value != value:
        return False
    if env_format != "portable":
        return True
    others = read_docker(entry.raw.removeprefix(_BOM))
    return len(others) == 1 and not others[0].problem and others[0].key == entry.key and others[0].value == value
