# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides what is done with each container of a project, and why. Pure rules.

What is stopped is started by the engine; what is missing, and what differs, is made by `docker compose up` with the names of these
services. What Compose itself would do with the others is not asked.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import STOPPED
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

# What is done with containers that differ: they are recreated; reported, and stopped ones are started; reported.
AUTO, LATER, NEVER = "auto", "later", "never"
_STATES = {"created": "was never started", "exited": "has exited", "paused": "is paused", "dead": "is dead"}
_MORE = "is more than the"
_GONE = "belongs to a service that this host no longer has"


@dataclass(frozen=True)
class Service:
    """The desired state of a service."""

    name: str
    image: str = ""  # empty for one that is only built
    image_id: str = ""  # image id of the name on this host; empty if the host does not have it
    count: int = 1
    container_name: str = ""
    networks: tuple[str, ...] = ()  # keys
    restart: tuple[str, int] = ("", 0)  # restart policy, empty if none is declared, and its retries
    definition: str = ""  # digest of its definition in the inventory, see `_compose.document`
    volumes: tuple[str, ...] = ()  # names


@dataclass(frozen=True)
class Found:
    """A container of the project."""

    name: str
    service: str
    state: str
    hash: str
    image: str
    image_id: str
    number: int = 1
    networks: tuple[str, ...] = ()  # ids
    definition: str = ""  # digest of the definition that it was created with; empty for none
    id: str = ""
    own: bool = True  # created from the collection's Compose file
    client: bool = True  # of an image of the client, as opposed to a container beside it
    volumes: tuple[str, ...] = ()  # names
    compose: str = ""  # the version of Compose that made it
    files: tuple[str, ...] = ()  # from which it was made


@dataclass(frozen=True)
class Network:
    """A network that the project uses; `id` is empty if it does not exist."""

    key: str
    name: str
    id: str = ""
    external: bool = False
    diverged: bool = False  # created from another definition


@dataclass(frozen=True)
class Step:
    """The action for a container: none, create, recreate, start, unpause, or remove. `pending` are reasons that have to wait."""

    container: str
    service: str
    action: str
    reasons: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    running: bool = False


def plan(
    project: str,
    services: t.Iterable[Service],
    found: t.Sequence[Found],
    networks: t.Iterable[Network] = (),
    recreate: str = AUTO,
    differences: t.Mapping[str, t.Sequence[str]] | None = None,
    moving: t.Container[str] = (),
    others: t.Container[str] = (),
    completed: t.Container[str] = (),
) -> list[Step]:
    """Returns one step for each container, by services; then for those of the client whose service this host no longer has.

    `differences`, why a container is recreated, are by container; `moving` services still run on another host. `others` are an operator's,
    which the client depends on: they are started where they stand still, unless they have `completed`, and else left alone.
    """
    services = [*services]
    by_key = {network.key: network for network in networks}
    steps: list[Step] = []
    for service in services:
        # What runs is kept, so that none is started beside it; a recreation that was cut off has left one that never started.
        ours = sorted(
            (one for one in found if one.service == service.name),
            key=lambda one: (one.state == "created", one.state in STOPPED, one.number),
        )
        ready: list[Step] = []
        for one in ours[: service.count]:
            reasons = [*_image(service, one), *(differences or {}).get(one.name, ()), *_detached(service, one, by_key)]
            # Compose's hash of a service has the key of a volume, and not its name.
            reasons += [f"does not mount the volume {name}" for name in service.volumes if name not in one.volumes]
            ready.append(_step(one, [] if service.name in others else reasons, recreate))
        steps += _together(ready)
        more = f"{_MORE} {service.count} that the service has"
        steps += [_surplus(one, more) for one in ours[service.count :] if service.name not in others]
        taken = {one.number for one in ours}
        free = (number for number in range(1, service.count + len(ours) + 1) if number not in taken)
        for _each, number in zip(range(service.count - len(ours)), free):
            name = service.container_name or f"{project}-{service.name}-{number}"
            steps.append(Step(name, service.name, "create", ["is missing"]))
    names = {service.name for service in services}
    leaving = [one for one in found if one.service not in names and (one.own or one.client)]
    steps += [_surplus(one, _GONE) for one in leaving]
    if recreate == NEVER:
        return [replace(step, action="none", reasons=[], pending=[*step.reasons, *step.pending]) for step in steps]
    steps = [_deferred(one, moving) if recreate == LATER else one for one in steps]
    # A preparation that has ended is made again where a container is made that needs it, and not because somebody has removed it.
    needed = any(one.action in ("create", "recreate") and one.service not in completed for one in steps)
    ended = ("start",) if needed else ("start", "create")
    return [
        replace(one, action="none", reasons=[]) if one.service in completed and one.action in ended else one
        for one in steps
    ]


def _together(steps: list[Step]) -> list[Step]:
    """Returns the steps of one service, whose containers are recreated together."""
    first = next((one.container for one in steps if one.action == "recreate"), "")
    return [
        replace(one, action="recreate", reasons=[*one.reasons, f"goes with {first}"], pending=[])
        if first and one.action != "recreate"
        else one
        for one in steps
    ]


