#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_status
short_description: Reports the state of the fleet
description: [Internal to the roles and playbooks of the collection.]
options:
  part:
    description: V(report) and V(notify) are for all hosts of the play, the second one after a comparison alone; V(verdict) fails on one host.
    type: str
    choices: [report, notify, verdict]
    default: report
  failing: {description: 'What V(report) has found to fail the run, by host.', type: dict}
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the playbooks do
  waba.onprem.wa_status:
"""
