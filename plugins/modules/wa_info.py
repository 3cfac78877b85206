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
      - V(database_sizes) adds the sizes of its tables, and with O(max_messages) the rows of C(messages), not where V(journal) has an
        unfinished upgrade or V(containers) a running migration of this database, because on PostgreSQL they wait for a migration that
        rewrites a table.
      - V(compose_images) is the images that the Compose files of O(compose) name.
      - V(environment), V(volume) and V(compose) return how each client container was created, and those beside it in its
        Compose project - its environment with secrets hidden, its volumes, and all else in the words of a Compose file.
      - V(autostart) is what starts, cleans or replaces the containers by itself - cron lines, systemd units, watchers.
      - V(identity) is the client that O(env_file) and O(identity_file) describe. With it, RV(containers[].identity) leaves out
        what a Compose file sets itself, beside O(env_file).
    type: list
    elements: str
    choices:
      [containers, images, journal, database, database_sizes, environment, volume, compose, compose_images, autostart, identity]
    default: [containers]
  project:
    description:
      - Read only the containers of this Compose project; an empty text means those outside Compose.
      - All projects are read when the option is not given.
    type: str
  healthy_timeout:
    description:
      - How long to wait, in seconds or as text such as V(5m), until RV(containers) all run, and are healthy where they have a health check.
      - Migrations and what C(docker compose run) has left do not count. It returns them as they are when the time is over.
    type: str
    default: 0s
  container_names:
    description: Containers with one of these names are read as well, whatever their image; V(role) is then V(other).
    type: list
    elements: str
    default: []
  guard:
    description: With V(containers) in O(gather), what the lookup P(waba.onprem.desired#lookup) returns for V(guard), for RV(guard).
    type: dict
  idle_timeout:
    description: How long to wait until RV(database.sessions) is empty, in seconds or as text such as V(7s). It returns the sessions that remain.
    type: str
    default: 0s
  max_messages:
    description: With V(database_sizes) in O(gather), up to how many rows the tables C(messages) are counted.
    type: int
  required_images:
    description: Images with their tag that RV(missing_images) looks for on the host and then in their registry.
    type: list
    elements: str
    default: []
  registry_retries:
    description: How often to query a registry again, 5 seconds apart, if its answer about an image is unclear.
    type: int
    default: 0
  lock_file:
    description:
      - The deployment's lock file, see M(waba.onprem.wa_upgrade_journal).
      - With it, RV(upgrade) returns who has the lock, and RV(hold) the hold in the file beside it.
    type: path
  compose:
    description:
      - How Compose is called, for V(compose_images) in O(gather) - C(command), as in C(docker compose --file compose.yml);
        C(environment), its variables; C(services), none for all.
    type: dict
    default: {}
  identity_file:
    description: The record of which client is here that C(provision.yml) writes, for V(identity) in O(gather).
    type: path
  compose_file:
    description:
      - The deployment's own Compose file, for V(identity) in O(gather). One that others have written is an error, and so is a
        link of another user on the way to its folder, or to that of O(identity_file).
    type: path
  media_path:
    description:
      - Where media are mounted in a container. With it, RV(containers[].layer_media) names media that are lost with a container.
    type: path
  unmasked:
    description:
      - Whether RV(unmasked) has all that V(environment), V(volume), V(compose) and V(autostart) read, with secrets. With V(autostart) it also
        has the env files of the containers.
      - The task must have C(no_log), without which C(-vvv) displays the result.
    type: bool
    default: false
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
active:
  description: The names of the client's services that run, or that Docker is about to start.
  type: list
  elements: str
  returned: when O(gather) has V(containers)
  sample: [wa-support-wacore-1, wa-support-waweb-1]
started_at_boot:
  description: The names of the client's services that Docker starts with the host, also when they were stopped.
  type: list
  elements: str
  returned: when O(gather) has V(containers)
  sample: []
guard:
  description:
    - Why the client must not be started, each empty if it may - C(refusal), containers outside its project; C(second_coreapp),
      a second Coreapp of a single client.
    - C(kept) is a message about another number's containers, which are kept.
  type: dict
  returned: when O(guard) is given
  sample: {refusal: "", kept: "", second_coreapp: ""}
orphan_migrations:
  description:
    - By Compose project, the version that a migration has brought, or may have brought, the database of a stopped client to.
    - The upgrade ends with its migration's container removed; where a journal tells of one that was interrupted, that decides.
  type: dict
  returned: when O(gather) has V(containers)
  sample: {wa-support: 2.55.1}
images:
  description: The client's images that the host has, sorted by name.
  type: list
  elements: dict
  returned: when O(gather) has V(images), and the host has an engine
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
  sample:
    - name: registry.example.com/whatsapp/web:v2.53.4
      repository: registry.example.com/whatsapp/web
      version: 2.53.4
      in_use: true
      expires_on: "2026-03-31"
missing_images:
  description: Those of O(required_images) that neither the host nor their registry has, each with the registry's words.
  type: dict
  returned: when O(gather) has V(images), and the host has an engine
  sample: {"registry.example.com/whatsapp/web:v2.55.1": manifest unknown}
unanswered_images:
  description:
    - Those of O(required_images) that the host does not have and whose registry gave no clear answer, each with its message.
    - Such are a registry under load (403, 429, 5xx), one that is away, and a login that is missing or wrong.
  type: dict
  returned: when O(gather) has V(images), and the host has an engine
  sample: {"registry.example.com/whatsapp/coreapp:v2.55.1": "503 Service Unavailable"}
wrong_images:
  description:
    - Those of O(required_images) that the host has under the name of another build, each with the evidence.
    - The evidence is another name of the same build, or the digest in the registry; a registry that does not answer is skipped.
  type: dict
  returned: when O(gather) has V(images), and the host has an engine
  sample: {"registry.example.com/whatsapp/web:v2.55.1": "on this host it is the image registry.example.com/whatsapp/web:v2.53.4"}
image_free_bytes:
  description: Free bytes of the file system that holds the images; null when it is not on this host.
  type: int
  returned: when O(gather) has V(images), and the host has an engine
  sample: 42949672960
upgrade:
  description: Who has the deployment's lock in O(lock_file), or which upgrade is unfinished; empty for none.
  type: dict
  returned: when O(lock_file) is given
  contains:
    blocking:
      description: Whether nothing else may start or stop the client - the upgrade runs, or has stopped the client.
      type: bool
    held:
      description: Whether its run has the lock, by its lease.
      type: bool
    message:
      description: A message about who holds or left the lock, since when, and what to do.
      type: str
    stage:
      description: The stage that the upgrade has reached; this and what follows only of an upgrade.
      type: str
    target:
      description: The version that it leads to.
      type: str
    resume:
      description: The variables with which C(upgrade.yml) goes on with it.
      type: dict
    run_id:
      description: The run that has it.
      type: str
  sample:
    blocking: true
    held: true
    message: locked by ops@controller.example.com since 03:00:12
    stage: migrating
    target: 2.55.1
    run_id: 2f1c8a
    resume: {wa_upgrade_version: 2.55.1}
hold:
  description:
    - The hold that an operator has set in the file beside O(lock_file); empty when there is none.
    - While it is set, no playbook starts, restarts or stops the deployment's containers.
  type: dict
  returned: when O(lock_file) is given
  contains:
    path:
      description: The file. Its removal ends the hold.
      type: str
    reason:
      description: What the file says.
      type: str
    since:
      description: When the file was last written.
      type: str
    old:
      description: Whether that is more than a week ago.
      type: bool
  sample:
    path: /var/lib/waba/support.hold
    reason: stopped by Ann, the number moves on Monday
    since: 2026-01-31 03:12 UTC
    old: false
journal:
  description: The journal in O(lock_file), see M(waba.onprem.wa_upgrade_journal); empty when there is none.
  type: dict
  returned: when O(gather) has V(journal)
  sample: {deployment: support, target: 2.55.1, stage: locked, notes: {}}
ended:
  description: The journal of the deployment's last finished upgrade; empty when there is none.
  type: dict
  returned: when O(gather) has V(journal)
  sample: {}
compose_images:
  description: The images that the Compose files name, as C(images), or the message of Compose that cannot read the files, as C(problem).
  type: dict
  returned: when O(gather) has V(compose_images)
  sample: {images: ["registry.example.com/whatsapp/web:v2.53.4"], problem: ""}
environment:
  description: The environment of each container by its name, without what its image sets; secrets are hidden.
  type: dict
  returned: when O(gather) has V(environment)
  sample: {wa-support-waweb-1: {WA_DB_ENGINE: MYSQL, WA_DB_PASSWORD: "********"}}
volumes:
  description: The volumes that the containers mount, as the engine returns them; secrets are hidden.
  type: list
  elements: dict
  returned: when O(gather) has V(volume)
  sample: [{Name: wa-support_whatsappMedia, Driver: local}]
created:
  description:
    - How each container was created, client containers and those beside them in their projects.
    - RV(created[].settings) is the service in a Compose file's keys, without image and environment; RV(created[].unsupported_settings) are the
      engine's words that Compose has none for.
  type: list
  elements: dict
  returned: when O(gather) has V(compose)
  contains:
    name:
      description: The container's name.
      type: str
    service:
      description: The Compose service; the container's name outside Compose.
      type: str
    project:
      description: The Compose project; empty outside Compose.
      type: str
    image:
      description: The image that it was created from.
      type: str
    folder:
      description: The Compose project's folder.
      type: str
    files:
      description: The Compose files that it was created from.
      type: list
      elements: str
    compose_problem:
      description: Why C(docker compose config) cannot read these files; empty if it can.
      type: str
    env_files:
      description: The env files of its service in these files, in their order.
      type: list
      elements: str
    own_keys:
      description: The variables that C(environment) of its service sets in these files.
      type: list
      elements: str
    compose_version:
      description: The version of Compose that created it.
      type: str
    settings:
      description: The settings in Compose's words.
      type: dict
    unsupported_settings:
      description: Settings of the container for which Compose has no key, in the engine's words.
      type: list
      elements: str
  sample:
    - name: wa-support-waweb-1
      service: waweb
      project: wa-support
      image: registry.example.com/whatsapp/web:v2.53.4
      folder: /opt/waba/support
      files: [/opt/waba/support/compose.yml]
      compose_problem: ""
      env_files: [/opt/waba/support/db.env]
      own_keys: [WA_CONFIG_ON_DB, WACORE_HOSTNAME]
      compose_version: 2.26.1
      settings: {restart: unless-stopped}
      unsupported_settings: []
networks:
  description: The networks that the containers are on, each with C(name), C(driver), C(labels).
  type: list
  elements: dict
  returned: when O(gather) has V(compose)
  sample: [{name: wa-support_default, driver: bridge, labels: {}}]
autostart:
  description:
    - What starts, cleans or replaces the containers, each with C(kind) (cron, unit, boot, container, or socket for a container that
      could by Docker's socket), C(path) and C(line).
  type: list
  elements: dict
  returned: when O(gather) has V(autostart)
  sample: [{kind: cron, path: /etc/crontab, line: 0 4 * * * root docker restart support_waweb_1}]
unreadable_paths:
  description: Files and folders that could hold such lines and could not be read.
  type: list
  elements: str
  returned: when O(gather) has V(autostart)
  sample: [/etc/cron.d/backup]
identity:
  description: Which client is on this host, by its files.
  type: dict
  returned: when O(gather) has V(identity)
  contains:
    db_env:
      description: The C(engine), C(hostname), C(port) and C(name_prefix) that O(env_file) names; empty when there is none.
      type: dict
    recorded:
      description: What O(identity_file) holds; empty when there is none.
      type: dict
    others:
      description: What the records of other deployments hold, C(client-*.json) beside O(identity_file).
      type: list
      elements: dict
  sample:
    db_env: {engine: MYSQL, hostname: db.example.com, port: 3306, name_prefix: ""}
    recorded: {}
    others: []
unmasked:
  description: All that with its secrets.
  type: dict
  returned: when O(unmasked=true)
  sample: {containers: [], sidecars: [], volumes: [], networks: [], files: [], autostart: [], unreadable_paths: []}
containers:
  description: The client containers, sorted by name.
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
    health:
      description: Docker's word for its health, such as V(healthy); empty without a health check.
      type: str
    exit_code:
      description: The code that its main process ended with; 0 while it runs.
      type: int
    started_at:
      description: When it was last started, in seconds since 1970 by the host's clock; 0 when it never was.
      type: float
    restart:
      description: Docker's word for its restart policy, such as V(unless-stopped).
      type: str
    api_url:
      description: Where the host reaches a Webapp's API, by the port that is published; empty for others, and when none is.
      type: str
    one_shot:
      description:
        - Whether it is none of the client's services - a migration (C(WA_DB_UPGRADE=1)), or a container that
          C(docker compose run) has left, or one that has ended and never had a database.
      type: bool
    database:
      description: The databases that it uses, as C(HOST:PORT/PREFIX); empty for one without a database.
      type: str
    ports:
      description: The ports of the host that it publishes while it runs.
      type: list
      elements: int
    env_keys:
      description: The names of the variables in its environment.
      type: list
      elements: str
    identity:
      description:
        - Which client it is of - C(database) with C(engine), C(hostname), C(port), C(name_prefix) as its environment names
          them, and C(clustered), whether that is one of several Coreapps.
        - Empty for a container whose environment names no database.
      type: dict
    files:
      description: The Compose files that it was created from; empty outside Compose.
      type: list
      elements: str
    hash:
      description: Compose's hash of the service's definition that it was created from; empty outside Compose.
      type: str
    own:
      description: Whether it was created from a Compose file that the role C(wa_client) has written, wherever that lay; it bears a label of it.
      type: bool
    mounts:
      description: Its mounts, each with C(kind), C(name), C(destination), C(writable).
      type: list
      elements: dict
    keeps_configuration:
      description:
        - Whether its configuration, registration included, outlives the container.
        - It does with C(WA_CONFIG_ON_DB=1), or with a mount at C(/usr/local/waent/data).
      type: bool
    configuration_mount:
      description: The volume or folder of the host that holds its configuration; empty with C(WA_CONFIG_ON_DB=1), or without one.
      type: str
    layer_media:
      description:
        - A file at O(media_path) that is in the container's own writable layer, where nothing is mounted there. It is lost
          with the container. Empty for none; a reason if the engine gives no answer.
        - V(null) without O(media_path).
      type: str
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
      ports: [9090]
      env_keys: [WA_DB_ENGINE, WA_DB_HOSTNAME]
      identity: {database: {engine: MYSQL, hostname: db.example.com, port: 3306, name_prefix: ""}, clustered: false}
      files: [/opt/waba/support/compose.yml]
      hash: 48c6b4cd9aeef89f3f6e91430d384dad75de666080cdd0fbd6ca1477bd72331a
      own: true
      mounts: [{kind: volume, name: wa-support_whatsappMedia, destination: /usr/local/wamedia, writable: true}]
      configuration_mount: wa-support_waentData
      layer_media: ""
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
      description: Host and port as db.env has them.
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
    unsupported:
      description: The reason why it does not; V(null) when it does.
      type: str
    read_only:
      description: Whether the server takes no writes - a replica, or a primary that was set so. A migration could not run there.
      type: bool
    databases:
      description: The client's own databases; empty before its first start. See O(databases).
      type: list
      elements: str
    statement_timeout:
      description:
        - Seconds after which the server ends an C(ALTER) in a new session of the client's user; V(null) when it does not.
        - C(max_statement_time) of MariaDB, C(statement_timeout) and C(transaction_timeout) of PostgreSQL with what is set
          for the role and for each of the databases. MySQL has none; its C(max_execution_time) concerns C(SELECT) only.
      type: float
    statement_timeout_fix:
      description:
        - The statement with which the administrator raises it for this user to an hour, which the vendor wants for a migration; V(null)
          when it is at least that.
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
      type: list
      elements: dict
    other_sessions:
      description:
        - The user's sessions on databases that are not the client's, and on MySQL and MariaDB on none (C(database) is V(null)).
        - They may be another application's of the same user.
      type: list
      elements: dict
    bytes:
      description: The size of all tables with their indexes; InnoDB's is an estimate that lags after many changes.
      type: int
      returned: when sizes are read, see O(gather)
    messages_bytes:
      description: The size of the tables C(messages); V(null) when there is none.
      type: int
      returned: when sizes are read, see O(gather)
    messages:
      description: The rows of the tables C(messages) that the client's user may read and its search path finds.
      type: dict
      returned: when sizes are read and O(max_messages) is given
      contains:
        rows:
          description:
            - How many there are - exact, or if V(large) is true more than O(max_messages) or the server's estimate.
            - V(null) when there is no such table, or it could not be read.
          type: int
        large:
          description: Whether there are more than O(max_messages), or it is not known.
          type: bool
        unknown:
          description: Why they could not be counted; empty if they were.
          type: str
    largest_table:
      description: The largest table, with C(database), C(name) and C(bytes); V(null) when there is none.
      type: dict
      returned: when sizes are read, see O(gather)
    free_bytes:
      description: The free bytes of the server's data directory. Only from MariaDB with its plugin C(disks); otherwise V(null).
      type: int
      returned: when sizes are read, see O(gather)
    connections:
      description: How many connections the server has.
      type: int
    max_connections:
      description: How many it may have.
      type: int
  sample:
    engine: MYSQL
    server: db.example.com:3306
    product: MariaDB
    version: 11.8.3-MariaDB
    supported: false
    unsupported: MariaDB 11.8.3 is not supported by the client's vendor (MySQL 5.7 or 8.0)
    read_only: false
    databases: [waba1, waba_messages]
    statement_timeout: 60.0
    statement_timeout_fix: ALTER USER 'wa'@'%' WITH MAX_STATEMENT_TIME 3600;
    lock_timeout: 86400.0
    timeouts: {lock_wait_timeout: 86400, max_statement_time: 60}
    sessions: [{id: 42, from: 10.0.0.7, database: waba_messages, seconds: 3, state: Sleep}]
    other_sessions: []
    bytes: 268435456
    messages_bytes: 201326592
    messages: {rows: 410233, large: false, unknown: ""}
    largest_table: {database: waba_messages, name: messages, bytes: 201326592}
    free_bytes: 42949672960
    connections: 12
    max_connections: 151
"""

import contextlib
import json
import os
import pwd
import re
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files
from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._client import guard as client_guard
from ansible_collections.waba.onprem.plugins.module_utils._client import inspection as client_inspection
from ansible_collections.waba.onprem.plugins.module_utils._client import listing
from ansible_collections.waba.onprem.plugins.module_utils._client import starts as client_starts
from ansible_collections.waba.onprem.plugins.module_utils._compose import call as compose_call
from ansible_collections.waba.onprem.plugins.module_utils._compose import declared as compose_declared
from ansible_collections.waba.onprem.plugins.module_utils._compose import environment as compose_environment
from ansible_collections.waba.onprem.plugins.module_utils._compose import messages as compose_messages
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import MIGRATION
from ansible_collections.waba.onprem.plugins.module_utils._concern import host
from ansible_collections.waba.onprem.plugins.module_utils._core import files, redact, units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._database import options as database_options
from ansible_collections.waba.onprem.plugins.module_utils._deployment import hold, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import LEASE_SPEC, JournalFile, Lease
from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import images as docker_images
from ansible_collections.waba.onprem.plugins.module_utils._docker import inspection as docker_inspection
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store
from ansible_collections.waba.onprem.plugins.module_utils._host import autostart
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import plan as upgrade_plan

INSPECTION_PARTS = ("environment", "volume", "compose")
WITHOUT_ENGINE = ("journal", "database", "database_sizes", "identity", "compose_images")
_TIMEOUT = "60"  # seconds, for a local command
_NAME = re.compile(r"[A-Za-z_]\w*")


def inspected(engine: docker_engine.Docker, params: dict[str, t.Any], result: Result) -> None:
    """How the containers were created and what else acts on them: masked, and for `unmasked` as they are."""
    gather = set(params["gather"])
    read: dict[str, t.Any] = docker_inspection.read(engine, params["project"])
    read_compose_files([*read["containers"], *read["sidecars"]], result.module.run_command)
    if "autostart" in gather:
        lines, read["unreadable_paths"] = autostart.read(docker_inspection.search_terms(read))
        read["autostart"] = [*lines, *read.pop("watchers")]
        if params["unmasked"]:
            read["files"] = docker_inspection.read_files(compose_files.complete_env_files(read))
    if params["unmasked"]:
        result.unmasked = {"unmasked": read}
    result.redact.add(docker_inspection.secrets(read))
    shown = redact.mask(read)
    created = [*shown["containers"], *shown["sidecars"]]
    if "environment" in gather:
        result.values["environment"] = {one["name"]: one["environment"] for one in created}
    if "volume" in gather:
        result.values["volumes"] = shown["volumes"]
    if "compose" in gather:
        keys = (
            *("name", "service", "project", "image", "folder", "files", "compose_problem", "env_files", "own_keys"),
            *("compose_version", "settings", "unsupported_settings"),
        )
        result.values["created"] = [{key: one[key] for key in keys} for one in created]
        result.values["networks"] = shown["networks"]
    if "autostart" in gather:
        result.values.update(autostart=shown["autostart"], unreadable_paths=shown["unreadable_paths"])


def read_compose_files(created: t.Iterable[dict[str, t.Any]], run: compose_declared.Run) -> None:
    """Adds what the Compose files of each container declare: `env_files`, `own_keys`, or why Compose cannot read them."""
    reader = compose_declared.Reader(run)
    homes = sorted({user.pw_dir for user in pwd.getpwall()})
    for one in created:
        own = [path for path in one["files"] if client_files.is_own(path)]
        own += [path for path in one["files"][1:] if is_removed(path, "compose.yml")]
        # After ours they only add to a client that the collection describes.
        theirs = [] if own[:1] == one["files"][:1] else [path for path in one["files"] if path not in own]
        # Compose leaves the labels as they are of a container that it need not recreate: a file may be gone, and not be missed.
        one["files_gone"] = [path for path in theirs if not os.path.exists(path)]
        one["operators_files"] = [path for path in theirs if path not in one["files_gone"]] or theirs
        one["interpolation_files"] = [
            path
            for path in one["interpolation_files"]
            if not client_files.is_own(path) and not is_removed(path, "compose.env")
        ]
        if one["folder"] and one["operators_files"] and not one["interpolation_files"]:
            one["interpolation_files"] = env_files_above(one["folder"], one["operators_files"][0])
        paths = tuple(one["operators_files"] or one["files"])
        variables = tuple(path for path in one["interpolation_files"] if os.path.exists(path))
        files = compose_declared.Files(one["project"], one["folder"], paths, variables)
        one.update(env_files=[], own_keys=[], compose_problem="", declared={}, document={}, caller={}, homes=homes)
        if not files.paths:
            continue
        try:
            keys, env_files = reader.environment(files, one["service"])
        except WaError as error:
            one["compose_problem"] = error.found
            with contextlib.suppress(WaError):
                reader.document(files)
                one["compose_problem"] += (
                    ". Compose reads them with the values of variables, and not with --no-interpolate, which the collection needs: write values in "
                    "place of variables there"
                )
            continue
        one.update(env_files=list(dict.fromkeys(env_files)), own_keys=sorted({*keys}))
        one["document"] = reader.document(files, interpolated=False)
        one["declared"] = (one["document"].get("services") or {}).get(one["service"], {})
        # Every call has the operator's PWD.
        names = {"HOME", *_NAME.findall(json.dumps(one["document"]))} - {"PWD"}
        one["caller"] = {name: os.environ[name] for name in sorted(names) if name in os.environ}


def is_removed(path: str, name: str) -> bool:
    """Returns whether a file was the collection's: somebody has stopped using it, and removed its folder."""
    folder = f"{deployment_topology.PROJECTS_DIR}/"
    return path.startswith(folder) and os.path.basename(path) == name and not os.path.exists(path)


def env_files_above(folder: str, compose_file: str) -> list[str]:
    """Returns the files with variables of a client that was started above its folder, where `.env` has COMPOSE_FILE; else none.

    Compose then takes the variables of both, and those of the folder above first. The engine does not know it.
    """
    above = os.path.dirname(folder)
    while above != os.path.dirname(above):
        path = os.path.join(above, ".env")
        try:
            entries = {entry.key: entry.value or "" for entry in env_file.read_compose(files.read_text(path))}
        except (OSError, UnicodeDecodeError):
            entries = {}
        first = entries.get("COMPOSE_FILE", "").split(entries.get("COMPOSE_PATH_SEPARATOR") or os.pathsep)[0]
        if first and os.path.normpath(os.path.join(above, first)) == compose_file:
            return [*filter(os.path.exists, [os.path.join(folder, ".env")]), path]
        above = os.path.dirname(above)
    return []


def read_journal(params: dict[str, t.Any], result: Result) -> None:
    """Sets `upgrade` and `hold`, and for `journal` in `gather` the journals."""
    file = JournalFile(params["lock_file"])
    lock = file.load() or {}
    result.values["upgrade"] = host.describe_lock(lock)
    result.values["hold"] = hold.read(deployment_topology.hold_file(params["lock_file"]), time.time())
    if "journal" in params["gather"]:
        result.values.update(journal=lock if upgrade_journal.is_upgrade(lock) else {}, ended=file.load_last() or {})


def read_compose_images(params: t.Mapping[str, t.Any], run: compose_declared.Run) -> dict[str, t.Any]:
    """Returns the images that the Compose files name, or Compose's words if it cannot read them."""
    compose = params["compose"]
    if not compose:
        return {"images": [], "problem": "it is not known how Compose is called"}
    command = ["timeout", _TIMEOUT, *compose["command"], "config", "--images", *compose["services"]]
    try:
        code, output, complaint = run(command, environ_update=compose["environment"], handle_exceptions=False)
    except OSError as error:
        return {"images": [], "problem": f"docker: {error.strerror}"}
    if not code:
        return {"images": output.split(), "problem": ""}
    # The values are hidden in the message only: they may be versions.
    secrets = compose_call.values(compose["command"])
    with contextlib.suppress(WaError):
        env = env_options.read_env(params["env_file"], params["env_format"]) if params["env_file"] else {}
        secrets += [value for name, value in env.items() if redact.is_secret(name)]
    said = compose_messages.one_line(complaint, secrets)
    late = f"no answer within {_TIMEOUT} s" if code == 124 else f"exit status {code}"
    return {"images": [], "problem": said or late}


def read_database(params: dict[str, t.Any], result: Result) -> dict[str, t.Any]:
    """Returns the facts about the client's database for an upgrade; `result` has what else was read."""
    # Imported on use: loading the database adapter takes longer than reading containers.
    from ansible_collections.waba.onprem.plugins.module_utils._database import facts as database_facts

    if not params["env_file"]:
        raise WaError("option env_file", "not given", "the client's db.env, for database in gather")
    env = env_options.read_env(params["env_file"], params["env_format"])
    read = result.values
    journal = read.get("journal") or {}
    unfinished = journal.get("stage", "locked") != "locked"
    own = listing.database(env)
    migrating = [one for one in read.get("containers", []) if one["service"] == MIGRATION]
    if unfinished or any(one["state"] in ("running", "paused") and one["database"] == own for one in migrating):
        params = {**params, "gather": ["database"]}
    noted = journal["notes"].get("databases") if unfinished else None
    # Hidden here and not in the whole result: it may be a part of the name of an image or a volume.
    secrets = [env.get("WA_DB_PASSWORD")]

    def warn(text: str) -> None:
        result.warn(redact.hide(text, secrets))

    try:
        facts = database_facts.gather({**params, "databases": noted or params["databases"]}, env, warn)
    except WaError as error:
        raise WaError.of(redact.hide(str(error), secrets)) from None
    if "messages" in facts:
        facts["messages"]["unknown"] = redact.hide(facts["messages"]["unknown"], secrets)
    return facts


def read_identity(engine: docker_engine.Docker | None, module: AnsibleModule, result: Result) -> dict[str, t.Any]:
    """Returns the identity in db.env and in the record; removes values of Compose files from the containers' identities."""
    path, recorded = module.params["env_file"], module.params["identity_file"]
    # The folders that the roles create, with a mode.
    for ours in filter(None, (module.params["compose_file"], recorded)):
        files.refuse_links_of_others(os.path.dirname(ours))
    db_env = client_inspection.db_env(path, module.params["env_format"]) if path else {}
    if engine and db_env:
        # Without warnings: wa_db_env reports overridden keys.
        compose = compose_environment.Compose(path, lambda _text: None, module.run_command)
        client_inspection.leave_out_overridden(engine, result.values.get("containers", []), db_env, compose)
    if module.params["compose_file"]:
        client_files.refuse_unmanaged(module.params["compose_file"], Store(module.params["compose_file"]).read())
    if not recorded:
        return {"db_env": db_env, "recorded": {}, "others": []}
    records = client_inspection.record(recorded), client_inspection.others(recorded)
    return {"db_env": db_env, "recorded": records[0], "others": records[1]}


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
        path = params["media_path"]
        layers = [listing.layer_media(engine, one, path) if path else None for one in found]
        result.values["containers"] = [{**one, "layer_media": layer} for one, layer in zip(found, layers)]
        result.values.update(
            active=client_starts.active(found),
            started_at_boot=client_starts.started_at_boot(found),
            orphan_migrations=upgrade_plan.orphan_migrations(found),
        )
        if params["guard"]:
            result.values["guard"] = client_guard.check(found, params["guard"])
    if "identity" in gather:
        result.values["identity"] = read_identity(engine, module, result)
    if "images" in gather and engine:
        names = params["required_images"]
        missing, unanswered = docker_images.missing(engine, names, module.run_command, params["registry_retries"])
        result.values.update(
            images=docker_images.local(engine),
            missing_images=missing,
            unanswered_images=unanswered,
            wrong_images=docker_images.wrong_builds(engine, names, module.run_command),
            image_free_bytes=docker_images.free_bytes(engine),
        )
    if engine and gather & {*INSPECTION_PARTS, "autostart"}:
        inspected(engine, params, result)
    if "compose_images" in gather:
        result.values["compose_images"] = read_compose_images(params, module.run_command)
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
                "choices": [*WITHOUT_ENGINE, "containers", "images", *INSPECTION_PARTS, "autostart"],
                "default": ["containers"],
            },
            compose={"type": "dict", "default": {}},
            compose_file={"type": "path"},
            project={"type": "str"},
            healthy_timeout={"type": "str", "default": "0s"},
            container_names={"type": "list", "elements": "str", "default": []},
            guard={"type": "dict"},
            required_images={"type": "list", "elements": "str", "default": []},
            registry_retries={"type": "int", "default": 0},
            max_messages={"type": "int"},
            idle_timeout={"type": "str", "default": "0s"},
            lock_file={"type": "path"},
            identity_file={"type": "path"},
            media_path={"type": "path"},
            unmasked={"type": "bool", "default": False},
        ),
        supports_check_mode=True,
    )
    result = Result(module)
    gather = module.params["gather"]
    if "journal" in gather and not module.params["lock_file"]:
        result.fail(WaError("option lock_file", "not given", "the deployment's lock file, for journal in gather"))
    if module.params["unmasked"] and not module.no_log:
        result.fail(WaError("option unmasked", "true in a task whose result is displayed", "a task with no_log: true"))
    try:
        read(module, result)
    except WaError as error:
        result.fail(error)
    result.exit()


if __name__ == "__main__":
    main()
