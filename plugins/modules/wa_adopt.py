#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_adopt
short_description: Writes the inventory that describes clients that run already
version_added: 0.1.0
description:
  - Reads how the client's containers were created and writes an inventory from which the collection keeps them as they are.
  - It displays a report, what needs an action first, and writes it as C(report.md) into the inventory. There it ends with the Compose
    files that an upgrade will use, which are not displayed.
  - It changes nothing on any host. The playbook C(waba.onprem.adopt) runs it, first to V(read) on each host and then to
    V(write) once.
  - What it reads is kept in a file on the controller until the end of the run, so no output, log or fact cache holds a secret.
author:
  - waba.onprem contributors (@waba)
options:
  operation:
    description: Whether to read a host or to write what was read of all hosts of the play.
    type: str
    choices: [read, write]
    required: true
  readings:
    description: The variable that V(read) was registered in, for V(write).
    type: str
  dest:
    description:
      - The folder of the new inventory on the controller, for V(write).
      - Files in it keep what was added to them and what was edited. What was not edited follows the hosts.
    type: path
  vault_password:
    description:
      - What secrets are encrypted with; by default the vault password that the run was started with.
      - Without either, secrets are left as marked blanks.
    type: str
  overwrite:
    description:
      - Whether values that were edited in O(dest) are replaced by those of the hosts.
      - Otherwise they are kept, and those that changed on the hosts as well are an error that names them.
    type: bool
    default: false
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.docker
attributes:
  check_mode:
    description: Reads hosts as otherwise and writes no file.
  diff_mode:
    description: Shows the files, secrets hidden.
notes:
  - V(read) reads the host of the task by other modules, V(write) runs on the controller.
"""

EXAMPLES = r"""
- name: Read what runs
  waba.onprem.wa_adopt:
    operation: read
  register: reading

- name: Write the inventory that describes it
  waba.onprem.wa_adopt:
    operation: write
    readings: reading
    dest: ./inventory
  run_once: true
"""

RETURN = r"""
actions:
  description: What was written, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: [wrote inventory.yml]
survey:
  description: The file on the controller with what was read, for V(write) in the same run. Ansible removes it at the end.
  type: str
  returned: with V(read)
  sample: /home/ansible/.ansible/tmp/ansible-local-4711/wa-adopt-0a1b2c.json
deployments:
  description: The deployments that were found.
  type: list
  elements: str
  returned: with V(write)
  sample: [support]
report:
  description: The lines of the report, in Markdown.
  type: list
  elements: str
  returned: with V(write)
  sample: ["# Adoption report", "", "No host was changed. No container was restarted.", "", "## Needs an action", "", "Nothing."]
"""
