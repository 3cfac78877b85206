#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_guard
short_description: Asks the client's database whether a Coreapp may be started
description: [Internal to the roles and playbooks of the collection.]
options:
  purpose:
    description:
      - V(others) and V(record) only read.
      - V(idle) and V(back) are of an upgrade, and read no content. V(idle) is where no container of the client may run; V(back) is where one
        may, knows sessions from where the client's are from, and is not refused by a database that does not answer.
    type: str
    choices: [start, others, record, idle, back]
    default: start
  databases: {description: 'The databases of the client, where they are known, for V(idle) and V(back).', type: list, elements: str, default: []}
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_guard:
"""
