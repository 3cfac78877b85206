# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, passwords and tokens of the API (domain.md 4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from .database import Database, Session
from .errors import ApiError
from .schema import store

TOKEN_SECONDS = 7 * 86400
HASH_ROUNDS = 20000
FIRST_USER, FIRST_PASSWORD = "admin", "secret"


@dataclass(frozen=True)
class Caller:
    """Who asks: a user with a role, or a monitor with the API key."""

    username: str
    role: str
    token: str = ""
    issued: float = 0.0

    @property
    def admin(self) -> bool:
        """True for the administrator's role."""
        return self.role == "ROLE_ADMIN"


def hashed(password: str, salt: bytes | None = None) -> str:
    """A salted hash as it is stored."""
    salt = salt or secrets.token_bytes(16)
    return salt.hex() + "$" + hashlib.pbkdf2_hmac("sha256", password.encode(), salt, HASH_ROUNDS).hex()


def fits(password: str, stored: str) -> bool:
    """True when a password belongs to a stored hash."""
    return hmac.compare_digest(hashed(password, bytes.fromhex(stored.partition("$")[0])), stored)


def acceptable(password: str) -> bool:
    """The password rule: 8 to 64 characters with a digit, an upper, a lower and a special one."""
    kinds = (r"[0-9]", r"[A-Z]", r"[a-z]", r"[^0-9A-Za-z]")
    return 8 <= len(password) <= 64 and all(re.search(kind, password) for kind in kinds)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def make_token(key: str, username: str, epoch: int, now: float) -> str:
    """A signed token; every Webapp with the same key takes it."""
    head = _encode(b'{"alg":"HS256","typ":"JWT"}')
    claims = {"user": username, "iat": now, "exp": now + TOKEN_SECONDS, "jti": secrets.token_hex(16), "epoch": epoch}
    body = _encode(json.dumps(claims, separators=(",", ":")).encode())
    mark = hmac.new(key.encode(), f"{head}.{body}".encode(), "sha256").digest()
    return f"{head}.{body}.{_encode(mark)}"


def read_token(key: str, token: str) -> dict[str, Any] | None:
    """The claims of a token, or None when the signature is another key's or the text is no token."""
    try:
        head, body, mark = token.split(".")
        right = _encode(hmac.new(key.encode(), f"{head}.{body}".encode(), "sha256").digest())
        if not hmac.compare_digest(mark.encode(), right.encode()):
            return None
        return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except (ValueError, TypeError):
        return None


def expires_after(now: float) -> str:
    """The end of a token's life as a login answers it: a space, not a T."""
    return datetime.fromtimestamp(now + TOKEN_SECONDS, timezone.utc).strftime("%Y-%m-%d %H:%M:%S+00:00")


