# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks the content of a client's db.env: the vendor's rules and common mistakes. Pure rules."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import holds_password, is_secret
from ansible_collections.waba.onprem.plugins.module_utils._core.units import DATABASE_PORTS
from ansible_collections.waba.onprem.plugins.module_utils._env.file import KEY

# In the order of a new file.
OPTIONS = {
    "engine": "WA_DB_ENGINE",
    "hostname": "WA_DB_HOSTNAME",
    "port": "WA_DB_PORT",
    "username": "WA_DB_USERNAME",
    "password": "WA_DB_PASSWORD",
    "name_prefix": "WA_DB_NAME_PREFIX",
}
# Extra variables of the database: paths inside the containers, and milliseconds.
SSL_CA, SSL_CERT, SSL_KEY = SSL = ("WA_DB_SSL_CA", "WA_DB_SSL_CERT", "WA_DB_SSL_KEY")
IDLE_TIMEOUT = "WA_DB_CONNECTION_IDLE_TIMEOUT"
EXTRA = (IDLE_TIMEOUT, *SSL, "WA_DB_PERSISTENT")
DATABASE_KEYS = (*OPTIONS.values(), *EXTRA)
TEXTS = ("hostname", "username", "password", "name_prefix")  # values that YAML may read as numbers
REQUIRED = ("engine", "hostname", "port", "username", "password")
PASSWORD = "WA_DB_PASSWORD"
# Keys that determine the login at the database.
CONNECTION = (*OPTIONS.values(), *SSL)
UPGRADE = "WA_DB_UPGRADE"
# The Webapp's keys: minimum and maximum length, if known.
KEYS: dict[str, tuple[int, int]] = {"WA_API_KEY": (12, 128), "WA_WEB_JWT_CRYPTO_KEY": (0, 0)}
FORBIDDEN_IN_PASSWORD = "?{}&~!()^="  # domain: three sources of the vendor
# domain: values may be written unquoted into an INI file, where these characters end or change a value.
_DOUBTFUL = ("|", '"', ";", "${")
_DOUBTFUL_VALUES = ("null", "none", "no", "off", "false", "yes", "on", "true")
# domain: the vendor's templates, also for the minimum.
_IDLE_SECONDS, _IDLE_LEAST, _IDLE_MOST = 1000, 60000, 28800000
_IDLE_SUSPECTS = (28800, 86400)  # 8 and 24 hours in seconds
_LONGEST_STORE = len("configStore") + 4


def settings(params: t.Mapping[str, t.Any], existing: t.Mapping[str, str]) -> dict[str, str | None]:
    """Returns the settings from the options: key -> text to set, or None to remove it. Unchanged keys are not included.

    `existing` are the file's current settings. Raises WaError for an invalid `extra`.
    """
    wanted: dict[str, str | None] = {}
    for option, key in OPTIONS.items():
        value = params.get(option)
        if option == "port" and value is None:
            value = _default_port(params, existing)
        if value is None:
            continue
        if option in TEXTS:
            check_text(f"option {option}", option, value, removable=option not in REQUIRED)
        wanted[key] = str(value) or None
    managed = {key: option for option, key in OPTIONS.items()}
    for name in ("extra", "extra_secrets"):
        for key, value in (params.get(name) or {}).items():
            _check_extra(name, str(key), value, managed, wanted)
            wanted[str(key)] = value or None
    return wanted


def declared(params: t.Mapping[str, t.Any]) -> list[str]:
    """Returns the keys that options declare."""
    extra = [str(key) for name in ("extra", "extra_secrets") for key in params.get(name) or {}]
    return [*(key for option, key in OPTIONS.items() if params.get(option) is not None), *extra]


def _default_port(params: t.Mapping[str, t.Any], existing: t.Mapping[str, str]) -> int | None:
    """Returns the engine's default port if the file has none, or another engine's.

    None: do not change it.
    """
    before = existing.get(OPTIONS["engine"])
    engine = params.get("engine") or before
    if existing.get(OPTIONS["port"]) and before in (engine, None):
        return None
    return DATABASE_PORTS.get(engine or "")


