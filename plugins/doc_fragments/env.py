# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  env_file:
    description: The client's db.env on the managed host, the only source of the database's settings.
    type: path
  env_format:
    description: Format of db.env. V(portable) is read alike by Docker Compose and C(docker run); the others write for one of them.
    type: str
    choices: [portable, compose, docker]
    default: portable
  databases:
    description:
      - The client's own databases. They need not begin with the prefix in db.env.
      - When one of them has no table C(messages), they are all; otherwise those that surely go with them belong to them, too.
      - When not given, they are found. The one with a table C(messages) comes first. Another one that begins with the prefix
        belongs to it for two of these signs - the prefix ends where a word ends (C(wa_config), C(wa1Config), not
        C(warehouse)); the name ends as that of the database with C(messages) does; the rest is the name of one of the stores
        that the client's support report shows; it was granted to the client's user by name, or that user, no superuser, owns it;
        the client is connected to it.
      - Fails with the candidates when there is one sign only, or when C(messages) may be another client's.
    type: list
    elements: str
"""
