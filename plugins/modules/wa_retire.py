#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_retire
short_description: Ends a deployment on one host
description: [Internal to the roles and playbooks of the collection.]
options:
  operation: {description: 'V(select) finds the members, V(plan) shows, V(remove) removes.', type: str, choices: [select, plan, remove], default: plan}
  name: {description: 'The name of the deployment, for V(select).', type: str}
  desired: {description: What the inventory says of the deployment on the host., type: dict}
extends_documentation_fragment: [waba.onprem.docker]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_retire:
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import application, retirement
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "choices": ["select", "plan", "remove"], "default": "plan"},
            "name": {"type": "str"},
            "desired": {"type": "dict"},
            **ARGUMENT_SPEC,
        },
        required_if=[("operation", one, ["desired"]) for one in ("plan", "remove")],
        supports_check_mode=True,
    )
    params = module.params
    desired = t.cast("retirement.Desired", params["desired"])
    with Result(module) as result:
        engine = Docker({**params, "docker_timeout": application.TIMEOUT})
        found = retirement.plan(engine, desired)
        result.values.update(goes=found.goes, stays=found.stays, has_client=found.has_client)
        if params["operation"] == "remove":
            if not module.check_mode:
                retirement.apply(engine, found)
            for line in found.goes:
                result.record_change(f"remove {line}")
        if result.changed:
            result.diff({"present": found.goes}, {"present": []})


if __name__ == "__main__":
    main()
