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
    everyone = {name: {**one["connection"], **one["variables"]} for name, one in hosts.items()}
    common = _shared(everyone, lambda key: key in _OF_ALL or (key.startswith("ansible_") and key not in _OF_A_HOST))
    hidden = _shared({name: secrets.get(name, {}) for name in hosts}, lambda key: key.startswith("ansible_"))
    reached = {name: _without(one["connection"], common) for name, one in hosts.items()}
    inventory: dict[str, t.Any] = {"all": {"hosts": reached}}
    if labels:
        inventory["all"]["children"] = {
            label: {"hosts": {name: {} for name in names}} for label, names in labels.items()
        }
    placed.documents["inventory.yml"] = inventory
    _write(placed, "group_vars/all", common, hidden, {})
    variables = {name: _without(one["variables"], common) for name, one in hosts.items()}
    others = {name: _without(secrets.get(name, {}), hidden) for name in hosts}
    for label, names in labels.items():
        ours, theirs = ({name: values[name] for name in names} for values in (variables, others))
        shared, shared_secrets = (_shared(values, lambda key: key not in _OF_A_HOST, 1) for values in (ours, theirs))
        _write(placed, f"group_vars/{label}", shared, shared_secrets, _guesses(hosts, names))
        for name in names:
            variables[name], others[name] = _without(ours[name], shared), _without(theirs[name], shared_secrets)
    for name in hosts:
        _write(placed, f"host_vars/{name}", variables[name], others[name], _guesses(hosts, [name]))
    return placed


def _without(values: t.Mapping[str, t.Any], keys: t.Container[str]) -> dict[str, t.Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _guesses(hosts: Hosts, names: t.Iterable[str]) -> dict[str, str]:
    return {key: text for name in names for key, text in hosts[name].get("guesses", {}).items()}


def _shared(values: Hosts, may: t.Callable[[str], bool], fewest: int = 2) -> dict[str, t.Any]:
    """What all hosts, and at least `fewest`, have with one value."""
    first, *others = values.values()
    if len(values) < fewest:
        return {}
    return {
        key: value
        for key, value in first.items()
        if may(key) and all(key in one and one[key] == value for one in others)
    }


def _write(
    placed: Placed,
    folder: str,
    variables: t.Mapping[str, t.Any],
    secrets: t.Mapping[str, t.Any],
    guesses: t.Mapping[str, str],
) -> None:
    if variables:
        placed.documents[f"{folder}/vars.yml"] = dict(variables)
        comments = {key: text for key, text in guesses.items() if key in variables}
        if comments:
            placed.comments[f"{folder}/vars.yml"] = comments
    if secrets:
        placed.secrets[f"{folder}/vault.yml"] = dict(secrets)
