# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the unit tests of message GC share."""

from __future__ import annotations

from gc_module import client, fake

__all__ = ["client", "fake"]
