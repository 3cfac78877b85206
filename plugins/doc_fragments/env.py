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
  env_reader:
    description: Who reads db.env. With V(portable) both readers must read the same.
    type: str
    choices: [portable, compose, docker]
    default: portable
  databases:
    description:
      - The client's own databases, as many of them as tell it from a neighbour, such as those with a table C(messages).
      - Found by the prefix in db.env when not given. Names that may be two clients' are refused then.
      - Databases of the same prefix belong to them, but not those whose name is another prefix before the name of one of these.
      - With an empty prefix that is every database that the user sees (MySQL, MariaDB) or owns (PostgreSQL).
    type: list
    elements: str
"""
