# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The desired state of a host by concern, from the inventory. Modules are called with it, and drift is compared with it.

None stands for an option that is not set.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import random
import shlex
import time
import typing as t

from ansible import context
from ansible.module_utils.parsing.convert_bool import boolean

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._client import starts as client_starts
from ansible_collections.waba.onprem.plugins.module_utils._compose import call as compose_call
from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._core import redact, units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import (
    client_containers,
    host_objects,
    layout,
    paths,
    topology,
)
from ansible_collections.waba.onprem.plugins.module_utils._deployment import hold as holds
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules
from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line
from ansible_collections.waba.onprem.plugins.plugin_utils import _compose_file as compose_file
from ansible_collections.waba.onprem.plugins.plugin_utils import _job_script as job_script
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines
from ansible_collections.waba.onprem.plugins.plugin_utils import _values as values
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import (
    Inventory,
    Template,
    assert_for_one_run,
    refused_values,
)

State = dict[str, t.Any]
OWNER = "root"  # of the roles' files


_T = t.TypeVar("_T")


def _once(rule: t.Callable[[Inventory], _T]) -> t.Callable[[Inventory], _T]:
    """Returns `rule` so that one inventory has one result of it, which nobody changes: one comparison asks for it several times."""

    @functools.wraps(rule)
    def result(inventory: Inventory) -> _T:
        if rule not in inventory.results:
            inventory.results[rule] = rule(inventory)
        return t.cast("_T", inventory.results[rule])

    return result


def _present(options: t.Mapping[str, t.Any]) -> State:
    return {name: value for name, value in options.items() if value is not None}


@_once
def deployment(inventory: Inventory) -> State:
    """Returns the host's deployment, see `_deployment.topology.deployment`. Raises WaError."""
    given = [inventory.given(f"wa_{name}") for name in topology.DESCRIBED_BY]
    return topology.deployment(inventory.host, inventory.variables["groups"], *given)


# Results in which a run has read the file of a hold, by the variable that they are registered in.
_HOLD_READ_IN = (
    "wa_drift",
    "__wa_host_found",
    "__wa_message_gc_found",
    "__wa_upgrade_host",
    "__wa_upgrade_restore_read",
)


def hold(inventory: Inventory, found: t.Mapping[str, t.Any] | None = None) -> str:
    """Returns why the containers of the host's deployment stay as they are, and how that is ended; empty if nothing holds them.

    The inventory of any member holds them, or a file on any that this run has read. With `found`, what has just been read on this
    host, no other member's file is known yet.
    """
    members, hostvars = deployment(inventory)["members"], inventory.variables["hostvars"]
    for member in members:
        own = member == inventory.host
        reason = inventory.given("wa_client_hold") if own else hostvars[member].get("wa_client_hold")
        if str(reason or "").strip():
            return holds.describe_variable(str(reason))
    if found is not None:
        return holds.describe(found, inventory.host) if found else ""
    for member in members:
        read = (hostvars[member].get(name) or {} for name in _HOLD_READ_IN)
        there = next((one["hold"] for one in read if one.get("hold")), None)
        if there:
            return holds.describe(there, member)
    return ""


def restart_allowed(inventory: Inventory) -> bool:
    """Returns whether containers may be restarted now, in the host's time zone. Where that was not read, a window is closed."""
    zone = (inventory.variables.get("__wa_host_found") or {}).get("zone", "")
    return client_starts.restart_allowed(str(inventory["wa_client_restart"]), str(zone), time.time())


def restart_mode(inventory: Inventory) -> str:
    """Returns `wa_client_restart`, `window` for a window."""
    return client_starts.restart_mode(str(inventory["wa_client_restart"]))


def docker(inventory: Inventory) -> State:
    """Returns the options of the modules that connect to the Docker Engine."""
    return _present({"docker_host": inventory.given("wa_docker_host"), "client_images": inventory.given("wa_images")})


