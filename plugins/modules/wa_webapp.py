#!/usr/bin/python

# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_webapp
short_description: First login, settings backup and automatic GC of a WhatsApp Business API client
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description: What to do.
    type: str
    choices: [first_login, settings_backup, automatic_gc]
    required: true
  wait_timeout: {description: 'How long V(first_login) waits for the client to start, in seconds or as text.', type: str, default: 120s}
  poll_interval: {description: 'The pause between two logins meanwhile, in seconds or as text.', type: str, default: 1s}
  backup_password: {description: The password that O(operation=settings_backup) encrypts the backup with., type: str}
  automatic: {description: Whether O(operation=automatic_gc) turns the automatic GC of messages on or off., type: bool}
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
import re
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._webapp import answers, waiting
from ansible_collections.waba.onprem.plugins.module_utils._webapp import client as webapp_client
from ansible_collections.waba.onprem.plugins.module_utils._webapp.refused_login import RefusedLogin

# Messages of a client without its database. The Coreapp retries after 8 seconds, so more than two retries are sufficient.
_NO_DATABASE = re.compile(r"code 1023\b|database error|can.t connect to .*server|too many connections", re.IGNORECASE)
_DATABASE_TIMEOUT = 20.0


def first_login(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    password = module.params["api_password"]
    path = module.params["refused_login_file"]
    refused = RefusedLogin(path) if path else None
    if refused:
        refused.check(webapp, password, "Correct api_password", first_login=True)

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
    waiting.wait_for(module.params, result, f"API {webapp.url}", poll, not module.check_mode)
    if known[0] if known else has_password():
        return
    missing = webapp_client.check_password(password)  # of a client that has it, its rules are not ours
    if missing:
        raise WaError("api_password", "not a password that a new client takes", ", ".join(missing))
    if not module.check_mode:
        try:
            webapp.login(webapp_client.FIRST_PASSWORD, new_password=password)
        except webapp_client.ApiError as error:
            if error.kind != "login":
                raise
            if refused:
                refused.note(password)
            raise WaError(
                f"API user {webapp_client.USER} at {webapp.url}",
                "neither the given password nor a fresh client's own is right",
                "one of them",
                "Correct the password; it is not tried again in this run, since repeated wrong logins lock the account",
            ) from None
    result.record_change(f"set the first password of API user {webapp_client.USER}")
    result.diff({"first_login": "open"}, {"first_login": "done"}, webapp.url)


def settings_backup(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    if module.check_mode:
        webapp.log_in()  # a client that does not answer makes no backup
        return
    data = webapp.backup(module.params["backup_password"])
    result.unmasked["settings"] = json.dumps({"settings": {"data": data}})  # encrypted


def automatic_gc(module: AnsibleModule, result: Result, webapp: webapp_client.Webapp) -> None:
    settings = webapp.application()
    now, newer = answers.automatic_gc(settings), settings.get("garbagecollector_enable")
    wanted = module.params["automatic"]
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
    "first_login": first_login,
    "settings_backup": settings_backup,
    "automatic_gc": automatic_gc,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **webapp_client.ARGUMENT_SPEC,
            **waiting.ARGUMENT_SPEC,
            "operation": {"type": "str", "choices": list(OPERATIONS), "required": True},
            "backup_password": {"type": "str", "no_log": True},
            "automatic": {"type": "bool"},
            "refused_login_file": {"type": "path"},
        },
        required_if=[
            ("operation", "first_login", ["api_password"]),
            ("operation", "settings_backup", ["backup_password"]),
            ("operation", "automatic_gc", ["automatic"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    with Result(
        module,
        Redactor(params[name] for name in ("api_password", "api_key", "backup_password")),
    ) as result:
        webapp = webapp_client.Webapp(params)
        with session(webapp, params):
            OPERATIONS[params["operation"]](module, result, webapp)


if __name__ == "__main__":
    main()