class Accounts:
    """Users in the web store. All methods raise DatabaseDown when it cannot be reached."""

    def __init__(
        self,
        database: Database,
        key: str,
        lock_after: int,
        lock_seconds: float,
        odd_answers: bool = False,
        login_rows: bool = False,
    ) -> None:
        self._db = database
        self._key = key
        self._lock_after = lock_after
        self._lock_seconds = lock_seconds
        self._odd_answers = odd_answers
        self._login_rows = login_rows

    def _first_user(self, session: Session) -> None:
        if session.value("SELECT 1 FROM users LIMIT 1") is None:
            ignore, conflict = ("", " ON CONFLICT DO NOTHING") if session.engine == "PGSQL" else (" IGNORE", "")
            session.execute(
                f"INSERT{ignore} INTO users (username, role, password, initial, epoch, failures, locked_until) VALUES (%s, 'ADMIN', %s, 1, 0, 0, 0){conflict}",
                (FIRST_USER, hashed(FIRST_PASSWORD)),
            )

    def login(self, username: str, password: str, new_password: str | None) -> dict[str, str]:
        """Check a login. Returns the element of `users[]`. Raises ApiError: 401, 1031 locked, 1008/1009 for the new password."""
        with self._db.session(store("web")) as session:
            self._first_user(session)
            rows = session.rows(
                "SELECT password, initial, epoch, locked_until FROM users WHERE username = %s", (username,)
            )
            if not rows:
                raise ApiError(1005, "Invalid credentials", status=401)
            stored, initial, epoch, locked_until = rows[0]
            now = session.now()
            if locked_until > now and self._odd_answers:
                raise ApiError(1015, "Too many wrong logins, try again later")
            if locked_until > now:
                raise ApiError(1031, "Account is locked after repeated wrong logins, try again later")
            if not fits(password, stored):
                self._wrong(session, username, now)
            session.execute("UPDATE users SET failures = 0, locked_until = 0 WHERE username = %s", (username,))
            if initial and new_password is None and self._odd_answers:
                raise ApiError(1024, "Password change required")
            if initial and new_password is None:
                raise ApiError(
                    1008, "new_password is required: the initial password must be changed at the first login"
                )
            if new_password is not None:
                self._set_password(session, username, new_password)
                epoch += 1
            token = make_token(self._key, username, epoch, time.time())
            claims = read_token(self._key, token)
            if self._login_rows and claims:
                session.execute("INSERT INTO tokens (token, expires) VALUES (%s, %s)", (claims["jti"], claims["exp"]))
        return {"token": token, "expires_after": expires_after(time.time())}

    def _wrong(self, session: Session, username: str, now: float) -> None:
        session.execute("UPDATE users SET failures = failures + 1 WHERE username = %s", (username,))
        if session.value("SELECT failures FROM users WHERE username = %s", (username,)) >= self._lock_after:
            session.execute(
                "UPDATE users SET failures = 0, locked_until = %s WHERE username = %s",
                (now + self._lock_seconds, username),
            )
        raise ApiError(1005, "Invalid credentials", status=401)

    def _set_password(self, session: Session, username: str, password: str) -> None:
        if not acceptable(password):
            raise ApiError(
                1009,
                "The password must have 8 to 64 characters with a digit, an upper-case, a lower-case and a special character",
            )
        session.execute(
            "UPDATE users SET password = %s, initial = 0, epoch = epoch + 1 WHERE username = %s",
            (hashed(password), username),
        )

    def caller(self, token: str) -> Caller | None:
        """Who a bearer token belongs to; None when it is wrong, over, logged out or older than the password."""
        claims = read_token(self._key, token)
        if claims is None or claims["exp"] < time.time():
            return None
        with self._db.session(store("web")) as session:
            if session.value("SELECT 1 FROM revoked WHERE token = %s", (claims["jti"],)):
                return None
            rows = session.rows("SELECT role, epoch FROM users WHERE username = %s", (claims["user"],))
        if not rows or rows[0][1] != claims["epoch"]:
            return None
        return Caller(claims["user"], f"ROLE_{rows[0][0]}", claims["jti"], float(claims["iat"]))

    def logout(self, caller: Caller) -> None:
        """End a token's life now."""
        with self._db.session(store("web")) as session:
            if self._login_rows:
                session.execute("DELETE FROM tokens WHERE token = %s", (caller.token,))
            session.execute("DELETE FROM revoked WHERE expires < %s", (time.time(),))
            session.execute(
                "INSERT INTO revoked (token, expires) VALUES (%s, %s)", (caller.token, time.time() + TOKEN_SECONDS)
            )

    def create(self, username: str, password: str, role: str) -> None:
        """Make a user. Raises ApiError 1009 for a bad password or a name that is taken."""
        if not acceptable(password) or not re.fullmatch(r"[A-Za-z0-9._-]{4,32}", username):
            raise ApiError(1009, "username or password is not acceptable")
        with self._db.session(store("web")) as session:
            self._first_user(session)
            if session.value("SELECT 1 FROM users WHERE username = %s", (username,)):
                raise ApiError(1009, f"User {username} exists")
            session.execute(
                "INSERT INTO users (username, role, password, initial, epoch, failures, locked_until) VALUES (%s, %s, %s, 0, 0, 0, 0)",
                (username, role, hashed(password)),
            )

    def role(self, username: str) -> str:
        """The role of a user. Raises ApiError 1006 when there is none."""
        with self._db.session(store("web")) as session:
            found = session.value("SELECT role FROM users WHERE username = %s", (username,))
        if found is None:
            raise ApiError(1006, f"User {username} not found")
        return f"ROLE_{found}"

    def change_password(self, username: str, password: str) -> None:
        """Set another password; tokens given out before lose their worth."""
        self.role(username)
        with self._db.session(store("web")) as session:
            self._set_password(session, username, password)

    def remove(self, username: str) -> None:
        """Delete a user. Raises ApiError 1006 when there is none, 1005 for the first administrator."""
        if username == FIRST_USER:
            raise ApiError(1005, "The administrator cannot be deleted")
        self.role(username)
        with self._db.session(store("web")) as session:
            session.execute("DELETE FROM users WHERE username = %s", (username,))