def host(inventory: Inventory) -> State:
    """Returns the requirements of the host, and the folders of the deployment as `files`."""
    place = deployment(inventory)
    return _present(
        {
            **docker(inventory),
            "database_engine": inventory.given("wa_db_env_engine") or "MYSQL",
            "dumps": place["is_leader"] and boolean(inventory["wa_upgrade_dump"], strict=False),
            "files": [folder(place["project_dir"]), folder(topology.STATE_DIR)],
            "lock_file": place["lock_file"],
            "compose_file": place["compose_file"],
            "identity_file": place["identity_file"],
        }
    )


def identity(inventory: Inventory) -> State:
    """Returns the facts for `_client.identity.wanted_identity`, without the content of db.env."""
    options = {name: inventory.given(f"wa_db_env_{name}") for name in client_identity.DATABASE}
    return {
        "host": inventory.host,
        "deployment": deployment(inventory),
        "db_env": options,
        "media_volume": media_volume_name(inventory),
        "topology": inventory.given("wa_topology") or "single",
        "shards": inventory.given("wa_shards") or 1,
        "first_login": bool(inventory.given("wa_api_password")),
    }


def identity_facts(inventory: Inventory) -> State:
    """Returns the facts for `_client.identity.refusal` that come from the host's own variables."""
    return {
        **identity(inventory),
        "confirmed": confirmed(inventory),
        "folder": media_folder(inventory),
    }


def confirmed(inventory: Inventory) -> t.Any:
    """Returns `wa_confirm_identity`, which is for one run. Raises WaError where it is not on the command line."""
    given = inventory.given(client_identity.CONFIRM)
    assert_for_one_run(client_identity.CONFIRM, given)
    return given


def folder(path: str) -> State:
    """Returns the desired state of a folder with mode 0750."""
    return {"path": path, "state": "directory", "mode": "0750", "owner": OWNER}


_DB_ENV = (
    *("wa_db_env_engine", "wa_db_env_hostname", "wa_db_env_port", "wa_db_env_username", "wa_db_env_password"),
    *("wa_db_env_name_prefix", "wa_db_env_mode"),
)


def database_login(inventory: Inventory) -> State:
    """Returns the options with which modules connect to the database beside db.env. Raises WaError."""
    files = inventory.given("wa_db_login_tls") or {}
    values.login_files("wa_db_login_tls", files)
    return _present(
        {"login_host": inventory.given("wa_db_login_host"), **{f"login_{name}": path for name, path in files.items()}}
    )


def db_env(inventory: Inventory) -> State:
    """The options of `wa_db_env`."""
    place, secrets = deployment(inventory), inventory["wa_db_env_extra_secrets"]
    # Without it the registration is in a container's writable layer, and recreating the container loses it.
    extra = {"WA_CONFIG_ON_DB": "1", **inventory["wa_db_env_extra"]}
    # Options are displayed with -vvv and logged. A short text stays: hiding it would hide large parts of the output.
    hidden = {
        name: value
        for name, value in extra.items()
        if name not in secrets
        and isinstance(value, str)
        and len(value) > 3
        and (redact.is_secret(str(name)) or redact.holds_password(value))
    }
    return _present(
        {
            **docker(inventory),
            **{name[len("wa_db_env_") :]: inventory.get(name) for name in _DB_ENV},
            **database_login(inventory),
            "path": place["env_file"],
            "extra": {name: value for name, value in extra.items() if name not in hidden},
            "extra_secrets": {**hidden, **secrets},
            "format": inventory.given("wa_env_format"),
            "project": place["project"],
            "confirm_identity": confirmed(inventory),
            "owner": inventory.given("wa_db_env_owner") or OWNER,
            "containers": True,
            "keep_previous": True,
        }
    )


def database_users(inventory: Inventory) -> State:
    """The options of the concern `database`: the login of the client, and whose sessions are known."""
    options = db_env(inventory)
    del options["keep_previous"]
    return _present(
        {
            **options,
            "databases": inventory.get("wa_message_gc_databases"),
            "shared_origins": units.text_list(inventory.get("wa_db_shared_origins") or [], "wa_db_shared_origins"),
            "identity_file": deployment(inventory)["identity_file"],
        }
    )


_MEDIA_VOLUME = ("wa_media_volume_driver", "wa_media_volume_driver_options")


