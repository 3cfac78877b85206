#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_info
short_description: Reads what a host has and runs of the client
version_added: 0.1.0
description:
  - Tells what a host lacks to be managed, which containers of the client it has, and what an upgrade must know of the
    client's database. It changes nothing.
  - A client container is one whose configured image's last path component is C(web) or C(coreapp), in any registry.
author:
  - waba.onprem contributors (@waba)
options:
  gather:
    description:
      - What to read.
      - V(host) is what a managed host needs - Docker Engine, Compose, Python libraries, cron.
      - V(containers) is the client containers, running or not. It needs a Docker Engine that answers.
      - V(images) is the client's images that the host has, which of O(wanted_images) are missing, and the room for more.
      - V(database) is the client's database, read as the client's own user; O(login_user) and O(login_password) are not
        used. It needs O(env_file).
    type: list
    elements: str
    choices: [host, containers, images, database]
    default: [containers]
  database_engine:
    description: The database whose Python library the host needs, for V(host) in O(gather).
    type: str
    choices: [MYSQL, PGSQL]
  project:
    description:
      - Read only the containers of this Compose project; an empty text means those outside Compose.
      - All projects are read when the option is not given.
    type: str
  names:
    description: Containers with one of these names are read as well, whatever their image; V(role) is then V(other).
    type: list
    elements: str
    default: []
  image_repositories:
    description:
      - Which repositories are the client's, for V(images) in O(gather).
      - One with a C(/) is compared with the whole repository, another one with its last component.
    type: list
    elements: str
    default: [coreapp, web]
  wanted_images:
    description: Images with their tag that RV(missing_images) looks for on the host and then in their registry.
    type: list
    elements: str
    default: []
  lock_file:
    description:
      - The deployment's lock file, see M(waba.onprem.wa_upgrade_journal).
      - With it, RV(upgrade) tells of an upgrade that runs or was not finished.
    type: path
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.database
  - waba.onprem.docker
  - waba.onprem.env
attributes:
  check_mode:
    description: Reads in check mode as otherwise.
  diff_mode:
    description: There is nothing to compare.
    support: N/A
notes:
  - The environment of containers holds passwords; only the names of its variables are returned.
"""

EXAMPLES = r"""
- name: See what a host lacks and which client containers it has
  waba.onprem.wa_info:
    gather: [host, containers]
    database_engine: MYSQL
  register: info

- name: See who is on the database and what would end a long migration
  waba.onprem.wa_info:
    gather: [database]
    env_file: /opt/waba/support/db.env
  register: info
"""

RETURN = r"""
actions:
  description: Always empty; the module changes nothing.
  type: list
  elements: str
  returned: always
missing:
  description: What the host lacks, each one of C(docker_engine), C(docker_compose), C(python_requests), C(python_mysql), C(python_postgresql), C(cron).
  type: list
  elements: str
  returned: when O(gather) has V(host)
reasons:
  description: Why each of RV(missing) counts as missing, in words.
  type: dict
  returned: when O(gather) has V(host)
docker_version:
  description: The Docker Engine's version; empty when it does not answer.
  type: str
  returned: when O(gather) has V(host)
images:
  description: The client's images that the host has, sorted by name.
  type: list
  elements: dict
  returned: when O(gather) has V(images)
  contains:
    name:
      description: Repository and tag.
      type: str
    repository:
      description: The repository without a tag.
      type: str
    version:
      description: The tag without a leading C(v).
      type: str
    in_use:
      description: Whether a container, running or not, was created from it.
      type: bool
    expires_on:
      description: What its label C(EXPIRES_ON) says (YYYY-MM-DD); empty without one.
      type: str
missing_images:
  description: Those of O(wanted_images) that neither the host nor their registry has, each with the registry's words.
  type: dict
  returned: when O(gather) has V(images)
image_free_bytes:
  description: Free bytes of the file system that holds the images; null when it is not on this host.
  type: int
  returned: when O(gather) has V(images)
upgrade:
  description: The upgrade that holds O(lock_file) or has left it unfinished; empty when there is none.
  type: dict
  returned: when O(lock_file) is given
  contains:
    blocks:
      description: Whether nothing else may start or stop the client - the upgrade runs, or has stopped the client.
      type: bool
    held:
      description: Whether the upgrade runs, as far as its lease tells; otherwise it was left unfinished.
      type: bool
    holder:
      description: Who holds the lock or left it, in words.
      type: str
    stage:
      description: The stage that it has reached.
      type: str
    target:
      description: The version that it leads to.
      type: str
