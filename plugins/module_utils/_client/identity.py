# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity of a client: the values whose change would start another, empty client. Pure rules."""

from __future__ import annotations

import json
import posixpath
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import ACTIVE, service_containers
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import DATABASE_PORTS
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MEDIA_FOLDER
from ansible_collections.waba.onprem.plugins.module_utils._deployment.layout import check_topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.topology import check_volume_name
from ansible_collections.waba.onprem.plugins.module_utils._env.rules import OPTIONS, check_database, settings

CONFIRM = "wa_confirm_identity"
DATABASE = ("engine", "hostname", "port", "name_prefix")
ATTRIBUTES = (
    *DATABASE,
    "project",
    "media_volume",
    "topology",
    "shards",
    "leader",
    "project_dir",
    "env_file",
    "deployment",
)
_CLUSTER = "a cluster (high_availability or multiconnect)"

Values = t.Mapping[str, str]
Container = t.Mapping[str, t.Any]  # as `wa_info` describes one


class Found(t.NamedTuple):
    """A current value, and where it was found: a container, a file, a host."""

    value: str
    where: str


Current = t.Mapping[str, t.Sequence[Found]]


@dataclass(frozen=True)
class Difference:
    """One attribute that would change, and a text about the data that would become inaccessible."""

    attribute: str
    found: str
    where: str
    wanted: str
    lost: str


# Normal form


def normalise(attribute: str, value: t.Any) -> str:
    """Returns an attribute's value in normal form for comparison."""
    text = "" if value is None else str(value).strip()
    if attribute == "engine":
        return text.upper()
    if attribute == "hostname":
        return text.lower().rstrip(".")
    if attribute in ("port", "shards") and text.isdecimal():
        return str(int(text))
    if attribute in ("project_dir", "env_file") and text:
        return "/" + posixpath.normpath(text).lstrip("/")
    return text


def database(values: t.Mapping[str, str | None]) -> dict[str, str]:
    """Returns the database attributes of a container's environment or a db.env; empty if it names no server.

    A key with the value None is unknown and is left out.
    """
    if not values.get(OPTIONS["hostname"]):
        return {}
    given = {name: values.get(OPTIONS[name], "") for name in DATABASE}
    found = {name: normalise(name, value) for name, value in given.items() if value is not None}
    if not found.get("port", "-") and found.get("engine") in DATABASE_PORTS:
        found["port"] = str(DATABASE_PORTS[found["engine"]])
    return found


