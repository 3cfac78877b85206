# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that matches its inventory, for tests of the drift inspection: files in a folder, containers of a fake engine.

host = ObservedHost(engine, tmp_path)
host.desired["db_env"]["port"] = 3307     # or plant a drift in its files and containers
assert host.touched() == {}               # the engine got only probe commands, and no file changed
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import typing as t
from pathlib import Path

from fake_docker import FakeDocker
from fake_probes import FakeProbes

from ansible_collections.waba.onprem.plugins.module_utils._client import identity, inspection
from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology

VERSION = "2.53.4"
CORE, WEB = f"r/coreapp:v{VERSION}", f"r/web:v{VERSION}"
VOLUME, NETWORK = "wa-a_whatsappMedia", "wa-a_default"
# None of these secrets may be shown. Each is in another place.
PASSWORD, API_KEY, SERVICE_KEY = "Canary-18-Pw", "Canary-18-Key", "Canary-18-Web"
CANARIES = (PASSWORD, API_KEY, SERVICE_KEY)
_ASKS = re.compile(r"GET |POST /containers/[^/]+/exec$|POST /exec/[^/]+/start$")


def file(path: Path, mode: str, **more: t.Any) -> dict[str, t.Any]:
    return {"path": str(path), "mode": mode, **more}


class ObservedHost:
    """The host of deployment `a`. `desired` is what the action plugin sends, secrets included."""

    def __init__(self, engine: FakeDocker, folder: Path) -> None:
        self.engine, self.folder = engine, folder / "host"
        self.project, self.state, self.system = (self.folder / name for name in ("project", "state", "system"))
        for path in (self.project, self.state, self.system):
            path.mkdir(parents=True)
            path.chmod(0o750)
        self.db_env, self.compose = self.project / "db.env", self.project / "compose.yml"
        self.record = self.state / "client-a.json"
        self.cron, self.script = self.system / "wa-a-log-cleanup", self.system / "wa-log-cleanup"
        self.environment = {
            "WA_DB_ENGINE": "MYSQL",
            "WA_DB_HOSTNAME": "db",
            "WA_DB_PORT": "3306",
            "WA_DB_USERNAME": "wa",
            "WA_DB_PASSWORD": PASSWORD,
            "WA_CONFIG_ON_DB": "1",
            "WA_API_KEY": API_KEY,
        }
        self.write(self.db_env, self.lines(self.environment), 0o600)
        self.desired: dict[str, dict[str, t.Any]] = {
            "host": self._host(),
            "media_volume": {"docker_host": engine.host, "name": VOLUME, "project": "wa-a"},
            "db_env": self._db_env(),
            "client": self._client(),
            "log_cleanup": self._log_cleanup(),
        }
        for one in self.desired["client"]["files"] + self.desired["log_cleanup"]["files"]:
            self.write(Path(one["path"]), one.get("content", "#!/bin/sh\n"), int(one["mode"], 8))
        facts = {**self.desired["client"]["identity"], "file": {}}
        services = definitions.Recorded({name: {"hash": f"hash-of-{name}"} for name in ("wacore", "waweb")}, "salt")
        recorded = {**identity.wanted_identity(facts), **services.text()}
        recorded[inspection.VERSION] = self.desired["client"]["version"]
        self.write(self.record, json.dumps(recorded), 0o640)
        engine.images.update({CORE: {}, WEB: {}})
        engine.networks[NETWORK] = {"Id": "n1"}
        engine.volume(VOLUME)
        engine.on_exec = FakeProbes(Path(engine.mountpoint(VOLUME)))
        self.core = self.container("wacore", CORE)
        self.web = self.container("waweb", WEB, API_TOKEN=SERVICE_KEY)
        self.before = self.files()

    @staticmethod
    def lines(values: t.Mapping[str, str]) -> str:
        """An env file."""
        return "".join(f"{key}={value}\n" for key, value in values.items())

    @staticmethod
    def write(path: Path, text: str, mode: int) -> None:
        """Write a file with its mode."""
        path.write_text(text)
        path.chmod(mode)

    def container(self, service: str, image: str, **environment: str) -> dict[str, t.Any]:
        """Add a container of the project that matches the inventory."""
        made = self.engine.container(
            f"wa-a-{service}-1",
            image,
            "wa-a",
            service,
            volume=VOLUME,
            environment={**self.environment, **environment},
            labels={
                compose_document.OWN_LABEL: "a",
                compose_document.DEFINITION_LABEL: f"digest-of-{service}",
                "com.docker.compose.config-hash": f"hash-of-{service}",
                "com.docker.compose.version": "2.40.3",
            },
        )
        made["Labels"]["com.docker.compose.image"] = made["Image"]
        made["Networks"] = ["n1"]
        log = {"Type": "json-file", "Config": {"max-size": "50m"}}
        made["HostConfig"] = {"LogConfig": log, "RestartPolicy": {"Name": "unless-stopped"}}
        return made

    def files(self) -> dict[str, tuple[int, int, int, bytes]]:
        """All files of the host: mode, owner, time of the last change, content."""
        found = {}
        for path in [self.folder, *self.folder.rglob("*")]:
            seen = path.lstat()
            data = path.read_bytes() if path.is_file() else os.fsencode(str(sorted(os.listdir(path))))
            found[str(path)] = (seen.st_mode, seen.st_uid, seen.st_mtime_ns, data)
        return found

    def planted(self) -> None:
        """Take the present state as the one that `touched` compares with."""
        self.before = self.files()
        self.engine.requests.clear()

    def touched(self) -> dict[str, t.Any]:
        """What was changed: files, files left in the volume, and requests that neither read nor probe."""
        asked = [line for line in self.engine.requests if not _ASKS.match(line)]
        after = self.files()
        files = [path for path in sorted({*self.before, *after}) if self.before.get(path) != after.get(path)]
        left = os.listdir(self.engine.mountpoint(VOLUME)) if VOLUME in self.engine.volumes else []
        return {key: value for key, value in (("requests", asked), ("files", files), ("left", left)) if value}

    def _host(self) -> dict[str, t.Any]:
        return {
            "docker_host": self.engine.host,
            "database_engine": "MYSQL",
            "files": [file(path, "0750", state="directory") for path in (self.project, self.state)],
            "lock_file": str(self.state / "a.lock"),
            "compose_file": str(self.compose),
            "identity_file": str(self.record),
        }

    def _db_env(self) -> dict[str, t.Any]:
        return {
            "docker_host": self.engine.host,
            "path": str(self.db_env),
            "engine": "MYSQL",
            "hostname": "db",
            "port": 3306,
            "username": "wa",
            "password": PASSWORD,
            "extra": {"WA_CONFIG_ON_DB": "1"},
            "extra_secrets": {"WA_API_KEY": API_KEY},
            "containers": True,
            "project": "wa-a",
        }

    @staticmethod
    def document() -> dict[str, t.Any]:
        """The collection's Compose file that the inventory describes."""
        services = {
            name: {
                "image": image,
                "labels": {compose_document.DEFINITION_LABEL: f"digest-of-{name}"},
                "networks": ["default"],
                "restart": "unless-stopped",
            }
            for name, image in (("wacore", CORE), ("waweb", WEB))
        }
        services["waweb"]["environment"] = {"API_TOKEN": SERVICE_KEY}
        return {"services": services, "networks": {"default": {"name": NETWORK}}}

    def _client(self) -> dict[str, t.Any]:
        deployment = topology.deployment("a", {"all": ["a"]})
        named = {"engine": "MYSQL", "hostname": "db", "port": 3306, "name_prefix": None}
        content = f"{compose_document.HEADER}\nservices:\n  waweb:\n    environment:\n      API_TOKEN: {SERVICE_KEY}\n"
        return {
            "docker_host": self.engine.host,
            "project": "wa-a",
            "version": VERSION,
            "project_dir": str(self.project),
            "content": json.dumps(self.document()),
            "compose_file": str(self.compose),
            "files": [file(self.compose, "0640", content=content)],
            "env_file": str(self.db_env),
            "identity": {
                "host": "a",
                "deployment": deployment,
                "db_env": named,
                "media_volume": VOLUME,
                "topology": "single",
                "shards": 1,
            },
            "identity_file": str(self.record),
        }

    def _log_cleanup(self) -> dict[str, t.Any]:
        digest = hashlib.sha256(b"#!/bin/sh\n").hexdigest()
        line = "7 3 * * * root /usr/local/sbin/wa-log-cleanup -p wa-a\n"
        return {
            "files": [file(self.script, "0755", sha256=digest), file(self.cron, "0644", content=line)],
            "status_file": str(self.state / "log-cleanup-a.json"),
            "cron_file": str(self.cron),
        }
