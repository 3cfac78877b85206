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
options:
  policy:
    description:
      - When GC is due.
      - V(limit) when the tables C(messages) hold more than O(max_messages) rows.
      - V(daily) also when the last one began O(min_interval) ago. One that began later and left the table above the limit
        is not repeated before that.
      - V(always) at every run.
    type: str
    choices: [limit, daily, always]
    default: limit
  max_messages:
    description: The limit in rows. The vendor calls more than 2 million large, and wants it lower before an upgrade.
    type: int
    default: 2000000
  min_interval:
    description:
      - The time between two runs with O(policy=daily), in seconds or as text. The vendor asks for 24 hours.
      - Counted from begin to begin, less one part in 48 (half an hour in 24), since no scheduler is to the second.
    type: str
    default: 24h
  window:
    description: When GC may start, such as V(01:00-05:00), the end not included. It may pass midnight. Any time when not given.
    type: str
  timezone:
    description: The time zone of O(window), such as V(Europe/Berlin); the host's when not given.
    type: str
  max_outbound_rate:
    description:
      - Outbound messages a second above which the client is too busy for GC.
      - Taken from two reads of C(/v1/stats/app), which is in memory; C(/v1/stats/db) is never read.
    type: float
  databases:
    description:
      - The client's databases, of which those with a table C(messages) are counted. They need not begin with the prefix.
      - Found by the prefix in db.env when not given. A set that may hold a neighbour's database is refused.
      - Of several schemas of a PostgreSQL database the one in the user's C(search_path) is the client's.
    type: list
    elements: str
  project:
    description:
      - The Compose project of the client.
      - The defaults of O(env_file), O(state_file) and O(lock_file) come from it.
    type: str
  env_file:
    description:
      - The client's db.env on the managed host, the only source of the database's settings.
      - C(/opt/waba/<deployment>/db.env) when not given, with the deployment taken from O(project).
    type: path
  env_format:
    description: Format of db.env. V(portable) is read alike by Docker Compose and C(docker run); the others write for one of them.
    type: str
    choices: [portable, compose, docker]
    default: portable
  max_rounds:
    description: How often GC is called in one run, as long as each call has deleted something.
    type: int
    default: 10
  mark_read:
    description:
      - Ids of inbound messages to mark as read first, so that GC takes them too.
      - This shows read receipts to the customers. It needs the application setting C(pass_through=false).
      - Marking that was interrupted goes on with the next run that is given the same ids.
    type: list
    elements: str
  mark_read_file:
    description: A file on the managed host with more such ids, one a line.
    type: path
  mark_read_rate:
    description: How many messages are marked in a second.
    type: float
    default: 5
  media:
    description:
      - Whether to call GC of media too, once message GC has ended. It runs on the leader only.
      - Nothing but a notification tells its end, so without O(notifications) nobody waits for it.
    type: bool
    default: false
  completion:
    description:
      - What tells the end of a GC.
      - V(database) is the table itself. Its delete rate is back at what it was before the call, for O(quiet_period), and no
        C(DELETE) on it runs. Ordinary deletes that the look before the call has missed are told by their even, small shape.
      - V(notifications) is one notification of every node in the file O(notifications).
      - V(none) calls and looks no further. Such a GC counts as running for O(wait_timeout); none is called beside it.
        RV(ignore:changed) then means that GC was called.
    type: str
    choices: [database, notifications, none]
    default: database
  notifications:
    description:
      - A file on the managed host to which the business's own webhook consumer appends the client's GC notifications, one JSON
        object a line.
      - A numeric C(timestamp) (seconds since 1970) in the line's object tells those of an older run.
    type: path
  wait:
    description:
      - Whether to follow the GC to its end.
      - Without it, one step is done - start or take up, judge, return - and RV(running) tells whether to come again.
    type: bool
    default: true
  wait_timeout:
    description:
      - How long to wait for the end of a round, in seconds or as text.
      - What still deletes then is taken up by the next run, which waits as long again. A round that has deleted nothing in so
        long is taken to delete nothing.
    type: str
    default: 2h
  poll_interval:
    description:
      - The pause between two looks, in seconds or as text.
      - The next one comes sooner in the first minutes of a GC that deletes, and when it may tell the end.
    type: str
    default: 10s
  quiet_period:
    description:
      - How long the delete rate must be back to normal, in seconds or as text.
      - Five times the longest pause seen between deletes, when that is longer.
      - PostgreSQL counts the last deletes of an idle session up to ten seconds late. Such counts take nothing from this time, but in
        the last three quarters of it there may be none. Less than ten seconds more than the pauses of a GC is too little.
      - The rate before the call is taken over the same time, at most 30 seconds; 5 seconds when hardly a row goes in them.
    type: str
    default: 60s
  state_file:
    description:
      - What is remembered on the managed host - the GC that runs, the last one, a refused login.
      - C(/var/lib/waba/gc-<deployment>.json) when not given.
    type: path
  lock_file:
    description:
      - The lock of the deployment's upgrade on the managed host. While it is there no GC is called.
      - C(/var/lib/waba/<deployment>.lock) when not given. With an empty text no lock is looked at.
    type: path
  run_id:
    description:
      - The RV(run_id) of an earlier step. When that run is over, its result is returned and no new one begins.
    type: str
  session:
    description:
      - The RV(session) of an earlier step, which makes a login needless.
      - One that was sealed with another key, or is of another API or user, counts for nothing.
    type: str
  seal_key:
    description: The key for O(session) and RV(session). The action plugin sets it, the same for all of one C(ansible-playbook).
    type: str
  retry_refused_login:
    description:
      - Whether to try a login once more that was refused before with the same password.
      - For one run, when the password has become the right one, as by V(first_login) of M(waba.onprem.wa_webapp), or when the
        account is no longer locked. Repeated wrong logins lock it.
    type: bool
    default: false
