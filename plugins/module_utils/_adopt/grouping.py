# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the clients that were found are hosts of one client: by proof, never by equal names. Pure rules.

Proof are the node ids that `/v1/health` names, else one running database server, else the operator's word (`wa_deployment`). What an
earlier adoption has written stays together.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._adopt import beyond
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import Action, Client
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology

Record = t.Mapping[str, t.Mapping[str, t.Any]]  # hosts by their name in the inventory, as `inventory.py` records them
_NOTHING = "nothing of it was written"
_UNCHANGED = "nothing of it was changed in the inventory"
_ANSWER = "set wa_deployment to one name for all its hosts, and for no other, in the inventory that adopt.yml reads"


@dataclass
class Grouped:
    """Deployments with their members, and the clients that are left alone, each with what is to be done."""

    deployments: dict[str, list[Client]] = field(default_factory=dict)
    left: list[tuple[list[Client], Action]] = field(default_factory=list)
    absent: dict[str, Action] = field(default_factory=dict)  # known members on hosts that were read, by name
    questions: list[tuple[list[Client], Action]] = field(default_factory=list)


def group(
    found: t.Sequence[Client],
    known: Record,
    answers: t.Mapping[str, str],
    read: t.Collection[str],
    reached: t.Container[str] = (),
) -> Grouped:
    """Names the clients, and groups them to deployments.

    `known` are hosts that an earlier adoption has written, `answers` the `wa_deployment` of each host of the inventory that is read,
    `read` the hosts that were read, and `reached` names in that inventory.
    """
    grouped = Grouped()
    found = _without_doubles(found, known)
    _name(found, known, reached)
    sets = _sets(found, known, answers)
    labels = [one["deployment"] for one in known.values()]
    for members in sets:
        refusal = _refusal(members, known, answers, read)
        if refusal:
            grouped.left.append((members, refusal))
            continue
        theirs = {known[one.name]["deployment"] for one in members if one.name in known}
        label = (
            theirs.pop()
            if theirs
            else _label(members, answers, [*labels, *known, *(one.name for one in found)], reached)
        )
        labels.append(label)
        for client in members:
            client.deployment = label
        grouped.deployments[label] = members
        _number(members, known)
    grouped.deployments = dict(sorted(grouped.deployments.items()))
    there = {client.name for client in found}
    for name, one in known.items():
        if name not in there and one["machine"] in read:
            facts = (
                f"the inventory has a client there (project {one['project'] or 'none'}), and no container of it was found",
                _UNCHANGED,
            )
            grouped.absent[name] = Action(
                facts, (f"If it is retired, remove {name} from inventory.yml, and run adopt.yml again",)
            )
    _check_databases(grouped, found)
    return grouped


def _without_doubles(found: t.Sequence[Client], known: Record) -> list[Client]:
    """One machine may have been read under two names."""
    chosen: dict[tuple[str, ...], Client] = {}
    for client in sorted(found, key=lambda one: (_known_name(one, known) is None, one.host)):
        chosen.setdefault(tuple(sorted(one["id"] for one in client.containers)), client)
    return [client for client in found if any(client is one for one in chosen.values())]


def _known_name(client: Client, known: Record) -> str | None:
    return next(
        (
            name
            for name, one in known.items()
            if one["project"] == client.project and client.host in (one["machine"], name)
        ),
        None,
    )


def _name(found: t.Sequence[Client], known: Record, reached: t.Container[str]) -> None:
    """A machine's only client keeps the machine's name; each of several gets the project behind it. A known one keeps its name."""
    hosts = [client.host for client in found]
    taken = {*known}
    for client in found:
        part = deployment_topology.slug(client.project or "docker-run")
        alone = hosts.count(client.host) == 1 and client.host not in taken
        client.name = _known_name(client, known) or (client.host if alone else f"{client.host}-{part}")


