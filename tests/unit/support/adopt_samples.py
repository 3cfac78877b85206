# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `wa_adopt` would have read of hosts that run the client, for the tests of adoption."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import inventory, placing, report
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired

ENV = {
    "WA_DB_ENGINE": "MYSQL",
    "WA_DB_HOSTNAME": "db.example.com",
    "WA_DB_PORT": "3306",
    "WA_DB_USERNAME": "wa",
    "WA_DB_PASSWORD": "Canary-secret-1",
}
MULTI = {"WA_APP_MULTICONNECT": "1"}
REGISTRY = "registry.example.com/whatsapp"


def container(service: str, project: str = "biz", **changes: t.Any) -> dict[str, t.Any]:
    """A container as the vendor's Compose file makes it."""
    role = {"waweb": "web", "master": "master"}.get(service, "core")
    own = {"WACORE_HOSTNAME": "wacore"} if role == "web" else {"WA_MASTER_NODE": "1"} if role == "master" else {}
    environment = {**ENV, "WA_CONFIG_ON_DB": "1", **own, **changes.pop("environment", {})}
    files = ["/srv/biz/docker-compose.yml"] if project else []
    files = changes.get("files", files)
    return {
        "name": f"{project}-{service}-1" if project else service,
        "id": (service + "0" * 64)[:64],
        "image": f"{REGISTRY}/{'web' if role == 'web' else 'coreapp'}:v2.51.2",
        "role": role,
        "project": project,
        "service": service,
        "number": 1,
        "one_shot": False,
        "state": "running",
        "created": "2026-03-01T02:10:00.000000000Z",
        "compose_version": "2.26.1" if project else "",
        "folder": "/srv/biz" if project else "",
        "files": files,
        "operators_files": files,
        "files_gone": [],
        "interpolation_files": [],
        "image_files": [],
        "declared": {},
        "document": {},
        "next_image": "",
        "restart": "always",
        "network_mode": f"{project}_default" if project else "bridge",
        "ports": ["0.0.0.0:9090:443"] if role == "web" else [],
        "labels": {},
        "environment": {key: value for key, value in environment.items() if value is not None},
        "mounts": [["volume", "biz_whatsappMedia", "/usr/local/wamedia"]],
        "env_files": ["/srv/biz/db.env"] if project else [],
        "own_keys": ["WA_CONFIG_ON_DB", "WACORE_HOSTNAME"],
        "compose_problem": "",
        "variables_problem": "",
        **changes,
    }


def survey(*containers: dict[str, t.Any], env: dict[str, str] | None = None, **changes: t.Any) -> dict[str, t.Any]:
    """A host with these containers and one db.env."""
    text = "".join(f"{key}={value}\n" for key, value in (ENV if env is None else env).items())
    whose = {"mode": "0600", "owner": "root"}
    file = {"path": "/srv/biz/db.env", "target": "/srv/biz/db.env", "problem": "", "text": text, **whose}
    return {
        "containers": list(containers),
        "sidecars": [],
        "volumes": [{"Name": "biz_whatsappMedia", "Driver": "local", "Options": None}],
        "autostart": [],
        "files": [file],
        **changes,
    }


def single(project: str = "biz", **changes: t.Any) -> dict[str, t.Any]:
    """A host with a whole client of the single topology."""
    ours = (container(one, project, environment=changes.get("env", {})) for one in ("wacore", "waweb"))
    return survey(*ours, **changes)


def without_files(found: dict[str, t.Any]) -> dict[str, t.Any]:
    """The host where only the Compose file of the role is there."""
    for one in (*found["containers"], *found["sidecars"]):
        one.update(operators_files=[], files=["/opt/waba/h1/compose.yml"] if one["project"] else [])
    return found


def member(number: int, **changes: t.Any) -> dict[str, t.Any]:
    """A host of a multiconnect client: Webapp, Coreapp, master."""
    where = {**MULTI, "COREAPP_HOSTNAME": f"h{number}.example.com", "WA_WEB_JWT_CRYPTO_KEY": "Canary-key-1"}
    options = {"type": "nfs", "o": "addr=192.0.2.1", "device": ":/media"}
    volume = {"Name": "biz_whatsappMedia", "Driver": "local", "Options": options}
    return survey(
        *(container(service, environment=where) for service in ("wacore", "master", "waweb")),
        **{"volumes": [volume], **changes},
    )


def render(hostvars: t.Mapping[str, t.Mapping[str, t.Any]], host: str, groups: t.Mapping[str, t.Sequence[str]]) -> str:
    """The text of the role's Compose file for a host."""
    return _desired.compose_file_of(hostvars, host, groups, lambda value: value)


def _is_node(one: t.Mapping[str, t.Any]) -> bool:
    return bool(one["environment"].get("WA_APP_MULTICONNECT") == "1" and one["role"] != "web")


@dataclass
class Made:
    """An adoption, and what is written of it."""

    adoption: inventory.Adoption
    documents: dict[str, t.Any] = field(default_factory=dict)
    secrets: dict[str, t.Any] = field(default_factory=dict)
    report: list[str] = field(default_factory=list)
    compose_files: list[str] = field(default_factory=list)
    deployments: list[str] = field(default_factory=list)


def adopt(
    surveys: t.Mapping[str, t.Any],
    failed: t.Mapping[str, str] | None = None,
    earlier: Made | None = None,
    answers: t.Mapping[str, str] | None = None,
    rendered: inventory.Render = render,
    options: str = "",
) -> Made:
    """Adopts what was read of hosts, with the real functions. Each client has a settings backup.

    As on real hosts no two containers have one id; the health of multiconnect clients names the nodes of all of them, unless a survey
    has `evidence`.
    """
    for host, one in surveys.items():
        for each in one["autostart"]:
            each.setdefault("shown", each["line"])
        for each in (*one["containers"], *one["sidecars"]):
            if each["id"].endswith("0" * 40):
                each["id"] = hashlib.sha256(f"{host} {each['project']} {each['name']}".encode()).hexdigest()
    nodes = [
        f"{host}:{each['id'][:12]}" for host, one in surveys.items() for each in one["containers"] if _is_node(each)
    ]
    for one in surveys.values():
        projects = {each["project"] for each in one["containers"] if _is_node(each)}
        one.setdefault("evidence", {project: {"nodes": nodes} for project in projects})
    hosts = (*surveys, *(failed or {}), *(earlier.adoption.report["read"] if earlier else ()))
    source = inventory.Source({host: {} for host in surveys}, {**dict.fromkeys(hosts, ""), **(answers or {})})
    made = inventory.build(surveys, failed or {}, source, rendered, earlier.adoption if earlier else None)
    for one in made.report["deployments"].values():
        one["settings"] = {"file": "/backups/settings.json"}
    placed = placing.place(made.hosts, made.secrets)
    compose = [line for one in made.report["deployments"].values() for line in one["compose"]]
    lines = report.lines(made.report, options)
    return Made(made, placed.documents, placed.secrets, lines, compose, made.deployments)
