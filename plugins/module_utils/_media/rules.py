# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The media volume: is it the right one, do the containers mount it. Pure rules, no I/O."""

from __future__ import annotations

import posixpath
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import (
    CHANGED,
    HIDDEN,
    Options,
    mask_options,
    option_secrets,
)
from ansible_collections.waba.onprem.plugins.module_utils._deployment.topology import check_volume_name

# What Docker's local driver accepts, and what each option needs beside it (moby: volume/local).
_LOCAL_NEEDS = {"type": ("device",), "device": ("type",), "o": ("device", "type"), "size": ()}


def check_options(driver: str, options: Options) -> None:
    """Raise WaError for options that Docker's local driver refuses; other drivers know their own."""
    if driver != "local":
        return
    for name in options:
        if name not in _LOCAL_NEEDS:
            raise WaError("option driver_options", f"the local driver has no option {name}", "type, o, device, size")
        for other in _LOCAL_NEEDS[name]:
            if other not in options:
                raise WaError(
                    "option driver_options",
                    f"{name} without {other}",
                    f"{other} beside it",
                    "For a directory: type none, o bind, device its path",
                )


def is_bind(options: Options) -> bool:
    """Whether the options of a local volume bind a directory of the host."""
    return bool({"bind", "rbind"} & set(options.get("o", "").split(",")))


def needs_mount(options: Options) -> bool:
    """Whether a local volume with these options is mounted from somewhere, so only while a container uses it."""
    return bool(options.get("device") or options.get("type"))


# Drift


def _same(driver: str, name: str, found: str | None, wanted: str) -> bool:
    if found is not None and driver == "local" and name == "o":
        return sorted(found.split(",")) == sorted(wanted.split(","))
    return found == wanted


def _shown(name: str, found: str | None, wanted: str) -> tuple[str | None, str]:
    """Two differing values to show; a secret that differs shows as changed, one that does not as hidden."""
    if found is None:
        return None, mask_options({name: wanted})[name]
    before, after = mask_options({name: found})[name], mask_options({name: wanted})[name]
    differs = option_secrets({name: found}) != option_secrets({name: wanted})
    return before, after.replace(HIDDEN, CHANGED) if differs else after


def drift(actual: t.Mapping[str, t.Any], driver: str, options: Options, labels: Options) -> list[dict[str, t.Any]]:
    """How a volume as Docker tells it differs from what is wanted: `what`, `found`, `wanted`, secrets masked.

    Only the options and labels that are given are compared.
    """
    found: list[dict[str, t.Any]] = []
    if actual["Driver"] not in (driver, f"{driver}:latest"):
        found.append({"what": "driver", "found": actual["Driver"], "wanted": driver})
    there = actual.get("Options") or {}
    for name, value in sorted(options.items()):
        if not _same(driver, name, there.get(name), value):
            before, after = _shown(name, there.get(name), value)
            found.append({"what": f"option {name}", "found": before, "wanted": after})
    there = actual.get("Labels") or {}
    for name, value in sorted(labels.items()):
        if there.get(name) != value:
            found.append({"what": f"label {name}", "found": there.get(name), "wanted": value})
    return found