def _sets(found: t.Sequence[Client], known: Record, answers: t.Mapping[str, str]) -> list[list[Client]]:
    """The clients that are one, each set in the order of the inventory: known members first."""
    sets = [[client] for client in found]
    for number, one in enumerate(found):
        for other in found[:number]:
            if one.multiconnect and other.multiconnect and _are_one(one, other, known, answers):
                ours, theirs = (
                    next(each for each in sets if any(client is which for which in each)) for client in (one, other)
                )
                if ours is not theirs:
                    theirs += ours
                    sets = [each for each in sets if each is not ours]
    order = [*known]
    for each in sets:
        each.sort(key=lambda client: (order.index(client.name) if client.name in known else len(order), client.name))
    return sets


def _are_one(one: Client, other: Client, known: Record, answers: t.Mapping[str, str]) -> bool:
    if one.nodes & other.ids or other.nodes & one.ids:
        return True
    if one.name in known and other.name in known and known[one.name]["deployment"] == known[other.name]["deployment"]:
        return True
    if _answer(one, answers) and _answer(one, answers) == _answer(other, answers):
        return True
    # Where one of them was asked which nodes it has, its answer counts.
    return not one.nodes and not other.nodes and same_database(one, other)


def _answer(client: Client, answers: t.Mapping[str, str]) -> str:
    """The operator's word; for one of several clients of a machine it would be no word on which of them."""
    return answers.get(client.host, "")


def same_database(one: Client, other: Client) -> bool:
    """Whether two clients have one database: one running server, and the same prefix."""
    prefixes = {each.environment.get("WA_DB_NAME_PREFIX", "") for each in (one, other)}
    return len(prefixes) == 1 and guard.same_server(one.server, other.server)


def _refusal(
    members: t.Sequence[Client], known: Record, answers: t.Mapping[str, str], read: t.Collection[str]
) -> Action | None:
    """Why the deployment of these members is not written in this run."""
    for one in members:
        left = beyond.action(one)
        if left:
            return left
    deployments = sorted({known[one.name]["deployment"] for one in members if one.name in known})
    if len(deployments) > 1:
        cure = "Remove the hosts of all but one of them from inventory.yml, and run adopt.yml again"
        return Action(
            (
                f"one client, which the inventory has as {len(deployments)} deployments: {', '.join(deployments)}",
                _UNCHANGED,
            ),
            (cure,),
        )
    absent = [
        name
        for name, one in known.items()
        if one["deployment"] in deployments and name not in {each.name for each in members}
    ]
    if absent:
        fact = f"member of {deployments[0]}, of which {', '.join(absent)} was not read in this run, or does not run it any more"
        cure = "Run adopt.yml for all of its hosts; if one has left, remove it from inventory.yml first"
        return Action((fact, _UNCHANGED), (cure,))
    alone = next((one for one in members if one.name in known and one.name == deployments[0]), None)
    if alone and len(members) > 1:
        more = ", ".join(each.name for each in members if each is not alone)
        fact = f"the inventory has it as a client of one host, and it runs on {more}, too"
        return Action(
            (fact, _UNCHANGED), (f"Remove {alone.name} from inventory.yml, and run adopt.yml for all of its hosts",)
        )
    if not members[0].multiconnect:
        return None
    given = {_answer(one, answers) for one in members}
    answer = given.pop() if len(given) == 1 else ""
    if answer:
        missing = sorted(host for host, each in answers.items() if each == answer and host not in read)
        lists = [one.nodes for one in members if one.nodes]
        if any(lists[0].isdisjoint(nodes) for nodes in lists[1:]):
            fact = f"wa_deployment says that they are one client ({answer}), and their health has no node in common"
            return Action((fact, _NOTHING), ("Correct wa_deployment, and run adopt.yml again",))
        if missing:
            fact = f"member of {answer} (wa_deployment), of which {', '.join(missing)} was not read"
            return Action((fact, _NOTHING), ("Run adopt.yml for all of its hosts",))
        return None
    ids = {each for one in members for each in one.ids}
    unread = sorted({node for one in members for node in one.node_names if node.rpartition(":")[2] not in ids})
    if unread:
        fact = f"a node of a cluster, of which other nodes are on no host that was read: {', '.join(unread)}"
        cure = f"Run adopt.yml for all of its hosts (--limit may leave some out); if a node is gone for good, {_ANSWER}"
        return Action((fact, _NOTHING), (cure,))
    if deployments or len(members) > 1 or members[0].nodes:
        return None
    why = members[0].unasked or "nothing was asked"
    facts = ("a node of a cluster, and which hosts are its other nodes is not known", why, _NOTHING)
    cure = f"Set wa_api_password (or wa_api_key) for it, and run adopt.yml again; or {_ANSWER} (the host's own name if it is alone)"
    return Action(facts, (cure,))


