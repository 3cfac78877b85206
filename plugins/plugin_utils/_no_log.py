# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Censors what `-vvv` displays of a module's result, for an action whose own result and errors have no secret."""

from __future__ import annotations

import contextlib
import typing as t


@contextlib.contextmanager
def censored(action: t.Any) -> t.Iterator[None]:
    """Does for the modules that the action calls meanwhile what `no_log` does for a task."""
    holders = action._task, action._connection._play_context
    before = [holder.no_log for holder in holders]
    for holder in holders:
        holder.no_log = True
    try:
        yield
    finally:
        for holder, value in zip(holders, before):
            holder.no_log = value
