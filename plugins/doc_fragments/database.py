# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  login_host:
    description:
      - Where the managed host reaches the database, on the port in db.env, when the name there resolves only among containers.
      - The name in db.env is used when the option is not given.
    type: str
  login_ca_cert:
    description:
      - The certificate authority of the database server, a path on the managed host.
      - The paths in db.env are paths inside the containers and are not used for this connection.
    type: path
  login_client_cert:
    description: The client certificate for the database, a path on the managed host.
    type: path
  login_client_key:
    description: The key of O(login_client_cert), a path on the managed host.
    type: path
  connect_timeout:
    description: Seconds (or text such as V(10s)) to wait for the connection.
    type: str
    default: 10s
requirements:
  - PyMySQL 1.1.1 or newer (MySQL, MariaDB) or psycopg2 (PostgreSQL) on the managed host, for options that connect to the database
"""
