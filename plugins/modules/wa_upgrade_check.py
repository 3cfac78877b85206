#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_upgrade_check
short_description: Read and check a host or a deployment before its upgrade
description: [Internal to the roles and playbooks of the collection.]
options:
  look: {description: 'A look, whose result is returned as it is.', type: str}
  looks: {description: 'Looks, whose results are returned by name.', type: list, elements: str}
  part:
    description:
      - Whether the host is checked before or after its deployment was read, what was found is displayed, the members are checked
        together, it is determined where the upgrade goes on, or whether all members run the new version.
    type: str
    choices: [host, deployment, display, members, step, proof]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_upgrade_check:
"""
