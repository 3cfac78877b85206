# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where each value of an inventory is: in one file, with what all hosts share in one place. Pure rules."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

# What each member has for itself.
_OF_A_HOST = ("wa_client_address", "wa_client_services", "wa_client_service_names", "ansible_host")
# What an operator sets for all clients; that two clients have the same database password is no reason to share it.
_OF_ALL = ("wa_registry", "wa_images", "wa_client_restart", "wa_docker_host")
Hosts = t.Mapping[str, t.Mapping[str, t.Any]]


@dataclass
class Placed:
    """Documents by path, those with secrets by path, and comments by path and key."""

    documents: dict[str, t.Any] = field(default_factory=dict)
    secrets: dict[str, t.Any] = field(default_factory=dict, repr=False)
    comments: dict[str, dict[str, str]] = field(default_factory=dict)


def groups(hosts: Hosts) -> dict[str, list[str]]:
    """The groups of the inventory, by label; a deployment that is called as its only host has none."""
    labels = dict.fromkeys(one["deployment"] for name, one in hosts.items() if one["deployment"] != name)
    return {label: [name for name, one in hosts.items() if one["deployment"] == label] for label in labels}


def place(hosts: Hosts, secrets: t.Mapping[str, t.Mapping[str, t.Any]]) -> Placed:
    """Returns the files of an inventory from the values of each host."""
    placed = Placed()
    if not hosts:
        return placed
    labels = groups(hosts)
    plain = _spread(
        {name: {**one["connection"], **one["variables"]} for name, one in hosts.items()},
        labels,
        lambda key: key in _OF_ALL or (key.startswith("ansible_") and key not in _OF_A_HOST),
    )
    hidden = _spread({name: secrets.get(name, {}) for name in hosts}, labels, lambda key: key.startswith("ansible_"))
    reached = {
        name: {key: own.pop(key) for key in one["connection"] if key in own}
        for name, one in hosts.items()
        for own in (plain[f"host_vars/{name}"],)
    }
    inventory: dict[str, t.Any] = {"all": {"hosts": reached}}
    if labels:
        inventory["all"]["children"] = {
            label: {"hosts": {name: {} for name in names}} for label, names in labels.items()
        }
    placed.documents["inventory.yml"] = inventory
    placed.documents.update({f"{folder}/vars.yml": values for folder, values in plain.items() if values})
    placed.secrets.update({f"{folder}/vault.yml": values for folder, values in hidden.items() if values})
    members = {
        **{f"group_vars/{label}": names for label, names in labels.items()},
        **{f"host_vars/{name}": [name] for name in hosts},
    }
    for folder, names in members.items():
        guesses = {key: text for name in names for key, text in hosts[name]["guesses"].items() if key in plain[folder]}
        if guesses:
            placed.comments[f"{folder}/vars.yml"] = guesses
    return placed


def _spread(
    values: Hosts, labels: t.Mapping[str, t.Sequence[str]], is_of_all: t.Callable[[str], bool]
) -> dict[str, dict[str, t.Any]]:
    """Returns values by folder: what all hosts have with one value, then what all of a group have, then the rest."""
    found = {"group_vars/all": _shared(values, is_of_all) if len(values) > 1 else {}}
    rest = {name: _without(one, found["group_vars/all"]) for name, one in values.items()}
    for label, names in labels.items():
        shared = _shared({name: rest[name] for name in names}, lambda key: key not in _OF_A_HOST)
        found[f"group_vars/{label}"] = shared
        rest.update({name: _without(rest[name], shared) for name in names})
    return {**found, **{f"host_vars/{name}": one for name, one in rest.items()}}


def _without(values: t.Mapping[str, t.Any], keys: t.Container[str]) -> dict[str, t.Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _shared(values: Hosts, may: t.Callable[[str], bool]) -> dict[str, t.Any]:
    first, *others = values.values()
    return {
        key: value
        for key, value in first.items()
        if may(key) and all(key in one and one[key] == value for one in others)
    }