def media_volume(inventory: Inventory) -> State:
    """The options of `wa_media_volume`."""
    return _present(
        {
            **docker(inventory),
            **{name[len("wa_media_volume_") :]: inventory.get(name) for name in _MEDIA_VOLUME},
            "name": media_volume_name(inventory),
            "project": deployment(inventory)["project"],
            "confirm_identity": confirmed(inventory),
        }
    )


def media_volume_name(inventory: Inventory) -> str:
    """The name of the deployment's media volume."""
    return str(inventory.given("wa_media_volume_name") or deployment(inventory)["volume"])


@_once
def layout_of(inventory: Inventory) -> dict[str, list[str]]:
    """Returns the services of each member, see `_deployment.layout.layout`."""
    return layout.layout(
        inventory.variables["hostvars"],
        deployment(inventory),
        inventory.given("wa_topology") or "single",
        inventory.given("wa_shards") or 1,
    )


def version(inventory: Inventory) -> str:
    """Returns the client's version on this host: the inventory's, or the target of the upgrade in progress."""
    return topology.normalise_version(inventory.given("__wa_client_next_version") or inventory.given("wa_version"))


@_once
def services(inventory: Inventory) -> list[State]:
    """Returns the services of this host under their configured names, see `_deployment.layout.services`."""
    found = layout.services(
        layout_of(inventory)[inventory.host],
        inventory.given("wa_topology") or "single",
        layout.address(inventory.variables["hostvars"], inventory.host),
        len(deployment(inventory)["members"]) == 1,
        inventory["wa_client_web_port"],
        inventory["wa_client_core_port"],
    )
    return compose_document.rename(found, inventory["wa_client_service_names"])


def images(inventory: Inventory) -> dict[str, str]:
    """Returns the image of each kind, see `_deployment.client_containers.repositories`."""
    return client_containers.repositories(inventory.given("wa_images"), inventory.given("wa_registry") or "")


def _written_images(inventory: Inventory) -> dict[str, str]:
    if inventory.given("wa_client_compose_dir") is None:
        return images(inventory)
    return client_containers.written_repositories(inventory.given("wa_images"), inventory.given("wa_registry") or "")


def compose_client(inventory: Inventory) -> compose_document.Client:
    """Returns the input of `_compose.document`."""
    place, engine = deployment(inventory), inventory.given("wa_db_env_engine") or "MYSQL"
    if engine not in units.DATABASE_PORTS:
        raise WaError("wa_db_env_engine", repr(engine), " or ".join(units.DATABASE_PORTS))
    return {
        "deployment": place,
        "images": _written_images(inventory),
        "version": version(inventory),
        "engine": engine,
        "services": services(inventory),
        "media_volume": media_volume_name(inventory),
        "log_max_size": str(inventory["wa_client_log_max_size"]),
        "bind_address": {
            "web": inventory["wa_client_web_bind_address"],
            "core": inventory["wa_client_core_bind_address"],
        },
        "migration": not _paths("wa_client_compose_files", inventory["wa_client_compose_files"]),
    }


