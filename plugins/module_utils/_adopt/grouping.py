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

from ansible_collections.waba.onprem.plugins.module_utils._adopt import beyond
from ansible_collections.waba.onprem.plugins.module_utils._adopt.clients import OTHER, Action, Client
from ansible_collections.waba.onprem.plugins.module_utils._database import guard
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology

Record = t.Mapping[str, t.Mapping[str, t.Any]]  # hosts by their name in the inventory, as `inventory.py` records them
# Clients of which nothing is written: their names, the machine under which the report has them, and why. A known one may have gone.
Left = tuple[list[str], str, Action]
_ANSWER = "set wa_deployment to one name for all its hosts, and for no other, in the inventory that adopt.yml reads"


def group(
    found: t.Sequence[Client], known: Record, answers: t.Mapping[str, str], read: t.Collection[str]
) -> tuple[dict[str, list[Client]], list[Left]]:
    """Names the clients, and returns the members of each deployment, and what is left alone.

    `known` are hosts that an earlier adoption has written, `answers` the `wa_deployment` of each host of the inventory that is read,
    and `read` the machines that were read.
    """
    deployments: dict[str, list[Client]] = {}
    left: list[Left] = []
    _name(found, known)
    taken = {"all", "ungrouped", *answers, *read, *known, *(one["deployment"] for one in known.values())}
    taken |= {one.name for one in found}
    words = {*filter(None, answers.values())}
    # Hosts that may have a node of a cluster.
    nodes = {one.host for one in found if one.multiconnect} | {host for host in answers if host not in read}
    for members in _sets(found, known, answers):
        recorded = {known[one.name]["deployment"] for one in members if one.name in known}
        said = {answers.get(one.host, "") for one in members if one.multiconnect}
        answer = said.pop() if len(said) == 1 else ""
        others = {host for host in nodes if answer and answers.get(host) == answer} - {one.host for one in members}
        kinds = (
            (each for one in members for each in (*beyond.start(one), *beyond.containers(one))),
            (each for one in members if one.operators for each in beyond.variables(one, found)),
            _changed(members, known, recorded),
            _unread(members, answer, others, bool(recorded)),
            () if recorded else _named(members, answer, taken),
            _shared(members, found),
            beyond.together(members),
        )
        problems = next(filter(None, (dict(each) for each in kinds)), None)
        if problems:
            left.append(([one.name for one in members], members[0].host, _action(problems, bool(recorded))))
            continue
        label = recorded.pop() if recorded else _label(members, answer, taken | words)
        taken.add(label)
        for client in members:
            client.deployment = label
        deployments[label] = members
        _number(members, known)
        if members[0].multiconnect and not answer and not any(one.nodes for one in members):
            fact = f"that these are all of its hosts is not known: {_why_not_asked(members)}"
            cure = f"Run adopt.yml again with wa_api_password (or wa_api_key), or {_ANSWER}"
            members[0].described.actions.append(Action((fact,), cure, OTHER))
    there = {client.name for client in found}
    for name, one in known.items():
        if name not in there and one["machine"] in read:
            fact = f"the inventory has a client there (project {one['project'] or 'none'}), and no container of it was found"
            problems = {fact: f"If it is retired, remove {name} from inventory.yml"}
            left.append(([name], one["machine"], _action(problems, True)))
    return dict(sorted(deployments.items())), left


def _action(problems: t.Mapping[str, str], is_known: bool) -> Action:
    """What was found and what to change there, of a client of which nothing is written."""
    outcome = "nothing of it was changed in the inventory" if is_known else "nothing of it was written"
    return Action((*problems, outcome), f"{'. '.join(dict.fromkeys(problems.values()))}. Then run adopt.yml again")


def _name(found: t.Sequence[Client], known: Record) -> None:
    """A machine's only client keeps the machine's name; each of several gets the project behind it. A known one keeps its name.

    Where a machine had one client and has one on the same database, that is it, whatever its project is called by now.
    """
    names = {(one["machine"], one["project"]): name for name, one in known.items()}
    hosts = [client.host for client in found]
    for client in found:
        part = deployment_topology.slug(client.project or "docker-run")
        had = [name for name, one in known.items() if one["machine"] == client.host]
        alone = hosts.count(client.host) == 1 and client.host not in known
        name = client.host if alone else f"{client.host}-{part}"
        if hosts.count(client.host) == 1 == len(had) and _database(client) == _recorded_database(known[had[0]]):
            name = had[0]
        client.name = names.get((client.host, client.project), name)


def _database(client: Client) -> tuple[str, str]:
    """The server and the prefix of a client's databases, as its containers have them."""
    return client.environment.get("WA_DB_HOSTNAME", ""), client.environment.get("WA_DB_NAME_PREFIX", "")


def _recorded_database(known: t.Mapping[str, t.Any]) -> tuple[str, str]:
    values = known["variables"]
    return values.get("wa_db_env_hostname", ""), values.get("wa_db_env_name_prefix", "")


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


