# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: desired
short_description: The desired state of a host by concern
version_added: 0.1.0
author: [waba.onprem contributors (@waba)]
description: [Internal to the roles and playbooks of the collection.]
options:
  _terms:
    description: Names of concerns, the keys of C(TERMS) in C(plugin_utils/_desired.py) and C(plugin_utils/_client_step.py).
    type: list
    elements: str
    required: true
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
"""

import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _client_step as client_step
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible has no types
    """See the documentation above."""

    def run(self, terms: list[str], variables: dict[str, t.Any] | None = None, **options: t.Any) -> list[t.Any]:
        """The desired state of each concern in `terms`."""
        given, template = variables or {}, self._templar.template
        inventory, rules = Inventory(given, template), {**desired.TERMS, **client_step.TERMS}
        if options.get("host"):
            inventory = Inventory.of_host(options["host"], given["hostvars"], given["groups"], template)
        unknown = [term for term in terms if term not in rules]
        if unknown:
            raise AnsibleError(f"no concern is called {unknown[0]!r}; expected one of {', '.join(rules)}")
        try:
            return [rules[term](inventory) for term in terms]
        except WaError as error:
            raise AnsibleError(str(error)) from None