extends_documentation_fragment:
  - waba.onprem.api
  - waba.onprem.attributes
  - waba.onprem.database
attributes:
  idempotent:
    support: partial
    details:
      With O(policy=always) GC is called at every run; RV(ignore:changed) still means that rows fell, but for O(completion=none).
notes:
  - Use it at one host of a deployment, the leader.
  - With O(wait=true) an action plugin drives the steps and shows one line of progress a look on standard error. No connection is
    held open. The variable C(wa_message_gc_progress=false) turns the lines off. With C(async) the module itself waits.
  - Rows during the run are estimates. RV(messages_after) is exact when RV(exact) is true, which it is at or under the limit.
  - A login that was refused is remembered by a slow, salted hash and not tried again until the password changes, but with O(retry_refused_login).
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
    timezone: Europe/Berlin
    env_file: /opt/waba/support/db.env
    api_password: "{{ wa_api_password }}"

- name: Start only
  waba.onprem.wa_message_gc:
    env_file: /opt/waba/support/db.env
    api_password: "{{ wa_api_password }}"
    wait: false
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, in words.
  returned: always
  type: list
  elements: str
  sample: ["message GC deleted 1200000 rows (rounds: 1): 3200000 rows are more than 2000000"]
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
messages_deleted:
  description:
    - The rows that GC deleted, from the notifications when every node sent one and the server's counters do not gainsay them
      by a factor of 3, else from those.
    - Those of MySQL and MariaDB count the deletes of all its tables, so they count only where the table got smaller, too, and
      two exact counts are preferred to them.
  returned: always
  type: int
  sample: 1200000
rounds:
  description: How often GC was called.
  returned: always
  type: int
  sample: 1
nodes:
  description: For every node of the last round its C(status), and C(count) when it has notified one. A single client's is C(coreapp).
  returned: always
  type: dict
  sample: {coreapp: {status: completed, count: 1200000}}
databases:
  description: The databases that were counted.
  returned: always
  type: list
  elements: str
  sample: [waba_messages]
skip_reason:
  description: Why GC was not due, or V(null).
  returned: always
  type: str
  sample: the table holds 1200000 rows, and the limit is 2000000
next_due:
  description: When GC may be due again, if that is known.
  returned: always
  type: str
  sample: "2026-02-01T01:00:00+01:00"
callbacks:
  description:
    - V(complete) when every node has notified, V(unverified) when there were more than 10 million rows and not every node has,
      V(none) otherwise. The vendor wants GC of such tables repeated until the notifications come back without errors.
  returned: always
  type: str
  sample: complete
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
session:
  description:
    - What spares the next step a login, for O(session); V(null) when nobody is logged in, and once the run is over.
    - It tells nothing to anybody but the process that runs C(ansible-playbook), which has the key.
  returned: always
  type: str
  sample: c29tZXRoaW5nIHRoYXQgbm9ib2R5IHJlYWRz
