# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The db.env of a client that runs, in the collection's variables, and what the collection would do to it. Pure rules."""

from __future__ import annotations

import errno
import os
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import DATABASE_PORTS
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env import plan as env_plan
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Client, Described


def refused(error: WaError) -> Action:
    """Why provision.yml would refuse what was written, by its own rules, and the cure."""
    expected = (f"expected: {error.expected}",) if error.expected else ()
    cure = error.cure or "Correct it there or in the inventory, and run adopt.yml again"
    return Action(("provision.yml refuses this client", f"{error.subject}: {error.found}", *expected), (cure,))


def describe(client: Client, found: Described, names: t.Mapping[str, str]) -> None:
    """The variables of the role wa_db_env, and what it would do."""
    file = client.env_file
    values: dict[str, str | None] = {**client.environment} if file is None else client.keys_of(file["path"])
    for key in env_rules.DATABASE_KEYS if file else ():
        # What another file or the Compose file gives: without it db.env would be no whole one for the collection.
        if key not in values and client.environment.get(key):
            values[key] = client.environment[key]
    variables, path = found.variables, file["path"] if file else names["env_file"]
    if file is not None:
        variables["wa_env_file"] = file["target"]  # the role replaces no link
        if int(file["mode"], 8) & 0o004 and env_rules.PASSWORD not in client.keys_of(path):
            found.changes.append(
                f"{path}: mode {file['mode']} becomes 0600, because provision.yml writes the password into it"
            )
        elif file["mode"] != "0600":
            variables["wa_db_env_mode"] = file["mode"]
        if file["owner"] != "root":  # who calls Compose by hand has to read it
            variables["wa_db_env_owner"] = file["owner"]
        if env_file.disagreements(file["text"]):
            variables["wa_env_format"] = client.env_format(path)
        if int(file["mode"], 8) & 0o044 and "wa_db_env_mode" in variables:
            found.advice.append(
                f"{path} has mode {file['mode']}: others on the host read the password (wa_db_env_mode)"
            )
    for key in env_rules.DATABASE_KEYS:
        if key in values and values[key] is None:
            found.notes.append(f"{path}: the value of {key} depends on who reads the file; it is not in the inventory")
    for option, key in env_rules.OPTIONS.items():
        value = values.get(key)
        if not value:
            continue
        if key == env_rules.PASSWORD:
            found.secrets["wa_db_env_password"] = value
        else:
            number = option == "port" and value.isdecimal()
            variables[f"wa_db_env_{option}"] = int(value) if number else value
    engine = variables.get("wa_db_env_engine", "")
    if variables.get("wa_db_env_port") == DATABASE_PORTS.get(engine):
        variables.pop("wa_db_env_port", None)  # the default
    extra = {key: value for key in env_rules.EXTRA if (value := values.get(key))}
    on_db = values.get(env_state.CONFIG_ON_DB)
    if on_db != "1":
        # The role's default would add it, to a file that every container reads.
        extra[env_state.CONFIG_ON_DB] = on_db or ""
        found.guesses["wa_db_env_extra"] = f"The file does not set {env_state.CONFIG_ON_DB}, and stays so."
    if extra:
        variables["wa_db_env_extra"] = extra
    _predict(client, found, path, file)


def _predict(client: Client, found: Described, path: str, file: t.Mapping[str, t.Any] | None) -> None:
    """What the role wa_db_env would do to the file, or why it would refuse it."""
    params: dict[str, t.Any] = {option: found.variables.get(f"wa_db_env_{option}") for option in env_rules.OPTIONS}
    params.update(password=found.secrets.get("wa_db_env_password"), state="present", extra_secrets={})
    params["extra"] = {env_state.CONFIG_ON_DB: "1", **found.variables.get("wa_db_env_extra", {})}
    params["format"] = found.variables.get("wa_env_format", "portable")
    before = file["text"] if file else None
    try:
        plan = env_plan.make(params, path, before)
    except WaError as error:
        found.actions.append(refused(error))
        return
    found.notes += [f"provision.yml warns: {text}" for text in plan.warnings]
    if before is None:
        found.changes.append(f"writes {path}: no file was found that the containers have their database settings from")
    elif plan.after != before:
        found.changes.append(f"{path}: {plan.summary()}")
    unread = {one["path"]: one["problem"] for one in client.survey["files"] if one["text"] is None}
    for name in sorted({name for one in client.containers for name in one["env_files"]} & {*unread}):
        if unread[name] != os.strerror(errno.ENOENT):
            found.actions.append(
                Action(
                    (
                        f"the env file {name} cannot be read ({unread[name]})",
                        "its settings were taken from the containers, and provision.yml would write another file",
                    ),
                    ("Run adopt.yml as a user who can read it, such as root (ansible_become)",),
                )
            )
    for one in client.containers:
        others = [each for each in one["env_files"] if client.file(each)]
        if file is not None and path not in others:
            found.notes.append(
                f"{one['name']} reads {', '.join(others) or 'no env file'} and not {path}, the only file that the collection "
                "manages; change database settings in both"
            )
        if path in others:
            later = {key for each in others[others.index(path) + 1 :] for key in client.keys_of(each)}
            winning = sorted(later & {*env_rules.DATABASE_KEYS})
            if winning:
                found.notes.append(
                    f"{one['name']} reads another env file after {path}, which wins for {', '.join(winning)}; change them in "
                    "both"
                )
        _in_force(client, found, one)


def _in_force(client: Client, found: Described, container: t.Mapping[str, t.Any]) -> None:
    """Report the values that change with the next recreation, because the file was edited."""
    for key, value in client.given(container).items():
        has = container["environment"].get(key)
        if value is None or has == value or (has is None and not value):
            continue
        values = "" if redact.is_secret(key) or has is None else f" from {has} to {value}"
        found.upgrade.append(
            f"changes {key} of {container['name']}{values}: its env file was edited after the container was created"
        )
