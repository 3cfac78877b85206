# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predicts what `docker compose up` does to each container of a project, and why. Pure rules.

Compose recreates a container whose label `config-hash` is not its service's hash, or whose label `image` is not the current
id of the image's name. Since 2.31 it also recreates a network whose hash differs from its definition, independently of the
option for containers, and containers that are not on the service's networks and volumes.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

# What is done with containers that differ: they are recreated; reported, and stopped ones are started; reported.
AUTO, LATER, NEVER = "auto", "later", "never"
COMPARES_NETWORKS = (2, 31)  # the first version of Compose that does
_STOPPED = ("exited", "created", "dead")
_STATES = {"created": "was never started", "exited": "has exited", "paused": "is paused", "dead": "is dead"}
_MORE = "is more than the"
_GONE = "belongs to a service that this host no longer has"


@dataclass(frozen=True)
class Service:
    """The desired state of a service; `unknown` is the reason why its hash cannot be computed without Compose."""

    name: str
    image: str
    hash: str
    image_id: str = ""  # image id of the name on this host; empty if the host does not have it
    count: int = 1
    container_name: str = ""
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    unknown: str = ""
    definition: str = ""  # digest of its definition in the inventory, see `_compose.document`


@dataclass(frozen=True)
class Found:
    """A container of the project."""

    name: str
    service: str
    state: str
    hash: str
    image: str
    image_id: str
    image_label: str
    number: int = 1
    compose_version: str = ""
    networks: tuple[str, ...] = ()  # ids
    volumes: tuple[str, ...] = ()
    definition: str = ""  # digest of the definition that it was created with; empty for none
    id: str = ""
    own: bool = True  # created from the collection's Compose file
    client: bool = True  # of an image of the client, as opposed to a container beside it


@dataclass(frozen=True)
class Network:
    """A network that the project uses; `id` is empty if it does not exist."""

    key: str
    name: str
    id: str = ""
    external: bool = False
    diverged: bool = False  # created from another definition


@dataclass(frozen=True)
class Difference:
    """Why a container's hash differs from its service's: keys of its environment, and a text about its definition."""

    environment: str = ""
    keys: tuple[str, ...] = ()
    definition: str = ""


@dataclass(frozen=True)
class Step:
    """The action for a container: none, create, recreate, start, unpause, restart, remove, or unknown.

    `pending` are reasons for a recreation that has to wait. With `forced`, Compose would not recreate it by itself.
    """

    container: str
    service: str
    action: str
    reasons: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    running: bool = False
    forced: bool = False


