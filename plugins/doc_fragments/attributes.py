# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Predicts exactly what would change, and changes nothing.
    support: full
  diff_mode:
    description: Returns what changed, or in check mode what would, with secrets hidden.
    support: full
  idempotent:
    description: Run again at once under the same circumstances, it changes nothing.
    support: full
"""
