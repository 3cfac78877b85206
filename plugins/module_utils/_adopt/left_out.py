# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Compose file of the role leaves out of a container that runs, as lines of the report. Pure rules."""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Client
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules

Mapping = t.Mapping[str, t.Any]
_MEDIA = re.compile(rf":{MEDIA_FOLDER}/?(:[^:/]*)?$")  # the end of a mount
_NAMED = ("command", "entrypoint", "healthcheck")  # their words may be secrets
# Settings that mean nothing beside those of the role.
_NOTHING: dict[str, tuple[t.Any, ...]] = {
    "logging": ({"driver": "json-file", "options": {}},),
    "network_mode": ("bridge",),
    "restart": ("always", "unless-stopped"),
}


def lines(
    client: Client, container: Mapping, document: Mapping, service: str, written: t.Iterable[str] = ()
) -> list[str]:
    """Returns what `container` has and `service` of the role's `document` has not.

    Of what may hold a secret the names only. `written` are the variables that are written into db.env.
    """
    body, settings = document["services"].get(service), container["settings"]
    subject = service if container["name"] == service else f"{service} ({container['name']})"
    if body is None:
        return [f"{subject}: the whole container: the file has no service for it"]
    file, ours = client.env_file, {one["name"] for one in client.containers}
    found = {
        "environment": _variables(client, container, body["environment"], written),
        "env_file": [path for path in container["env_files"] if file is None or path != file["path"]],
        "labels": sorted({*settings.get("labels", {})} - {*body["labels"]}),
        "networks": _networks(settings.get("networks", {}), document),
        "volumes": [text for text in settings.get("volumes", []) if not _MEDIA.search(text)],
        "ports": [
            text
            for text in settings.get("ports", [])
            if (text if text.count(":") > 1 else f"0.0.0.0:{text}") not in body.get("ports", [])
        ],
        "external_links": [text for text in settings.get("external_links", []) if text.partition(":")[0] not in ours],
    }
    for key, value in settings.items():
        if key not in found and value != body.get(key) and value not in _NOTHING.get(key, ()):
            found[key] = value
    shown = [f"{key}: {_text(value)}" if key not in _NAMED else key for key, value in found.items() if value]
    shown += container["unsupported_settings"]
    if container["image_gone"]:
        shown.append("its image is gone from the host, so settings of the image count as the container's own")
    return [f"{subject}: {text}" for text in shown]


def _variables(client: Client, container: Mapping, has: Mapping, written: t.Iterable[str]) -> list[str]:
    """Returns the variables that neither env files nor the db.env that is written give to a container."""
    own, everywhere, file = container["environment"], client.environment, client.env_file
    held = client.keys_of(file["path"]) if file else {}
    given = {*client.given(container), *written, *({"WACORE_HOSTNAME"} & {*has})}  # the role's name of the same Coreapp
    given |= {key for key in env_rules.DATABASE_KEYS if own.get(key) == held.get(key, everywhere.get(key))}
    return sorted(key for key, value in own.items() if key not in given and has.get(key) != value)


def _networks(joined: Mapping, document: Mapping) -> list[str]:
    """Returns the networks, with fixed addresses and names, that are not the project's own."""
    own = [one["name"] for one in document["networks"].values()]
    found = {name: how for name, how in joined.items() if how or name not in ("bridge", *own)}
    return [f"{name} {json.dumps(how, sort_keys=True)}" if how else name for name, how in found.items()]


def _text(value: t.Any) -> str:
    value = redact.mask(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = ", ".join(value)
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return " ".join(str(redact.mask(text)).split())
