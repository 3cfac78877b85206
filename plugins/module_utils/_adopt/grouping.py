# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the clients that were found are hosts of one client: by proof, never by equal names. Pure rules.

Proof are the node ids that `/v1/health` names, else one running database server, else the operator's word (`wa_deployment`). What an
earlier adoption has written stays together.
"""

from __future__ import annotations

import itertools
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._adopt import beyond
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Client
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology

Record = t.Mapping[str, t.Mapping[str, t.Any]]  # hosts by their name in the inventory, as `inventory.py` records them
_NOTHING = "nothing of it was written"
_UNCHANGED = "nothing of it was changed in the inventory"
_ANSWER = "set wa_deployment to one name for all its hosts, and for no other, in the inventory that adopt.yml reads"


@dataclass(frozen=True)
class Left:
    """Clients of which nothing is written, and why; known ones may have gone from hosts that were read."""

    names: list[str]
    hosts: list[str]
    action: Action


def group(
    found: t.Sequence[Client],
    known: Record,
    answers: t.Mapping[str, str],
    read: t.Collection[str],
    reached: t.Container[str] = (),
) -> tuple[dict[str, list[Client]], list[Left]]:
    """Names the clients, and returns the members of each deployment, and what is left alone.

    `known` are hosts that an earlier adoption has written, `answers` the `wa_deployment` of each host of the inventory that is read,
    `read` the hosts that were read, and `reached` names in that inventory.
    """
    deployments: dict[str, list[Client]] = {}
    left: list[Left] = []
    everything, found = found, [one for one in found if not _known_elsewhere(one, found, known)]
    _name(found, known, reached)
    sets = _sets(found, known, answers)
    labels = [one["deployment"] for one in known.values()]
    # Hosts that may have a node of a cluster.
    nodes = {one.host for one in found if one.multiconnect} | {host for host in answers if host not in read}
    for members in sets:
        refusal = (
            _refusal(members, everything, known, answers, nodes)
            or _shared(members, found)
            or beyond.deployment(members)
        )
        if refusal:
            left.append(Left([one.name for one in members], [one.host for one in members], refusal))
            continue
        recorded = next((known[one.name]["deployment"] for one in members if one.name in known), "")
        label = recorded or _label(members, answers, [*labels, *known, *(one.name for one in found)], reached)
        labels.append(label)
        for client in members:
            client.deployment = label
        deployments[label] = members
        _number(members, known)
    there = {client.name for client in found}
    for name, one in known.items():
        if name not in there and one["machine"] in read:
            fact = f"the inventory has a client there (project {one['project'] or 'none'}), and no container of it was found"
            cure = f"If it is retired, remove {name} from inventory.yml, and run adopt.yml again"
            left.append(Left([name], [one["machine"]], Action((fact, _UNCHANGED), cure)))
    return dict(sorted(deployments.items())), left


def _known_name(client: Client, known: Record) -> str | None:
    return next(
        (
            name
            for name, one in known.items()
            if one["project"] == client.project and client.host in (one["machine"], name)
        ),
        None,
    )


def _known_elsewhere(client: Client, found: t.Sequence[Client], known: Record) -> bool:
    """Whether an adopted inventory was read, in which one machine has a host for each of its clients, and this host is for another one."""
    return (
        client.host in known
        and not _known_name(client, known)
        and any(_containers(one) == _containers(client) and _known_name(one, known) for one in found)
    )


def _name(found: t.Sequence[Client], known: Record, reached: t.Container[str]) -> None:
    """A machine's only client keeps the machine's name; each of several gets the project behind it. A known one keeps its name."""
    hosts = [client.host for client in found]
    for client in found:
        part = deployment_topology.slug(client.project or "docker-run")
        alone = hosts.count(client.host) == 1 and client.host not in known
        client.name = _known_name(client, known) or (client.host if alone else f"{client.host}-{part}")


def _sets(found: t.Sequence[Client], known: Record, answers: t.Mapping[str, str]) -> list[list[Client]]:
    """The clients that are one, each set in the order of the inventory: known members first."""
    sets: list[list[Client]] = []
    for client in found:
        joined = [each for each in sets if any(_are_one(client, other, known, answers) for other in each)]
        sets = [each for each in sets if each not in joined] + [[client, *(one for each in joined for one in each)]]
    order = [*known]
    for each in sets:
        each.sort(key=lambda client: (order.index(client.name) if client.name in known else len(order), client.name))
    return sets


def _are_one(one: Client, other: Client, known: Record, answers: t.Mapping[str, str]) -> bool:
    if not one.multiconnect or not other.multiconnect:
        return False
    shared = (one.nodes.keys() | one.ids) & (other.nodes.keys() | other.ids)
    if shared or (one.nodes and other.nodes):
        return bool(shared)  # whatever the inventory or the operator says
    # Their deployment as the inventory has it, and as the operator says.
    labels = [(known.get(each.name, {}).get("deployment"), answers.get(each.host)) for each in (one, other)]
    said = any(ours and ours == theirs for ours, theirs in zip(*labels))
    # Where one of them was asked which nodes it has, its answer counts.
    return said or (not one.nodes and not other.nodes and _have_one_database(one, other))


def _have_one_database(one: Client, other: Client) -> bool:
    """Whether two clients use one running server with the same prefix."""
    servers = [each.evidence.get("server", {}) for each in (one, other)]
    prefixes = {each.environment.get("WA_DB_NAME_PREFIX", "") for each in (one, other)}
    return len(prefixes) == 1 and guard.same_server(*servers)


def _refusal(
    members: t.Sequence[Client],
    found: t.Sequence[Client],
    known: Record,
    answers: t.Mapping[str, str],
    nodes: t.Collection[str],
) -> Action | None:
    """Why the deployment of these members is not written in this run."""
    for one in members:
        left = beyond.client(one, found)
        if left:
            return left
    ours = {one.name for one in members}
    deployments = sorted({known[name]["deployment"] for name in ours if name in known})
    recorded = [name for name, one in known.items() if one["deployment"] in deployments]
    # A deployment that is called as its only host has no group for others.
    if len(deployments) > 1 or {*recorded} - ours or (len(members) > 1 and ours.intersection(deployments)):
        fact = (
            f"read on {', '.join(sorted(ours))}; the inventory has {' and '.join(deployments)} on {', '.join(recorded)}"
        )
        cure = "Run adopt.yml for all of these hosts; if the client has changed, remove them from inventory.yml first"
        return Action((fact, _UNCHANGED), cure)
    if not members[0].multiconnect:
        return None
    given = {answers.get(one.host, "") for one in members}
    answer = given.pop() if len(given) == 1 else ""
    others = {host for host in nodes if answer and answers.get(host) == answer} - {one.host for one in members}
    ids = {each for one in members for each in one.ids}
    unread = sorted({name for one in members for node, name in one.nodes.items() if node not in ids})
    if others:
        fact = f"member of {answer} (wa_deployment), of which {', '.join(sorted(others))} was not read, or has another client"
        return Action((fact, _NOTHING), "Run adopt.yml for all of its hosts, or correct wa_deployment")
    if answer or (not unread and (deployments or len(members) > 1 or members[0].nodes)):
        return None
    why = "; ".join(members[0].evidence.get("problems", [])) or "nothing was asked"
    fact = f"a node of a cluster, and no host that was read has its other nodes: {', '.join(unread) or f'not known ({why})'}"
    cure = f"Run adopt.yml for all of its hosts, with wa_api_password (or wa_api_key); or, if a node has gone or this cannot be asked, {_ANSWER}"
    return Action((fact, _NOTHING), cure)


def _label(
    members: t.Sequence[Client], answers: t.Mapping[str, str], taken: t.Collection[str], reached: t.Container[str]
) -> str:
    answer = answers.get(members[0].host, "") if members[0].multiconnect else ""
    if len(members) == 1 and answer in ("", members[0].name, members[0].host):
        return members[0].name
    projects = {client.project for client in members} - {""}
    base = re.sub(r"[^a-z0-9_]", "_", projects.pop().lower()) if len(projects) == 1 else "waba"
    names = (f"{base}{number if number > 1 else ''}" for number in itertools.count(1))
    free = (name for name in names if name not in (*taken, "all", "ungrouped") and name not in reached)
    return answer if answer and answer not in taken else next(free)


def _number(members: t.Sequence[Client], known: Record) -> None:
    """Give every container its word: `web`, `core1`, `master1`; the numbers run through all members, and known ones stay."""
    words = [word for one in members if one.name in known for word in known[one.name]["services"].values()]
    for client in members:
        had = known[client.name]["services"] if client.name in known else {}
        for one in sorted(client.containers, key=lambda each: (str(each["service"]), int(each["number"]))):
            numbered = (f"{one['role']}{number}" for number in itertools.count(1))
            word = had.get(client.key(one)) or next(word for word in numbered if word not in words)
            word = "web" if one["role"] == "web" else word
            words.append(word)
            client.words[one["name"]] = word


def _containers(client: Client) -> set[str]:
    return {one["id"] for one in client.containers}


def _shared(members: t.Sequence[Client], found: t.Sequence[Client]) -> Action | None:
    """Clients that share one machine's containers or one database; equal names prove nothing."""
    pairs = [(one, other) for one in members for other in found if other is not one]
    for one, other in pairs:
        if _containers(one) & _containers(other):
            cure = "Remove one of them from the inventory that adopt.yml reads"
            return Action((f"{one.host} and {other.host} are one machine", _NOTHING), cure)
        if other not in members and _have_one_database(one, other):
            facts = (
                f"shares its database with {other.name}: one running server, and the same prefix",
                "two clients for one number disconnect each other",
                _NOTHING,
            )
            cure = (
                "Remove one of them (docker rm), and run adopt.yml again. If one is the Webapp and the other the Coreapp of one client, put both "
                "into one Compose project"
            )
            return Action(facts, cure)
    return None
