#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_db_env
short_description: Manages a client's db.env, right and in force
version_added: 0.1.0
author: waba.onprem contributors (@waba)
description:
  - Writes the file with the database settings of a WhatsApp Business API On-Premises client, so that Docker Compose and
    C(docker run --env-file) read the same values from it, and so that the client can work with them.
  - Keeps comments, order, unknown keys and Windows line ends of a file that is there.
  - Returns which running containers were created with other values than the file holds.
options:
  path:
    description: The file. Its folder must exist; the role P(waba.onprem.wa_host#role) makes it.
    type: path
    required: true
  state:
    description: V(absent) removes the file.
    type: str
    choices: [present, absent]
    default: present
  engine:
    description: The kind of database, E(WA_DB_ENGINE).
    type: str
    choices: [MYSQL, PGSQL]
  hostname:
    description: The database server as the containers reach it, a text, E(WA_DB_HOSTNAME).
    type: raw
  port:
    description:
      - The server's port, E(WA_DB_PORT).
      - When not given, the engine's own (3306 or 5432) is written if the file has none, and if the engine changes.
    type: int
  username:
    description: The database user, a text, E(WA_DB_USERNAME).
    type: raw
  password:
    description:
      - The database user's password, E(WA_DB_PASSWORD).
      - A text; quote it in YAML, where C(0123456) is another number than it looks. A number is refused.
      - The client's vendor forbids the characters ? { } & ~ ! ( ) ^ = in it.
    type: raw
  name_prefix:
    description: What stands in front of every database's name, a text, without a separator, E(WA_DB_NAME_PREFIX).
    type: raw
  extra:
    description:
      - Further variables, such as E(WA_CONFIG_ON_DB). Values are texts; quote numbers and booleans.
      - E(WA_DB_SSL_CA) is the authority of the server's certificate, E(WA_DB_SSL_CERT) and E(WA_DB_SSL_KEY) are the client's certificate
        and its key, all of them paths inside the containers.
      - E(WA_DB_CONNECTION_IDLE_TIMEOUT) is in milliseconds and for MySQL only. Below 1000 is an error, what looks like seconds or is above
        28800000 (8 hours) a warning.
      - An empty text removes the variable. E(WA_DB_UPGRADE) is refused.
    type: dict
    default: {}
  extra_secrets:
    description: The same for secrets, such as E(WA_API_KEY) and E(WA_WEB_JWT_CRYPTO_KEY).
    type: dict
    default: {}
  format:
    description:
      - V(portable) writes only values that Docker Compose and C(docker run --env-file) read alike, and refuses others.
      - V(compose) and V(docker) write any value for that reader alone, quoted where it needs to be.
      - See the notes for the rules of each.
    type: str
    choices: [portable, compose, docker]
    default: portable
  check_connection:
    description:
      - Whether to prove, before anything is written, that the client can log in to its database. Nothing is written if it
        cannot.
      - V(true) logs in when the client is about to connect with other values than now, which are engine, server, port, user,
        password, prefix and TLS; the file does not exist or holds others, or, with O(containers), a container that runs was
        created with others. A run that changes none of them does not ask the database.
      - V(always) logs in at every run.
      - V(false) skips the check.
      - The host connects to the address that the name has in the client's containers, by their own resolver, C(extra_hosts),
        links and networks, or to O(login_host). The files of E(WA_DB_SSL_CA), E(WA_DB_SSL_CERT) and E(WA_DB_SSL_KEY) are read
        in the containers, unless O(login_ca_cert), O(login_client_cert) and O(login_client_key) name them on the host. Without
        E(WA_DB_SSL_CA) and E(WA_DB_SSL_CERT) a MySQL client speaks no TLS, and so does the check.
      - A name that leads to the database only when the containers have been created (a service of their own Compose file),
        cannot be proven before; V(false) is for that first run.
    type: str
    choices: ["false", "true", "always"]
    default: "true"
  containers:
    description: Whether to compare the file with the running client containers.
    type: bool
    default: false
  project:
    description:
      - The Compose project of the containers; an empty text for containers outside Compose.
      - When not given, there must be only one on the host.
    type: str
  confirm_identity:
    description:
      - Confirms another C(engine), C(hostname), C(port) or C(name_prefix) than the Coreapps of O(project) have, running or
        stopped, each by its new value. With O(containers) a file that changes one of them is refused otherwise, since it
        would start another, empty client.
      - Other attributes of C(wa_confirm_identity) are accepted and say nothing here.
    type: dict
    default: {}
  keep_previous:
    description:
      - Whether to keep what the file held as C(PATH.previous) (mode 0600) when it changes and running, healthy containers
        of O(project) were created with it. An earlier one stays - it is the last content that was proven.
      - The role P(waba.onprem.wa_client#role) puts it back when the client does not become healthy with the new content,
        and removes it when it does. O(state=absent) removes it, too.
    type: bool
    default: false
  mode:
    description:
      - The file's mode. C(docker compose) reads the file as the user who runs it, so that user needs to read it, be it
        by O(group) and V(0640).
    default: "0600"
  unsafe_writes:
    description: Not used. The file is replaced in one step or not at all; one that cannot be is an error.
    type: bool
    default: false
extends_documentation_fragment:
  - ansible.builtin.files
  - waba.onprem.attributes
  - waba.onprem.docker
  - waba.onprem.database
notes:
  - An option that is not given leaves its key alone; an empty text removes it.
  - "A secret in db.env can be seen in three places: the file, the output of C(docker inspect) (so by everybody in the group
    docker), and C(/proc/*/environ) of the container's processes."
  - 'Measured with Docker Compose 2.26.1 and Docker 26.1.5. Compose takes quotes and escapes as a shell does, replaces
    C($NAME), cuts a value at a hash behind a space, and trims it. C(docker run) takes the rest of the line as it stands.'
  - Compose 1.26 to 1.29 replaces C(${NAME}) even in single quotes and knows no C(\$); the first releases of Compose v2
    cut an unquoted value at any hash. Values without dollar sign, hash, quote and backslash are read alike by those, too.
  - The vendor supports MySQL 5.7 and 8.0 and PostgreSQL 11 to 13. The checks of an upgrade name another server.
  - With O(containers), the Compose files of containers that differ are read by C(docker compose config), to distinguish keys that
    they set themselves from stale ones.
seealso:
  - module: waba.onprem.wa_message_gc
"""

EXAMPLES = r"""
- name: Write db.env
  waba.onprem.wa_db_env:
    path: /opt/waba/support/db.env
    engine: MYSQL
    hostname: db.example.com
    username: wa
    password: "{{ vault_wa_db_password }}"
    name_prefix: support_
    extra:
      WA_CONFIG_ON_DB: "1"
    containers: true
    project: wa-support

- name: See whether db.env is in force, changing nothing
  waba.onprem.wa_db_env:
    path: /opt/waba/support/db.env
    containers: true
    check_connection: false
  check_mode: true
  register: env
  failed_when: env is failed or env.stale_containers | length > 0
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: always
  sample: /opt/waba/support/db.env
changed_keys:
  description: Keys that were added or got another value (in check mode, would).
  type: list
  elements: str
  returned: always
  sample: [WA_DB_PORT]
removed_keys:
  description: Keys that were removed.
  type: list
  elements: str
  returned: always
  sample: [WA_DB_SSL_CA]
undeclared_keys:
  description: Keys that the file holds and that no option names, where any option names one. They are left in it.
  type: list
  elements: str
  returned: always
  sample: [WA_LOG_LEVEL]
stale_containers:
  description:
    - Running client containers that were created with other values than the file now holds.
    - Recreating one puts its C(stale_keys) in force, and its C(undeclared_keys), which no option names. It changes nothing about
      C(overridden_keys), which the Compose file sets itself.
    - Where C(keeps_configuration) is false, recreating it would lose the client's configuration and registration. Do not recreate it.
  type: list
  elements: dict
  returned: always
  sample:
    - name: wa-support-wacore-1
      id: 4f6c2a9d01be
      project: wa-support
      service: wacore
      role: core
      stale_keys: [WA_DB_PORT]
      undeclared_keys: []
      overridden_keys: []
      keeps_configuration: true
undeclared_containers:
  description: As RV(stale_containers), those that differ from the file in RV(undeclared_keys), whether in others, too, or not.
  returned: always
  type: list
  elements: dict
  sample: []
overridden_containers:
  description: As RV(stale_containers), those that differ from the file only in keys that the Compose file sets itself.
  type: list
  elements: dict
  returned: always
  sample: []
server:
  description:
    - What O(check_connection) found; empty when it did not log in.
    - C(databases) are those whose names begin with the prefix.
  type: dict
  returned: always
  sample:
    product: MariaDB
    version: 11.8.3-MariaDB
    databases: [waba1, waba_messages]
    tls: true
previous_kept:
  description: Whether this run has kept what the file held, see O(keep_previous).
  type: bool
  returned: always
  sample: false
actions:
  description: Actions that were made, or predicted in check mode.
  type: list
  elements: str
  returned: always
  sample: [set WA_DB_PORT]
"""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._concern import db_env
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._env import plan as env_plan


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=db_env.SPEC,
        add_file_common_args=True,
        supports_check_mode=True,
    )
    os.umask(0o077)  # all files created here contain secrets
    with Result(module) as result:
        secrets = [
            module.params["password"],
            *(module.params["extra_secrets"] or {}).values(),
        ]
        result.redact.add(str(value) for value in secrets if value is not None)
        # Ansible displays the options with -vvv; hiding a short text would hide large parts of the output.
        module.no_log_values.update(text for text in env_plan.secrets(module.params, None) if len(text) > 3)
        db_env.run(module, result)


if __name__ == "__main__":
    main()