containers:
  description: The client containers, sorted by name; empty when V(host) in O(gather) found no Docker Engine.
  type: list
  elements: dict
  returned: when O(gather) has V(containers)
  contains:
    name:
      description: The container's name.
      type: str
    id:
      description: The container's id.
      type: str
    image:
      description: The image that it was created from, as it was named then.
      type: str
    version:
      description: The image's tag without a leading C(v).
      type: str
    role:
      description: V(web), V(core), V(master), or V(other) for one that is listed for its name.
      type: str
    project:
      description: The Compose project; empty outside Compose.
      type: str
    service:
      description: The Compose service; the container's name outside Compose.
      type: str
    state:
      description: Docker's word for the state, such as V(running).
      type: str
    exit_code:
      description: The code that its main process ended with; 0 while it runs.
      type: int
    variables:
      description: Names of the variables in its environment.
      type: list
      elements: str
    mounts:
      description: Its mounts, each with C(kind), C(name), C(destination), C(writable).
      type: list
      elements: dict
    keeps_configuration:
      description:
        - Whether its configuration, registration included, outlives the container.
        - It does with C(WA_CONFIG_ON_DB=1), or with a mount at C(/usr/local/waent/data).
      type: bool
  sample:
    - name: wa-support-waweb-1
      image: registry.example.com/whatsapp/web:v2.53.4
      version: 2.53.4
      role: web
      project: wa-support
      state: running
      keeps_configuration: true
database:
  description: The client's database. A server that is down or refuses the login is an error that says so.
  type: dict
  returned: when O(gather) has V(database)
  contains:
    engine:
      description: C(WA_DB_ENGINE).
      type: str
    server:
      description: Host and port as db.env has them, the same for every deployment on that server.
      type: str
    product:
      description: V(MySQL), V(MariaDB) or V(PostgreSQL).
      type: str
    version:
      description: The server's version in its own words.
      type: str
    supported:
      description: Whether the client's vendor supports it - MySQL 5.7 and 8.0, PostgreSQL 11 to 13.
      type: bool
    databases:
      description: The deployment's own databases; empty before the client's first start.
      type: list
      elements: str
    statement_timeout:
      description:
        - Seconds after which the server ends an C(ALTER) in a new session of the client's user; V(null) when it does not.
        - C(max_statement_time) of MariaDB, C(statement_timeout) and C(transaction_timeout) of PostgreSQL with what is set
          for the role and for each of the databases. MySQL has none; its C(max_execution_time) concerns C(SELECT) only.
      type: float
    statement_timeout_cure:
      description: The statement with which the administrator raises it to an hour for this user; V(null) when it is as long.
      type: str
    lock_timeout:
      description: Seconds that an C(ALTER) waits for the table's lock; V(null) when without end.
      type: float
    timeouts:
      description: Each of the server's time-outs that may concern a migration, in seconds; 0 is the server's own word for none.
      type: dict
    sessions:
      description:
        - The other sessions of the client's user on its databases, each with C(id), C(from) (its address), C(database),
          C(seconds) in its present C(state).
        - MySQL and MariaDB also have sessions on no database; C(database) is V(null) then, and the session may serve
          another deployment of the same user.
      type: list
      elements: dict
    bytes:
      description: The size of all tables with their indexes; InnoDB's is an estimate that lags after many changes.
      type: int
    messages_bytes:
      description: The size of the tables C(messages); V(null) when there is none.
      type: int
    largest_table:
      description: The largest table, with C(database), C(name) and C(bytes); V(null) when there is none.
      type: dict
    free_bytes:
      description: The room where the server has its data. Only MariaDB with its plugin C(disks) tells it; otherwise V(null).
      type: int
    connections:
      description: How many connections the server has.
      type: int
    max_connections:
      description: How many it may have.
      type: int
"""

import importlib.util
import time
import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils import (
    _database_options,
    _docker,
    _docker_images,
    _env_options,
    _upgrade_stages,
)
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._result import Result
from ansible_collections.waba.onprem.plugins.module_utils._upgrade_journal import JournalFile

DATA_PATH = "/usr/local/waent/data"
LIBRARIES = {"MYSQL": ("python_mysql", "pymysql"), "PGSQL": ("python_postgresql", "psycopg2")}
SYSTEM_PATHS = ["/usr/sbin", "/usr/local/sbin", "/sbin"]


def describe(container: _docker.Container, record: dict[str, t.Any]) -> dict[str, t.Any]:
    """A client container, with the engine's `record` of it, without any value of its environment."""
    environment = container.environment or {}
    return {
        "name": container.name,
        "id": container.id,
        "image": container.image,
        "version": _docker.tag(container.image).lstrip("v"),
        "role": container.role,
        "project": container.project,
        "service": container.service,
        "state": container.state,
        "exit_code": record["State"].get("ExitCode", 0),
        "variables": sorted(environment),
        "mounts": [asdict(mount) for mount in container.mounts],
        "keeps_configuration": environment.get("WA_CONFIG_ON_DB") == "1"
        or container.role in ("web", "other")
        or any(mount.destination == DATA_PATH for mount in container.mounts),
    }


