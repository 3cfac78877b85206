# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a db.env has to become under a module's options, judged by every rule, and how that is shown. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import CHANGED, HIDDEN
from ansible_collections.waba.onprem.plugins.module_utils._env import file, rules, state


class Plan(t.NamedTuple):
    """The file's text before (None: no file) and after (None: no file), and how the one becomes the other."""

    before: str | None
    after: str | None
    edited: file.Edited
    values: dict[str, str]
    warnings: list[str]
    existing: dict[str, str | None]  # what the file holds now; None: not the same for every reader
    undeclared: tuple[str, ...] = ()  # keys that the file goes on to hold and no option names

    def removed(self) -> list[str]:
        """The keys that go, as they may be shown."""
        names = file.names(self.before or "")
        return [names[key] for key in self.edited.removed]

    def summary(self) -> str:
        """What becomes of the content."""
        parts = [f"set {', '.join(self.edited.changed)}"] if self.edited.changed else []
        if self.edited.removed:
            parts.append(f"removed {', '.join(self.removed())}")
        if self.edited.duplicates:
            parts.append(f"removed earlier lines of {', '.join(self.edited.duplicates)}")
        return "; ".join(parts) or "removed comments and other lines"


def secrets(params: t.Mapping[str, t.Any], before: str | None) -> list[str]:
    """The values in the file, by whichever reading, and in `extra` that must never be shown."""
    entries = [entry for how in (file.read_compose, file.read_docker) for entry in how(before or "")]
    given = [
        value
        for key, value in (params["extra"] or {}).items()
        if isinstance(value, str) and is_secret(params, key, value)
    ]
    return [*given, *(entry.value for entry in entries if entry.value and is_secret(params, entry.key, entry.value))]


def make(params: t.Mapping[str, t.Any], path: str, before: str | None) -> Plan:
    """The plan for a file whose text is `before`; raises WaError for what the client cannot work with."""
    env_format = params["format"]
    existing = {entry.key: entry.value for entry in file.read(before or "", env_format) if entry.key}
    if params["state"] == "absent":
        return Plan(before, None, file.Edited("", [], list(existing), []), {}, [], existing)
    known = {key: value for key, value in existing.items() if value is not None}
    wanted = rules.settings(params, known)
    edited = file.edit(before or "", wanted, env_format, params["exclusive"], path)
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
            f"{path}: {shown[key]} is not read the same by every reader ({reason}); declare it in extra to mend it"
            for key, reason in file.disagreements(edited.text).items()
        ]
    undeclared = tuple(key for key in values if wanted and key not in wanted)
    return Plan(before, edited.text, edited, values, warnings, existing, undeclared)


def reconnects(plan: Plan, stale: t.Iterable[t.Mapping[str, t.Any]]) -> bool:
    """Whether the client will connect with other values than now: by the file, or in a container made before it changed."""
    changed = any((plan.existing.get(key) or "") != plan.values.get(key, "") for key in rules.CONNECTION)
    return changed or any(set(rules.CONNECTION) & set(entry["stale_keys"]) for entry in stale)


def is_secret(params: t.Mapping[str, t.Any], key: str, value: t.Any = None) -> bool:
    """Whether a value must never be shown: by its name, or because a URL with a user in it is one under any name."""
    return redact.is_secret(key, params["extra_secrets"] or {}) or redact.holds_password(str(value or ""))


def show(params: t.Mapping[str, t.Any], text: str | None, changed: t.Container[str] = ()) -> str:
    """`text` for a diff: values of public settings only, and no comment's text, which may be an old password."""
    public = {*rules.OPTIONS.values(), state.CONFIG_ON_DB, *(params["extra"] or {})}
    lines = []
    for entry in file.read(text or "", params["format"]):
        if not entry.key:
            lines.append("# ..." if entry.raw.strip() else "")
        elif entry.key in public and not is_secret(params, entry.key, entry.value):
            lines.append(f"{entry.key}={HIDDEN if entry.value is None else entry.value}")
        else:
            lines.append(f"{entry.name}={CHANGED if entry.key in changed else HIDDEN}")
    return "".join(line + "\n" for line in lines)
