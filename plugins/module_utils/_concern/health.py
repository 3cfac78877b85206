# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks the client whether it serves, at the leader of its deployment. What runs may be dead all the same.

No role corrects a client that does not serve, so that is an alarm.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._webapp import answers, client
from ansible_collections.waba.onprem.plugins.module_utils._webapp.refused_login import RefusedLogin

# With what a concern asks the client. Several share one session.
API_SPEC: dict[str, dict[str, t.Any]] = {
    **client.ARGUMENT_SPEC,
    "refused_login_file": {"type": "path", "required": True},
}
SPEC: dict[str, dict[str, t.Any]] = {
    **docker_options.ARGUMENT_SPEC,
    **API_SPEC,
    "project": {"type": "str", "default": ""},
    "container_names": {"type": "list", "elements": "str", "default": []},  # the client's outside Compose
    "services": {"type": "list", "elements": "str", "default": []},  # the client's on this host, of a Compose project
    "topology": {"type": "str", "choices": list(topology.TOPOLOGIES), "default": "single"},
    "shards": {"type": "int", "default": 1},
}
# Failures of the credential or the connection, which say nothing about the client.
_UNKNOWN = ("login", "locked", "first_login", "key", "token", "tls")


class Session:
    """One session with the client's API for all concerns of a comparison; a failed login is not repeated."""

    def __init__(self, write: bool) -> None:
        self._write = write  # whether a refused login is recorded
        self._opened = contextlib.ExitStack()
        self._webapp: client.Webapp | None = None
        self._error: WaError | None = None
        self.refused = False  # whether the client has refused the password just now
        self.nodes: dict[str, str] | None = None  # the gateway's status by node; None if the client has not said it

    def log_in(self, params: t.Mapping[str, t.Any]) -> client.Webapp:
        """Returns the client after one login. Raises WaError; a refused login is tried again after a day, or with another password."""
        if self._error:
            raise self._error
        if self._webapp is None:
            try:
                webapp = client.Webapp(params, retry_time=0.0)
                refused = RefusedLogin(params["refused_login_file"], self._write, may_be_new=True)
                refused.check(webapp, params["api_password"], "Correct wa_api_password")
                self._opened.enter_context(refused.session(webapp, params["api_password"]))
            except WaError as error:
                self._error = error
                self.refused = getattr(error, "kind", "") == "login"
                raise
            self._webapp = webapp
        return self._webapp

    def close(self) -> None:
        """Logs out."""
        self._opened.close()


def observe(engine: Docker, params: t.Mapping[str, t.Any], session: Session) -> Finding:
    """Returns whether the client serves. It is not asked while a container of it is stopped or missing, which is a drift, or without a credential."""
    asks = any(params[name] for name in ("api_key", "api_password"))
    if not asks or not _runs(engine, params):
        return Finding()
    try:
        answer = _webapp(params, session).health(again=False)[0]
        nodes = {answers.SINGLE: answer} if "gateway_status" in answer else answer
        session.nodes = {name: str(node.get("gateway_status", "missing")) for name, node in nodes.items()}
        good, reason = topology.check_health(params["topology"], answer, params["shards"])
    except WaError as error:
        if getattr(error, "kind", "login") in _UNKNOWN:  # without a kind it is a login that was refused before
            return Finding(alarms=[f"it is not known whether the client serves: {error}"])
        good, reason = False, str(error)
    return Finding(alarms=[] if good else [f"the client does not serve: {reason}"])


def _webapp(params: t.Mapping[str, t.Any], session: Session) -> client.Webapp:
    """Returns the client with the API key, which takes no login, or else after one."""
    return client.Webapp(params, retry_time=0.0) if params["api_key"] else session.log_in(params)


def figures(params: t.Mapping[str, t.Any], session: Session) -> dict[str, dict[str, t.Any]]:
    """Returns what else the client says once it has said its health: its nodes, its notifications, and when it expires.

    The last one needs a login, and is left out with an API key alone.
    """
    if session.nodes is None:
        return {}
    found: dict[str, dict[str, t.Any]] = {"nodes": session.nodes, "callbacks": {}, "support": {}}
    try:
        found["callbacks"] = answers.callbacks(_webapp(params, session).stats(again=False))
    except WaError as error:
        found["callbacks"] = {"error": str(error)}
    if not params["api_key"]:
        try:
            said = session.log_in(params).support()
            found["support"] = {"expires_on": answers.expires_on(said)}
        except WaError as error:
            found["support"] = {"error": str(error)}
    return found


def _runs(engine: Docker, params: t.Mapping[str, t.Any]) -> bool:
    """Returns whether the client's services have containers on this host, and all of them run."""
    wanted = {*params["services"]} if params["project"] else set()
    found = [one for one, _record in engine.services(params["project"], params["container_names"])]
    there = [one for one in found if not wanted or one.service in wanted]
    return bool(there) and all(one.running for one in there) and wanted <= {one.service for one in there}