@_once
def compose(inventory: Inventory) -> State:
    """Returns how Compose is called for the host's project.

    `folder` is the project directory, `files` the Compose files in their order, `env_files` those with the variables of the
    Compose files (none: Compose reads `.env`), `profiles` the enabled profiles, `command` all that as arguments, `environment` what
    it is run with. `services` are the client's if the operator has files of their own, so that other services are left alone; else none,
    for all. `repositories` are the images, without version, of the services whose Compose files are the operator's. `coreapp` is the
    service of the first Coreapp, or of a master. `migration` is whether the service that migrates is derived from `coreapp`, since the
    role's file does not have it.
    """
    place = deployment(inventory)
    ours, given = place["compose_file"], inventory.given("wa_client_compose_dir")
    theirs = _paths("wa_client_compose_files", inventory["wa_client_compose_files"])
    cure = "Name yours, in the order of docker compose --file"
    if given is not None and not theirs:
        raise WaError("wa_client_compose_dir", f"{given}, without a file", "wa_client_compose_files, too", cure)
    if ours in theirs:
        raise WaError("wa_client_compose_files", f"{ours}, which the role writes", "the operator's Compose files", cure)
    env_files = _paths("wa_client_compose_env_files", inventory["wa_client_compose_env_files"])
    if given is not None and place["project_dir"] in compose_call.folders(given, theirs):
        # A plain `docker compose up` prefers compose.yml to docker-compose.yml.
        raise WaError(
            "wa_project_dir",
            f"{place['project_dir']}, where the operator's Compose files are",
            "a folder of the role's own",
            "In theirs docker compose up would take the role's compose.yml for the whole project. Set wa_project_dir, and wa_env_file "
            "to where db.env is; remove a compose.yml of the role's from there",
        )
    folder = place["project_dir"] if given is None else paths.normalise("wa_client_compose_dir", given)
    files = [ours, *theirs] if given is None else [*theirs, ours]
    profiles = units.text_list(inventory["wa_client_compose_profiles"], "wa_client_compose_profiles")
    ours_there = services(inventory)
    written = _written_images(inventory)
    return {
        "folder": folder,
        "files": files,
        "env_files": env_files,
        "profiles": profiles,
        "command": [
            *("docker", "compose"),
            *compose_call.options(place["project"], folder, files, env_files, profiles),
        ],
        "environment": {**compose_call.ENVIRONMENT, "PWD": folder},
        "services": [one["name"] for one in ours_there] if theirs else [],
        "coreapp": next((one["name"] for one in ours_there if one["image"] == "coreapp"), ""),
        "migration": bool(theirs),
        "repositories": {one["name"]: written[one["image"]] for one in ours_there} if given is not None else {},
    }


def checked_compose(inventory: Inventory) -> State:
    """Returns the result of `compose` and the client's `services`, empty if the inventory is invalid, and why it is (`refusal`)."""
    try:
        return {"compose": compose(inventory), "services": [one["name"] for one in services(inventory)], "refusal": ""}
    except WaError as error:
        return {"compose": {}, "services": [], "refusal": str(error)}


def _paths(name: str, value: t.Any) -> list[str]:
    return [paths.normalise(name, one) for one in units.text_list(value, name)]


def project(inventory: Inventory) -> State:
    """Returns the options of `wa_client` that come from the inventory."""
    found, place = client(inventory), deployment(inventory)
    called = found["compose"]
    return _present(
        {
            **docker(inventory),
            "project": found["project"],
            "project_dir": called["folder"],
            "content": json.dumps(found["document"]),
            "compose_files": found["planned_files"],
            "interpolation_files": called["env_files"],
            "profiles": called["profiles"],
            "services": called["services"],
            "version": found["version"],
            "confirm_identity": confirmed(inventory),
            "media_folder": found["media_folder"] or None,
            "env_file": place["env_file"],
            "env_format": inventory.given("wa_env_format"),
            "identity_file": place["identity_file"],
            "compose_file": place["compose_file"],
            "declared_keys": env_rules.declared(db_env(inventory)),
        }
    )


@_once
def client(inventory: Inventory) -> State:
    """Returns the client's project: its files, services with their definitions, and container names."""
    place = deployment(inventory)
    made, called = compose_client(inventory), compose(inventory)
    operators = inventory.given("wa_client_compose_dir") is not None
    document = compose_document.version_override(made) if operators else compose_document.document(made)
    preface = compose_file.AFTER_OTHERS if operators else compose_file.PREFACE
    files = [
        {
            "path": place["compose_file"],
            "content": compose_file.write(document, preface),
            "mode": "0640",
            "owner": OWNER,
        }
    ]
    return {
        **docker(inventory),
        "project": place["project"],
        "project_dir": place["project_dir"],
        "version": made["version"],
        "document": document,
        "compose": called,
        # The place of the rendered file, before it is written.
        "planned_files": ["-" if path == place["compose_file"] else path for path in called["files"]],
        "services": made["services"],
        "files": files if place["project"] else [],
        "database": database(inventory),
        "media_folder": media_folder(inventory),
        "container_names": units.text_list(inventory["wa_client_container_names"], "wa_client_container_names"),
        # The names that Compose gives.
        "compose_container_names": [
            f"{place['project']}-{one['name']}-{number + 1}"
            for one in made["services"]
            for number in range(one.get("scale", 1))
        ],
        "api_host": api_host(inventory),
    }