def numbers(version: str) -> tuple[int, ...]:
    """Returns major and minor of a Compose version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def plan(
    project: str,
    services: t.Iterable[Service],
    found: t.Sequence[Found],
    networks: t.Iterable[Network] = (),
    recreate: str = AUTO,
    version: str = "",
    differences: t.Mapping[str, Difference] | None = None,
    env_changes: t.Mapping[str, t.Sequence[str]] | None = None,
    moving: t.Container[str] = (),
    undeclared: t.Collection[str] | None = None,
    proven: t.Mapping[str, str] | None = None,
    altered: t.Mapping[str, t.Sequence[str]] | None = None,
) -> list[Step]:
    """Returns one step for each container, by services; then for those of the client whose service this host no longer has.

    By container: `differences` of its hash, and `env_changes`, the keys of a db.env that is not written yet. `moving` services still
    run on another host. A container that differs only in `undeclared` keys of db.env, or in what another version of the collection
    or of Compose writes, is not recreated; with None every difference recreates. One whose hash is not that of its service in
    `proven`, the last applied file, was created from a file that was changed manually. `altered` are, by container,
    `_compose.alteration.alterations`.
    """
    services = [*services]
    by_key = {network.key: network for network in networks}
    steps: list[Step] = []
    for service in services:
        ours = sorted((one for one in found if one.service == service.name), key=lambda one: one.number)
        for one in ours[: service.count]:
            reasons, waits = _reasons(
                service, one, by_key, version, differences or {}, env_changes or {}, undeclared, proven
            )
            detached = [*_detached(service, one, by_key), *(altered or {}).get(one.name, ())]
            step = _step(service, one, reasons + detached, by_key, recreate, version)
            if step.action == "recreate" and not reasons:
                step = replace(step, forced=True)
            elif step.action in ("none", "start", "unpause") and waits:
                step = replace(step, pending=step.pending + waits)
            steps.append(step)
        for one in ours[service.count :]:
            reason = f"{_MORE} {service.count} that the service has"
            steps.append(Step(one.name, service.name, "remove", [reason], running=one.state == "running"))
        taken = {one.number for one in ours}
        free = (number for number in range(1, service.count + len(ours) + 1) if number not in taken)
        for _each, number in zip(range(service.count - len(ours)), free):
            name = service.container_name or f"{project}-{service.name}-{number}"
            steps.append(Step(name, service.name, "create", ["is missing"]))
    names = {service.name for service in services}
    leaving = [one for one in found if one.service not in names and (one.own or one.client)]
    steps += [Step(one.name, one.service, "remove", [_GONE], running=one.state == "running") for one in leaving]
    if recreate == NEVER:
        return [replace(step, action="none", reasons=[], pending=_waiting(step)) for step in steps]
    return _deferred(steps, moving) if recreate == LATER else steps


def _waiting(step: Step) -> list[str]:
    """Returns why a container would be touched; nothing is for what only Compose can tell."""
    return step.pending if step.action == "unknown" else [*step.reasons, *step.pending]


def _deferred(steps: list[Step], moving: t.Container[str]) -> list[Step]:
    """Returns the steps of a run that may start containers, but neither stop nor restart them."""
    waits = any(step.action == "restart" for step in steps)  # Compose would do that with any options
    found = []
    for step in steps:
        if step.action == "create" and step.service in moving:
            step = replace(step, reasons=["moves here from another host"])
        elif step.action == "unknown":  # nothing is recreated for what only Compose can tell
            step = replace(step, reasons=[])
        elif step.action == "none" or (step.action in ("create", "start", "unpause") and not waits):
            found.append(step)
            continue
        found.append(replace(step, action="none", reasons=[], pending=step.pending or step.reasons))
    return found


def _step(
    service: Service, one: Found, reasons: list[str], networks: t.Mapping[str, Network], recreate: str, version: str
) -> Step:
    running = one.state == "running"
    state = [] if one.state in ("running", "restarting") else [_STATES.get(one.state, one.state)]
    pending = [] if recreate == AUTO else reasons
    if reasons and recreate == AUTO:
        return Step(one.name, service.name, "recreate", reasons + state, running=running)
    renewed = _renewed(service, networks, version)
    if renewed and not state:  # also without permission to recreate
        return Step(one.name, service.name, "restart", renewed, running=running)
    if one.state in _STOPPED:
        return Step(one.name, service.name, "start", state, pending)
    if one.state == "paused":
        return Step(one.name, service.name, "unpause", state, pending)
    if service.unknown and not pending:
        return Step(one.name, service.name, "unknown", [service.unknown], running=running)
    return Step(one.name, service.name, "none", [], pending, running=running)


def _reasons(
    service: Service,
    one: Found,
    networks: t.Mapping[str, Network],
    version: str,
    differences: t.Mapping[str, Difference],
    env_changes: t.Mapping[str, t.Sequence[str]],
    undeclared: t.Collection[str] | None,
    proven: t.Mapping[str, str] | None,
) -> tuple[list[str], list[str]]:
    """Returns the reasons for a recreation now, and those that wait; both empty if Compose would not recreate it."""
    reasons: list[str] = []
    waits: list[str] = []
    if service.image and one.image != service.image:  # without `image` Compose names what it builds
        reasons.append(f"runs {one.image}, expected {service.image}")
    elif service.image_id and service.image_id != one.image_label:
        builds = f"{_short(one.image_label or one.image_id)}, expected {_short(service.image_id)}"
        same = not one.image_label and one.image_id == service.image_id
        reasons.append(
            f"has no label of Compose with its build of {service.image}"
            if same
            else f"runs another build of {service.image}: {builds}"
        )
    if env_changes.get(one.name):
        reasons.append("db.env changes: " + ", ".join(env_changes[one.name]))
    if not service.unknown and service.hash != one.hash:
        difference = differences.get(one.name, Difference(definition="the definition in compose.yml changed"))
        made = one.definition == service.definition and (proven or {}).get(service.name) == one.hash
        same = undeclared is not None and (made or (one.own and not one.definition))
        (waits if same else reasons).extend([difference.definition] if difference.definition else [])
        known = undeclared is not None and {*difference.keys} <= {*undeclared}
        (waits if known else reasons).extend([difference.environment] if difference.environment else [])
    if one.state != "running" or numbers(version) < COMPARES_NETWORKS:
        return reasons, waits
    reasons += _renewed(service, networks, version)
    return reasons + [f"does not mount the volume {name}" for name in service.volumes if name not in one.volumes], waits


def _detached(service: Service, one: Found, networks: t.Mapping[str, Network]) -> list[str]:
    """Returns the service's networks that a container is not connected to. Compose before 2.31 ignores them."""
    if one.state != "running" and not any(one.networks):
        return []  # a container that was never started has none yet
    wanted = [networks[key] for key in service.networks if key in networks]
    return [
        f"is not on the network {network.name}"
        for network in wanted
        if not network.diverged and network.id not in one.networks
    ]


def _renewed(service: Service, networks: t.Mapping[str, Network], version: str) -> list[str]:
    if numbers(version) < COMPARES_NETWORKS:
        return []
    anew = [networks[key].name for key in service.networks if key in networks and networks[key].diverged]
    return [f"Compose makes the network {name} anew: its definition changed" for name in anew]


