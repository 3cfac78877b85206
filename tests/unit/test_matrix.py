# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells of the matrix contain every pair of versions."""

from __future__ import annotations

import itertools

from cells import COMPOSE, CORES, DATABASES, RELEASES, Cell, cells
from walab.model import ENGINES

CELLS = [cell for core in CORES for cell in cells(core)]


def test_every_pair_of_values_is_in_a_cell() -> None:
    values = (CORES, DATABASES, RELEASES, COMPOSE)
    for one, other in itertools.combinations(range(len(Cell._fields)), 2):
        assert {(cell[one], cell[other]) for cell in CELLS} == set(itertools.product(values[one], values[other]))


def test_every_database_of_the_lab_is_in_the_matrix() -> None:
    assert sorted(DATABASES) == sorted(ENGINES)


def test_hosts_of_a_lab_have_unique_names() -> None:
    assert len({cell.host for cell in cells(CORES[0])}) == len(DATABASES)