def _check_extra(
    name: str,
    key: str,
    value: t.Any,
    managed: t.Mapping[str, str],
    wanted: t.Container[str],
) -> None:
    subject = f"option {name}: {key}"
    if not KEY.fullmatch(key):
        raise WaError(subject, "no name of a variable", "letters, digits and _, not a digit first")
    if key in managed:
        raise WaError(subject, "repeats a setting that has its own option", f"option {managed[key]}")
    if key in wanted:
        raise WaError(subject, "stands in extra and in extra_secrets", "one of the two")
    check_text(subject, key, value)
    if key == UPGRADE and value:
        raise _upgrade(subject)


def check_text(subject: str, name: str, value: t.Any, removable: bool = True) -> None:
    """Raises WaError for a value that is not text; with `removable` an empty one removes the key."""
    if not isinstance(value, str):
        kinds = {bool: "a boolean", int: "a number", float: "a number", type(None): "nothing (null)"}
        raise WaError(
            subject,
            f"{kinds.get(type(value), 'a ' + type(value).__name__)} to YAML, where yes, 1e3 and 0777 are not what they look like",
            "a text",
            f'Put it in quotes ({name}: "...")' + ("; an empty text removes the key" if removable else ""),
        )


def _upgrade(subject: str) -> WaError:
    return WaError(
        subject,
        "would make every container that reads the file migrate the schema and exit",
        f"no {UPGRADE} in the shared file",
        f'It belongs to the one-shot container of an upgrade; extra: {{{UPGRADE}: ""}} removes it',
    )


def check(values: t.Mapping[str, str], path: str) -> list[str]:
    """Checks the future content of the file. Returns warnings. Raises WaError if the client could not work with it."""
    if UPGRADE in values:
        raise _upgrade(f"{path}: {UPGRADE}")
    for key, value in values.items():
        for char, name in (("\0", "a NUL"), ("\n", "a line feed")):
            if char in value and (key.startswith("WA_") or char == "\0"):
                raise WaError(f"{path}: {key}", f"contains {name}", "a value of one line", "Give it another value")
    for option in REQUIRED:
        if not values.get(OPTIONS[option]):
            raise WaError(f"{path}: {OPTIONS[option]}", "missing or empty", f"a value; set option {option}")
    engine = values[OPTIONS["engine"]]
    warnings = check_database(values, path)
    warnings += _check_password(values[PASSWORD], path)
    warnings += _check_texts(values, path)
    warnings += _check_idle(values.get(IDLE_TIMEOUT, ""), engine, path)
    if len(values[OPTIONS["username"]]) > 16:
        warnings.append(f"{path}: {OPTIONS['username']} is longer than the 16 characters of the vendor's templates")
    warnings += [
        f"{path}: {key} is no absolute path; it is a path inside the containers"
        for key in SSL
        if not values.get(key, "/").startswith("/")
    ]
    if bool(values.get(SSL_CERT)) != bool(values.get(SSL_KEY)):
        warnings.append(f"{path}: {SSL_CERT} and {SSL_KEY} are of use only together")
    return warnings


def check_database(values: t.Mapping[str, str], path: str) -> list[str]:
    """Returns warnings about engine, server, port and prefix in `values`. Raises WaError for invalid ones."""
    engine = values[OPTIONS["engine"]]
    if engine not in DATABASE_PORTS:
        raise WaError(f"{path}: {OPTIONS['engine']}", f"{engine!r}", " or ".join(DATABASE_PORTS))
    _check_hostname(values[OPTIONS["hostname"]], path)
    warnings = _check_port(values[OPTIONS["port"]], engine, path)
    return warnings + _check_prefix(values.get(OPTIONS["name_prefix"], ""), engine, path)


def _check_hostname(text: str, path: str) -> None:
    if re.search(r"[\s/@,]|^[^:]*:[0-9]*$", text):
        raise WaError(
            f"{path}: {OPTIONS['hostname']}",
            "no host name: it contains white space or a part of a URL",
            "the bare name or address; the port has its own option",
        )


