#!/usr/bin/python

# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_webapp
short_description: Health, first login, settings backup and figures of a WhatsApp Business API client
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description: What to do.
    type: str
    choices: [health, reachable, first_login, settings_backup, drain, automatic_gc]
    default: health
  topology: {description: What V(health) must look like., type: str, choices: [single, high_availability, multiconnect], default: single}
  shards: {description: The number of shards of a V(multiconnect) client., type: int, default: 1}
  containers:
    description: Ids of Coreapps and masters of a cluster that V(health) must know as nodes.
    type: list
    elements: str
    default: []
  expect_version: {description: 'The version that the API must report, with or without V(v); any when not given.', type: str}
  wait:
    description: Whether V(health), V(reachable) and V(drain) wait; without it they check once and do not fail.
    type: bool
    default: true
  wait_timeout: {description: 'How long to wait, in seconds or as text such as V(120s).', type: str, default: 120s}
  poll_interval: {description: 'The pause between two checks, in seconds or as text.', type: str, default: 1s}
  api_new_password: {description: The password for O(operation=first_login)., type: str}
  backup_password: {description: The password that O(operation=settings_backup) encrypts the backup with., type: str}
  dest: {description: The file on the managed host for O(operation=settings_backup); only its owner can read it., type: path}
  automatic:
    description: Whether O(operation=automatic_gc) turns the automatic GC of messages on or off; it only reads when not given.
    type: bool
  refused_login_file:
    description: A file on the managed host that records a refused login, as M(waba.onprem.wa_message_gc) keeps it.
    type: path
