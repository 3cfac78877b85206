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
  - Returns which containers of the client a host has, and what an upgrade must know of the client's database. It changes
    nothing. M(waba.onprem.wa_drift_info) returns what a host lacks.
  - O(client_images) describes which containers are the client's.
author:
  - waba.onprem contributors (@waba)
options:
  gather:
    description:
      - What to read.
      - V(containers) is the client containers, running or not. A Docker Engine that does not answer is an error.
      - V(images) is the images of O(client_images) that the host has, which of O(required_images) are missing, and the room for more.
      - V(journal) is the journals of the upgrade in O(lock_file), which it needs, and of the last finished one.
      - V(database) is the client's database, read as the client's own user. It needs O(env_file). With V(journal), the
        databases that an unfinished upgrade has noted come before O(databases).
      - V(database_sizes) adds the largest of its tables and the free room, and with O(max_messages) the rows of C(messages), not where
        V(journal) has an unfinished upgrade or V(containers) a running migration of this database, because on PostgreSQL they wait for
        a migration that rewrites a table.
      - V(identity) is the client that O(env_file) and O(identity_file) describe.
    type: list
    elements: str
    choices: [containers, images, journal, database, database_sizes, identity]
    default: [containers]
  project:
    description: Only the containers of this Compose project; an empty text means those outside Compose. All when not given.
    type: str
  healthy_timeout:
    description:
      - How long to wait, in seconds or as text such as V(5m), until RV(containers) all run, and are healthy where they have a health check.
      - Migrations and what C(docker compose run) has left do not count. It fails when the time is over.
    type: str
    default: 0s
  container_names:
    description: Containers with one of these names are read as well, whatever their image; their C(role) is then V(other).
    type: list
    elements: str
    default: []
  guard:
    description: With V(containers) in O(gather), what the lookup P(waba.onprem.desired#lookup) returns for V(guard), for RV(guard).
    type: dict
  max_messages:
    description: With V(database_sizes) in O(gather), up to how many rows the tables C(messages) are counted.
    type: int
  required_images:
    description: Images with their tag that RV(missing_images) looks for on the host and then in their registry.
    type: list
    elements: str
    default: []
  lock_file:
    description: The deployment's lock file. With it, RV(upgrade) returns who has the lock, and RV(hold) the hold in the file beside it.
    type: path
  identity_file:
    description: The record of which client is here that C(provision.yml) writes, for V(identity) in O(gather).
    type: path
  compose_file:
    description:
      - The deployment's own Compose file, for V(identity) in O(gather). One that others have written is an error, and so is a
        link of another user on the way to its folder, or to that of O(identity_file).
    type: path
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.database
  - waba.onprem.docker
  - waba.onprem.env
  - waba.onprem.lease
attributes:
  check_mode:
    description: Reads in check mode as otherwise.
  diff_mode:
    description: There is nothing to compare.
    support: N/A
notes:
  - The environment of containers holds passwords; only the names of its variables are returned, and which database it names.
"""

EXAMPLES = r"""
- name: Read the client containers of a host
  waba.onprem.wa_info:
  register: info

- name: Read the database sessions and the time-outs that would end a long migration
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
  sample: []
containers:
  description:
    - The client containers, sorted by name. Outside Compose C(project) and C(files) are empty, and C(service) is the name.
    - C(role) is V(web), V(core), V(master), or V(other) for one that is listed for its name; C(state), C(health) and
      C(restart) are Docker's words; C(started_at) is in seconds since 1970; C(api_url) is where the host reaches a Webapp.
    - C(one_shot) is true for a migration, for a container that C(docker compose run) has left, and for one that has ended and never
      had a database. C(own) is true if the role P(waba.onprem.wa_client#role) wrote its Compose file.
    - C(keeps_configuration) is false if its configuration, registration included, is lost with the container; C(configuration_mount) is
      the volume or folder of the host that holds it, empty if the database does.
    - C(layer_media) is a file in the media folder that is lost with the container, since nothing is mounted there, or why that is not
      known; empty for none.
  type: list
  elements: dict
  returned: when O(gather) has V(containers)
  sample:
    - name: wa-support-waweb-1
      id: 9b01d7c33e5f
      image: registry.example.com/whatsapp/web:v2.53.4
      version: 2.53.4
      role: web
      project: wa-support
      service: waweb
      state: running
      health: healthy
      exit_code: 0
      started_at: 1769828412.5
      restart: unless-stopped
      api_url: https://127.0.0.1:9090
      one_shot: false
      database: db.example.com:3306/
      env_keys: [WA_DB_ENGINE, WA_DB_HOSTNAME]
      identity: {database: {engine: MYSQL, hostname: db.example.com, port: "3306", name_prefix: ""}, clustered: false}
      files: [/opt/waba/support/compose.yml]
      own: true
      mounts: [{kind: volume, name: wa-support_whatsappMedia, destination: /usr/local/wamedia, writable: true}]
      keeps_configuration: true
      configuration_mount: wa-support_waentData
      layer_media: ""
orphan_migrations:
  description: By Compose project, the version that a migration has brought, or may have brought, the database of a stopped client to.
  type: dict
  returned: when O(gather) has V(containers)
  sample: {wa-support: 2.55.1}
guard:
  description:
    - Why the client must not be started, each empty if it may - C(refusal), containers outside its project; C(second_coreapp),
      a second Coreapp of a single client.
  type: dict
  returned: when O(guard) is given
  sample: {refusal: "", second_coreapp: ""}
images:
  description: The client's images that the host has, sorted by name.
  type: list
  elements: dict
  returned: when O(gather) has V(images)
  sample:
    - name: registry.example.com/whatsapp/web:v2.53.4
      version: 2.53.4
      expires_on: "2026-03-31"
missing_images:
  description: Those of O(required_images) that neither the host nor their registry has, each with the registry's words.
  type: dict
  returned: when O(gather) has V(images)
  sample: {"registry.example.com/whatsapp/web:v2.55.1": manifest unknown}
unanswered_images:
  description: Those of O(required_images) that the host does not have and whose registry gave no clear answer, each with its message.
  type: dict
  returned: when O(gather) has V(images)
  sample: {"registry.example.com/whatsapp/coreapp:v2.55.1": "503 Service Unavailable"}
wrong_images:
  description:
    - Those of O(required_images) that the host has under the name of another build, each with the evidence - another name of the same
      build, or the digest in the registry. A registry that does not answer is skipped.
  type: dict
  returned: when O(gather) has V(images)
  sample: {"registry.example.com/whatsapp/web:v2.55.1": "on this host it is the image registry.example.com/whatsapp/web:v2.53.4"}
image_free_bytes:
  description: Free bytes of the file system that holds the images; V(null) when it is not on this host.
  type: int
  returned: when O(gather) has V(images)
  sample: 42949672960
upgrade:
  description:
    - Who has the deployment's lock in O(lock_file), or which upgrade is unfinished; empty for none.
    - C(stage) and what follows are only of an upgrade. While it is C(blocking), nothing else may start or stop the client.
      C(resume) has the variables with which C(upgrade.yml) goes on.
  type: dict
  returned: when O(lock_file) is given
  sample:
    blocking: true
    held: true
    message: locked by ops@controller.example.com since 03:00:12
    stage: migrating
    target: 2.55.1
    run_id: 2f1c8a
    resume: {wa_upgrade_version: 2.55.1}
hold:
  description: The hold that an operator has set in the file beside O(lock_file); empty when there is none. After a week it is C(old).
  type: dict
  returned: when O(lock_file) is given
  sample:
    path: /var/lib/waba/support.hold
    reason: stopped by Ann, the number moves on Monday
    since: 2026-01-31 03:12 UTC
    old: false
zone:
  description: The host's time zone.
  type: str
  returned: when O(lock_file) is given
  sample: "+0200"
journal:
  description: The journal of the upgrade in O(lock_file); empty when there is none.
  type: dict
  returned: when O(gather) has V(journal)
  sample: {deployment: support, target: 2.55.1, stage: locked, notes: {}}
ended:
  description: The journal of the deployment's last finished upgrade; empty when there is none.
  type: dict
  returned: when O(gather) has V(journal)
  sample: {}
identity:
  description:
    - Which client is on this host - C(db_env), by O(env_file); C(recorded), by O(identity_file); C(others), by the records of other
      deployments beside it.
  type: dict
  returned: when O(gather) has V(identity)
  sample:
    db_env: {engine: MYSQL, hostname: db.example.com, port: "3306", name_prefix: ""}
    recorded: {}
    others: []
database:
  description:
    - The client's database. A server that is down or refuses the login is an error that says so.
    - C(unsupported) is why the client's vendor does not support the server, or V(null); C(read_only) is true for one that takes no writes;
      C(databases) are the client's own, none before its first start.
    - C(statement_timeout) is after how many seconds the server ends an C(ALTER) in a new session of the client's user, or V(null);
      C(statement_timeout_fix) is what the administrator raises it with to an hour, which a migration may take.
    - C(sessions) are the other sessions of the client's user on these databases.
    - Sizes add C(messages), C(largest_table), and C(total_bytes) of all tables. C(rows) is V(null) when not known, for
      the reason in C(unknown), and C(large) true then, and above O(max_messages).
    - An unfinished upgrade that has noted how the tables were defined adds the digest of their C(definitions).
  type: dict
  returned: when O(gather) has V(database)
  sample:
    server: db.example.com:3306
    product: MariaDB
    version: 11.8.3-MariaDB
    unsupported: MariaDB 11.8.3 is not supported by the client's vendor (MySQL 5.7, 8.0)
    read_only: false
    databases: [waba1, waba_messages]
    statement_timeout: 60.0
    statement_timeout_fix: ALTER USER 'wa'@'%' WITH MAX_STATEMENT_TIME 3600;
    sessions: [{id: 42, from: 10.0.0.7, database: waba_messages, seconds: 3, state: Sleep}]
    messages: {rows: 410233, large: false, unknown: ""}
    largest_table: {database: waba_messages, name: messages, bytes: 201326592}
    total_bytes: 262144000
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._client import guard as client_guard
from ansible_collections.waba.onprem.plugins.module_utils._client import host_look, listing
from ansible_collections.waba.onprem.plugins.module_utils._client import starts as client_starts
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import ACTIVE, MIGRATION
from ansible_collections.waba.onprem.plugins.module_utils._core import redact, units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._database import options as database_options
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import LEASE_SPEC, JournalFile, Lease
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import images as docker_images
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options

WITHOUT_ENGINE = ("journal", "database", "database_sizes", "identity")


def read_journal(params: dict[str, t.Any], result: Result) -> None:
    """Sets `upgrade` and `hold`, and for `journal` in `gather` the journals."""
    file = JournalFile(params["lock_file"])
    lock = file.load() or {}
    result.values.update(host_look.lock(lock, params["lock_file"]))
    if "journal" in params["gather"]:
        result.values.update(journal=lock if upgrade_journal.is_upgrade(lock) else {}, ended=file.load_last() or {})


def read_database(params: dict[str, t.Any], result: Result) -> dict[str, t.Any]:
    """Returns the facts about the client's database for an upgrade; `result` has what else was read."""
    # Imported on use: loading the database adapter takes longer than reading containers.
    from ansible_collections.waba.onprem.plugins.module_utils._database import facts as database_facts

    if not params["env_file"]:
        raise WaError("option env_file", "not given", "the client's db.env, for database in gather")
    env = env_options.read_env(params["env_file"], params["env_format"])
    read = result.values
    journal = read.get("journal") or {}
    unfinished = upgrade_journal.has_begun(journal)
    own = listing.database(env)
    migrating = [one for one in read.get("containers", []) if one["service"] == MIGRATION]
    runs = any(one["state"] in ACTIVE and one["database"] == own for one in migrating)
    if unfinished or runs:
        compares = unfinished and not runs and upgrade_journal.DEFINITIONS in journal["notes"]
        params = {**params, "gather": ["database", *(["definitions"] if compares else [])]}
    noted = journal["notes"].get("databases") if unfinished else None
    # Hidden here and not in the whole result: it may be a part of the name of an image or a volume.
    secrets = [env.get("WA_DB_PASSWORD")]
    try:
        facts = database_facts.gather({**params, "databases": noted or params["databases"]}, env)
    except WaError as error:
        raise WaError.of(redact.hide(str(error), secrets)) from None
    if "messages" in facts:
        facts["messages"]["unknown"] = redact.hide(facts["messages"]["unknown"], secrets)
    return facts


def read_containers(engine: docker_engine.Docker, params: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """Returns the client containers as soon as all are healthy, at the latest at the time-out."""
    end = time.monotonic() + units.parse_duration("healthy_timeout", params["healthy_timeout"])
    lease = Lease(params["lease_file"])
    while True:
        lease.renew()
        found = listing.read(engine, params["project"], params["container_names"])
        if time.monotonic() >= end or not client_starts.not_healthy(found):
            return found
        time.sleep(1)


def read(module: AnsibleModule, result: Result) -> None:
    """Sets what `gather` names, in an order in which a failure takes the least away."""
    params, gather = module.params, {*module.params["gather"]}
    if params["lock_file"]:  # where an upgrade stands is known without an engine
        read_journal(params, result)
    engine = docker_engine.Docker(params) if gather - {*WITHOUT_ENGINE} else None
    if engine and "containers" in gather:
        found = read_containers(engine, params)
        result.values["containers"] = [{**one, "layer_media": listing.layer_media(engine, one)} for one in found]
        result.values["orphan_migrations"] = client_starts.orphan_migrations(found)
        if params["guard"]:
            result.values["guard"] = client_guard.check(found, params["guard"])
    if "identity" in gather:
        result.values["identity"] = host_look.identity(params)
    if "images" in gather and engine:
        names = params["required_images"]
        missing, unanswered = docker_images.missing(engine, names, module.run_command)
        result.values.update(
            images=docker_images.local(engine),
            missing_images=missing,
            unanswered_images=unanswered,
            wrong_images=docker_images.wrong_builds(engine, names, module.run_command),
            image_free_bytes=docker_images.free_bytes(engine),
        )
    if gather & {"database", "database_sizes"}:
        result.values["database"] = read_database(params, result)


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            {
                **docker_options.ARGUMENT_SPEC,
                **database_options.ARGUMENT_SPEC,
                **env_options.ARGUMENT_SPEC,
                **LEASE_SPEC,
            },
            gather={
                "type": "list",
                "elements": "str",
                "choices": [*WITHOUT_ENGINE, "containers", "images"],
                "default": ["containers"],
            },
            compose_file={"type": "path"},
            project={"type": "str"},
            healthy_timeout={"type": "str", "default": "0s"},
            container_names={"type": "list", "elements": "str", "default": []},
            guard={"type": "dict"},
            required_images={"type": "list", "elements": "str", "default": []},
            max_messages={"type": "int"},
            lock_file={"type": "path"},
            identity_file={"type": "path"},
        ),
        supports_check_mode=True,
    )
    with Result(module) as result:
        gather = module.params["gather"]
        if "journal" in gather and not module.params["lock_file"]:
            raise WaError("option lock_file", "not given", "the deployment's lock file, for journal in gather")
        read(module, result)


if __name__ == "__main__":
    main()