def compose_file_of(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
    host: str,
    groups: t.Mapping[str, t.Sequence[str]],
    template: Template,
) -> str:
    """Returns the text of the role's Compose file for a host, from the variables of all hosts."""
    return str(client(Inventory.of_host(host, hostvars, groups, template))["files"][0]["content"])


def backup(inventory: Inventory) -> State:
    """Returns what a backup keeps of the host, see `_backup.contents.read`."""
    place, called = deployment(inventory), compose(inventory)
    return {
        "project": place["project"],
        "container_names": units.text_list(inventory["wa_client_container_names"], "wa_client_container_names"),
        "env_file": place["env_file"],
        "files": [*called["files"], *called["env_files"]] if place["project"] else [],
        "salt": place["slug"],
    }


def dump(inventory: Inventory) -> State:
    """Returns the options of `wa_db_dump` with which the client's database is copied."""
    return _present(
        {
            **database_login(inventory),
            "env_file": deployment(inventory)["env_file"],
            "env_format": inventory.given("wa_env_format"),
            "databases": inventory.get("wa_message_gc_databases"),
            "timeout": inventory["wa_upgrade_dump_timeout"],
        }
    )


def database(inventory: Inventory) -> str:
    """Returns the database of the inventory in the format of `wa_info`, `HOST:PORT/PREFIX`; empty for none."""
    names = ("wa_deployment", "wa_project", *(f"wa_db_env_{one}" for one in client_identity.DATABASE))
    return topology.database_of({inventory.host: {name: inventory.given(name) for name in names}}, inventory.host)[2]


def media_folder(inventory: Inventory) -> str:
    """Returns the folder that the media volume binds, or an empty text: containers that mount it have the same media."""
    options = inventory.get("wa_media_volume_driver_options") or {}
    return str(options.get("device") or "") if "bind" in str(options.get("o") or "").split(",") else ""


def log_cleanup(inventory: Inventory) -> State:
    """Returns the nightly log cleanup: its script and cron file as `files`, and its status file."""
    place = deployment(inventory)
    script = {
        "path": host_objects.LOG_SCRIPT,
        "content": job_script.script(),
        "mode": "0755",
        "owner": "root",
        "group": "root",
    }
    cron = {
        "path": f"{host_objects.CRON_FOLDER}/{place['cron_file']}",
        "content": cron_text(inventory),
        "mode": "0644",  # cron silently ignores a file that others may write
        "owner": "root",
        "group": "root",
    }
    return {"files": [script, cron], "status_file": place["log_cleanup_status_file"], "cron_file": cron["path"]}


def cron_text(inventory: Inventory) -> str:
    """The cron file of the nightly log cleanup."""
    place = deployment(inventory)
    minute = random.Random(inventory.host).randrange(60)  # its own, so that a fleet does not start at once
    hour = units.clock_field("wa_log_cleanup_hour", inventory["wa_log_cleanup_hour"], 23)
    arguments = [
        host_objects.LOG_SCRIPT,
        *(argument for pair in sorted(script_options(inventory).items()) for argument in pair),
    ]
    # A percent sign means a new line to cron.
    line = " ".join(shlex.quote(str(argument)) for argument in arguments).replace("%", r"\%")
    return f"#Ansible: waba.onprem log cleanup of {place['project']}\n{minute} {hour} * * * root {line}\n"


def script_options(inventory: Inventory) -> dict[str, t.Any]:
    """Returns the options of the script that differ from its defaults, so that the cron line stays short."""
    place = deployment(inventory)
    found = {"-p": place["project"], "-s": place["log_cleanup_status_file"], "-l": place["lock_file"]}
    metrics = inventory["wa_log_cleanup_metrics_file"]
    if metrics:
        found["-m"] = paths.normalise("wa_log_cleanup_metrics_file", metrics)
    if inventory.given("wa_images") is not None:
        found["-i"] = json.dumps(images(inventory), sort_keys=True, separators=(",", ":"))
    if inventory.given("wa_docker_host") is not None:
        found["-H"] = inventory.given("wa_docker_host")
    return found


