# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: desired
short_description: The desired state of a host by concern
version_added: 0.1.0
author:
  - waba.onprem contributors (@waba)
description:
  - Returns what the inventory wants of a host, as one dictionary for each concern. The roles call their modules with it, and
    M(waba.onprem.wa_drift_info) compares the host with it, so that the two never disagree.
  - Options that the inventory does not give take the defaults of the roles, also where the role is not entered.
options:
  _terms:
    description: Names of concerns; V(identity) returns the facts by which a client is recognised, V(api) the options for the client's API,
      V(compose) how Compose is called,
      V(checked_compose) the same as C(compose), with the names of the C(services), and instead of an error its C(refusal),
      V(hold) why the deployment's containers stay as they are, by the inventory or a file that the run has read, or an empty text,
      V(project) the options with which modules have Compose read the project before its files are written,
      V(deployment) the names and paths of the deployment, V(images) the image of each kind,
      V(neighbours) the Compose projects of other deployments on the machine,
      V(guard) what M(waba.onprem.wa_info) needs to say what forbids a start,
      V(refused_values) a message for each invalid value, V(restart_allowed) whether containers may be restarted now.
    type: list
    elements: str
    required: true
    choices:
      - host
      - media_volume
      - db_env
      - client
      - log_cleanup
      - deployment
      - images
      - neighbours
      - guard
      - refused_values
      - restart_allowed
      - api
      - compose
      - checked_compose
      - identity
      - project
      - hold
  host:
    description: A host of the inventory in place of the task's.
    type: str
"""

EXAMPLES = r"""
- name: Ensure db.env
  waba.onprem.wa_db_env:
  module_defaults:
    waba.onprem.wa_db_env: "{{ lookup('waba.onprem.desired', 'db_env') }}"
"""

RETURN = r"""
_list:
  description: The desired state of each concern; it may hold secrets.
  type: list
  elements: dict
  sample:
    - path: /opt/waba/support/db.env
      engine: MYSQL
      hostname: db.example.com
      username: whatsapp
      password: "********"
"""

import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible has no types
    """See the documentation above."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **options: t.Any) -> list[t.Any]:
        """The desired state of each concern in `terms`."""
        given, template = variables or {}, self._templar.template
        inventory = Inventory(given, template)
        if options.get("host"):
            inventory = Inventory.of_host(options["host"], given["hostvars"], given["groups"], template)
        unknown = [term for term in terms if term not in desired.TERMS]
        if unknown:
            raise AnsibleError(f"no concern is called {unknown[0]!r}; expected one of {', '.join(desired.TERMS)}")
        try:
            return [desired.TERMS[term](inventory) for term in terms]
        except WaError as error:
            raise AnsibleError(str(error)) from None
