# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A correct db.env: wa_db_env beside the template module, and its check of 20 containers beside a plain
docker_host_info."""

from __future__ import annotations

import tempfile
import typing as t
import uuid
from pathlib import Path

import lab_images
from clients import Clients
from compare import tell, title
from plays import measure_tasks

CONTAINERS = 20
SETTINGS = {
    "engine": "MYSQL",
    "hostname": "db.example.com",
    "username": "wa",
    "password": "Sesame-1234",
    "name_prefix": "support_",
    "extra": {"WA_CONFIG_ON_DB": "1"},
}
TEMPLATE = """\
WA_DB_ENGINE={{ engine }}
WA_DB_HOSTNAME={{ hostname }}
WA_DB_PORT=3306
WA_DB_USERNAME={{ username }}
WA_DB_PASSWORD={{ password }}
WA_DB_NAME_PREFIX={{ name_prefix }}
WA_CONFIG_ON_DB=1
"""


def main() -> None:
    """Run both comparisons."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "db.env.j2").write_text(TEMPLATE)
        path = folder / "db.env"
        env: dict[str, t.Any] = {"path": str(path), "check_connection": False, **SETTINGS}
        template = {"src": str(folder / "db.env.j2"), "dest": str(folder / "other.env"), "mode": "0600"}
        title("wa_db_env: db.env is correct")
        sides: dict[str, dict[str, t.Any]] = {
            "wa_db_env": {"waba.onprem.wa_db_env": env},
            "ansible.builtin.template": {"ansible.builtin.template": template, "vars": SETTINGS},
        }
        tell(measure_tasks(sides, folder), 1.15)

        clients = Clients(lab_images.base(), f"bench{uuid.uuid4().hex[:8]}")
        try:
            for number in range(CONTAINERS):
                role = ("web", "coreapp")[number % 2]
                clients.add(f"{role}{number}", role, "--network=none", f"--env-file={path}")
            title(f"wa_db_env: db.env is correct, and in force in {CONTAINERS} containers")
            env.update(containers=True, project=clients.project)
            sides = {
                "wa_db_env with containers": {"waba.onprem.wa_db_env": env},
                "community.docker.docker_host_info": {"community.docker.docker_host_info": {}},
            }
            tell(measure_tasks(sides, folder), 1.0)
        finally:
            clients.clean()


if __name__ == "__main__":
    main()
