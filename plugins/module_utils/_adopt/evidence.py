# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the clients of a host which nodes they have, and their database servers which running servers they are."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._db_env.login_check import LoginCheck
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import ARGUMENT_SPEC, Webapp

Container = t.Mapping[str, t.Any]
_PORT = re.compile(r"(?:(\[[^]]*\]|[0-9.]+):)?([0-9]+):443")
_CONNECT_TIMEOUT = "5s"
_API_TIMEOUT = "60s"  # domain: health takes ten seconds and more for each node that is gone


class NoLogin(WaError):
    """A client that is not asked, since it wants a password."""

    kind = "no_login"


def web_port(web: Container) -> tuple[str, int] | None:
    """Returns the address and the port of the host at which a Webapp is published; None for none."""
    if web["network_mode"] == "host":
        return "", 443
    matches = [match for match in map(_PORT.fullmatch, web["ports"]) if match]
    return (matches[0][1] or "", int(matches[0][2])) if matches else None


def read(
    engine: Docker, params: t.Mapping[str, t.Any], containers: t.Sequence[Container]
) -> dict[str, dict[str, t.Any]]:
    """Returns by project the `nodes` of a multiconnect client, the `server` of its database, and `problems` with either.

    `login` is the kind of what kept it from telling its nodes: `no_login` without a password, `login` for one that was refused.
    `api_key` and `api_password` of `params` come after the key that a Webapp's own environment has.
    """
    found: dict[str, dict[str, t.Any]] = {}
    running = [one for one in containers if not one["one_shot"] and one["state"] == "running"]
    for project in sorted({one["project"] for one in running}):
        ours = [one for one in running if one["project"] == project]
        found[project] = {"problems": []}
        for name, ask in (("nodes", _nodes), ("server", _server)):
            try:
                found[project][name] = ask(engine, {**params, "project": project}, ours)
            except WaError as error:
                found[project]["problems"].append(str(error))
                if name == "nodes":
                    found[project]["login"] = getattr(error, "kind", "")
    return found


def _nodes(_engine: Docker, params: t.Mapping[str, t.Any], containers: t.Sequence[Container]) -> t.Any:
    """Returns the names of the nodes that a Webapp of a multiconnect client shows; empty for another client, or without one."""
    multi = [one for one in containers if one["environment"].get("WA_APP_MULTICONNECT") == "1"]
    for web in (one for one in multi if one["role"] == "web"):
        place = web_port(web)
        key = web["environment"].get("WA_API_KEY") or params["api_key"]
        if place is None:
            raise WaError(f"nodes of {web['name']}", "not asked: it publishes no port of its API")
        if not (key or params["api_password"]):
            raise NoLogin(f"nodes of {web['name']}", "not asked: it has no WA_API_KEY, and no wa_api_password is given")
        options = {name: option.get("default") for name, option in ARGUMENT_SPEC.items()}
        webapp = Webapp(
            {
                **options,
                "api_url": topology.local_api_url(place[1], place[0]),
                "api_key": key,
                "api_password": params["api_password"],
                "api_validate_certs": False,
                "api_timeout": _API_TIMEOUT,
            },
            retry_time=0,
        )
        try:
            health, _version = webapp.health(again=False)
        finally:
            webapp.log_out()
        return [] if "gateway_status" in health else sorted(health)
    return []


def _server(engine: Docker, params: t.Mapping[str, t.Any], containers: t.Sequence[Container]) -> t.Any:
    """Returns which running database server a client uses, see `_database.guard.server`."""
    cores = [one for one in containers if one["role"] != "web"] or list(containers)
    values = {key: value for key, value in cores[0]["environment"].items() if key.startswith("WA_DB_")}
    found: dict[str, t.Any] = {}
    login = LoginCheck({**params, "connect_timeout": _CONNECT_TIMEOUT}, lambda _text: None, "", engine)

    def ask(config: t.Any, _values: t.Mapping[str, str]) -> None:
        from ansible_collections.waba.onprem.plugins.module_utils._database import connection

        with connection.connect(config) as session:
            found.update(guard.server(session))

    login.check = ask
    login(values)
    return found
