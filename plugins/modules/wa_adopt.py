#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_adopt
short_description: Writes the inventory that describes clients that run already
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description: Whether to read a host or to write what was read of all hosts of the play.
    type: str
    choices: [read, write]
    required: true
  readings: {description: 'The variable that V(read) was registered in, for V(write).', type: str}
  dest: {description: 'The folder of the new inventory on the controller, for V(write).', type: path}
  vault_password: {description: What secrets are encrypted with; by default the vault password that the run was started with., type: str}
  overwrite: {description: Whether values that were edited in O(dest) are replaced by those of the hosts., type: bool, default: false}
extends_documentation_fragment: [waba.onprem.docker]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_adopt:
"""
