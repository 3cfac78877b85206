# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells of the matrix contain every pair of versions, and each has a result for each step."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from cells import COMPOSE, CORES, DATABASES, PASSED, RELEASES, STEPS, Cell, cells
from walab.model import ENGINES

CELLS = [cell for core in CORES for cell in cells(core)]
RESULTS = json.loads((Path(__file__).resolve().parents[1] / "matrix" / "results.json").read_text(encoding="utf-8"))


def test_every_pair_of_values_is_in_a_cell() -> None:
    values = (CORES, DATABASES, RELEASES, COMPOSE)
    for one, other in itertools.combinations(range(len(Cell._fields)), 2):
        assert {(cell[one], cell[other]) for cell in CELLS} == set(itertools.product(values[one], values[other]))


def test_every_database_of_the_lab_is_in_the_matrix() -> None:
    assert sorted(DATABASES) == sorted(ENGINES)


def test_hosts_of_a_lab_have_unique_names() -> None:
    assert len({cell.host for cell in cells(CORES[0])}) == len(DATABASES)


def test_each_cell_has_one_result() -> None:
    found = [Cell(*(row[name] for name in Cell._fields)) for row in RESULTS]
    assert sorted(found) == sorted(CELLS)


def test_each_step_of_a_cell_has_a_result() -> None:
    """A cell without steps was run before they were recorded."""
    assert len(set(STEPS)) == len(STEPS)
    recorded = [row for row in RESULTS if "steps" in row]
    assert [row for row in recorded if tuple(row["steps"]) != STEPS] == []
    assert recorded


def test_a_step_passes_or_says_why_not() -> None:
    for row in RESULTS:
        for step, result in row.get("steps", {}).items():
            assert (
                result == PASSED
                or (row["failed"] and result in ("failed", "not run after the failure"))
                or (step.startswith("upgrade with") and result.startswith("left out: "))
            )


def test_each_cell_is_upgraded_one_way() -> None:
    for row in RESULTS:
        if "steps" in row and not row["failed"]:
            ways = [row["steps"][step] for step in ("upgrade with a dump", "upgrade without a dump")]
            assert ways.count(PASSED) == 1
