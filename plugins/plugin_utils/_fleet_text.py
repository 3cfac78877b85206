# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the fleet as text: what needs action, with the command for it, and how many there are of each state. Pure rules."""

from __future__ import annotations

import typing as t

_MOST = 20  # deployments that are listed
_WORDS = {
    "unreachable": "unreachable",
    "unhealthy": "unhealthy",
    "unknown": "not known",
    "drifted": "drifted",
    "attention": "to be looked at",
    "in_sync": "in sync",
}
_NARROWEST, _WIDEST = 8, 32  # of a column
Fleet = t.Mapping[str, t.Any]


def lines(fleet: Fleet, everything: bool = False) -> list[str]:
    """Returns the lines: at most `_MOST` deployments without `everything`, each cause with its command, and last the counts."""
    acting = [one for one in fleet["deployments"] if one["causes"] or everything]
    shown = acting if everything else acting[:_MOST]
    width = [_width(one["name"] for one in shown), _width(_version(one) for one in shown)]
    found = [line for one in shown for line in _deployment(one, width)]
    more = len(acting) - len(shown)
    if more:
        found.append(f"{more} more need action: -e wa_status_all=true lists all.")
    rest = len(fleet["deployments"]) - len(acting)
    unasked = sum(one["health"]["state"] == "not_asked" and _runs(one) for one in fleet["deployments"])
    if unasked:
        found.append(f"{unasked} not asked whether the client serves: set wa_api_key or wa_api_password.")
    if rest:
        found.append(f"{rest}{' more' if acting else ''} in sync and healthy.")
    return ["".join(one if one.isprintable() else "?" for one in line) for line in [*found, counts(fleet)]]


def counts(fleet: Fleet) -> str:
    """Returns how many deployments are in each state."""
    total, each = (
        fleet["counts"]["deployments"],
        ", ".join(f"{fleet['counts'][state]} {word}" for state, word in _WORDS.items()),
    )
    return f"{total} deployment{'' if total == 1 else 's'}: {each}."


def _width(texts: t.Iterable[str]) -> int:
    return min(_WIDEST, max([_NARROWEST, *map(len, texts)]))


def _runs(one: Fleet) -> bool:
    return one["hold"] is None and one["state"] in ("drifted", "attention", "in_sync")


def _version(one: Fleet) -> str:
    return str(one["version"] or "?")


def _health(one: Fleet) -> str:
    health = one["health"]
    running = "?" if health["running"] is None else health["running"]
    word = {"not_asked": "running"}.get(health["state"], health["state"])
    return f"{running}/{health['expected']} {'held' if one['hold'] else word}"


def _deployment(one: Fleet, width: t.Sequence[int]) -> t.Iterator[str]:
    """Yields the line of a deployment, then its causes; those with one command together."""
    shorts = "  ".join(dict.fromkeys(cause["short"] for cause in one["causes"]))
    health = "" if one["state"] == "unreachable" and one["health"]["running"] is None else _health(one)
    yield f"{one['name']:<{width[0]}}  {_version(one):<{width[1]}}  {health:<13}  {shorts}".rstrip()
    commands: dict[str | None, list[str]] = {}
    for cause in one["causes"]:
        commands.setdefault(cause["command"], []).append(_cause(one, cause))
    for command, texts in commands.items():
        yield from (f"  {text}" for text in dict.fromkeys(texts))
        if command:
            yield f"    {command}"


def _cause(one: Fleet, cause: Fleet) -> str:
    named = cause["host"] if len(one["members"]) > 1 and cause["host"] and cause["host"] not in cause["text"] else ""
    return f"{named}: {cause['text']}" if named else str(cause["text"])
