#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_upgrade_watch
short_description: Watches an upgraded deployment between two waves
description: [Internal to the roles and playbooks of the collection.]
options:
  leader: {description: 'The leader of the deployment, to which the task is delegated.', type: str, required: true}
  seconds: {description: For how long., type: float, required: true}
  api: {description: The options of M(waba.onprem.wa_webapp_info) that reach the API., type: dict, required: true}
  health: {description: Its options for the health., type: dict, required: true}
  drain_timeout: {description: The seconds within which the callback queue has to be empty once., type: int, required: true}
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_upgrade_watch:
"""
