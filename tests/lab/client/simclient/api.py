# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths of the REST API: who may call them, what they ask of a Coreapp, what they answer."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Callable

from . import media
from .auth import Accounts, Caller
from .build import Build
from .certificates import Certificates, certificate_part
from .corelink import CONTACTS, MESSAGES, CoreLink
from .database import Database
from .errors import ApiError
from .faults import Faults
from .schema import store
from .settings import Settings

MIME_MAX = 64


@dataclass
class Request:
    """One request, as far as a handler needs it."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    query: dict[str, str] = field(default_factory=dict)
    caller: Caller = field(default_factory=lambda: Caller("", ""))

    def json(self) -> dict[str, Any]:
        """The body as an object. Raises ApiError 1009 when it is none."""
        if not self.body.strip():
            return {}
        try:
            found = json.loads(self.body)
        except ValueError:
            raise ApiError(1009, "The body is not valid JSON") from None
        if not isinstance(found, dict):
            raise ApiError(1009, "The body must be a JSON object")
        return found

    def wanted(self, name: str, kind: type = str) -> Any:
        """A required field of the body. Raises ApiError 1008 or 1009."""
        value = self.json().get(name)
        if value is None:
            raise ApiError(1008, f"Required parameter is missing: {name}")
        if not isinstance(value, kind):
            raise ApiError(1009, f"Parameter value is not valid: {name}")
        return value


@dataclass(frozen=True)
class Answer:
    """Status and payload; `raw` with a content type stands for itself, without `meta`."""

    payload: Any = None
    status: int = 200
    raw: bytes | None = None
    content_type: str = "application/json"


Handler = Callable[..., Answer]


@dataclass(frozen=True)
class Route:
    """`who` is public, monitor (API key or token), user or admin."""

    method: str
    pattern: str
    who: str
    handler: Handler


class Api:
    """All handlers of one Webapp."""

    def __init__(
        self,
        settings: Settings,
        build: Build,
        faults: Faults,
        database: Database,
        accounts: Accounts,
        core: CoreLink,
        certificates: Certificates,
    ) -> None:
        self.settings = settings
        self.build = build
        self.faults = faults
        self.database = database
        self.accounts = accounts
        self.core = core
        self.certificates = certificates
        name = "([^/]+)"
        self.routes = [
            Route("POST", "/v1/users/login", "public", self.login),
            Route("POST", "/v1/users/logout", "user", self.logout),
            Route("POST", "/v1/users", "admin", self.create_user),
            Route("GET", f"/v1/users/{name}", "admin", self.show_user),
            Route("PUT", f"/v1/users/{name}", "admin", self.change_user),
            Route("DELETE", f"/v1/users/{name}", "admin", self.delete_user),
            Route("GET", "/v1/health", "monitor", self.health),
            Route("GET", "/v1/stats/app", "monitor", self.stats_app),
            Route("GET", "/v1/stats/db", "monitor", self.stats_db),
            Route("GET", "/metrics", "monitor", self.metrics),
            Route("GET", "/v1/support", "user", self.support),
            Route("GET", "/v1/settings/application", "admin", self.show_settings),
            Route("PATCH", "/v1/settings/application", "admin", self.patch_settings),
            Route("DELETE", "/v1/settings/application", "admin", self.reset_settings),
            Route("POST", "/v1/settings/backup", "admin", self.backup),
            Route("POST", "/v1/settings/restore", "admin", self.restore),
            Route("PUT", "/v1/services/message/gc", "user", self.message_gc),
            Route("PUT", "/v1/services/media/gc", "user", self.media_gc),
            Route("POST", "/v1/messages", "user", self.send_message),
            Route("PUT", f"/v1/messages/{name}", "user", self.mark_read),
            Route("POST", "/v1/contacts", "user", self.contacts),
            Route("POST", "/v1/media", "user", self.upload),
            Route("GET", f"/v1/media/{name}", "user", self.download),
            Route("DELETE", f"/v1/media/{name}", "user", self.delete_media),
            Route("POST", "/v1/account", "admin", self.register),
            Route("POST", "/v1/account/verify", "admin", self.verify),
            Route("POST", "/v1/account/shards", "admin", self.shards),
            Route("GET", "/v1/certificates/external/ca", "admin", self.ca),
        ]
        if settings.root_page:
            self.routes.append(Route("GET", "/", "public", lambda _request: Answer(raw=b"", content_type="text/html")))
        self.started = time.monotonic()
        self.counts: dict[tuple[str, int], int] = {}

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """The route of a request. Raises ApiError 1006 when there is none."""
        for route in self.routes:
            found = re.fullmatch(route.pattern, path)
            if found and route.method == method:
                return route, found.groups()
        raise ApiError(1006, f"Unknown path: {method} {path}")

    def _by_node(self, answers: dict[str, Any], single: Callable[[Any], Any] = lambda value: value) -> Any:
        """One node's answer bare (single instance), or all of them by node; raises when none worked."""
        if not self.settings.multiconnect:
            only = next(iter(answers.values()))
            if isinstance(only, ApiError):
                raise only
            return single(only)
        return answers

    # -- users -----------------------------------------------------------------------------------------------------

    def login(self, request: Request) -> Answer:
        """POST /v1/users/login with HTTP Basic."""
        from base64 import b64decode

        scheme, _space, value = request.headers.get("authorization", "").partition(" ")
        try:
            username, colon, password = b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            colon = ""
        if scheme.lower() != "basic" or not colon:
            raise ApiError(1005, "HTTP Basic authentication is required", status=401)
        new_password = request.json().get("new_password")
        if new_password is not None and not isinstance(new_password, str):
            raise ApiError(1009, "Parameter value is not valid: new_password")
        return Answer({"users": [self.accounts.login(username, password, new_password)]})

    def logout(self, request: Request) -> Answer:
        """POST /v1/users/logout."""
        self.accounts.logout(request.caller)
        return Answer({})

    def create_user(self, request: Request) -> Answer:
        """POST /v1/users."""
        role = str(request.json().get("role", "ROLE_USER")).removeprefix("ROLE_").upper()
        if role not in ("ADMIN", "USER"):
            raise ApiError(1009, "Parameter value is not valid: role")
        username = request.wanted("username")
        self.accounts.create(username, request.wanted("password"), role)
        return Answer({"users": [{"username": username}]}, 201)

    def show_user(self, request: Request, username: str) -> Answer:
        """GET /v1/users/<name>."""
        return Answer({"users": [{"username": username, "ROLES": self.accounts.role(username)}]})

    def change_user(self, request: Request, username: str) -> Answer:
        """PUT /v1/users/<name>."""
        self.accounts.change_password(username, request.wanted("password"))
        return Answer({"users": [{"username": username}]})

    def delete_user(self, request: Request, username: str) -> Answer:
        """DELETE /v1/users/<name>."""
        self.accounts.remove(username)
        return Answer({"users": [{"username": username}]})

    # -- watching --------------------------------------------------------------------------------------------------

    def health(self, request: Request) -> Answer:
        """GET /v1/health: a node that does not answer is shown as disconnected in a cluster, and is an error alone."""
        if not self.settings.multiconnect:
            return Answer({"health": self._by_node(self.core.ask_all("health"))})
        found = {}
        for member in self.core.members():
            try:
                found[member.name] = self.core.ask(member, "health")
            except ApiError as exc:
                if self.settings.dead_node_seconds:
                    found[member.name] = {"errors": [exc.as_dict()]}
                    continue
                found[member.name] = {
                    "gateway_status": "disconnected",
                    "role": "secondary_master" if member.master else "coreapp",
                }
        return Answer({"health": found})

    def _stats(self, kind: str) -> Answer:
        answers = self.core.ask_all(f"stats_{kind}")
        found = (
            {name: ({} if isinstance(value, ApiError) else value) for name, value in answers.items()}
            if self.settings.multiconnect
            else None
        )
        return Answer({"stats": {kind: self._by_node(answers) if found is None else found}})

    def stats_app(self, request: Request) -> Answer:
        """GET /v1/stats/app: counters and gauges in memory."""
        return self._stats("app")

    def stats_db(self, request: Request) -> Answer:
        """GET /v1/stats/db: really counts, so it is slow on a large database."""
        return self._stats("db")

    def metrics(self, request: Request) -> Answer:
        """GET /metrics."""
        node = self.settings.container
        data = [
            {"labels": {"node": node, "endpoint": name, "result": str(status)}, "value": count}
            for (name, status), count in sorted(self.counts.items())
        ]
        uptime = {"type": "gauge", "help": "Number of seconds since web server has started"}
        return Answer(
            {
                "metrics": {
                    "web_uptime": {
                        **uptime,
                        "data": [{"labels": {"node": node}, "value": int(time.monotonic() - self.started)}],
                    },
                    "api_requests": {"type": "counter", "help": "Total number of API requests", "data": data},
                }
            }
        )

    def support(self, request: Request) -> Answer:
        """GET /v1/support."""
        answers = self.core.ask_all("support")
        if self.settings.multiconnect:
            return Answer(
                {
                    "support": {
                        name: ({"error": value.details} if isinstance(value, ApiError) else value)
                        for name, value in answers.items()
                    }
                }
            )
        return Answer({"support": self._by_node(answers)})

    # -- settings --------------------------------------------------------------------------------------------------

    def show_settings(self, request: Request) -> Answer:
        """GET /v1/settings/application."""
        return Answer({"settings": {"application": self.core.ask_one("settings")}})

    def patch_settings(self, request: Request) -> Answer:
        """PATCH /v1/settings/application: what is not named stays."""
        self.core.ask_one("patch_settings", {"patch": request.json()})
        self._tell_all()
        return Answer({})

    def reset_settings(self, request: Request) -> Answer:
        """DELETE /v1/settings/application."""
        self.core.ask_one("reset_settings")
        self._tell_all()
        return Answer({})

    def _tell_all(self) -> None:
        """Let every node of a cluster read the settings again; one that is away reads them when it is back."""
        if self.settings.multiconnect:
            self.core.ask_all("settings")

    def backup(self, request: Request) -> Answer:
        """POST /v1/settings/backup."""
        return Answer({"settings": {"data": self.core.ask_one("backup", {"password": request.wanted("password")})}})

    def restore(self, request: Request) -> Answer:
        """POST /v1/settings/restore."""
        self.core.ask_one("restore", {"data": request.wanted("data"), "password": request.wanted("password")})
        return Answer({})

    def register(self, request: Request) -> Answer:
        """POST /v1/account: the code would come by SMS or voice."""
        cc, number = request.wanted("cc"), request.wanted("phone_number")
        if not (cc.isdigit() and number.isdigit()):
            raise ApiError(1009, "cc and phone_number must be digits")
        self.core.ask_one("patch_settings", {"patch": {}})
        self._pending = cc + number
        return Answer({"account": [{"vname": "simulated"}]}, 202)

    _pending = ""

    def verify(self, request: Request) -> Answer:
        """POST /v1/account/verify: any code of six digits will do."""
        if not re.fullmatch(r"[0-9]{6}", request.wanted("code")):
            raise ApiError(1009, "code must be six digits")
        self.core.ask_one("register", {"number": self._pending or "15550001000"})
        return Answer({}, 201)

    def shards(self, request: Request) -> Answer:
        """POST /v1/account/shards: the number of shards, 1 for high availability."""
        count = request.wanted("shards", int)
        if not self.settings.multiconnect or not 1 <= count <= 32:
            raise ApiError(1009, "shards needs multiconnect and a number from 1 to 32")
        self.core.ask_one("shards", {"shards": count})
        return Answer({}, 201)

    def ca(self, request: Request) -> Answer:
        """GET /v1/certificates/external/ca: the CA that signed the server's certificate."""
        return Answer(raw=certificate_part(self.certificates.ca).encode(), content_type="application/x-pem-file")

    # -- services --------------------------------------------------------------------------------------------------

    def message_gc(self, request: Request) -> Answer:
        """PUT /v1/services/message/gc: every Coreapp takes its part; a node that cannot start is named."""
        if not self.settings.multiconnect:
            return Answer(
                {"services": {"message": {"gc": self._by_node(self.core.ask_all("gc", {"kind": "message"}))}}}
            )
        names = [member.name for member in self.core.members() if not member.master]
        shown: dict[str, Any] = {}
        last = ApiError(1014, "Connection timed out. Please check if wacore is running: no Coreapp is known")
        for name, value in self.core.ask_all("gc", {"kind": "message", "nodes": names}, masters=False).items():
            if isinstance(value, ApiError):
                last = value
                shown[name] = {"status": "failed", "errors": [value.as_dict()]}
            else:
                shown[name] = value
        if all("errors" in value for value in shown.values()):
            raise last
        return Answer({"services": {"message": {"gc": shown}}})

    def media_gc(self, request: Request) -> Answer:
        """PUT /v1/services/media/gc: the leader only."""
        return Answer({"services": {"media": {"gc": self.core.ask_one("gc", {"kind": "media"})}}})

    def send_message(self, request: Request) -> Answer:
        """POST /v1/messages."""
        request.wanted("to")
        body = request.json()
        kind = body.get("type", "text")
        if kind not in (
            "text",
            "image",
            "audio",
            "document",
            "video",
            "sticker",
            "template",
            "hsm",
            "location",
            "contacts",
            "interactive",
        ):
            raise ApiError(1009, "Parameter value is not valid: type")
        message_id = self.core.ask_one(
            "send_message", {"body": body, "endpoint": "POST_v1_messages"}, MESSAGES, masters=False
        )
        return Answer({"messages": [{"id": message_id}]}, 201)

    def mark_read(self, request: Request, message_id: str) -> Answer:
        """PUT /v1/messages/<id> with {"status": "read"}."""
        if request.wanted("status") != "read":
            raise ApiError(1009, "Parameter value is not valid: status")
        self.core.ask_one(
            "mark_read", {"message_id": message_id, "endpoint": "PUT_v1_messages"}, MESSAGES, masters=False
        )
        return Answer(raw=b"null")

    def contacts(self, request: Request) -> Answer:
        """POST /v1/contacts."""
        numbers = [str(number) for number in request.wanted("contacts", list)]
        return Answer({"contacts": self.core.ask_one("contacts", {"numbers": numbers}, CONTACTS, masters=False)})

    # -- media -----------------------------------------------------------------------------------------------------

    def _media_ready(self) -> None:
        if self.faults.on("media_readonly") or not media.prepare(self.settings.media_dir):
            raise ApiError(1005, "The media directory cannot be written")

    def upload(self, request: Request) -> Answer:
        """POST /v1/media: the file goes to the outgoing part of the shared volume."""
        self._media_ready()
        if not request.body:
            raise ApiError(1008, "The body is empty")
        media_id = secrets.token_hex(16)
        path = f"outgoing/{media_id}"
        try:
            with open(os.path.join(self.settings.media_dir, path), "wb") as stream:
                stream.write(request.body)
        except OSError as exc:
            raise ApiError(1005, f"The media directory cannot be written: {exc.strerror}") from None
        now = int(time.time())
        with self.database.session(store("media")) as session:
            session.execute(
                "INSERT INTO media (media_id, direction, mime, path, size, created_at, last_used) VALUES (%s, 1, %s, %s, %s, %s, %s)",
                (
                    media_id,
                    request.headers.get("content-type", "application/octet-stream")[:MIME_MAX],
                    path,
                    len(request.body),
                    now,
                    now,
                ),
            )
        return Answer({"media": [{"id": media_id}]}, 201)

    def _media_row(self, media_id: str) -> tuple[str, str]:
        with self.database.session(store("media")) as session:
            rows = session.rows("SELECT path, mime FROM media WHERE media_id = %s", (media_id,))
        if not rows:
            raise ApiError(1006, f"Media not found: {media_id}")
        return str(rows[0][0]), str(rows[0][1])

    def download(self, request: Request, media_id: str) -> Answer:
        """GET /v1/media/<id>."""
        path, mime = self._media_row(media_id)
        try:
            with open(os.path.join(self.settings.media_dir, path), "rb") as stream:
                data = stream.read()
        except OSError:
            raise ApiError(1006, f"Media file not found: {media_id}") from None
        with self.database.session(store("media")) as session:
            session.execute("UPDATE media SET last_used = %s WHERE media_id = %s", (int(time.time()), media_id))
        return Answer(raw=data, content_type=mime)

    def delete_media(self, request: Request, media_id: str) -> Answer:
        """DELETE /v1/media/<id>."""
        path, _mime = self._media_row(media_id)
        self._media_ready()
        try:
            os.unlink(os.path.join(self.settings.media_dir, path))
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise ApiError(1005, f"The media directory cannot be written: {exc.strerror}") from None
        with self.database.session(store("media")) as session:
            session.execute("DELETE FROM media WHERE media_id = %s", (media_id,))
        return Answer({})