def of_container(environment: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Returns the identity in a container's environment in the format of `wa_info`; empty without a database."""
    clustered = environment.get("WA_APP_MULTICONNECT", "").strip().lower() in ("1", "true")
    found = database(environment)
    return {"database": found, "clustered": clustered} if found else {}


# What is wanted


def wanted_database(options: t.Mapping[str, t.Any], file: Values) -> dict[str, str]:
    """Returns the database in db.env after `wa_db_env` with `options`; `file` is the result of `database` for the file.

    Options that are not set keep the file's values, as in the module. Raises WaError for options that the module refuses.
    """
    held = {OPTIONS[name]: value for name, value in file.items() if value}
    changed = settings({name: options.get(name) for name in DATABASE}, held)
    values = {**held, **{key: text or "" for key, text in changed.items()}}
    if all(values.get(OPTIONS[name]) for name in ("engine", "hostname", "port")):
        check_database(values, "db.env")
    return database(values)


# What is there


def _rank(one: Container) -> tuple[bool, bool]:
    """Returns a sort key: running containers before stopped ones, Coreapps (which hold the registration) before Webapps."""
    return one["state"] not in ACTIVE, one["role"] == "web"


def services(containers: t.Iterable[Container], project: str) -> list[Container]:
    """Returns the containers that identify the client: those of its services in the project."""
    return [one for one in service_containers(containers) if one["identity"] and one["project"] == project]


def by_containers(containers: t.Iterable[Container], attribute: str, path: str = MEDIA_FOLDER) -> list[Found]:
    """Returns the distinct values of an attribute in the containers ranked first; `path` is the mount path of media."""
    ranked: list[tuple[tuple[bool, bool], Found]] = []
    for one in containers:
        value = _value(one, attribute, path)
        if value is not None:
            ranked.append((_rank(one), Found(value, one["name"])))
    best = min((rank for rank, _found in ranked), default=None)
    values: dict[str, Found] = {}
    for rank, found in ranked:
        if rank == best:
            values.setdefault(found.value, found)
    return list(values.values())


def _value(one: Container, attribute: str, path: str) -> str | None:
    """Returns a container's value of an attribute; None if unknown."""
    if attribute == "media_volume":
        mounts = [mount for mount in one["mounts"] if posixpath.normpath(mount["destination"]) == path]
        return mounts[0]["name"] or mounts[0]["kind"] if mounts else None
    if attribute == "topology":
        return _CLUSTER if one["identity"]["clustered"] else "single"
    return t.cast("str | None", (one["identity"].get("database") or {}).get(attribute))


def leaders(wanted: str, members: t.Sequence[str], records: t.Mapping[str, Values]) -> list[Found]:
    """Returns the leaders in the members' records, without `wanted` under an earlier inventory name."""
    own = records.get(wanted) or {}
    renamed = bool(own) and own.get("leader") == own.get("host")
    named = {host: record["leader"] for host, record in records.items() if record.get("leader")}
    return [
        Found(leader, f"as recorded on {host}")
        for host, leader in named.items()
        if leader != wanted and not (renamed and leader not in members)
    ] or [Found(wanted, f"as recorded on {host}") for host in named]


# The comparison


def differences(current: Current, wanted: Values, confirmed: t.Any = None, folder: str = "") -> list[Difference]:
    """Returns the attributes whose wanted value differs from all current ones and is not in `confirmed`.

    `folder` is the directory that the wanted media volume binds: containers that mount it directly have the same media.
    Raises WaError for an unknown attribute in `confirmed`.
    """
    agreed = _confirmed(confirmed)
    found = []
    for attribute in ATTRIBUTES:
        values, value = current.get(attribute) or [], wanted.get(attribute)
        if not values or value is None or any(_same(attribute, one.value, value, folder) for one in values):
            continue
        if agreed.get(attribute) != value:
            found.append(
                Difference(attribute, values[0].value, values[0].where, value, _lost(attribute, values[0], current))
            )
    return found


def _confirmed(confirmed: t.Any) -> dict[str, str]:
    expected = "a mapping such as {name_prefix: x_}"
    if not confirmed:
        return {}
    if not isinstance(confirmed, t.Mapping):
        raise WaError(CONFIRM, f"{confirmed!r} is no mapping", expected, f"With -e: -e '{{\"{CONFIRM}\": {{...}}}}'")
    for attribute in confirmed:
        if attribute not in (*ATTRIBUTES, "version"):  # the version is confirmed by `start_guard`
            raise WaError(
                CONFIRM, f"{attribute!r} cannot be confirmed", "one of: " + ", ".join((*ATTRIBUTES, "version"))
            )
    return {str(name): normalise(str(name), value) for name, value in confirmed.items()}


def _same(attribute: str, found: str, wanted: str, folder: str) -> bool:
    if attribute == "topology":
        # A cluster that grows from one shard to several, or back, stays the same client; `shards` has its own rule.
        return (found == "single") == (wanted == "single")
    if attribute == "shards":
        return not (found.isdecimal() and wanted.isdecimal()) or int(found) <= int(wanted)
    if attribute == "media_volume" and folder and found.startswith("/"):
        return posixpath.normpath(found) == posixpath.normpath(folder)
    return found == wanted


def _lost(attribute: str, found: Found, current: Current) -> str:
    """Returns a text about the data that would become inaccessible."""
    if attribute in DATABASE:
        has = {name: current[name][0].value if current.get(name) else "?" for name in DATABASE}
        prefix = f"with the prefix {has['name_prefix']!r}" if has["name_prefix"] else "without a prefix"
        where = f"{has['engine']} {has['hostname']}:{has['port']}"
        return f"the present registration, settings and messages in the databases {prefix} on {where}"
    return {
        "project": f"containers and networks of the Compose project {found.value or '(outside Compose)'}",
        "media_volume": f"all media in {found.value}",
        "topology": f"the client as it is registered, {'one Coreapp' if found.value == 'single' else 'a cluster'}",
        "shards": f"what the Coreapps of {found.value} shards serve",
        "leader": f"the upgrade lock and journal, and what is remembered about message GC, on {found.value}",
        "deployment": f"lock, journal, nightly cleanup and what is remembered about message GC under the name {found.value}",
        "project_dir": f"compose.yml and db.env in {found.value}",
        "env_file": f"the settings in {found.value}",
    }[attribute]


def refuse(subject: str, found: t.Sequence[Difference], confirm: str = CONFIRM) -> None:
    """Raises WaError as `refusals` has it."""
    for error in refusals(subject, found, confirm):
        raise error


def refusals(subject: str, found: t.Sequence[Difference], confirm: str = CONFIRM) -> list[WaError]:
    """Returns an error with all differences, the data that would become inaccessible, and both solutions; none if empty."""
    if not found:
        return []
    changes = ", ".join(
        f"{one.attribute} {one.found or '(empty)'} ({one.where}) would become {one.wanted or '(empty)'}"
        for one in found
    )
    lost = ", and ".join(dict.fromkeys(one.lost for one in found))
    if {*DATABASE} & {one.attribute for one in found}:
        lost = f"this would start an empty client; {lost}"
    other = "leader" if {one.attribute for one in found} == {"leader"} else "client"
    values = json.dumps({one.attribute: one.wanted for one in found})
    leader = next((f" (wa_leader: {one.found})" for one in found if one.attribute == "leader"), "")
    error = WaError(
        subject,
        f"another {other} than the one that is there: {changes}. {lost[0].upper()}{lost[1:]} would not be used",
        "the values of the client that is there",
        f"Nothing was changed. Name the values that are there{leader}; or, if the change is intended, confirm the new ones with "
        f"{confirm}: {values}",
    )
    return [error]


def rendered(
    document: t.Mapping[str, t.Any],
    containers: t.Iterable[Container],
    confirmed: t.Any = None,
    folder: str = "",
) -> list[Difference]:
    """Returns the differences between the services of a resolved Compose file and the project's `containers`.

    Only values set in the document are compared; `confirmed` and `folder` are those of `differences`.
    """
    services = service_containers(containers)
    # A Webapp with other values than the Coreapps has drifted; it is not another client.
    current = {name: by_containers(services, name) for name in (*DATABASE, "media_volume")}
    found: dict[str, Difference] = {}
    for one in services:
        body = (document.get("services") or {}).get(one["service"])
        if not body:
            continue
        given = {name: (body.get("environment") or {}).get(OPTIONS[name]) for name in DATABASE}
        wanted = {
            name: normalise(name, str(value).replace("$$", "$"))
            for name, value in given.items()
            if value is not None and (value or name == "name_prefix")
        }
        if _value(one, "media_volume", MEDIA_FOLDER) is not None:
            wanted["media_volume"] = _mounted(body, document.get("volumes") or {}, MEDIA_FOLDER)
        for each in differences(current, wanted, confirmed, folder):
            found.setdefault(each.attribute, each)
    return list(found.values())


def _mounted(body: t.Mapping[str, t.Any], volumes: t.Mapping[str, t.Any], path: str) -> str:
    """Returns the source of a service's media mount in a resolved Compose file; empty if there is none."""
    for mount in body.get("volumes") or []:
        if posixpath.normpath(str(mount.get("target", ""))) == path:
            source = str(mount.get("source") or mount.get("type") or "")
            return str((volumes.get(source) or {}).get("name") or source)
    return ""


# The role's complete comparison


def compare(facts: t.Mapping[str, t.Any]) -> list[Difference]:
    """Returns all differences of one host. `facts` are gathered by the role `wa_host`:

    `host`, `deployment`, `wanted` (see `wanted_identity`), `looks` (results of `wa_info` by member of this run),
    `folder`, `confirmed`, and `attributes`, those to compare.
    """
    host, project, inspections = facts["host"], facts["deployment"]["project"], facts["looks"]
    clients = {name: services(inspection.get("containers") or [], project) for name, inspection in inspections.items()}
    records = {name: _record(inspection.get("identity") or {}, project) for name, inspection in inspections.items()}
    files = {name: (inspection.get("identity") or {}).get("db_env") or {} for name, inspection in inspections.items()}
    everywhere = [one for those in clients.values() for one in those]
    wanted = facts["wanted"]

    def kept(source: t.Mapping[str, Values], attribute: str, hosts: t.Iterable[str], where: str) -> list[Found]:
        return [Found(source[one][attribute], f"{where} {one}") for one in hosts if attribute in source.get(one, {})]

    current: dict[str, list[Found]] = {}
    for attribute in (*DATABASE, "topology"):
        current[attribute] = (
            by_containers(everywhere, attribute)
            or kept(records, attribute, inspections, "as recorded on")
            or kept(files, attribute, inspections, "db.env on")
        )
    current["media_volume"] = by_containers(clients.get(host, []), "media_volume") or kept(
        records, "media_volume", [host], "as recorded on"
    )
    # A client outside Compose may move into a project: `unmanaged.sort` finds its containers as long as they are there.
    moves = not records.get(host, {}).get("project")
    current["project"] = [] if moves or clients.get(host) else kept(records, "project", [host], "as recorded on")
    current["shards"] = kept(records, "shards", inspections, "as recorded on")
    for attribute in ("project_dir", "env_file", "deployment"):
        current[attribute] = kept(records, attribute, [host], "as recorded on")
    if _inside(records.get(host, {})) and _inside(wanted):
        current["env_file"] = []  # it moves with its folder
    current["leader"] = leaders(wanted["leader"], facts["deployment"]["members"], records)
    return differences(
        {name: values for name, values in current.items() if name in facts["attributes"]},
        wanted,
        facts["confirmed"],
        facts["folder"],
    )


def _record(identity: t.Mapping[str, t.Any], project: str) -> Values:
    """Returns the host's record; without one, the record of the same project under an earlier deployment name."""
    others = identity.get("others") or []
    return identity.get("recorded") or next((one for one in others if one.get("project") == project), {})


def _inside(values: Values) -> bool:
    """Returns whether db.env is at its default path in the project's folder."""
    return values.get("env_file") == f"{values.get('project_dir')}/db.env"


def wanted_identity(facts: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Returns the identity that the inventory describes, and `host`, as written into the host's record.

    `facts` has `host`, `deployment`, `db_env` (the options of `wa_db_env`), `file` (the database
    in db.env), `media_volume`, `topology`, `shards`. Raises WaError for an invalid value.
    """
    deployment = facts["deployment"]
    check_topology(deployment["name"], deployment["members"], facts["topology"], facts["shards"])
    check_volume_name(str(facts["media_volume"]), "wa_media_volume_name")
    found = {
        **wanted_database(facts["db_env"], facts["file"]),
        **{name: facts[name] for name in ("media_volume", "topology", "shards")},
        **{name: deployment[name] for name in ("project", "leader", "project_dir", "env_file")},
        "deployment": deployment["slug"],
        # No part of the identity, so never refused: a run that has completed it need not log in again.
        **({"first_login": "completed"} if facts.get("first_login") else {}),
    }
    return {"host": facts["host"], **{name: normalise(name, value) for name, value in found.items()}}


def refusal(facts: t.Mapping[str, t.Any]) -> None:
    """Raises WaError if the inventory describes another client than the one on the host."""
    refuse(facts["host"], compare({**facts, "wanted": wanted_identity(facts)}))
