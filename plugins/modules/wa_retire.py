#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_retire
short_description: Internal to C(retire.yml)
version_added: 0.1.0
description:
  - Ends a deployment on one host. Stops and removes its containers and its network, and removes what the collection made. Data stay.
options:
  operation:
    description: V(select) finds the members of O(name), on the controller. V(plan) shows what goes and what stays. V(remove) removes.
    type: str
    choices: [select, plan, remove]
    default: plan
  name:
    description: The name of the deployment, for V(select).
    type: str
  desired:
    description: What the inventory says of the deployment on the host. The action plugin gives it.
    type: dict
extends_documentation_fragment:
  - waba.onprem.docker
  - waba.onprem.attributes
author:
  - waba.onprem contributors (@waba)
"""

EXAMPLES = r"""
- name: Read what goes and what stays
  waba.onprem.wa_retire:
    operation: plan
"""

RETURN = r"""
goes:
  description: What goes.
  returned: operation is plan or remove
  type: list
  elements: str
  sample: [container wa-support-waweb-1 (r.example.com/web:v2.53.4, running), /opt/waba/support/compose.yml]
stays:
  description: What stays.
  returned: operation is plan or remove
  type: list
  elements: str
  sample: [media volume wa-support_whatsappMedia at /var/lib/docker/volumes/wa-support_whatsappMedia/_data]
has_client:
  description: Whether a container or the record of a client was there.
  returned: operation is plan or remove
  type: bool
  sample: true
deployment:
  description: Names and paths of the deployment on this host.
  returned: operation is plan
  type: dict
  sample: {lock_file: /var/lib/waba/support.lock}
members:
  description: The members of the deployment.
  returned: operation is select
  type: list
  elements: str
  sample: [a.example.com, b.example.com]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import retirement
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

_REQUESTS = 60  # seconds of one request beyond those that a container has to stop


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
    result = Result(module)
    params = module.params
    desired = t.cast("retirement.Desired", params["desired"])
    try:
        seconds = desired["stop_seconds"]
        engine = Docker({**params, "docker_timeout": f"{seconds + _REQUESTS}s"})
        found = retirement.plan(engine, desired)
        result.values.update(goes=found.goes, stays=found.stays, has_client=found.has_client)
        if params["operation"] == "remove" and not module.check_mode:
            retirement.apply(engine, found, seconds)
    except WaError as error:
        result.fail(error)
    for line in found.goes if params["operation"] == "remove" else []:
        result.record_change(f"remove {line}")
    if result.changed:
        result.diff({"present": found.goes}, {"present": []})
    result.exit()


if __name__ == "__main__":
    main()
