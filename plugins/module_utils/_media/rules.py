# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the media volume with its options, and checks the containers' mounts. Pure rules, no I/O."""

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
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._deployment.topology import check_volume_name

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Mount

# Options of Docker's local driver, and the options that each of them requires (moby: volume/local).
_LOCAL_NEEDS = {"type": ("device",), "device": ("type",), "o": ("device", "type"), "size": ()}


def check_options(driver: str, options: Options) -> None:
    """Raises WaError for options that Docker's local driver refuses; other drivers check their own."""
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
    """Returns whether the options of a local volume bind a directory of the host."""
    return bool({"bind", "rbind"} & set(options.get("o", "").split(",")))


def needs_mount(options: Options) -> bool:
    """Returns whether a local volume with these options is mounted on use only, such as NFS."""
    return bool(options.get("device") or options.get("type"))


# Drift


def _same(driver: str, name: str, found: str | None, wanted: str) -> bool:
    if found is not None and driver == "local" and name == "o":
        return sorted(found.split(",")) == sorted(wanted.split(","))
    return found == wanted


def _shown(name: str, found: str | None, wanted: str) -> tuple[str | None, str]:
    """Returns two values for display; a changed secret is shown as changed, an equal one as hidden."""
    if found is None:
        return None, mask_options({name: wanted})[name]
    before, after = mask_options({name: found})[name], mask_options({name: wanted})[name]
    differs = option_secrets({name: found}) != option_secrets({name: wanted})
    return before, after.replace(HIDDEN, CHANGED) if differs else after


def drift(actual: t.Mapping[str, t.Any], driver: str, options: Options) -> list[dict[str, t.Any]]:
    """Returns the differences of Docker's volume from the options: `what`, `found`, `wanted`, with secrets masked."""
    found: list[dict[str, t.Any]] = []
    if actual["Driver"] not in (driver, f"{driver}:latest"):
        found.append({"what": "driver", "found": actual["Driver"], "wanted": driver})
    there = actual.get("Options") or {}
    for name in sorted({*there, *options}):
        value = options.get(name)
        if value is None:
            found.append({"what": f"option {name}", "found": mask_options({name: there[name]})[name], "wanted": None})
        elif not _same(driver, name, there.get(name), value):
            before, after = _shown(name, there.get(name), value)
            found.append({"what": f"option {name}", "found": before, "wanted": after})
    return found


def drift_text(rows: t.Iterable[t.Mapping[str, t.Any]]) -> str:
    """Returns the drift as one line."""
    return ", ".join(f"{row['what']} is {row['found'] or 'not set'}, wanted {row['wanted'] or 'none'}" for row in rows)


# Consumers


@dataclass(frozen=True)
class MountState:
    """The mount of media in a container: `kind` is volume, bind, tmpfs or nothing."""

    kind: str
    name: str = ""
    writable: bool = True

    def __str__(self) -> str:
        text = " ".join(part for part in (self.kind, self.name) if part)
        return text if self.writable else f"{text} (read-only)"


@dataclass
class Consumer:
    """One client container and its check."""

    name: str
    service: str
    state: str
    mounted: MountState
    reason: str = ""
    user: str = ""
    probe: str = "not probed"

    def shown(self) -> dict[str, t.Any]:
        """Returns the consumer in the module's format."""
        return {
            "name": self.name,
            "service": self.service,
            "state": self.state,
            "ok": not self.reason,
            "mounted": str(self.mounted),
            "reason": self.reason or None,
            "probe": self.probe,
            "user": self.user or None,
        }


def mount_state_of(mounts: t.Sequence[Mount]) -> MountState:
    """Returns the mount at the media folder."""
    for mount in mounts:
        if posixpath.normpath(mount.destination) == MEDIA_FOLDER:
            return MountState(mount.kind, mount.name, mount.writable)
    return MountState("nothing")


def folder_of(options: Options) -> str:
    """Returns the host directory that a local volume with these options binds; empty for none."""
    return posixpath.normpath(options["device"]) if is_bind(options) and options.get("device") else ""


def _through(state: MountState, volume: str, folder: str) -> MountState:
    """Returns a bind mount of the volume's folder, as in adopted containers, as the equivalent mount of the volume."""
    same = folder and state.kind == "bind" and posixpath.normpath(state.name) == folder
    return MountState("volume", volume, state.writable) if same else state


