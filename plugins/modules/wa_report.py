#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_report
short_description: Writes the page and the metrics of the fleet
description: [Internal to the roles and playbooks of the collection.]
options:
  path: {description: 'The folder of the controller with C(fleet.json), where the files are written.', type: path, required: true}
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the role does
  waba.onprem.wa_report:
    path: /srv/wa-reports
"""
