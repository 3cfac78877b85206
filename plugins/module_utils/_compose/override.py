# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merges the operator's additions into the rendered Compose file, as Compose merges an override. Pure rules."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import HIDDEN

Document = t.Mapping[str, t.Any]
MIGRATION = "dbupgrade"  # the service of the one-shot migration
HEADER = "# Written by Ansible (waba.onprem.wa_client)"  # first line of each Compose file written by the collection
OWN_LABEL = "onprem.waba.deployment"  # label of everything created from the rendered file
DEFINITION_LABEL = "onprem.waba.definition"  # label of a service: digest of its definition in the inventory
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BESIDE = "beside"  # profile of the operator's services: they are not started, stopped or recreated with the client
# Options of the Coreapp's additions that the one-shot migration needs to reach the same database.
_MIGRATION_NEEDS = (
    *("volumes", "networks", "network_mode", "extra_hosts", "dns", "dns_search", "user", "security_opt"),
    "env_file",
)


def secret_files(environment: t.Any, folder: str) -> dict[str, str]:
    """Returns the env file of each service in `wa_client_extra_secret_environment`.

    Raises WaError for an invalid service name, which could be the path of another file.
    """
    subject, cure = "wa_client_extra_secret_environment", "Give {waweb: {WA_API_KEY: ...}}, from a vault"
    if not isinstance(environment, t.Mapping):
        raise WaError(subject, f"a {type(environment).__name__}", "a mapping from services to their variables", cure)
    for service, values in environment.items():
        if not _SERVICE.fullmatch(str(service)):
            raise WaError(subject, f"{service!r} is no name of a service", "letters, digits, ., _ and -", cure)
        if not isinstance(values, t.Mapping):
            raise WaError(f"{subject}: {service}", f"a {type(values).__name__}", "a mapping from names to values", cure)
    return {str(service): f"{folder}/secret-{service}.env" for service in environment}


def rename(services: t.Iterable[Document], names: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
    """Returns the services of `_deployment.layout.services` under the operator's names, also in references.

    Several services with one name become one scaled service.
    """
    found: dict[str, dict[str, t.Any]] = {}
    for service in services:
        name = names.get(service["name"], service["name"])
        environment = {key: names.get(value, value) for key, value in service["environment"].items()}
        after = [names.get(other, other) for other in service["after"]]
        found.setdefault(name, {**service, "name": name, "environment": environment, "after": after})
    return list(found.values())


def merge(below: t.Any, above: t.Any) -> t.Any:
    """Returns `below` overridden by `above`: mappings are merged, null removes a key, other values are replaced."""
    if not isinstance(below, t.Mapping) or not isinstance(above, t.Mapping):
        return above
    found = {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
    return {key: value for key, value in found.items() if value is not None or key not in above}


def apply(
    document: Document,
    services: t.Mapping[str, t.Any],
    networks: t.Mapping[str, t.Any],
    volumes: t.Mapping[str, t.Any],
    secret_files: t.Mapping[str, str],
    cores: t.Sequence[str] = (),
) -> dict[str, t.Any]:
    """Returns a rendered document with the additions: to its services by name, or as additional services.

    `secret_files` are the env files with secret variables, by service; `cores` the names of the Coreapps.
    """
    found = {key: value for key, value in document.items() if not key.startswith("x-")}
    ours = dict(found["services"])
    if MIGRATION in services:
        raise WaError(f"wa_client_extra_services: {MIGRATION}", "the name of the one-shot migration", "another name")
    for name, extra in services.items():
        if not isinstance(extra, t.Mapping):
            raise WaError(
                f"wa_client_extra_services: {name}", f"{type(extra).__name__}, no mapping", "options of Compose"
            )
        if HIDDEN in str(extra):
            raise WaError(
                f"wa_client_extra_services: {name}",
                f"a secret that adopt.yml has left out, {HIDDEN}",
                "the secret itself",
                "Fill it in and encrypt the file, or run adopt.yml again with --vault-password-file",
            )
        if name not in ours and "image" not in extra and "build" not in extra:
            raise WaError(
                f"wa_client_extra_services: {name}",
                "no service of this host, and it has no image to be one beside them",
                "one of " + ", ".join(sorted(set(ours) - {MIGRATION})) + ", or an image",
            )
        if isinstance(extra.get("labels"), list):  # as a mapping it extends ours, as Compose merges an override
            extra = {**extra, "labels": dict(str(one).partition("=")[::2] for one in extra["labels"])}
        ours[name] = merge(ours.get(name, {"profiles": [BESIDE]}), extra)
    core = next((name for name in cores if name in services), None)
    if core is not None and MIGRATION in ours:
        needs = {key: services[core][key] for key in _MIGRATION_NEEDS if key in services[core]}
        if needs.get("env_file", ()) is None:
            del needs["env_file"]  # a Coreapp without db.env gets its settings elsewhere; the migration needs them, too
        ours[MIGRATION] = merge(ours[MIGRATION], needs)
    secret_core = next((name for name in cores if name in secret_files), None)
    for name, path in secret_files.items():
        for each in (name, MIGRATION) if name == secret_core else (name,):
            if each in ours:
                ours[each] = {**ours[each], "env_file": [*_listed(ours[each].get("env_file")), path]}
    found["services"] = ours
    found["networks"] = merge(found.get("networks") or {}, networks)
    found["volumes"] = merge(found.get("volumes") or {}, volumes)
    return found


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value] if value else []