def _around(mounts: t.Sequence[Mount]) -> tuple[list[Mount], list[Mount]]:
    """Returns the mounts above and those below the media folder; one there itself is in neither."""
    places = [(one, posixpath.normpath(one.destination)) for one in mounts]
    above = [one for one, place in places if MEDIA_FOLDER.startswith(f"{place.rstrip('/')}/")]
    return above, [one for one, place in places if place.startswith(f"{MEDIA_FOLDER}/")]


def is_without_media(mounts: t.Sequence[Mount]) -> bool:
    """Returns whether nothing is mounted at, above or below the media folder."""
    return mount_state_of(mounts).kind == "nothing" and not any(_around(mounts))


def check_consumer(consumer: Consumer, mounts: t.Sequence[Mount], volume: str, project: str, folder: str = "") -> None:
    """Sets `reason` of a consumer from its mounts; `folder` is the directory that the volume binds."""
    wanted, mounted = MountState("volume", volume), _through(consumer.mounted, volume, folder)
    above, below = _around(mounts)
    if mounted == wanted:
        if below:
            parts = ", ".join(f"{one.destination} ({one.kind} {one.name})".replace(" )", ")") for one in below)
            consumer.reason = f"parts of {MEDIA_FOLDER} are covered by other mounts: {parts}"
        return
    elsewhere = [one for one in mounts if one.kind == "volume" and one.name == volume]
    if mounted == MountState("volume", volume, False):
        consumer.reason = f"mounts {volume} at {MEDIA_FOLDER} read-only"
    elif mounted.kind == "nothing" and elsewhere:
        consumer.reason = f"mounts {volume} at {elsewhere[0].destination}, not at {MEDIA_FOLDER}"
    elif mounted.kind == "nothing" and above:
        over = f"{above[-1].destination} above it is {above[-1].kind} {above[-1].name}".rstrip()
        consumer.reason = f"mounts nothing at {MEDIA_FOLDER}; {over}"
    elif mounted.kind == "nothing":
        consumer.reason = f"mounts nothing at {MEDIA_FOLDER}: media would die with the container"
    else:
        consumer.reason = f"mounts {mounted} at {MEDIA_FOLDER}, not volume {volume}"
        consumer.reason += _split(mounted, volume, project)


def _split(mounted: MountState, volume: str, project: str) -> str:
    """Returns a hint if the mounted volume's name differs only by the Compose project's prefix, or is anonymous."""
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
    """Raises WaError with every container that does not mount the volume correctly."""
    wrong = [f"{one.name} {one.reason}" for one in consumers if one.reason]
    if wrong:
        raise WaError(
            "media volume",
            "; ".join(wrong),
            "every Webapp, Coreapp and master container to mount the same volume, read-write",
            "Media stay in the volume that a container mounts now: name that one, or copy them over before a container that "
            "mounts another one is recreated. Then correct the Compose file and recreate the containers named",
        )


# Values that the module returns


def shape(actual: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns driver and options of Docker's inspection of a volume, including secrets."""
    return {
        "name": actual["Name"],
        "driver": actual["Driver"],
        "driver_options": dict(actual.get("Options") or {}),
    }


def show(volume: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """Returns a volume's shape with secrets hidden; empty for no volume."""
    return dict(volume, driver_options=mask_options(volume["driver_options"])) if volume else {}


# The plan


@dataclass
class Plan:
    """The planned actions. `after` is None for no volume; `obstacle` is the error that prevents the plan."""

    before: dict[str, t.Any] | None
    after: dict[str, t.Any] | None
    drift: list[dict[str, t.Any]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    obstacle: WaError | None = None


def plan(params: t.Mapping[str, t.Any], actual: t.Mapping[str, t.Any] | None) -> Plan:
    """Returns the plan from the module's options and Docker's inspection (None for no volume).

    Without `driver_options` those of an existing volume are right. Raises WaError for options that the local driver refuses.
    """
    name, driver, options = (params[key] for key in ("name", "driver", "driver_options"))
    check_volume_name(name)
    before = shape(actual) if actual else None
    if options is None:
        options = dict(actual.get("Options") or {}) if actual and actual["Driver"] == driver else {}
    if params["state"] == "absent":
        return Plan(before, None, [], [f"remove volume {name}"] if actual else [])
    if actual is None:
        check_options(driver, options)
        after = {"name": name, "driver": driver, "driver_options": options}
        return Plan(None, after, [], [f"create volume {name}"])
    made = Plan(before, before, drift(actual, driver, options))
    if made.drift and params["on_drift"] == "fail":
        made.obstacle = WaError(
            f"volume {name}",
            drift_text(made.drift),
            "no difference (Docker cannot change a volume)",
            "Correct the options, or move the media away by hand, remove the volume and run this again",
        )
    return made
