# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The db.env of a client that runs, in the collection's variables. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Client, Described
from ansible_collections.waba.onprem.plugins.module_utils._core.units import DATABASE_PORTS
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules
from ansible_collections.waba.onprem.plugins.module_utils._env import state as env_state


def describe(client: Client, found: Described, names: t.Mapping[str, str]) -> None:
    """The variables of the role wa_db_env."""
    file = client.env_file
    values = {**client.environment}
    if file is None:
        found.guesses["wa_db_env_engine"] = (
            f"No env file was found: these are the values that run. Without wa_env_file, {names['env_file']} is written."
        )
    else:
        held = client.keys_of(file["path"])
        # What another file or the Compose file gives: without it db.env would be no whole one for the collection.
        values = {key: value for key, value in values.items() if key in env_rules.DATABASE_KEYS}
        # A value that depends on who reads the file is the one that runs.
        values.update({key: value for key, value in held.items() if value is not None})
        if file["target"] != names["env_file"]:
            found.variables["wa_env_file"] = file["target"]  # the role replaces no link
        readable = int(file["mode"], 8) & 0o004
        # The role writes the password into it, which others must not read from then on.
        if file["mode"] != "0600" and (not readable or env_rules.PASSWORD in held):
            found.variables["wa_db_env_mode"] = file["mode"]
            if readable:
                found.guesses["wa_db_env_mode"] = "Everybody on the host can read the password."
        if file["owner"] != "root":  # who calls Compose by hand has to read it
            found.variables["wa_db_env_owner"] = file["owner"]
        if env_file.disagreements(file["text"]):
            found.variables["wa_env_format"] = client.env_format
    given: dict[str, t.Any] = {option: value for option, key in env_rules.OPTIONS.items() if (value := values.get(key))}
    if given.get("port") == str(DATABASE_PORTS.get(given.get("engine", ""))):
        del given["port"]  # the default
    elif str(given.get("port")).isdecimal():
        given["port"] = int(given["port"])
    if "password" in given:
        found.secrets["wa_db_env_password"] = given.pop("password")
    found.variables.update({f"wa_db_env_{option}": value for option, value in given.items()})
    extra = {key: value for key in env_rules.EXTRA if (value := values.get(key))}
    on_db = values.get(env_state.CONFIG_ON_DB)
    if on_db != "1":
        # The role's default would add it, to a file that every container reads.
        extra[env_state.CONFIG_ON_DB] = on_db or ""
        found.guesses["wa_db_env_extra"] = (
            f"Empty: the file does not set {env_state.CONFIG_ON_DB}, and the role would add it."
        )
    if extra:
        found.variables["wa_db_env_extra"] = extra
