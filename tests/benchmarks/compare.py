# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares two ways of doing the same work, run alternately, and prints the ratio."""

from __future__ import annotations

import os
import resource
import statistics
import time
import typing as t
from dataclasses import dataclass, field


@dataclass
class Side:
    """What one way of doing the work took: seconds of wall clock and of CPU, each run."""

    name: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def median(self, clock: str) -> float:
        """The median of `wall` or `cpu`, in seconds."""
        values: list[float] = getattr(self, clock)
        return statistics.median(values)

    def without(self, name: str, other: Side) -> Side:
        """What is left of each run without the one of `other` in the same round."""
        pairs = zip(self.wall, other.wall), zip(self.cpu, other.cpu)
        return Side(name, *([one - part for one, part in both] for both in pairs))


def _cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(
    sides: t.Mapping[str, t.Callable[[], object]],
    rounds: int = 7,
    prepare: t.Mapping[str, t.Callable[[], object]] | None = None,
    clock: t.Callable[[], float] | None = None,
) -> list[Side]:
    """Run each of `sides` once unmeasured, then `rounds` times in turn, the order reversed every round; with one round only that.

    Turn by turn, so that whatever else the machine does falls on all of them alike. What a side has in `prepare` is run
    before each of its runs and is not measured. `clock` returns seconds of CPU; ours and our children's without it.
    """
    clock = clock or _cpu_seconds
    prepare = prepare or {}
    for name, work in sides.items() if rounds > 1 else ():
        prepare.get(name, bool)()
        work()
    measured = {name: Side(name) for name in sides}
    order = list(sides)
    for _round in range(rounds):
        for name in order:
            prepare.get(name, bool)()
            cpu, wall = clock(), time.perf_counter()
            sides[name]()
            measured[name].wall.append(time.perf_counter() - wall)
            measured[name].cpu.append(clock() - cpu)
        order.reverse()
    return list(measured.values())


def title(text: str) -> None:
    """Begin a benchmark's part of the output, with the load that others put on the machine."""
    print(f"\n{text}\n  load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def tell(sides: t.Sequence[Side], target: float, clock: str = "wall", at_least: bool = False) -> float:
    """Print all of `sides` and the ratio of the first to the last against `target`, as `check` does. Returns the ratio."""
    for side in sides:
        values = getattr(side, clock)
        print(f"  {side.name:<58} {side.median(clock):9.3f} s {clock}  ({min(values):.3f} to {max(values):.3f})")
    ratio = sides[0].median(clock) / sides[-1].median(clock)
    return check(f"{sides[0].name} : {sides[-1].name}", ratio, target, at_least)


def check(what: str, ratio: float, target: float, at_least: bool = False) -> float:
    """Print a ratio and whether its target is reached: at most `target`, or `at_least` it. Returns the ratio."""
    reached = ratio >= target if at_least else ratio <= target
    bound = "at least" if at_least else "at most"
    print(f"  {what}: {ratio:.2f}x, target {bound} {target:g}x: {'reached' if reached else 'MISSED'}", flush=True)
    return ratio
