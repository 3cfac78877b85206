# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong values and faults have the results that docs/faults.md describes."""

from __future__ import annotations

import no_harm
from observer import Lab

NAME = "deep-no-harm"


def test_every_row_of_the_table_of_faults_is_true() -> None:
    lab = Lab(NAME, "h1")
    try:
        lab.lab("up", "--hosts", "h1:ready", "--db", "both")
        first = lab.play("provision", {})
        assert first.code == 0, first.output
        no_harm.run(lab)
    finally:
        lab.lab("down")