extends_documentation_fragment: [waba.onprem.api, waba.onprem.lease]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_webapp:
"""

import contextlib
import json
import os
import re
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration, parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import LEASE_SPEC, Lease
from ansible_collections.waba.onprem.plugins.module_utils._webapp import answers
from ansible_collections.waba.onprem.plugins.module_utils._webapp import client as webapp_client
from ansible_collections.waba.onprem.plugins.module_utils._webapp.refused_login import RefusedLogin

# Failures that waiting does not resolve.
_FINAL = ("login", "locked", "first_login", "key", "expired", "denied", "tls", "token")
# Messages of a client without its database. The Coreapp retries after 8 seconds, so more than two retries are sufficient.
_NO_DATABASE = re.compile(r"code 1023\b|database error|can.t connect to .*server|too many connections", re.IGNORECASE)
_DATABASE_TIMEOUT = 20.0


def wait_for(
    params: dict[str, t.Any], result: Result, subject: str, poll: t.Callable[[], tuple[bool, str]], patient: bool
) -> None:
    """Calls `poll` until it returns true. Raises WaError with its last reason at the time-out."""
    timeout = parse_duration("wait_timeout", params["wait_timeout"])
    end = time.monotonic() + timeout
    pause = max(parse_duration("poll_interval", params["poll_interval"]), 0.1)
    lease = Lease(params["lease_file"] if patient else None)
    while True:
        lease.renew()
        try:
            good, reason = poll()
        except webapp_client.ApiError as error:
            if error.kind in _FINAL:
                raise
            good, reason = False, str(error)
        result.values["reason"] = reason
        if good or not patient:
            return
        if time.monotonic() + pause > end:
            result.values["timed_out"] = True
            raise WaError(
                subject,
                reason,
                f"it to be well within {format_duration(timeout)}",
                "Look into the logs of Coreapp and Webapp",
            )
        time.sleep(pause)


def health(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    params = module.params
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

    wait_for(params, result, f"health of {webapp.url}", poll, params["wait"])


def reachable(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    def poll() -> tuple[bool, str]:
        return webapp.answers(), "answers"

    wait_for(module.params, result, f"API {webapp.url}", poll, module.params["wait"])


def first_login(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    password = module.params["api_new_password"]
    missing = webapp_client.check_password(password)
    if missing:
        raise WaError("api_new_password", "not a password that the client takes", ", ".join(missing))

    path = module.params["refused_login_file"]
    refused = RefusedLogin(path) if path else None
    if refused:
        refused.check(webapp, password, "Correct api_new_password", first_login=True)

    def has_password() -> bool:
        try:
            webapp.login(password)
        except webapp_client.ApiError as error:
            # A new client may refuse any login without a new password; the message depends on its version.
            if error.kind not in ("login", "first_login"):
                raise
            return False
        return True

    known: list[bool] = []
    away: list[float] = []  # since when the client has not reached its database

    def poll() -> tuple[bool, str]:
        try:
            known[:] = [has_password()]
        except webapp_client.ApiError as error:
            if not _NO_DATABASE.search(error.found):
                away.clear()
                raise
            away.append(time.monotonic())
            if away[-1] - away[0] >= _DATABASE_TIMEOUT:
                cure = (
                    "Start the database server, or let the containers reach it: docker logs of the Coreapp tells more"
                )
                raise WaError(error.subject, error.found, "a client that reaches its database", cure) from None
            raise
        return True, "answers"

    # A client that is starting answers 1011 until its database is set up.
    wait_for(module.params, result, f"API {webapp.url}", poll, not module.check_mode)
    if known[0] if known else has_password():
        return
    if not module.check_mode:
        try:
            webapp.login(webapp_client.FIRST_PASSWORD, new_password=password)
        except webapp_client.ApiError as error:
            if error.kind != "login":
                raise
            if refused:
                refused.note(webapp.username, password)
            raise WaError(
                f"API user {webapp.username} at {webapp.url}",
                "neither the given password nor a fresh client's own is right",
                "one of them",
                "Correct the password; it is not tried again in this run, since repeated wrong logins lock the account",
            ) from None
    result.record_change(f"set the first password of API user {webapp.username}")
    result.diff({"first_login": "open"}, {"first_login": "done"}, webapp.url)


def settings_backup(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    dest: str = module.params["dest"]
    folder = os.path.dirname(os.path.abspath(dest))
    if not os.path.isdir(folder):
        raise WaError(f"dest {dest}", f"the folder {folder} does not exist", cure="Create it first (wa_host does)")
    result.values["dest"] = dest
    result.record_change(f"wrote the settings backup {dest}")
    exists = os.path.exists(dest)
    result.diff({"backup": "an older one" if exists else None}, {"backup": "of this run"}, dest)
    if module.check_mode:
        webapp.log_in()  # a client that does not answer makes no backup
        return
    data = webapp.backup(module.params["backup_password"])
    # Not with atomic_move, which would create a new file with the default mode of the umask.
    files.replace(dest, json.dumps({"settings": {"data": data}}).encode())


def drain(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    def poll() -> tuple[bool, str]:
        figures = [value for name, _labels, value in webapp.stats(again=False) if name.endswith("callback_queue_size")]
        if not figures:
            raise WaError("/v1/stats/app", "no callback_queue_size in it", "the figure of queued callbacks")
        result.values["queue"] = int(sum(figures))
        return not result.values["queue"], f"{result.values['queue']} callbacks queued"

    result.values["queue"] = None
    wait_for(module.params, result, f"callbacks of {webapp.url}", poll, module.params["wait"] and not module.check_mode)


def automatic_gc(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    settings = webapp.application()
    now, newer = answers.automatic_gc(settings), settings.get("garbagecollector_enable")
    wanted = now if module.params["automatic"] is None else module.params["automatic"]
    result.values["automatic"] = wanted
    if wanted == now:
        return
    result.record_change(f"turned the automatic GC of messages {'on' if wanted else 'off'}")
    result.diff({"automatic": now}, {"automatic": wanted}, webapp.url)
    if not isinstance(newer, dict):
        result.warn(
            f"API {webapp.url}: a client of this version reads the setting of automatic GC when a Coreapp starts. Restart the "
            "Coreapps one after the other (docker restart), or leave it to the next upgrade"
        )
    if not module.check_mode:
        name, change = (
            ("garbagecollector_enable", {**newer, "messages": wanted})
            if isinstance(newer, dict)
            else ("db_garbagecollector_enable", wanted)
        )
        webapp.set_application({name: change})


@contextlib.contextmanager
def session(webapp: webapp_client.Webapp, params: t.Mapping[str, t.Any]) -> t.Iterator[None]:
    """Logs out at the end. With `refused_login_file` also logs in, unless the same login was refused less than a day ago.

    The first login has two passwords to try, and does so itself.
    """
    if params["refused_login_file"] and params["operation"] != "first_login":
        refused = RefusedLogin(params["refused_login_file"])
        refused.check(webapp, params["api_password"], "Correct the password")
        with refused.session(webapp, params["api_password"]):
            yield
        return
    try:
        yield
    finally:
        webapp.log_out()


OPERATIONS = {
    "health": health,
    "reachable": reachable,
    "first_login": first_login,
    "settings_backup": settings_backup,
    "drain": drain,
    "automatic_gc": automatic_gc,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **webapp_client.ARGUMENT_SPEC,
            **LEASE_SPEC,
            "operation": {"type": "str", "choices": list(OPERATIONS), "default": "health"},
            "topology": {"type": "str", "choices": list(topology.TOPOLOGIES), "default": "single"},
            "shards": {"type": "int", "default": 1},
            "containers": {"type": "list", "elements": "str", "default": []},
            "expect_version": {"type": "str"},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "str", "default": "120s"},
            "poll_interval": {"type": "str", "default": "1s"},
            "api_new_password": {"type": "str", "no_log": True},
            "backup_password": {"type": "str", "no_log": True},
            "dest": {"type": "path"},
            "automatic": {"type": "bool"},
            "refused_login_file": {"type": "path"},
        },
        required_if=[
            ("operation", "first_login", ["api_new_password"]),
            ("operation", "settings_backup", ["dest", "backup_password"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    result = Result(
        module,
        Redactor(
            params[name] for name in ("api_password", "api_token", "api_key", "api_new_password", "backup_password")
        ),
    )
    begin = time.monotonic()
    try:
        webapp = webapp_client.Webapp(params)
        with session(webapp, params):
            OPERATIONS[params["operation"]](module, result, webapp)
        result.values["seconds"] = round(time.monotonic() - begin, 1)
    except WaError as error:
        result.values["seconds"] = round(time.monotonic() - begin, 1)
        result.values["kind"] = getattr(error, "kind", "")
        result.fail(error)
    result.exit()


if __name__ == "__main__":
    main()
