# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts of an upgrade's journal by the word for where the upgrade stands."""

from __future__ import annotations

import typing as t

STOPPED_AT = 1000.0
_FACTS: dict[str, tuple[str, dict[str, t.Any]]] = {
    "locked": ("untouched", {}),
    "stopping": ("untouched", {"down_at": STOPPED_AT}),
    "migrating": ("started", {"down_at": STOPPED_AT}),
    "starting": ("done", {"down_at": STOPPED_AT}),
    "verifying": ("done", {"down_at": STOPPED_AT, "up_at": STOPPED_AT + 60}),
}


def at(stage: str, notes: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    """Returns `schema` and `notes` of a journal; `notes` are added."""
    schema, known = _FACTS[stage]
    return {"schema": schema, "notes": {**known, **(notes or {})}}