def _changed(members: t.Sequence[Client], known: Record, deployments: t.Collection[str]) -> beyond.Problems:
    """The inventory has its containers under other names, or `deployments` with other members.

    One that is called as its only host has no group for others.
    """
    ours = {one.name for one in members}
    ids = {each["id"] for one in members for each in one.containers}
    renamed = [name for name, one in known.items() if name not in ours and ids.intersection(one.get("ids", ()))]
    if renamed:
        yield (
            f"the inventory has its containers at {', '.join(renamed)}",
            f"Have the host read under that name, or remove {', '.join(renamed)} from inventory.yml",
        )
    recorded = [name for name, one in known.items() if one["deployment"] in deployments]
    if len(deployments) > 1 or {*recorded} - ours or (len(members) > 1 and ours.intersection(deployments)):
        yield (
            f"read on {', '.join(sorted(ours))}; the inventory has {' and '.join(sorted(deployments))} on {', '.join(recorded)}",
            "Have all of these hosts read in one run; if the client has changed, remove them from inventory.yml",
        )


def _unread(members: t.Sequence[Client], answer: str, others: t.Collection[str], is_known: bool) -> beyond.Problems:
    """Nodes of a cluster that no host has that was read; `others` are hosts with the same `answer` of the operator."""
    ids = {each for one in members for each in one.ids}
    unread = sorted({name for one in members for node, name in one.nodes.items() if node not in ids})
    if others:
        yield (
            f"member of {answer} (wa_deployment), of which {', '.join(sorted(others))} was not read, or has another client",
            "Have all of its hosts read in one run, or correct wa_deployment",
        )
    elif members[0].multiconnect and not answer and (unread or not (is_known or len(members) > 1 or members[0].nodes)):
        nodes = ", ".join(unread) or f"not known ({_why_not_asked(members)})"
        yield (
            f"a node of a cluster, and no host that was read has its other nodes: {nodes}",
            f"Have all of its hosts read in one run, with wa_api_password (or wa_api_key); or, if a node has gone or this cannot be asked, {_ANSWER}",
        )


def _why_not_asked(members: t.Sequence[Client]) -> str:
    problems = [problem for one in members for problem in one.evidence.get("problems", [])]
    return "; ".join(dict.fromkeys(problems)) or "nothing was asked"


def _named(members: t.Sequence[Client], answer: str, taken: t.Container[str]) -> beyond.Problems:
    """A name that the operator gave and that no group can have, or another one has."""
    if answer in ("", members[0].name, members[0].host) and len(members) == 1:
        return
    if answer in taken or not re.fullmatch(r"([A-Za-z_]\w*)?", answer, re.ASCII):
        yield (
            f"wa_deployment {answer!r} is the name of a host or of another client, or none of a group",
            "Choose another one of letters, digits and _",
        )


def _shared(members: t.Sequence[Client], found: t.Sequence[Client]) -> beyond.Problems:
    """Clients that share one machine's containers or one database; equal names prove nothing."""
    pairs = [(one, other) for one in members for other in found if other is not one]
    for one, other in pairs:
        if one.name == other.name:
            yield (
                f"{one.name} is the name of two clients: on {one.host} of project {one.project}, and on {other.host}",
                "Give one of the hosts another name in the inventory that adopt.yml reads",
            )
        elif {each["id"] for each in one.containers} & {each["id"] for each in other.containers}:
            yield (
                f"{one.host} and {other.host} are one machine",
                "Remove one of them from the inventory that adopt.yml reads",
            )
        elif other not in members and _have_one_database(one, other):
            yield (
                f"shares its database with {other.name}: one running server, and the same prefix; two clients for one number disconnect each other",
                "Remove one of them (docker rm). If one is the Webapp and the other the Coreapp of one client, put both into one Compose project",
            )


def _label(members: t.Sequence[Client], answer: str, taken: t.Container[str]) -> str:
    """The name of a deployment: of its only host, else the operator's answer, else its project, with a number if that is taken."""
    if len(members) == 1 and answer in ("", members[0].name, members[0].host):
        return members[0].name
    if answer:
        return answer
    projects = {client.project for client in members}
    project = re.sub(r"[^a-z0-9_]", "_", projects.pop().lower()) if len(projects) == 1 else ""
    numbered = (f"{project or 'waba'}{number if number > 1 else ''}" for number in itertools.count(1))
    return next(name for name in numbered if name not in taken)


def _number(members: t.Sequence[Client], known: Record) -> None:
    """Give every container its word: `web`, `core1`, `master1`; the numbers run through all members, and known ones stay."""
    kept = {
        one.name: known[one.name]["services"]
        for one in members
        if known.get(one.name, {}).get("project") == one.project
    }
    words = [word for services in kept.values() for word in services.values()]
    for client in members:
        had = kept.get(client.name, {})
        for one in sorted(client.containers, key=lambda each: (str(each["service"]), int(each["number"]))):
            numbered = (f"{one['role']}{number}" for number in itertools.count(1))
            word = had.get(client.key(one)) or next(word for word in numbered if word not in words)
            word = "web" if one["role"] == "web" else word
            words.append(word)
            client.words[one["name"]] = word
