#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_webapp_info
short_description: Asks the API of a WhatsApp Business API client
description: [Internal to the roles and playbooks of the collection.]
options:
  query: {description: What to ask., type: str, choices: [health, reachable, drain], default: health}
  topology: {description: What V(health) must look like., type: str, choices: [single, high_availability, multiconnect], default: single}
  shards: {description: The number of shards of a V(multiconnect) client., type: int, default: 1}
  containers:
    description: Ids of Coreapps and masters of a cluster that V(health) must know as nodes.
    type: list
    elements: str
    default: []
  expect_version: {description: 'The version that the API must report, with or without V(v); any when not given.', type: str}
  wait: {description: Whether to wait; without it the client is asked once and a bad answer is no failure., type: bool, default: true}
  wait_timeout: {description: 'How long to wait, in seconds or as text such as V(120s).', type: str, default: 120s}
  poll_interval: {description: 'The pause between two checks, in seconds or as text.', type: str, default: 1s}
extends_documentation_fragment: [waba.onprem.api, waba.onprem.lease]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_webapp_info:
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._webapp import client as webapp_client
from ansible_collections.waba.onprem.plugins.module_utils._webapp import waiting


def health(params: t.Mapping[str, t.Any], result: Result, webapp: webapp_client.Webapp) -> None:
    expected = params["expect_version"] and topology.normalise_version(params["expect_version"])
    result.values.update(healthy=False, nodes={}, version="")

    def poll() -> tuple[bool, str]:
        result.values["healthy"] = False
        answer, version = webapp.health(again=False)
        nodes = {"coreapp": answer} if "gateway_status" in answer else answer
        good, reason = topology.check_health(params["topology"], answer, params["shards"], params["containers"])
        if good and expected and version != expected:
            good, reason = False, f"version {version or 'unknown'}, expected {expected}"
        result.values.update(healthy=good, nodes=nodes, version=version)
        return good, reason

    waiting.wait_for(params, result, f"health of {webapp.url}", poll, params["wait"])


def reachable(params: t.Mapping[str, t.Any], result: Result, webapp: webapp_client.Webapp) -> None:
    def poll() -> tuple[bool, str]:
        return webapp.answers(), "answers"

    waiting.wait_for(params, result, f"API {webapp.url}", poll, params["wait"])


def drain(params: t.Mapping[str, t.Any], result: Result, webapp: webapp_client.Webapp) -> None:
    def poll() -> tuple[bool, str]:
        figures = [value for name, _labels, value in webapp.stats(again=False) if name.endswith("callback_queue_size")]
        if not figures:
            raise WaError("/v1/stats/app", "no callback_queue_size in it", "the figure of queued callbacks")
        result.values["queue"] = int(sum(figures))
        return not result.values["queue"], f"{result.values['queue']} callbacks queued"

    result.values["queue"] = None
    waiting.wait_for(params, result, f"callbacks of {webapp.url}", poll, params["wait"])


QUERIES = {"health": health, "reachable": reachable, "drain": drain}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **webapp_client.ARGUMENT_SPEC,
            **waiting.ARGUMENT_SPEC,
            "query": {"type": "str", "choices": list(QUERIES), "default": "health"},
            "topology": {"type": "str", "choices": list(topology.TOPOLOGIES), "default": "single"},
            "shards": {"type": "int", "default": 1},
            "containers": {"type": "list", "elements": "str", "default": []},
            "expect_version": {"type": "str"},
            "wait": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    with Result(module, Redactor(params[name] for name in ("api_password", "api_key"))) as result:
        webapp = webapp_client.Webapp(params)
        try:
            QUERIES[params["query"]](params, result, webapp)
        except webapp_client.ApiError as error:
            result.values["kind"] = error.kind
            raise
        finally:
            webapp.log_out()


if __name__ == "__main__":
    main()
