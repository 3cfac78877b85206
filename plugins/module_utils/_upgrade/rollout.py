# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the turn of a deployment has come in a roll-out: waves before it, the window, the wait between waves. Pure rules."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta

from ansible_collections.waba.onprem.plugins.module_utils._core import units

Facts = t.Mapping[str, t.Any]
# How often each deployment is come back to while more than one are watched.
_ROUNDS = 3


def turn(
    facts: Facts, upgraded: t.Collection[str], kept_back: t.Collection[str], due: t.Collection[str], now: float
) -> dict[str, t.Any]:
    """Returns whether a leader's deployment may be upgraded now, and what it watches at its end, before the next wave begins.

    `facts` have `host`; `all`, `hosts` and `batch` (leaders of the play, those that have not failed, those of the wave); `window`, `zone`,
    `soak` and `outage` (see `outside` and `outage.expected`). `upgraded` are leaders that this run has upgraded, `kept_back` those that it
    has not begun, and `due` those whose outage would begin.

    The result has `refusal` (why it may not, empty if it may), `outside` (of those the reason of the window), and `looks`: a `leader` and
    for how many `seconds`, one after the other.
    """
    batch = [one for one in facts["all"] if one in facts["batch"]]
    first, last = facts["all"].index(batch[0]), facts["all"].index(batch[-1])
    later = facts["all"][last + 1 :]
    lost = sorted({*facts["all"]} - {*facts["hosts"]} - {*batch})
    closed = _not_begun(facts["host"], outside(facts, now) if facts["host"] in due else "", later)
    # Nobody waits where the roll-out ends.
    waits = not lost and {*later} & {*due}
    own = [one for one in facts["all"][:first] if one in upgraded][batch.index(facts["host"]) :: len(batch)]
    watched = [*([facts["host"]] if facts["host"] in upgraded else []), *own] if waits else []
    return {
        "refusal": _lost(facts["host"], lost, kept_back) or closed,
        "outside": closed,
        "looks": looks(watched, units.parse_duration("wa_upgrade_soak", facts["soak"])),
    }


def looks(leaders: t.Sequence[str], soak: float) -> list[dict[str, t.Any]]:
    """Returns in which order the `leaders` are watched in a wait of `soak` seconds, and each for how many of them."""
    rounds = [*leaders] * (_ROUNDS if len(leaders) > 1 else 1) if soak else []
    return [{"leader": leader, "seconds": round(soak / len(rounds), 1)} for leader in rounds]


def _lost(host: str, lost: t.Sequence[str], kept_back: t.Collection[str]) -> str:
    """Returns that the leaders of earlier waves that are `lost` keep back this one's deployment; empty if there are none."""
    if not lost:
        return ""
    failed = [one for one in lost if one not in kept_back]
    if failed:
        return f"{host} was not started on: {', '.join(failed)} failed."
    return f"{host} is not begun, since {', '.join(lost)} was not, see above."


def _not_begun(host: str, reason: str, later: t.Sequence[str]) -> str:
    if not reason:
        return ""
    likewise = f" Not begun either, since they are of later waves: {', '.join(later)}." if later else ""
    return f"{host} is not begun: {reason}{likewise}"


def outside(facts: Facts, now: float) -> str:
    """Returns why an outage that begins now is not in the window, and when that opens next; empty if it is.

    `window` is `wa_upgrade_window`, empty for none, in the time `zone` of the host, such as `+0200`; `now` is in seconds since
    1970. What is not known of the outage counts as nothing.
    """
    window, zone, outage = str(facts["window"]), facts["zone"], facts["outage"]
    if not window:
        return ""
    begin, end = units.parse_window(window)
    clock = datetime.fromtimestamp(now, datetime.strptime(zone, "%z").tzinfo)
    closed = units.until_window((begin, end), clock)
    seconds = outage.get("seconds", 0)
    midnight = clock.replace(hour=0, minute=0, second=0, microsecond=0)
    ends, opens = midnight + timedelta(minutes=end), midnight + timedelta(minutes=begin)
    ends += timedelta(days=ends <= clock)
    opens += timedelta(days=opens <= clock)
    if not closed and clock + timedelta(seconds=seconds) <= ends:
        return ""
    takes = f"its outage of about {units.format_duration(seconds)}"
    takes += f" without {' and '.join(outage['unknown'])}" if outage.get("unknown") else ""
    length = ((end - begin) % 1440 or 1440) * 60
    found = (
        f"{takes} is longer than wa_upgrade_window {window}"
        if seconds > length
        else f"it is {clock:%H:%M} ({zone}), and wa_upgrade_window is {window}"
        if closed
        else f"at {clock:%H:%M} ({zone}) {takes} does not fit into wa_upgrade_window {window} any more"
    )
    return f"{found}. It opens next on {opens:%Y-%m-%d} at {opens:%H:%M} ({zone})."


def left_alone(leaders: t.Sequence[str], last: str, failed: t.Collection[str]) -> list[str]:
    """Returns the leaders of the waves after the one that ends with `last`; one that has `failed` is of that wave, and in no batch any more."""
    later = leaders[leaders.index(last) + 1 :] if last in leaders else []
    return [one for one in later if one not in failed]
