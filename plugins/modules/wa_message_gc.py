#!/usr/bin/python

# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_message_gc
short_description: Bring the messages table of a WhatsApp Business API client under its limit
version_added: 0.1.0
description:
  - Calls the client's own message garbage collection (GC) when it is due, follows it to its end and proves the result.
  - Rows are deleted by the client only, never by this module.
  - The vendor recommends the client's automatic GC and advises against GC from outside in most cases. It is for the
    time before an upgrade, and for clients whose automatic GC is off.
  - It marks no inbound message as read, which would let GC take more of them but shows read receipts to the customers, and
    it calls no GC of media.
options:
  policy:
    description:
      - When GC is due.
      - V(limit) when the tables C(messages) hold more than O(max_messages) rows.
      - V(daily) also when the last one began 24 hours ago, less half an hour, since no scheduler is to the second. One that
        began later and left the table above the limit is not repeated before that.
      - V(always) at every run.
      - V(never) calls none. One that runs is followed to its end, as before an upgrade.
    type: str
    choices: [limit, daily, always, never]
    default: limit
  max_messages:
    description: The limit in rows. The vendor calls more than 2 million large, and wants it lower before an upgrade.
    type: int
    default: 2000000
  window:
    description:
      - When GC may start, such as V(01:00-05:00), in the host's time, the end not included. It may pass midnight.
      - Any time when not given.
    type: str
  wait:
    description:
      - Whether to follow the GC to its end.
      - Without it GC is called, or one that runs is measured once, and RV(running) says whether it still runs.
    type: bool
    default: true
  wait_timeout:
    description:
      - How long to wait for the end of a round, in seconds or as text. GC is called up to ten times in one run, as long as
        each call has deleted something.
      - What still deletes then is taken up by the next run, which waits as long again.
    type: str
    default: 2h
  poll_interval:
    description: The longest pause between two measurements, in seconds or as text. The last one is made when the quiet period ends.
    type: str
    default: 10s
  quiet_period:
    description:
      - For how long nothing of GC may be seen before it is over, in seconds or as text.
      - It must be longer than the client takes to begin after the call, and than its longest pause. Both are unknown; lower it
        only for a client whose GC you know.
    type: str
    default: 180s
  state_file:
    description:
      - What is kept on the managed host of the GC that runs, or else of the last one.
      - C(/var/lib/waba/gc-<deployment>.json) when not given, after the folder of O(env_file). That a login was refused is kept
        beside it, in C(api-login-<deployment>.json).
    type: path
  lock_file:
    description:
      - The deployment's lock on the managed host. No GC is called while its lease lasts, and after that while an upgrade is past its
        stage C(locked).
      - C(/var/lib/waba/<deployment>.lock) when not given. With an empty text no lock is looked at.
    type: path
  held:
    description:
      - Why the client may be stopped on purpose, as a text that completes C(the client is).
      - No GC is then called where the API or the Coreapp does not answer, and RV(skip_reason) says so; otherwise that is an error.
    type: str
  run_id:
    description:
      - The RV(run_id) of an earlier step. When that run is over, its result is returned and no new one begins.
    type: str
extends_documentation_fragment:
  - waba.onprem.api
  - waba.onprem.attributes
  - waba.onprem.database
  - waba.onprem.env
  - waba.onprem.lease
attributes:
  idempotent:
    support: partial
    details: With O(policy=always) GC is called at every run. RV(ignore:changed) means that this task has called GC, whatever that deleted.
notes:
  - How the end is known, in five sentences. Before the call, some 4,000 primary keys from across the tables are noted, or all keys of
    small ones. GC is complete when for a full O(quiet_period) no measurement has seen a running delete on C(messages), and no more of these
    keys have gone than traffic takes - in 180 seconds 0.2 percent, at which a table would last a day. Where the server counts the
    deletes and inserts of the table itself (PostgreSQL, or MySQL with a readable performance schema), these must not show that it gets
    smaller faster than before the call, either, but for counts that come within 20 seconds and only catch up with the keys that have
    gone. A GC slower than some 150 rows a second in 3 million could be taken for traffic; counters of the
    complete server are not used, so other clients on it do not matter.
  - A GC that runs already, whoever has called it, is followed to its end and not called again. It is seen when rows go, or a delete
    runs, in the ten seconds before the call.
  - Use it at one host of a deployment, the leader.
  - With O(wait=true) an action plugin drives the steps and displays a line of progress for each measurement on standard error. No connection is
    held open. With C(async) the module itself waits.
  - A call logs in, and out again; a step that only measures needs no login. A login that was refused is not tried again with the same
    password for a day. When it has become right, remove the record that the message names.