def _check_port(text: str, engine: str, path: str) -> list[str]:
    subject = f"{path}: {OPTIONS['port']}"
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise WaError(subject, f"{text!r}", "a port from 1 to 65535")
    other = {port: name for name, port in DATABASE_PORTS.items() if name != engine}.get(int(text))
    if other:
        return [
            f"{subject} is {text}, the port of {other}, but the engine is {engine} ({DATABASE_PORTS[engine]} as a rule)"
        ]
    return []


def _check_password(text: str, path: str) -> list[str]:
    found = [char for char in FORBIDDEN_IN_PASSWORD if char in text]
    if found:
        raise WaError(
            f"{path}: {PASSWORD}",
            "contains " + " ".join(found),
            f"none of {' '.join(FORBIDDEN_IN_PASSWORD)} (a rule of the client's vendor)",
            "Give the database user another password",
        )
    if not 8 <= len(text) <= 41:
        return [f"{path}: {PASSWORD} has not the 8 to 41 characters of the vendor's templates"]
    return []


def _check_texts(values: t.Mapping[str, str], path: str) -> list[str]:
    """Returns warnings about the client's variables, without secrets."""
    found = []
    for key, value in values.items():
        if not key.startswith("WA_"):
            continue
        subject = f"{path}: {key}"
        marks = [mark for mark in (*_DOUBTFUL, *(FORBIDDEN_IN_PASSWORD if key in KEYS else "")) if mark in value]
        if marks:
            characters = "characters" if is_secret(key) or holds_password(value) else " ".join(marks)
            found.append(
                f"{subject} contains {characters} that the client may read as something else; expected none of "
                f"{' '.join((*_DOUBTFUL, *(FORBIDDEN_IN_PASSWORD if key in KEYS else '')))}. Give it another value, or see "
                "that the client works with it"
            )
        if value.lower() in _DOUBTFUL_VALUES:
            found.append(
                f"{subject} is one of the words {', '.join(_DOUBTFUL_VALUES)}, which the client may read as 1 or as nothing; "
                "expected 1, 0 or another text"
            )
        shortest, longest = KEYS.get(key, (0, 0))
        if value and longest and not shortest <= len(value) <= longest:
            found.append(f"{subject} has not the {shortest} to {longest} characters that the vendor asks for")
    return found


def _check_prefix(text: str, engine: str, path: str) -> list[str]:
    subject = f"{path}: {OPTIONS['name_prefix']}"
    bad = sorted({char for char in text if char in "/\\.\"'`;" or char.isspace() or not char.isprintable()})
    if bad:
        raise WaError(
            subject,
            "contains " + " ".join(repr(char) for char in bad),
            "what can begin a database's name: letters, digits and _",
        )
    longest = (63 if engine == "PGSQL" else 64) - _LONGEST_STORE
    size = len(text.encode()) if engine == "PGSQL" else len(text)
    if size > longest:
        raise WaError(
            subject, f"{size} long", f"at most {longest}: the client puts names behind it, {engine} has a limit"
        )
    if not re.fullmatch(r"[A-Za-z0-9_]*", text):
        return [f"{subject} has other characters than letters, digits and _; it works only if the client quotes names"]
    return []


def _check_idle(text: str, engine: str, path: str) -> list[str]:
    subject = f"{path}: {IDLE_TIMEOUT}"
    if not text:
        return []
    if engine == "PGSQL":
        raise WaError(
            subject,
            "set, but only the client's MySQL part knows it",
            "no such key with PGSQL",
            f'extra: {{{IDLE_TIMEOUT}: ""}} removes it',
        )
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise WaError(subject, f"{text!r}", "milliseconds, a whole number")
    value = int(text)
    if value < _IDLE_SECONDS:
        raise WaError(
            subject, f"{value} milliseconds: surely meant as seconds", "milliseconds", f"Write {value * 1000}"
        )
    if value in _IDLE_SUSPECTS or value < _IDLE_LEAST:
        return [f"{subject} is {value} milliseconds, which looks like seconds; the vendor's sample has 180000"]
    if value > _IDLE_MOST:
        return [f"{subject} is {value} milliseconds; the vendor's templates allow at most {_IDLE_MOST} (8 hours)"]
    return []