progress:
  description:
    - Where a running GC stands, with C(phase), C(round), C(rows) (estimate), C(deleted), C(rate), C(left) and C(fraction).
    - C(again) is in how many seconds another look may tell the end, if that is known.
  returned: always
  type: dict
  sample: {phase: deleting, round: 1, rows: 2400000, deleted: 800000, rate: 9500.0, left: 42.1, fraction: 0.66, again: 10.0}
media:
  description: The status of media GC by node.
  returned: media GC was called
  type: dict
  sample: {coreapp: {status: completed}}
marked_read:
  description: How many inbound messages of the list were marked as read, by this run and by the interrupted ones before it.
  returned: messages were marked
  type: int
  sample: 3
mark_read_unknown:
  description: The ids that the client does not know.
  returned: messages were marked
  type: list
  elements: str
  sample: [gBGGFlA5FpafAgkOuJbRq54qwbM]
seconds:
  description: The time since the run began.
  returned: always
  type: float
  sample: 131.4
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
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file_rules
from ansible_collections.waba.onprem.plugins.module_utils._gc import policy as gc_policy
from ansible_collections.waba.onprem.plugins.module_utils._gc import progress as gc_progress
from ansible_collections.waba.onprem.plugins.module_utils._gc import session as gc_session
from ansible_collections.waba.onprem.plugins.module_utils._gc.run import GcRun
from ansible_collections.waba.onprem.plugins.module_utils._webapp import client as webapp

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "policy": {"type": "str", "choices": list(gc_policy.POLICIES), "default": "limit"},
    "max_messages": {"type": "int", "default": 2000000},
    "min_interval": {"type": "str", "default": "24h"},
    "window": {"type": "str"},
    "timezone": {"type": "str"},
    "max_outbound_rate": {"type": "float"},
    "databases": {"type": "list", "elements": "str"},
    "project": {"type": "str"},
    "env_file": {"type": "path"},
    "env_format": {"type": "str", "choices": list(env_file_rules.FORMATS), "default": "portable"},
    "max_rounds": {"type": "int", "default": 10},
    "mark_read": {"type": "list", "elements": "str"},
    "mark_read_file": {"type": "path"},
    "mark_read_rate": {"type": "float", "default": 5},
    "media": {"type": "bool", "default": False},
    "completion": {"type": "str", "choices": list(gc_policy.COMPLETIONS), "default": "database"},
    "notifications": {"type": "path"},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "str", "default": "2h"},
    "poll_interval": {"type": "str", "default": "10s"},
    "quiet_period": {"type": "str", "default": "60s"},
    "state_file": {"type": "path"},
    "lock_file": {"type": "path"},
    "run_id": {"type": "str"},
    "session": {"type": "str"},
    "seal_key": {"type": "str", "no_log": True},
    "retry_refused_login": {"type": "bool", "default": False},
}


def complete(params: dict[str, t.Any]) -> None:
    """Fill the paths that come from the deployment's name, and refuse what makes no sense."""
    project, env_file = params["project"], params["env_file"]
    if not project and not env_file:
        raise WaError("option env_file", "neither it nor project is given", "one of them")
    part = project[3:] if project and project.startswith("wa-") else project
    names = topology.names(part or os.path.basename(os.path.dirname(os.path.abspath(env_file))) or "client")
    params["env_file"] = env_file or names["env_file"]
    params["state_file"] = params["state_file"] or names["gc_state_file"]
    params["lock_file"] = names["lock_file"] if params["lock_file"] is None else params["lock_file"]
    for option in ("max_messages", "max_rounds", "mark_read_rate"):
        if params[option] < (0 if option == "max_messages" else 0.01):
            raise WaError(f"option {option}", f"{params[option]}", "more than nothing")


def main() -> None:
    module = AnsibleModule(
        argument_spec={**webapp.ARGUMENT_SPEC, **database.ARGUMENT_SPEC, **ARGUMENT_SPEC},
        required_if=[("completion", "notifications", ["notifications"])],
        supports_check_mode=True,
    )
    params = module.params
    result = Result(module, Redactor(params[name] for name in ("api_password", "api_token", "login_password")))
    try:
        complete(params)
        pause = max(parse_duration("poll_interval", params["poll_interval"]), 0.1)
        run = GcRun(params, result, module.check_mode)
        while not run.step() and params["wait"]:
            time.sleep(gc_progress.pause(pause, result.values["progress"]))
        if result.values["running"]:
            result.values["session"] = gc_session.hand_on(run.webapp, params)
    except WaError as error:
        result.fail(error)
    result.exit()


if __name__ == "__main__":
    main()
