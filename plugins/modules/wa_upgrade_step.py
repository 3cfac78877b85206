#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_upgrade_step
short_description: Run a module, and return a failure for an unreachable host
description: [Internal to the roles and playbooks of the collection.]
options:
  module: {description: The full name of the module., type: str, required: true}
  options: {description: The options of the module., type: dict, default: {}}
  may_be_unreachable: {description: Whether an unreachable host is no failure., type: bool, default: false}
  patience:
    description: For how many seconds a host that cannot be reached, or an engine or a database server that is away, is called again.
    type: int
    default: 0
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_upgrade_step:
"""
