#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_upgrade_step
short_description: Run a module, and return a failure for an unreachable host
version_added: 0.1.0
description:
  - Runs another module or action on the host of the task, and returns its result. A host that cannot be reached is a failed
    task, which a C(rescue) handles, or one failed item of a loop over members.
  - Ansible itself ends a play for an unreachable host without its C(rescue). An upgrade would leave the client stopped,
    without a message.
options:
  module:
    description: The full name of the module.
    type: str
    required: true
  options:
    description: The options of the module. Its C(module_defaults) do not apply.
    type: dict
    default: {}
extends_documentation_fragment:
  - waba.onprem.attributes
attributes:
  check_mode:
    description: The module runs in check mode.
    details: As far as the module supports it.
  diff_mode:
    details: As far as the module supports it.
  idempotent:
    details: As far as the module is idempotent.
notes:
  - Supports C(async), C(timeout), C(environment) and C(no_log) as the module does.
author:
  - waba.onprem contributors (@waba)
"""

EXAMPLES = r"""
- name: Stop the client on all members
  waba.onprem.wa_upgrade_step:
    module: community.docker.docker_compose_v2
    options:
      project_src: /opt/waba/support
      state: stopped
  loop: [support1, support2]
  delegate_to: "{{ item }}"
"""

RETURN = r"""
reached:
  description: Whether the host could be reached. All other values are those of the module.
  returned: the host could not be reached
  type: bool
  sample: false
"""
