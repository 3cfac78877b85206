# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the client is told by its environment, and nothing else (domain.md 1 and 6)."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

# Three official sources name these characters as not allowed in WA_DB_PASSWORD.
FORBIDDEN_IN_PASSWORD = "?{}&~!()^="


class SettingsError(Exception):
    """The environment cannot be used; the text says which variable and why. It never holds a secret."""


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{name} must be a number, found {text!r}") from None


def _switch(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "") == "1"


def _ports(text: str) -> tuple[int, ...]:
    ports = tuple(int(part) for part in re.findall(r"\d+", text))
    return ports if len(ports) == 4 else (6250, 6251, 6252, 6253)


def container_id() -> str:
    """The first 12 hex digits of the container's id; outside a container, 12 random ones."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8") as stream:
            found = re.search(r"/containers/([0-9a-f]{64})/", stream.read())
    except OSError:
        found = None
    if found:
        return found.group(1)[:12]
    name = socket.gethostname()
    return name if re.fullmatch(r"[0-9a-f]{12}", name) else secrets.token_hex(6)


@dataclass(frozen=True)
class DatabaseSettings:
    """How to reach the database server. `engine` is MYSQL or PGSQL; the idle time-out is in seconds."""

    engine: str
    hostname: str
    port: int
    username: str
    password: str = field(repr=False)
    prefix: str = ""
    idle_timeout: float = 180.0
    persistent: bool = True
    ssl_ca: str = ""
    ssl_cert: str = ""
    ssl_key: str = ""
    # How the tables are made: receipts that go with their message, MySQL columns in latin1, a message store for each shard.
    cascade: bool = False
    mixed_charsets: bool = False
    message_stores: int = 1

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> DatabaseSettings:
        """Read WA_DB_*. Raises SettingsError when a required one is missing or wrong."""
        missing = [
            name for name in ("ENGINE", "HOSTNAME", "PORT", "USERNAME", "PASSWORD") if not env.get(f"WA_DB_{name}")
        ]
        if missing:
            raise SettingsError("required settings are missing: " + ", ".join(f"WA_DB_{name}" for name in missing))
        engine = env["WA_DB_ENGINE"]
        if engine not in ("MYSQL", "PGSQL"):
            raise SettingsError(f"WA_DB_ENGINE must be MYSQL or PGSQL, found {engine!r}")
        if not re.fullmatch(r"[0-9]{1,5}", env["WA_DB_PORT"]):
            raise SettingsError(f"WA_DB_PORT must be a number, found {env['WA_DB_PORT']!r}")
        return cls(
            engine=engine,
            hostname=env["WA_DB_HOSTNAME"],
            port=int(env["WA_DB_PORT"]),
            username=env["WA_DB_USERNAME"],
            password=env["WA_DB_PASSWORD"],
            prefix=env.get("WA_DB_NAME_PREFIX", ""),
            idle_timeout=_number(env, "WA_DB_CONNECTION_IDLE_TIMEOUT", 180000) / 1000,
            persistent=env.get("WA_DB_PERSISTENT", "1") != "0",
            ssl_ca=env.get("WA_DB_SSL_CA", ""),
            ssl_cert=env.get("WA_DB_SSL_CERT", ""),
            ssl_key=env.get("WA_DB_SSL_KEY", ""),
            cascade=_switch(env, "SIM_CASCADE"),
            mixed_charsets=_switch(env, "SIM_MIXED_CHARSETS"),
            message_stores=int(_number(env, "SIM_MESSAGE_STORES", 1)),
        )

    def unusable(self) -> str:
        """Why the real client could not connect with these settings; empty when it could."""
        bad = sorted(set(self.password) & set(FORBIDDEN_IN_PASSWORD))
        return f"WA_DB_PASSWORD holds a character that is not allowed (one of {FORBIDDEN_IN_PASSWORD})" if bad else ""


@dataclass(frozen=True)
class Settings:
    """Everything the two programs read from their environment."""

    database: DatabaseSettings
    config_on_db: bool = False
    upgrade_only: bool = False
    multiconnect: bool = False
    master: bool = False
    hostname: str = "localhost"
    container: str = "000000000000"
    external_ports: tuple[int, ...] = (6250, 6251, 6252, 6253)
    wacore_hostname: str = "wacore"
    api_key: str = ""
    jwt_key: str = ""
    listen_address: str = "0.0.0.0"
    web_port: int = 443
    core_ports: tuple[int, ...] = (6250, 6251, 6252, 6253)
    data_dir: str = "/usr/local/waent/data"
    media_dir: str = "/usr/local/wamedia"
    web_log_dir: str = "/var/log/whatsapp"
    core_log_dir: str = "/usr/local/waent/logs"
    error_log_dir: str = ""  # empty: with the Webapp's other logs
    control_url: str = ""
    fixed_faults: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    # Knobs of the simulation; documented in tests/lab/README.md.
    gc_batch: int = 8000
    gc_delay: float = 0.0
    gc_pause: float = 0.03
    gc_min_age: float = 86400.0
    auto_gc_every: float = 86400.0
    connect_seconds: float = 0.5
    drain_seconds: float = 0.3
    core_timeout: float = 5.0
    lock_after: int = 5
    lock_seconds: float = 300.0
    log_rate: float = 0.0
    traffic: float = 0.0
    shards: int = 1
    registered: bool = True
    certificate_names: str = ""
    common_name_only: bool = False
    start_seconds: float = 0.0
    database_retry: float = 1.0
    dead_node_seconds: float = 0.0
    vendor_logs: bool = False
    odd_login: bool = False
    odd_codes: bool = False
    login_rows: bool = False
    probe_log: bool = False
    root_page: bool = False
    unreachable_text: str = "Connection timed out"

    @property
    def node(self) -> str:
        """This node's name in health, GC and stats answers: <hostname>:<12-hex container id>."""
        return f"{self.hostname}:{self.container}"

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the whole environment. Raises SettingsError with the name of the variable that is wrong."""
        env = os.environ if env is None else env
        master = env.get("WA_MASTER_NODE", "") == "1"
        return cls(
            database=DatabaseSettings.from_env(env),
            config_on_db=env.get("WA_CONFIG_ON_DB", "") == "1",
            upgrade_only=env.get("WA_DB_UPGRADE", "") == "1",
            multiconnect=env.get("WA_APP_MULTICONNECT", "") == "1",
            master=master,
            hostname=env.get("COREAPP_HOSTNAME") or env.get("WEBAPP_HOSTNAME") or socket.gethostname(),
            container=container_id(),
            external_ports=_ports(env.get("COREAPP_EXTERNAL_PORTS", "")),
            wacore_hostname=env.get("WACORE_HOSTNAME") or "wacore",
            api_key=env.get("WA_API_KEY", ""),
            jwt_key=env.get("WA_WEB_JWT_CRYPTO_KEY", ""),
            listen_address=env.get("SIM_LISTEN", "0.0.0.0"),
            web_port=int(_number(env, "SIM_WEB_PORT", 443)),
            core_ports=_ports(env.get("SIM_CORE_PORTS", "")),
            data_dir=env.get("SIM_DATA_DIR") or "/usr/local/waent/data",
            media_dir=env.get("SIM_MEDIA_DIR") or "/usr/local/wamedia",
            web_log_dir=env.get("SIM_WEB_LOG_DIR") or "/var/log/whatsapp",
            core_log_dir=env.get("SIM_CORE_LOG_DIR") or "/usr/local/waent/logs",
            error_log_dir=env.get("SIM_ERROR_LOG_DIR")
            or ("/var/log/lighttpd" if _switch(env, "SIM_VENDOR_LOGS") else ""),
            control_url=env.get("SIM_CONTROL_URL", ""),
            fixed_faults=tuple(part.strip() for part in env.get("SIM_FAULTS", "").split(",") if part.strip()),
            environment=tuple(sorted(name for name in env if name.startswith("WA_"))),
            gc_batch=int(_number(env, "SIM_GC_BATCH", 8000)),
            gc_delay=_number(env, "SIM_GC_DELAY", 0),
            gc_pause=_number(env, "SIM_GC_PAUSE", 0.03),
            gc_min_age=_number(env, "SIM_GC_MIN_AGE", 86400),
            auto_gc_every=_number(env, "SIM_AUTO_GC_SECONDS", 86400),
            connect_seconds=_number(env, "SIM_CONNECT_SECONDS", 0.5),
            drain_seconds=_number(env, "SIM_DRAIN_SECONDS", 0.3),
            core_timeout=_number(env, "SIM_CORE_TIMEOUT", 5),
            lock_after=int(_number(env, "SIM_LOCK_AFTER", 5)),
            lock_seconds=_number(env, "SIM_LOCK_SECONDS", 300),
            log_rate=_number(env, "SIM_LOG_RATE", 0),
            traffic=_number(env, "SIM_TRAFFIC", 0),
            shards=int(_number(env, "SIM_SHARDS", 1)),
            registered=env.get("SIM_REGISTERED", "1") != "0",
            certificate_names=env.get("SIM_CERT_NAMES", ""),
            common_name_only=_switch(env, "SIM_COMMON_NAME_ONLY"),
            start_seconds=_number(env, "SIM_START_SECONDS", 0),
            database_retry=_number(env, "SIM_DATABASE_RETRY", 1),
            dead_node_seconds=_number(env, "SIM_DEAD_NODE_SECONDS", 0),
            vendor_logs=_switch(env, "SIM_VENDOR_LOGS"),
            odd_login=_switch(env, "SIM_ODD_LOGIN"),
            odd_codes=_switch(env, "SIM_ODD_CODES"),
            login_rows=_switch(env, "SIM_LOGIN_ROWS"),
            probe_log=_switch(env, "SIM_PROBE_LOG"),
            root_page=_switch(env, "SIM_ROOT_PAGE"),
            unreachable_text=env.get("SIM_UNREACHABLE_TEXT") or "Connection timed out",
        )