def read_containers(engine: _docker.Docker, project: str | None, names: list[str]) -> list[dict[str, t.Any]]:
    """The client containers of one project or of all; one that goes away meanwhile is left out."""
    found = engine.client_containers(project=project, all_projects=project is None, names=names)
    records = ((container, engine.inspect(container)) for container in found)
    return [describe(container, record) for container, record in records if record is not None]


def read_upgrade(lock_file: str) -> dict[str, t.Any]:
    """The upgrade that holds the lock or has left it unfinished, without any value that it noted."""
    journal = JournalFile(lock_file).load()
    if journal is None:
        return {}
    held = _upgrade_stages.is_held(journal, "", time.time())
    return {
        "blocks": held or journal["stage"] != "begun",
        "held": held,
        "holder": _upgrade_stages.describe_holder(journal),
        "stage": journal["stage"],
        "target": journal["target"],
    }


def read_host(module: AnsibleModule, engine_error: str) -> dict[str, str]:
    """What the host lacks, with the reason."""
    missing = {}
    if engine_error:
        missing["docker_engine"] = engine_error
    client = module.get_bin_path("docker")
    if not client or module.run_command([client, "compose", "version", "--short"])[0] != 0:
        missing["docker_compose"] = "docker compose does not run"
    if importlib.util.find_spec("requests") is None:
        missing["python_requests"] = "the Python library requests cannot be imported; community.docker needs it"
    if module.params["database_engine"]:
        key, library = LIBRARIES[module.params["database_engine"]]
        if importlib.util.find_spec(library) is None:
            missing[key] = f"the Python library {library} cannot be imported"
    if not any(module.get_bin_path(name, opt_dirs=SYSTEM_PATHS) for name in ("cron", "crond")):
        missing["cron"] = "no cron daemon is installed"
    return missing


def read_database(params: dict[str, t.Any], result: Result) -> dict[str, t.Any]:
    """The client's database, and what an upgrade must know of it."""
    # Imported where it is asked for: the adapter of databases takes longer to load than containers to read.
    from ansible_collections.waba.onprem.plugins.module_utils import _database_facts

    if not params["env_file"]:
        raise WaError("option env_file", "not given", "the client's db.env, for database in gather")
    env = _env_options.read_env(params["env_file"], params["env_reader"])
    result.redact.add([env.get("WA_DB_PASSWORD")])
    return _database_facts.gather(params, env)


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            {**_docker.ARGUMENT_SPEC, **_database_options.ARGUMENT_SPEC, **_env_options.ARGUMENT_SPEC},
            gather={
                "type": "list",
                "elements": "str",
                "choices": ["host", "containers", "images", "database"],
                "default": ["containers"],
            },
            database_engine={"type": "str", "choices": ["MYSQL", "PGSQL"]},
            project={"type": "str"},
            names={"type": "list", "elements": "str", "default": []},
            image_repositories={"type": "list", "elements": "str", "default": list(_docker.CLIENT_IMAGES)},
            wanted_images={"type": "list", "elements": "str", "default": []},
            lock_file={"type": "path"},
        ),
        supports_check_mode=True,
    )
    result = Result(module)
    gather = module.params["gather"]
    engine, engine_error, version = None, "", ""
    try:
        engine = _docker.Docker(module.params) if gather != ["database"] else None
        version = engine.about["Version"] if engine and "host" in gather else ""
    except WaError as error:
        if "host" not in gather:
            result.fail(error)
        engine_error = str(error)
    if "database" in gather:
        try:
            result.values["database"] = read_database(module.params, result)
        except WaError as error:
            result.fail(error)
    if module.params["lock_file"]:
        try:
            result.values["upgrade"] = read_upgrade(module.params["lock_file"])
        except WaError as error:
            result.fail(error)
    if "host" in gather:
        missing = read_host(module, engine_error)
        result.values.update(missing=sorted(missing), reasons=missing, docker_version=version)
    if "containers" in gather:
        result.values["containers"] = []
        try:
            if engine:
                result.values["containers"] = read_containers(engine, module.params["project"], module.params["names"])
        except WaError as error:
            result.fail(error)
    if "images" in gather and engine:
        try:
            result.values.update(
                images=_docker_images.local(engine, module.params["image_repositories"]),
                missing_images=_docker_images.missing(engine, module.params["wanted_images"], module.run_command),
                image_free_bytes=_docker_images.free_bytes(engine),
            )
        except WaError as error:
            result.fail(error)
    result.exit()


if __name__ == "__main__":
    main()