author:
  - waba.onprem contributors (@waba)
"""

EXAMPLES = r"""
- name: Make the database small enough for an upgrade
  waba.onprem.wa_message_gc:
    env_file: /opt/waba/support/db.env
    api_password: "{{ wa_api_password }}"

- name: Once a day in idle time
  waba.onprem.wa_message_gc:
    policy: daily
    window: 01:00-05:00
    env_file: /opt/waba/support/db.env
    api_password: "{{ wa_api_password }}"

- name: Wait until no GC runs
  waba.onprem.wa_message_gc:
    policy: never
    env_file: /opt/waba/support/db.env
"""

RETURN = r"""
actions:
  description: Actions that were made, or predicted in check mode.
  returned: always
  type: list
  elements: str
  sample: ["called message GC (round 1): more rows than the limit"]
messages_before:
  description: The rows before the first call; an estimate when there were more than the limit.
  returned: always
  type: int
  sample: 3200000
messages_after:
  description: The rows now; V(null) while GC runs, and when they were not counted.
  returned: always
  type: int
  sample: 1986011
exact:
  description: Whether the last figure (RV(messages_after), else RV(messages_before)) is exact.
  returned: always
  type: bool
  sample: true
rounds:
  description: How often GC was called.
  returned: always
  type: int
  sample: 1
nodes:
  description: For every node of the last round its C(status) in the answer to the call. A single client's is C(coreapp).
  returned: always
  type: dict
  sample: {coreapp: {status: processing}}
databases:
  description: The databases that were counted.
  returned: always
  type: list
  elements: str
  sample: [waba_messages]
skip_reason:
  description: Why no GC was called, or V(null).
  returned: always
  type: str
  sample: not more rows than the limit
next_due:
  description: When GC may be due again, if that is known.
  returned: always
  type: str
  sample: "2026-02-01T01:00:00+01:00"
running:
  description: Whether GC still runs and another step is needed.
  returned: always
  type: bool
  sample: false
run_id:
  description: The run, for O(run_id).
  returned: always
  type: str
  sample: 2f1c8a
progress:
  description:
    - Where a running GC stands, with C(phase) and C(round), and as estimates C(rows), C(deleted), C(rate) and C(left) (seconds to
      the limit). C(quiet_left) is in how many seconds it may be over.
  returned: always
  type: dict
  sample: {phase: deleting, round: 1, rows: 2400000, deleted: 800000, rate: 9500.0, left: 42.1, quiet_left: 180.0}
"""

import os
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import LEASE_SPEC
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options
from ansible_collections.waba.onprem.plugins.module_utils._gc import policy as gc_policy
from ansible_collections.waba.onprem.plugins.module_utils._gc.run import GcRun
from ansible_collections.waba.onprem.plugins.module_utils._webapp import client as webapp

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "policy": {"type": "str", "choices": list(gc_policy.POLICIES), "default": "limit"},
    "max_messages": {"type": "int", "default": 2000000},
    "window": {"type": "str"},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "str", "default": "2h"},
    "poll_interval": {"type": "str", "default": "10s"},
    "quiet_period": {"type": "str", "default": "180s"},
    "state_file": {"type": "path"},
    "lock_file": {"type": "path"},
    "held": {"type": "str"},
    "run_id": {"type": "str"},
}


def complete(params: dict[str, t.Any]) -> None:
    """Sets the paths derived from the deployment's name, the folder of db.env. Raises WaError for invalid options."""
    if not params["env_file"]:
        raise WaError("option env_file", "not given", "the client's db.env")
    names = topology.names(os.path.basename(os.path.dirname(os.path.abspath(params["env_file"]))) or "client")
    params["state_file"] = params["state_file"] or names["gc_state_file"]
    params["lock_file"] = names["lock_file"] if params["lock_file"] is None else params["lock_file"]
    if params["max_messages"] < 0:
        raise WaError("option max_messages", f"{params['max_messages']}", "0 or more")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **webapp.ARGUMENT_SPEC,
            **database.ARGUMENT_SPEC,
            **env_options.ARGUMENT_SPEC,
            **LEASE_SPEC,
            **ARGUMENT_SPEC,
        },
        supports_check_mode=True,
    )
    params = module.params
    with Result(module, Redactor([params["api_password"]])) as result:
        complete(params)
        pause = max(parse_duration("poll_interval", params["poll_interval"]), 0.1)
        run = GcRun(params, result, module.check_mode)
        while not run.step() and params["wait"]:
            time.sleep(min(pause, (result.values["progress"] or {}).get("quiet_left", pause)))


if __name__ == "__main__":
    main()