def _surplus(one: Found, reason: str) -> Step:
    return Step(one.name, one.service, "remove", [reason], running=one.state not in STOPPED)


def _deferred(step: Step, moving: t.Container[str]) -> Step:
    """Returns the step of a run that may start containers, but neither stop nor restart them."""
    if step.action == "create" and step.service in moving:
        return replace(step, action="none", reasons=[], pending=["moves here from another host"])
    if step.action == "remove" and step.running:
        return replace(step, action="none", reasons=[], pending=step.reasons)
    return step


def _step(one: Found, reasons: list[str], recreate: str) -> Step:
    running = one.state == "running"
    state = [_STATES[one.state]] if one.state in _STATES else []
    if reasons and recreate == AUTO:
        return Step(one.name, one.service, "recreate", reasons + state, running=running)
    action = "start" if one.state in STOPPED else "unpause" if one.state == "paused" else "none"
    return Step(one.name, one.service, action, state if action != "none" else [], reasons, running)


def _image(service: Service, one: Found) -> list[str]:
    if service.image and one.image != service.image:  # without `image` Compose names what it builds
        return [f"runs {one.image}, expected {service.image}"]
    if service.image_id and service.image_id != one.image_id:
        builds = f"{_short(one.image_id)}, expected {_short(service.image_id)}"
        return [f"runs another build of {service.image}: {builds}"]
    return []


def _detached(service: Service, one: Found, networks: t.Mapping[str, Network]) -> list[str]:
    """Returns the service's networks that a container is not connected to."""
    wanted = [networks[key] for key in service.networks if key in networks]
    new = one.state == "created" and not any(one.networks)  # it gets them when it is started, unless they were removed
    return [
        f"is not on the network {network.name}"
        for network in wanted
        if not network.id or not (new or network.id in one.networks)
    ]


def other_builds(
    services: t.Iterable[Service],
    found: t.Sequence[Found],
    steps: t.Iterable[Step],
    migrations: t.Sequence[Found] = (),
) -> list[WaError]:
    """Returns the containers that would be made from another build of the same version, whose start may migrate the database.

    Where one of `migrations` has that version, its build is the right one: what runs may be made from a tag that was moved since.
    """
    by_name = {service.name: service for service in services}
    own = {one.name: one for one in found}
    refused: dict[tuple[str, str, str, bool], list[str]] = {}
    for step in steps:
        service = by_name.get(step.service)
        if service is None or step.action not in ("create", "recreate"):
            continue
        migrated = _builds(service, migrations)
        present = own.get(step.container)
        known = migrated or _builds(service, [present] if present else found)
        if known and service.image_id not in known:
            refused.setdefault((service.image, service.image_id, known[0], bool(migrated)), []).append(step.container)
    return [_other_build(*builds, names) for builds, names in refused.items()]


def _builds(service: Service, containers: t.Iterable[Found]) -> list[str]:
    """Returns the image ids of those containers whose image has the name and version of the service's."""
    return [one.image_id for one in containers if _build_name(one.image) == _build_name(service.image)]


def _other_build(image: str, image_id: str, known: str, migrated: bool, names: t.Iterable[str]) -> WaError:
    does, keep = "has migrated the database" if migrated else "runs", f"docker tag {_short(known)} {image} on this host"
    if not image_id:
        return WaError(
            ", ".join(names),
            f"{image} is not on this host, so that nothing shows whether it is the build that {does}",
            f"{_short(known)}, because the start of another build may migrate the database",
            f"To keep what {does}: {keep}. Or docker pull {image}, which touches no container, and run again: then the ids are compared",
        )
    return WaError(
        ", ".join(names),
        f"would be made from another build of {image}, {_short(image_id)}",
        f"{_short(known)}, which {does} under this version, because the start of another build may migrate the database",
        f"To keep what {does}: {keep}. To take the other build, give it a version of its own and run upgrade.yml",
    )


def calls(steps: t.Sequence[Step]) -> list[dict[str, t.Any]]:
    """Returns the calls of `docker compose up`: for the services of which a container is missing, and for those to be recreated.

    Where a service has to wait, what is missing is made without those that it depends on.
    """
    different = {one.service for one in steps if one.action == "recreate"}
    missing = {one.service for one in steps if one.action == "create"} - different
    found = [
        {
            "services": sorted(missing),
            "recreate": "never",
            "dependencies": not any(one.pending for one in steps),
        },
        {"services": sorted(different), "recreate": "always", "dependencies": False},
    ]
    return [one for one in found if one["services"]]


def refuse_scaled(steps: t.Iterable[Step]) -> list[WaError]:
    """Returns the containers that an operator has made by `up --scale` and that run, which are not removed."""
    return [
        WaError(
            step.container,
            f"it {step.reasons[0]}",
            "as many containers as its service has in the Compose files",
            f"Stop the one that is too many, and run again, which removes it. If {step.service} may run more than once, set its scale there",
        )
        for step in steps
        if step.action == "remove" and step.running and step.reasons[0].startswith(_MORE)
    ]


def _build_name(image: str) -> tuple[str, str]:
    reference = image_reference.parse(image)
    return reference.last, reference.tag


def _short(image_id: str) -> str:
    return image_id[:19] if image_id.startswith("sha256:") else image_id[:12]