def for_comparison(inventory: Inventory, neighbours: t.Sequence[str]) -> dict[str, State]:
    """Returns the desired state of all concerns, as options of `wa_drift_info`.

    `neighbours` are the Compose projects of the other deployments on the host's machine.
    """
    found = {name: concern(inventory) for name, concern in CONCERNS.items()}
    del found["db_env"]["keep_previous"]
    place = deployment(inventory)
    found["client"] = {
        **project(inventory),
        **{name: found["client"][name] for name in ("files", "container_names")},
        "neighbours": list(neighbours),
        "identity": identity(inventory),
    }
    if place["is_leader"]:
        found["health"] = health(inventory)
        if inventory.given("wa_message_gc_automatic") is not None:
            found["automatic_gc"] = automatic_gc(inventory)
    single = (inventory.given("wa_topology") or "single") == "single"
    if place["is_leader"]:
        found["database"] = {**database_users(inventory), "look": True, "cluster": not single}
    script = found["log_cleanup"]["files"][0]  # the same long script on all hosts: only its digest is sent
    script["sha256"] = hashlib.sha256(script.pop("content").encode()).hexdigest()
    return found


def figures(inventory: Inventory) -> State:
    """Returns what `status.yml` reads of the host beside its drift, as options of `wa_drift_info`."""
    place = deployment(inventory)
    leads = place["is_leader"]
    own_webapp = "web" in layout_of(inventory)[inventory.host] and api_host(inventory) == inventory.host
    asked = api(inventory) if own_webapp or leads else {}
    return _present(
        {
            "project": place["project"],
            "container_names": units.text_list(inventory["wa_client_container_names"], "wa_client_container_names"),
            "volume": media_volume_name(inventory),
            "deployment": place["name"],
            "log_cleanup_status_file": place["log_cleanup_status_file"],
            "gc_state_file": place["gc_state_file"] if leads else None,
            "dump_dir": topology.DUMP_DIR if leads else None,
            "api_url": asked.get("api_url"),
            "bundle": bool(inventory.given("wa_status_bundle")),
            "bundle_logs": boolean(inventory.given("wa_status_bundle_logs") or False, strict=False),
        }
    )


def about(inventory: Inventory) -> State:
    """Returns what the inventory says of the host's deployment to those who report on it; what is wrong in it is left out."""
    place = deployment(inventory)
    found: State = {
        "name": place["name"],
        "leader": place["leader"],
        "slug": place["slug"],
        "members": place["members"],
    }
    found["topology"] = inventory.given("wa_topology") or "single"
    found["messages_limit"] = inventory["wa_message_gc_max_messages"]
    found["automatic_gc"] = inventory.given("wa_message_gc_automatic")
    found["gc_policy"] = inventory["wa_message_gc_policy"]
    found.update(version=None, services=0)
    with contextlib.suppress(WaError):  # the comparison reports it
        found.update(version=version(inventory), services=service_count(inventory))
    return found


def service_count(inventory: Inventory) -> int:
    """Returns how many containers of the client the host has to run."""
    names = units.text_list(inventory["wa_client_container_names"], "wa_client_container_names")
    if names and not deployment(inventory)["project"]:
        return len(names)
    return sum(one.get("scale", 1) for one in services(inventory))


def asked_api(inventory: Inventory) -> State:
    """Returns the options with which a comparison asks the client's API at the leader."""
    return {**api(inventory), "api_timeout": "10s", "refused_login_file": deployment(inventory)["refused_login_file"]}


def automatic_gc(inventory: Inventory) -> State:
    """Returns the desired automatic message GC."""
    return {**asked_api(inventory), "automatic": inventory["wa_message_gc_automatic"]}