def other_builds(
    services: t.Iterable[Service], found: t.Sequence[Found], steps: t.Iterable[Step], recreate: str = AUTO
) -> list[WaError]:
    """Returns the containers that would get another build of the same version, whose start may migrate the database."""
    by_name = {service.name: service for service in services}
    own = {one.name: one for one in found}
    refused: dict[tuple[Service, str], list[str]] = {}
    for step in steps:
        service = by_name.get(step.service)
        made = step.action == "create" or (step.container in own and recreate == AUTO and step.action != "remove")
        if service is None or not made:
            continue
        present = own.get(step.container)
        same = [
            one for one in ([present] if present else found) if _build_name(one.image) == _build_name(service.image)
        ]
        ids = list(dict.fromkeys(one.image_id for one in same))
        if ids and service.image_id not in ids:
            like = next((one for one, runs in refused if one.image == service.image and runs == ids[0]), service)
            refused.setdefault((like, ids[0]), []).append(step.container)
    return [_other_build(service, runs, names) for (service, runs), names in refused.items()]


def _other_build(service: Service, runs: str, names: t.Iterable[str]) -> WaError:
    keep = f"To keep what runs: docker tag {_short(runs)} {service.image} on this host"
    if not service.image_id:
        return WaError(
            ", ".join(names),
            f"{service.image} is not on this host, so that nothing shows whether it is the build that runs",
            f"{_short(runs)}, because the start of another build may migrate the database",
            f"{keep}. Or docker pull {service.image}, which touches no container, and run again: then the ids are compared",
        )
    return WaError(
        ", ".join(names),
        f"would be made from another build of {service.image}, {_short(service.image_id)}",
        f"{_short(runs)}, which runs under this version, because the start of another build may migrate the database",
        f"{keep}. To take the other build, give it a version of its own and run upgrade.yml",
    )


def surplus(steps: t.Iterable[Step], services: t.Iterable[Service]) -> list[str]:
    """Returns the names of the containers to remove because this host no longer has their service. Compose leaves them."""
    names = {service.name for service in services}
    return [step.container for step in steps if step.action == "remove" and step.service not in names]


def calls(steps: t.Iterable[Step], without: t.Container[str], recreate: str) -> list[dict[str, t.Any]]:
    """Returns the calls of `docker compose up` for `steps`: services (empty for all), and whether they recreate.

    If nothing waits it is one call for all services: without its dependencies a service gets a different hash.
    Containers of `without` are removed without Compose.
    """
    steps = [*steps]
    due = [step for step in steps if step.action not in ("none", "unpause") and step.container not in without]
    forced = sorted({step.service for step in due if step.forced})
    plain = sorted({step.service for step in due if not step.forced})
    recreates = recreate == AUTO and any(step.action in ("recreate", "restart", "remove", "unknown") for step in due)
    found: list[dict[str, t.Any]] = []
    if plain:
        some = forced or any(step.pending for step in steps)
        found.append({"services": plain if some else [], "recreate": "auto" if recreates else "never"})
    if forced:
        found.append({"services": forced, "recreate": "always"})
    return found


def keep_others(steps: t.Iterable[Step], others: t.Container[str], completed: t.Container[str] = ()) -> list[Step]:
    """Returns the steps, in which `others`, services that the client depends on, are started where they stand still, and else kept.

    Those that have `completed` are not started again.
    """
    found = []
    for step in steps:
        if step.service in completed and step.action == "start":
            step = replace(step, action="none", reasons=[])
        if step.service in others and step.action not in ("none", "create", "start", "unpause"):
            step = replace(step, action="none", reasons=[], pending=[] if step.action == "unknown" else step.reasons)
        found.append(step)
    return found


def refuse_others(
    steps: t.Sequence[Step], selected: t.Container[str], calls: t.Sequence[t.Mapping[str, t.Any]]
) -> list[WaError]:
    """Returns what Compose would do beyond what is asked for with these `calls`.

    It would recreate containers of other services than the `selected` ones, and remove those that were made by `up --scale`.
    """
    # `docker compose up` scales down whatever else it does.
    found = [
        WaError(
            step.container,
            f"Compose would remove it: it {reason}",
            "as many containers as its service has in the Compose files",
            f"Set scale of the service {step.service} there, or remove the container yourself",
        )
        for step in (steps if calls else ())
        for reason in (*step.reasons, *step.pending)
        if reason.startswith(_MORE)
    ]
    if not any(one["recreate"] != "never" for one in calls):
        return found
    return found + [
        WaError(
            step.container,
            f"Compose would recreate it together with the client ({'; '.join(step.pending)})",
            "a service of yours that the client depends on, as its Compose file says",
            f"Bring it up to date yourself first: docker compose up --detach {step.service}",
        )
        for step in steps
        if step.service not in selected and step.pending
    ]


def _build_name(image: str) -> tuple[str, str]:
    reference = image_reference.parse(image)
    return reference.last, reference.tag


def _short(image_id: str) -> str:
    return image_id[:19] if image_id.startswith("sha256:") else image_id[:12]


def line(step: Step) -> str:
    """Returns a step as text: `recreate wa-a-waweb-1 (db.env changed: WA_DB_PORT)`."""
    return f"{step.action} {step.container} ({'; '.join(step.reasons)})"


def pending_line(step: Step) -> str:
    """Returns the reasons that wait, as text."""
    return f"{step.container} ({'; '.join(step.pending)})"
