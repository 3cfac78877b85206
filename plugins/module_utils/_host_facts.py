# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host lacks to be managed."""

from __future__ import annotations

import importlib.util
import typing as t

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

LIBRARIES = {"MYSQL": ("python_mysql", "pymysql"), "PGSQL": ("python_postgresql", "psycopg2")}
SYSTEM_PATHS = ["/usr/sbin", "/usr/local/sbin", "/sbin"]


def missing(module: AnsibleModule, engine_error: str) -> dict[str, str]:
    """What the host lacks, with the reason."""
    lacks = {}
    if engine_error:
        lacks["docker_engine"] = engine_error
    client = module.get_bin_path("docker")
    if not client or module.run_command([client, "compose", "version", "--short"])[0] != 0:
        lacks["docker_compose"] = "docker compose does not run"
    if importlib.util.find_spec("requests") is None:
        lacks["python_requests"] = "the Python library requests cannot be imported; community.docker needs it"
    if module.params["database_engine"]:
        key, library = LIBRARIES[module.params["database_engine"]]
        if importlib.util.find_spec(library) is None:
            lacks[key] = f"the Python library {library} cannot be imported"
    if not any(module.get_bin_path(name, opt_dirs=SYSTEM_PATHS) for name in ("cron", "crond")):
        lacks["cron"] = "no cron daemon is installed"
    return lacks