def health(inventory: Inventory) -> State:
    """Returns how the client is asked whether it serves, and as what."""
    everywhere = [name for those in layout_of(inventory).values() for name in those]
    nodes = sum(not name.startswith("web") for name in everywhere)
    return _present(
        {
            **docker(inventory),
            **asked_api(inventory),
            # The Webapp waits 10 seconds for each node that does not answer (domain: health).
            "api_timeout": f"{5 + 10 * max(nodes, 1)}s",
            "project": deployment(inventory)["project"],
            "container_names": units.text_list(inventory["wa_client_container_names"], "wa_client_container_names"),
            "services": [one["name"] for one in services(inventory)],
            "topology": inventory.given("wa_topology"),
            "shards": inventory.given("wa_shards"),
        }
    )


def api_host(inventory: Inventory) -> str:
    """Returns the member whose Webapp is asked: each has the state of the complete client, and `wa_api_url` is the leader's address."""
    place = deployment(inventory)
    ours = inventory.given("wa_api_url") is None and "web" in layout_of(inventory)[inventory.host]
    return inventory.host if place["is_leader"] or ours else str(place["leader"])


def api(inventory: Inventory) -> State:
    """Returns the options of the modules that call the client's API, on `api_host`."""
    url, host = inventory.given("wa_api_url"), api_host(inventory)
    checked, theirs = inventory.given("wa_api_validate_certs"), inventory.variables["hostvars"][host]
    published = [
        inventory[name] if host == inventory.host else theirs.get(name, inventory[name])
        for name in ("wa_client_web_port", "wa_client_web_bind_address")
    ]
    return _present(
        {
            "api_url": topology.local_api_url(*published) if url is None else url,
            "api_key": inventory.given("wa_api_key"),
            "api_password": inventory.given("wa_api_password"),
            # A connection that never leaves the host needs no CA for the client's self-signed certificate.
            "api_validate_certs": url is not None if checked is None else checked,
        }
    )


# Those that every host has. `for_comparison` adds the three of the leader: `health`, `automatic_gc`, `database`.
CONCERNS: dict[str, t.Callable[[Inventory], State]] = {
    "host": host,
    "media_volume": media_volume,
    "db_env": db_env,
    "client": client,
    "log_cleanup": log_cleanup,
}


def neighbours(inventory: Inventory) -> list[str]:
    """Returns the Compose projects of the other deployments on the host's machine."""
    return machines.neighbours(*inventory.all_hosts)


def unmanaged(inventory: Inventory) -> State:
    """Returns the options of `_client.unmanaged.sort`."""
    found = client(inventory)
    return {
        "project": found["project"],
        "neighbours": neighbours(inventory),
        "database": found["database"],
        "known": machines.databases_of_others(*inventory.all_hosts),
        "names": found["compose_container_names"],
    }


def guard(inventory: Inventory) -> State:
    """Returns the facts of the inventory for `_client.guard.check`."""
    return {
        "unmanaged": unmanaged(inventory),
        "adopt": command_line.playbook("adopt", {"wa_adopt_dir": "./adopted"}, context.CLIARGS, inventory.host),
        "single": (inventory.given("wa_topology") or "single") == "single",
        "services": compose(inventory)["services"],
        "rendered": inventory.given("wa_client_compose_dir") is None,
    }


def host_look(inventory: Inventory) -> State:
    """Returns the options of `_client.host_look.read`, which are options of `wa_info`, too."""
    place = deployment(inventory)
    return {
        "container_names": client(inventory)["compose_container_names"],
        "guard": guard(inventory),
        "env_format": inventory.given("wa_env_format") or "portable",
        **{name: place[name] for name in ("env_file", "identity_file", "compose_file", "lock_file")},
    }


# What roles can look up.
TERMS: dict[str, t.Callable[[Inventory], t.Any]] = {
    **CONCERNS,
    "deployment": deployment,
    "images": images,
    "neighbours": neighbours,
    "guard": guard,
    "host_look": host_look,
    "database_login": database_login,
    "refused_values": refused_values,
    "api": api,
    "compose": compose,
    "project": project,
    "checked_compose": checked_compose,
    "identity": identity_facts,
    "hold": hold,
}
