# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Message GC: whether what still goes is the client's ordinary deletes, which a short look before the call has missed. Pure rules."""

from __future__ import annotations

import typing as t

LONGEST = 25  # looks to keep: as many as are ever asked for, and the one that they begin from
TRAFFIC = 150.0  # rows a second that traffic alone may take: the vendor's limit of sent messages, in a burst
_FEW, _MANY = 6, 24  # looks in a row of one shape; the more of them, the less else speaks for it
_LUMP = 4  # times the mean that one look of one shape may take
_CONTRAST = 0.01  # of the fastest look: GC does not go on at so little
_FALL = 0.5  # of what went: the table got smaller by it

Look = t.Sequence[float]  # when rows went, how many, and how many there are then


def ordinary(looks: t.Sequence[Look], fastest: float) -> int:
    """How many of the last looks are ordinary deletes, 0 when that cannot be told. `fastest` is the fastest rate seen.

    They are of one shape: as fast in each third of them. Few are enough where they are next to nothing beside
    what GC took and the table does not get smaller; many, no faster than traffic, where only one of the two is so.
    """
    for count in (_FEW, _MANY):
        if len(looks) <= count:
            return 0
        begin, *last = looks[-count - 1 :]
        span, rows = last[-1][0] - begin[0], sum(look[1] for look in last)
        if span <= 0 or not _even(begin[0], last):
            continue
        small = rows / span <= _CONTRAST * fastest
        falls = begin[2] - last[-1][2] > _FALL * rows
        many = count == _MANY and rows / span <= TRAFFIC
        if (small and not falls) or (many and (small or not falls)):
            return count
    return 0


def _even(begin: float, looks: t.Sequence[Look]) -> bool:
    """Whether rows went about as fast in each third of the looks, and at none far more than at the others."""
    rates, third = [], len(looks) // 3
    for number in range(3):
        part = looks[number * third : (number + 1) * third]
        rates.append(sum(look[1] for look in part) / (part[-1][0] - begin))
        begin = part[-1][0]
    rows = [look[1] for look in looks]
    return max(rates) <= 2 * min(rates) and max(rows) <= _LUMP * sum(rows) / len(rows)
