# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a running container has that the rendered Compose file would not: `wa_client_extra_*`. Pure rules."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER

Mapping = t.Mapping[str, t.Any]
LAUNCH = "/opt/whatsapp/bin/launch_within_docker.sh"
_MERGED = ("logging", "healthcheck")  # mappings that `_compose.override.merge` puts together; networks replace a list
WAIT = {"MYSQL": "/opt/whatsapp/bin/wait_on_mysql.sh", "PGSQL": "/opt/whatsapp/bin/wait_on_postgres.sh"}


@dataclass
class Extras:
    """The additions of one deployment on one host."""

    services: dict[str, t.Any] = field(default_factory=dict)
    networks: dict[str, t.Any] = field(default_factory=dict)
    volumes: dict[str, t.Any] = field(default_factory=dict)
    secret: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)


def template(service: Mapping, engine: str, web_bind: str, core_bind: str = "0.0.0.0") -> dict[str, t.Any]:
    """What `_compose.document` says of a service with the role's defaults; a test compares them."""
    probe = "bash -c ': < /dev/tcp/127.0.0.1/443'" if service["kind"] == "web" else "nc -z 127.0.0.1 6253"
    bind = web_bind if service["kind"] == "web" else core_bind
    return {
        "environment": {"WA_CONFIG_ON_DB": "1", **service["environment"]},
        "networks": {"default": {}},
        "volumes": [f"media:{MEDIA_FOLDER}"],
        "cap_drop": ["MKNOD"],
        "restart": "unless-stopped",
        "stop_grace_period": "60s",
        "command": [WAIT.get(engine, WAIT["MYSQL"]), LAUNCH],
        "logging": {"driver": "json-file", "options": {"max-size": "50m", "max-file": "7"}},
        "ports": [f"{bind}:{one['outside']}:{one['inside']}" for one in service["ports"]],
        "healthcheck": {
            "test": ["CMD-SHELL", probe],
            "interval": "30s",
            "timeout": "5s",
            "start_period": "300s",
            "retries": 3,
        },
    }


def add(
    extras: Extras,
    container: Mapping,
    base: Mapping | None,
    name: str,
    *,
    survey: Mapping,
    from_files: t.Container[str],
    env_files: t.Sequence[str],
    usual: t.Sequence[str] = (),
    media: str = "",
) -> None:
    """Put into `extras` what `container` has and `base` has not; None for a container beside the client.

    `from_files` are the variables that its `env_files` give it, and `usual` the env files that the rendered file would
    have; `media` is what is mounted as the media volume.
    """
    actual = _actual(extras, container, survey, media)
    environment: dict[str, t.Any] = {}
    secret: dict[str, str] = {}
    wanted = (base or {}).get("environment", {})
    for key, value in container["environment"].items():
        if key in from_files or wanted.get(key) == value:
            continue
        (secret if redact.is_secret(key) or redact.holds_password(value) else environment)[key] = value
    environment.update({key: None for key in wanted if key not in container["environment"] and key not in from_files})
    found: dict[str, t.Any] = {}
    for key, value in actual.items():
        before = (base or {}).get(key)
        if before is None or not _same(key, value, before):
            found[key] = _difference(before, value) if key in _MERGED else value
    found.update(
        {key: None for key, value in (base or {}).items() if value and key not in actual and key != "environment"}
    )
    if environment:
        found["environment"] = environment
    if base is None:
        found["image"] = container["image"]
        if env_files:
            found["env_file"] = list(env_files)
    elif list(env_files) != list(usual):
        found["env_file"] = list(env_files) or None
    if found:
        extras.services[name] = escape(found)
    if secret:
        extras.secret[name] = secret
    for word in container["unsupported_settings"]:
        extras.notes.append(
            f"{container['name']}: {word} is set, which Compose cannot express here; it is not carried over"
        )
    if container["image_gone"]:
        extras.notes.append(
            f"{container['name']}: its image is gone from the host, so settings of the image count as the container's own"
        )


def escape(value: t.Any) -> t.Any:
    """`value` as a Compose file needs it, where a dollar sign begins a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: escape(item) for key, item in value.items()}
    return [escape(item) for item in value] if isinstance(value, list) else value


def _difference(before: t.Any, after: t.Any) -> t.Any:
    """What merged over `before` gives `after`."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    found = {key: None for key in before if key not in after}
    return {
        **found,
        **{key: _difference(before.get(key), value) for key, value in after.items() if before.get(key) != value},
    }