def _label(
    members: t.Sequence[Client], answers: t.Mapping[str, str], taken: t.Collection[str], reached: t.Container[str]
) -> str:
    answer = _answer(members[0], answers)
    if len(members) == 1 and (not members[0].multiconnect or answer in ("", members[0].name, members[0].host)):
        return members[0].name
    if members[0].multiconnect and answer and answer not in taken:
        return answer
    projects = {client.project for client in members} - {""}
    label = re.sub(r"[^a-z0-9_]", "_", projects.pop().lower()) if len(projects) == 1 else "waba"
    number, found = 1, label
    while found in taken or found in reached or found in ("all", "ungrouped"):
        number += 1
        found = f"{label}{number}"
    return found


def _number(members: t.Sequence[Client], known: Record) -> None:
    """Give every container its word: `web`, `core1`, `master1`; the numbers run through all members, and known ones stay."""
    words = [word for one in members if one.name in known for word in known[one.name]["services"].values()]
    for client in members:
        had = known[client.name]["services"] if client.name in known else {}
        for one in sorted(client.containers, key=lambda each: (str(each["service"]), int(each["number"]))):
            word = "web" if one["role"] == "web" else had.get(client.key(one), "")
            number = 1
            while not word:
                word = f"{one['role']}{number}" if f"{one['role']}{number}" not in words else ""
                number += 1
            words.append(word)
            client.words[one["name"]] = word


def _check_databases(grouped: Grouped, found: t.Sequence[Client]) -> None:
    """Clients of different deployments that share one database disconnect each other; equal names alone are a question."""
    suspected: dict[tuple[str, ...], list[Client]] = {}
    where = {one.name: label for label, members in grouped.deployments.items() for one in members}
    for client in found:
        for other in found:
            if client is other or where.get(client.name, client.name) == where.get(other.name, other.name):
                continue
            if same_database(client, other):
                client.actions.append(_shared(client, other))
            elif client.database == other.database and not _are_apart(client, other):
                suspected.setdefault(client.database, [])
                if client not in suspected[client.database]:
                    suspected[client.database].append(client)
    for _database, clients in sorted(suspected.items()):
        environment = clients[0].environment
        prefix = environment.get("WA_DB_NAME_PREFIX")
        name = f"{environment.get('WA_DB_HOSTNAME')}:{environment.get('WA_DB_PORT')}, {f'prefix {prefix}' if prefix else 'no prefix'}"
        facts = (f"their databases have one name ({name}); whether that is one server could not be asked",)
        cure = "Nothing, if each has a server of its own; else two clients use one database and disconnect each other: stop one"
        grouped.questions.append((clients, Action(facts, (cure,))))


def _are_apart(one: Client, other: Client) -> bool:
    """Whether two clients are known to have different databases, or different nodes."""
    asked = bool(one.server.get("identity") and other.server.get("identity"))
    return asked or bool(one.nodes and other.nodes)


def _shared(client: Client, other: Client) -> Action:
    if not all(any(one["role"] != "web" for one in each.containers) for each in (client, other)):
        fact = f"has the database of {other.name}, and one of the two has no Coreapp: they are halves of one client"
        return Action(
            (fact,), ("Put both into one Compose project, and run adopt.yml again; do not run provision.yml before",)
        )
    running = sorted(each.name for each in (client, other) if any(one["state"] == "running" for one in each.containers))
    facts = (
        f"shares its database with {other.name}: one running server, and the same prefix",
        "two clients for one number disconnect each other",
        f"running: {', '.join(running) or 'neither'}",
    )
    return Action(facts, ("Stop one of them, and remove it from inventory.yml",))
