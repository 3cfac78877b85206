# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the Webapp reaches Coreapps: the one named WACORE_HOSTNAME, or those that the cluster store names."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

from .cluster import NodeInfo, nodes
from .database import Database
from .errors import ApiError
from .schema import store
from .settings import Settings

MESSAGES, CONTACTS, CONTROL = 0, 1, 2


class CoreLink:
    """Requests to Coreapps; a Coreapp that does not answer is error 1014 with the text that Meta shows."""

    def __init__(self, settings: Settings, version: str, database: Database) -> None:
        self._settings = settings
        self._version = version
        self._db = database

    def members(self) -> list[NodeInfo]:
        """The Coreapps and masters of this deployment."""
        s = self._settings
        if not s.multiconnect:
            return [NodeInfo("", s.wacore_hostname, s.core_ports, False, "")]
        with self._db.session(store("cluster")) as session:
            found = nodes(session)
        if not found:
            raise ApiError(1014, "Connection timed out. Please check if wacore is running: no node is known")
        return found

    def ask(self, member: NodeInfo, method: str, params: dict[str, Any] | None = None, port: int = CONTROL) -> Any:
        """One request to one node. Raises ApiError."""
        where = f"{member.hostname}:{member.ports[port]}"
        give_up = time.monotonic() + (self._settings.dead_node_seconds if method == "health" else 0.0)
        connection = http.client.HTTPConnection(
            member.hostname, member.ports[port], timeout=self._settings.core_timeout
        )
        try:
            body = json.dumps({"method": method, "params": params or {}, "version": self._version})
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(max(0.0, give_up - time.monotonic()))
            raise ApiError(
                1014, f"{self._settings.unreachable_text}. Please check if wacore is running: {where}"
            ) from None
        finally:
            connection.close()
        if member.name and answer.get("node") != member.name:
            raise ApiError(1014, f"{self._settings.unreachable_text}. Please check if wacore is running: {where}")
        if "error" in answer:
            raise ApiError(int(answer["error"]["code"]), str(answer["error"]["details"]))
        return answer["result"]

    def ask_one(
        self, method: str, params: dict[str, Any] | None = None, port: int = CONTROL, masters: bool = True
    ) -> Any:
        """A request that any right node may answer: 1017 and 1018 mean that the next one is asked."""
        last = ApiError(1014, "Connection timed out. Please check if wacore is running: no node is known")
        for member in sorted(self.members(), key=lambda node: not node.master):
            if self._settings.multiconnect and member.master != masters:
                continue
            try:
                return self.ask(member, method, dict(params or {}), port)
            except ApiError as exc:
                last = exc
                if exc.code not in (1014, 1017, 1018):
                    raise
        raise last

    def ask_all(self, method: str, params: dict[str, Any] | None = None, masters: bool = True) -> dict[str, Any]:
        """A request to every node: name -> its answer, or the ApiError that came instead."""
        found: dict[str, Any] = {}
        for member in self.members():
            if member.master and not masters:
                continue
            try:
                found[member.name] = self.ask(member, method, dict(params or {}))
            except ApiError as exc:
                found[member.name] = exc
        return found
