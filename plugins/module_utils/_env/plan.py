# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans a db.env from a module's options, checks it by all rules, and prepares its diff. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import CHANGED, HIDDEN
from ansible_collections.waba.onprem.plugins.module_utils._env import file, rules, state


class Plan(t.NamedTuple):
    """The file's text before and after (None: no file), and the changes between them."""

    before: str | None
    after: str | None
    edited: file.Edited
    values: dict[str, str]
    warnings: list[str]
    existing: dict[str, str | None]  # current values; None if the readers disagree
    undeclared: tuple[str, ...] = ()  # remaining keys that no option names

    def removed(self) -> list[str]:
        """Returns the names of the removed keys for messages."""
        names = file.names(self.before or "")
        return [names[key] for key in self.edited.removed]

    def shown(self, keys: t.Iterable[str]) -> list[str]:
        """Returns the names of keys of the new file for messages."""
        names = file.names(self.after or "")
        return [names.get(key, key) for key in keys]

    def summary(self) -> str:
        """Returns a summary of the change."""
        parts = [f"set {', '.join(self.edited.changed)}"] if self.edited.changed else []
        if self.edited.removed:
            parts.append(f"removed {', '.join(self.removed())}")
        if self.edited.duplicates:
            parts.append(f"removed earlier lines of {', '.join(self.edited.duplicates)}")
        return "; ".join(parts)


def secrets(params: t.Mapping[str, t.Any], before: str | None) -> list[str]:
    """Returns the secrets in the file, for all readers, and in `extra`."""
    entries = [entry for how in (file.read_compose, file.read_docker) for entry in how(before or "")]
    given = [
        value
        for key, value in (params["extra"] or {}).items()
        if isinstance(value, str) and is_secret(params, key, value)
    ]
    return [*given, *(entry.value for entry in entries if entry.value and is_secret(params, entry.key, entry.value))]


def make(params: t.Mapping[str, t.Any], path: str, before: str | None) -> Plan:
    """Returns the plan for a file with the text `before`. Raises WaError if the client could not work with the result."""
    env_format = params["format"]
    existing = {entry.key: entry.value for entry in file.read(before or "", env_format) if entry.key}
    if params["state"] == "absent":
        return Plan(before, None, file.Edited("", [], list(existing), []), {}, [], existing)
    known = {key: value for key, value in existing.items() if value is not None}
    wanted = rules.settings(params, known)
    edited = file.edit(before or "", wanted, env_format, path)
    values = file.load(edited.text, env_format, path)
    warnings = rules.check(values, path)
    warnings += [
        f"{path}: {key} stood there more than once; every reader takes the last one, which is kept"
        for key in edited.duplicates
    ]
    warnings += [
        f"option extra: {key} is a secret by its {'name' if is_secret(params, key) else 'value'}; extra_secrets keeps it out of logs"
        for key, value in (params["extra"] or {}).items()
        if is_secret(params, key, value)
    ]
    if env_format == "portable":
        shown = file.names(edited.text)
        warnings += [
            f"{path}: {shown[key]} is not read the same by every reader ({reason}); declare it in extra to correct it"
            for key, reason in file.disagreements(edited.text).items()
        ]
    undeclared = tuple(key for key in values if wanted and key not in wanted)
    return Plan(before, edited.text, edited, values, warnings, existing, undeclared)


def reconnects(plan: Plan, stale: t.Iterable[t.Mapping[str, t.Any]]) -> bool:
    """Returns whether the client will connect with changed values, because of the file or of a stale container."""
    changed = any((plan.existing.get(key) or "") != plan.values.get(key, "") for key in rules.CONNECTION)
    return changed or any(set(rules.CONNECTION) & set(entry["stale_keys"]) for entry in stale)


def is_secret(params: t.Mapping[str, t.Any], key: str, value: t.Any = None) -> bool:
    """Returns whether a value is a secret: by its name, or because it is a URL with credentials."""
    return redact.is_secret(key, params["extra_secrets"] or {}) or redact.holds_password(str(value or ""))


def show(params: t.Mapping[str, t.Any], text: str | None, changed: t.Container[str] = ()) -> str:
    """Returns `text` for a diff: only values of public settings, and no comments, which may contain an old password."""
    public = {*rules.DATABASE_KEYS, state.CONFIG_ON_DB, *(params["extra"] or {})}
    lines = []
    for entry in file.read(text or "", params["format"]):
        if not entry.key:
            lines.append("# ..." if entry.raw.strip() else "")
        elif entry.key in public and not is_secret(params, entry.key, entry.value):
            lines.append(f"{entry.key}={HIDDEN if entry.value is None else entry.value}")
        else:
            lines.append(f"{entry.name}={CHANGED if entry.key in changed else HIDDEN}")
    return "".join(line + "\n" for line in lines)
