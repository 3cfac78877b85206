# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of hosts as a task has them, for tests of inventory values."""

from __future__ import annotations

import typing as t

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory

PASSWORD, JWT_KEY = "Canary-18-Pw", "Canary-18-Key"
GIVEN = {
    "wa_registry": "r.example.com/wa",
    "wa_version": "v2.53.4",
    "wa_db_env_engine": "MYSQL",
    "wa_db_env_hostname": "DB.example.com",
    "wa_db_env_username": "wa",
    "wa_db_env_password": PASSWORD,
}


def inventory(name: str = "support", hosts: t.Sequence[str] = (), **more: t.Any) -> Inventory:
    """The inventory as host `name` sees it. With `hosts`, they are one deployment. Variables set to None are omitted."""
    names = hosts or [name]
    shared = {"wa_deployment": "support", "wa_topology": "high_availability"} if hosts else {}
    given = {key: value for key, value in {**GIVEN, **shared, **more}.items() if value is not None}
    groups = {"all": list(names), **({"support": list(names)} if hosts else {})}
    hostvars = {one: {**given, "inventory_hostname": one} for one in names}
    variables = {**hostvars[name], "groups": groups, "hostvars": hostvars}
    return Inventory(variables, Templar(loader=DataLoader(), variables=variables).template)
