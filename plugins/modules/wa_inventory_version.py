#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_inventory_version
short_description: Writes the version that a deployment runs into the inventory
description: [Internal to the roles and playbooks of the collection.]
options:
  target: {description: 'The version, without a leading C(v).', type: str, required: true}
  members: {description: The hosts of the deployment., type: list, elements: str, required: true}
  update: {description: Whether to write it; otherwise the line to change is returned., type: bool, default: false}
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_inventory_version:
"""