def _same(key: str, one: t.Any, other: t.Any) -> bool:
    return sorted(one) == sorted(other) if key in ("ports", "volumes", "cap_drop") else bool(one == other)


def _actual(extras: Extras, container: Mapping, survey: Mapping, media: str) -> dict[str, t.Any]:
    """The container's settings with the names that the rendered file has for volumes, networks and services."""
    found = dict(container["settings"])
    found["volumes"] = [_volume(extras, text, survey, media) for text in found.get("volumes", [])]
    if "network_mode" in found and not container["project"] and found["network_mode"] == "bridge":
        # Without a project the default bridge is what one gets for asking nothing; names do not resolve on it.
        del found["network_mode"]
        found["networks"] = {"default": {}}
        found.pop("external_links", None)
    else:
        found["networks"] = {
            _network(extras, name, container["project"], survey): how for name, how in found.get("networks", {}).items()
        }
    others = {one["name"]: one["service"] for one in survey["containers"] if one["project"] == container["project"]}
    links = [text.partition(":") for text in found.pop("external_links", [])]
    if not container["project"]:
        links = [link for link in links if link[0] not in others]  # in a project it gets another name
    elif "network_mode" not in found:
        links = [link for link in links if not _resolves(link[0], link[2], container["project"])]
    found["links"] = [f"{others[target]}:{alias}" for target, _colon, alias in links if target in others]
    found["external_links"] = [f"{target}:{alias}" for target, _colon, alias in links if target not in others]
    for key in ("network_mode", "pid", "ipc"):
        if str(found.get(key, "")).startswith("container:"):
            found[key] = _sharing(found[key], container, survey)
    if container["project"]:
        words = "[-_]".join(re.escape(str(container[key])) for key in ("project", "service", "number"))
        # Compose v1 leaves digits before the name when it is stopped in the middle of a recreation.
        if not re.fullmatch(f"(?:[0-9a-f]{{12}}_)?{words}", container["name"]):
            found["container_name"] = container["name"]
    return {key: value for key, value in found.items() if value not in ([], {}, "")}


def _resolves(target: str, alias: str, project: str) -> bool:
    """Whether a link says no more than a network of Compose does: its names for every container."""
    words = re.fullmatch(rf"{re.escape(project)}[-_](?P<service>.+)[-_][0-9]+", target)
    service = re.escape(words["service"]) if words else ""
    return alias == target or bool(service and re.fullmatch(rf"{service}(?:[-_][0-9]+)?", alias))


def _sharing(mode: str, container: Mapping, survey: Mapping) -> str:
    """`container:ID` by service, or by name outside the project: ids change at every recreation."""
    wanted = mode.partition(":")[2]
    for one in [*survey["containers"], *survey["sidecars"]]:
        if wanted and (one["name"] == wanted or one["id"].startswith(wanted)):
            ours = bool(container["project"]) and one["project"] == container["project"]
            return f"service:{one['service']}" if ours else f"container:{one['name']}"
    return mode


def _volume(extras: Extras, text: str, survey: Mapping, media: str) -> str:
    source, _colon, rest = text.partition(":")
    if source == media and rest.partition(":")[0].rstrip("/") == MEDIA_FOLDER:
        return f"media:{rest}"
    if not source.startswith("/"):
        extras.volumes[source] = {"name": source, "external": True}
    return text


def _network(extras: Extras, name: str, project: str, survey: Mapping) -> str:
    """The key of a network in the rendered file. All are external there, those of the project, its default one, too:

    subnets and options are not carried, and newer versions of Compose make a network anew that differs from its file.
    """
    if project and name == f"{project}_default":
        extras.networks["default"] = {"name": name, "external": True}
        return "default"
    labels: t.Mapping[str, str] = next((one["labels"] for one in survey["networks"] if one["name"] == name), {})
    if project and labels.get("com.docker.compose.project") == project:
        key = str(labels.get("com.docker.compose.network") or name)
        extras.networks[key] = {"name": name, "external": True}
        return key
    extras.networks[name] = {"name": name, "external": True}
    return name