def drift_text(rows: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """Drift in one line."""
    return ", ".join(f"{row['what']} is {row['found'] or 'not set'}, wanted {row['wanted']}" for row in rows)


# Consumers


@dataclass(frozen=True)
class MountState:
    """What a container has, or should have, where media go: `kind` is volume, bind, tmpfs or nothing."""

    kind: str
    name: str = ""
    writable: bool = True

    def __str__(self) -> str:
        text = " ".join(part for part in (self.kind, self.name) if part)
        return text if self.writable else f"{text} (read-only)"


class Mounted(t.Protocol):
    """A mount as the Docker adapter tells it."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def destination(self) -> str: ...
    @property
    def writable(self) -> bool: ...


@dataclass
class Consumer:
    """One client container and what is told of it. `differs`: which of mounted, declared, wanted is the odd one."""

    name: str
    service: str
    state: str
    mounted: MountState
    declared: MountState | None
    reason: str = ""
    differs: str = ""
    warning: str = ""
    user: str = ""
    probe: str = "not probed"

    def shown(self) -> dict[str, t.Any]:
        """The consumer as the module returns it."""
        return {
            "name": self.name,
            "service": self.service,
            "state": self.state,
            "ok": not self.reason,
            "mounted": str(self.mounted),
            "declared": str(self.declared) if self.declared else None,
            "differs": self.differs or None,
            "reason": self.reason or None,
            "probe": self.probe,
            "user": self.user or None,
        }


def _mount_state(mounts: t.Sequence[Mounted], path: str) -> MountState:
    for mount in mounts:
        if posixpath.normpath(mount.destination) == path:
            return MountState(mount.kind, mount.name, mount.writable)
    return MountState("nothing")


def folder_of(options: Options) -> str:
    """The directory of the host that a local volume with these options binds, or an empty text."""
    return posixpath.normpath(options["device"]) if is_bind(options) and options.get("device") else ""


def _through(state: MountState, volume: str, folder: str) -> MountState:
    """A mount that has the volume's own folder directly is as good as one on the volume: adopted containers have that."""
    same = folder and state.kind == "bind" and posixpath.normpath(state.name) == folder
    return MountState("volume", volume, state.writable) if same else state


def check_consumer(
    consumer: Consumer, mounts: t.Sequence[Mounted], volume: str, path: str, project: str, folder: str = ""
) -> None:
    """Set `reason`, `differs` and `warning` of a consumer by what it mounts and declares; `folder` is what the volume binds."""
    path = posixpath.normpath(path)
    wanted, mounted = MountState("volume", volume), _through(consumer.mounted, volume, folder)
    declared = _through(consumer.declared, volume, folder) if consumer.declared else None
    if mounted == wanted:
        below = [one for one in mounts if posixpath.normpath(one.destination).startswith(path + "/")]
        if below:
            parts = ", ".join(f"{one.destination} ({one.kind} {one.name})".replace(" )", ")") for one in below)
            consumer.reason = f"parts of {path} are covered by other mounts: {parts}"
            consumer.differs = "mounted"
        elif declared and declared != wanted:
            consumer.differs = "declared"
            consumer.warning = (
                f"{consumer.name} mounts the right volume, but its Compose file declares {declared}: "
                f"the next docker compose up moves it away"
            )
        return
    elsewhere = [one for one in mounts if one.kind == "volume" and one.name == volume]
    above = [one for one in mounts if path.startswith(posixpath.normpath(one.destination).rstrip("/") + "/")]
    if mounted == MountState("volume", volume, False):
        consumer.reason = f"mounts {volume} at {path} read-only"
    elif mounted.kind == "nothing" and elsewhere:
        consumer.reason = f"mounts {volume} at {elsewhere[0].destination}, not at {path}"
    elif mounted.kind == "nothing" and above:
        consumer.reason = (
            f"mounts nothing at {path}; {above[-1].destination} above it is {above[-1].kind} {above[-1].name}".rstrip()
        )
    elif mounted.kind == "nothing":
        consumer.reason = f"mounts nothing at {path}: media would die with the container"
    else:
        consumer.reason = f"mounts {mounted} at {path}, not volume {volume}"
        consumer.reason += _split(mounted, volume, project)
    if declared is None:
        consumer.differs = "mounted"
    elif declared == wanted:
        consumer.differs = "mounted"
        if mounted.kind in ("volume", "bind") and mounted.name != volume:
            consumer.reason += (
                f"; its Compose file declares {declared}: recreated, it sees no more what is in {mounted.name}"
            )
        else:
            consumer.reason += "; its Compose file declares the right one: recreate the container"
    elif declared == mounted:
        consumer.differs = "wanted"
        consumer.reason += f"; its Compose file declares the same ({declared})"
    else:
        consumer.differs = "mounted, declared"
        consumer.reason += f"; its Compose file declares {declared}"


def _split(mounted: MountState, volume: str, project: str) -> str:
    """The classic: Compose puts its project in front of a volume's name unless it is external or has a `name`."""
    if mounted.kind != "volume":
        return ""
    if mounted.name == f"{project}_{volume}":
        return (
            f" (Compose put its project {project!r} in front of the name, so media are split over two volumes: "
            f"set name to {mounted.name}, or make it external with name {volume} in the Compose file)"
        )
    if volume == f"{project}_{mounted.name}":
        return f" (the same name without the Compose project {project!r} in front: media are split over two volumes)"
    if re.fullmatch(r"[0-9a-f]{64}", mounted.name):
        return " (an anonymous volume: it is lost when the container is recreated)"
    return ""


def check_mounts(consumers: t.Sequence[Consumer]) -> None:
    """Raise WaError that names every container that is wired wrong."""
    wrong = [f"{one.name} {one.reason}" for one in consumers if one.reason]
    if wrong:
        raise WaError(
            "media volume",
            "; ".join(wrong),
            "every Webapp, Coreapp and master container to mount the same volume, read-write",
            "Media stay in the volume that a container mounts now: name that one, or copy them over before a container that "
            "mounts another one is recreated. Then correct the Compose file and recreate the containers named",
        )


def mount_state_of(mounts: t.Sequence[Mounted], path: str) -> MountState:
    """What is mounted at `path`."""
    return _mount_state(mounts, posixpath.normpath(path))


def declared_mount_state(compose: t.Mapping[str, t.Any], service: str, project: str, path: str) -> MountState | None:
    """What a Compose file, already parsed, declares for a service at `path`; None when it does not know the service."""
    one = (compose.get("services") or {}).get(service)
    if not isinstance(one, dict):
        return None
    path = posixpath.normpath(path)
    found = MountState("nothing")
    for entry in one.get("volumes") or []:
        if isinstance(entry, str):
            source, _colon, rest = entry.partition(":")
            target, _colon, mode = rest.partition(":")
            if not rest:
                source, target = "", source
            kind = "bind" if source.startswith((".", "/", "~")) else "volume"
            writable = "ro" not in mode.split(",")
        else:
            source, target = str(entry.get("source") or ""), str(entry.get("target") or "")
            kind, writable = str(entry.get("type", "volume")), not entry.get("read_only")
        if posixpath.normpath(target or "/") == path:
            found = MountState(kind, _real_name(compose, source, project) if kind == "volume" else source, writable)
    return found


def _real_name(compose: t.Mapping[str, t.Any], key: str, project: str) -> str:
    entry = (compose.get("volumes") or {}).get(key) or {}
    external = entry.get("external")
    if isinstance(external, dict) and external.get("name"):
        return str(external["name"])
    if entry.get("name"):
        return str(entry["name"])
    return key if external or not key else f"{project}_{key}"


# What the module shows


def shape(actual: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The part of Docker's record of a volume that a task can set; secrets are in it."""
    return {
        "name": actual["Name"],
        "driver": actual["Driver"],
        "driver_options": dict(actual.get("Options") or {}),
        "labels": dict(actual.get("Labels") or {}),
    }


def show(volume: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """A volume's shape with its secrets hidden; empty for no volume."""
    return dict(volume, driver_options=mask_options(volume["driver_options"])) if volume else {}


def diff(
    before: t.Mapping[str, t.Any] | None, after: t.Mapping[str, t.Any] | None
) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Two shapes for a diff: a secret that changes shows as changed."""
    shown = show(before), show(after)
    if before and after:
        old, new = before["driver_options"], after["driver_options"]
        shown[1]["driver_options"].update({name: _shown(name, old.get(name), new[name])[1] for name in new})
    return shown


# The plan


@dataclass
class Plan:
    """What there is to do. `after` is None for no volume; `obstacle` is what forbids the plan."""

    before: dict[str, t.Any] | None
    after: dict[str, t.Any] | None
    drift: list[dict[str, t.Any]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    obstacle: WaError | None = None

    @property
    def removes(self) -> bool:
        """Whether a volume that is there goes."""
        return self.before is not None and bool(self.actions)


def plan(params: t.Mapping[str, t.Any], actual: t.Mapping[str, t.Any] | None) -> Plan:
    """Compare what is wanted (the module's options) with what is there (Docker's record, or None).

    A volume that is made anew keeps the options and labels that are not given. Raises WaError for options that the
    local driver refuses.
    """
    name, driver, options, labels = (params[key] for key in ("name", "driver", "driver_options", "labels"))
    check_volume_name(name)
    before = shape(actual) if actual else None
    if params["state"] == "absent":
        return Plan(before, None, [], [f"remove volume {name}"] if actual else [])
    after = {"name": name, "driver": driver, "driver_options": options, "labels": labels}
    if actual is None:
        check_options(driver, options)
        return Plan(None, after, [], [f"create volume {name}"])
    made = Plan(before, before, drift(actual, driver, options, labels))
    if made.drift and params["on_drift"] == "recreate":
        if actual["Driver"] == driver:
            after["driver_options"] = {**(actual.get("Options") or {}), **options}
        after["labels"] = {**(actual.get("Labels") or {}), **labels}
        check_options(driver, after["driver_options"])
        made.after, made.actions = after, [f"remove volume {name}", f"create volume {name}"]
    elif made.drift and params["on_drift"] == "fail":
        made.obstacle = WaError(
            f"volume {name}",
            drift_text(made.drift),
            "no difference (Docker cannot change a volume)",
            "Correct the options, or move the media away by hand, remove the volume and run this again",
        )
    return made
