# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what may forbid a change of a host: its client containers, whose client it is, and who has the deployment's lock."""

from __future__ import annotations

import os
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import files as client_files
from ansible_collections.waba.onprem.plugins.module_utils._client import guard, inspection, listing, starts
from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._deployment import hold, topology, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker


def read(engine: Docker, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns `containers`, `guard`, `orphan_migrations`, `identity`, `upgrade`, `hold` and `zone`, as `wa_info` does. Raises WaError."""
    found = listing.read(engine, None, params["container_names"])
    return {
        **lock(JournalFile(params["lock_file"]).load() or {}, params["lock_file"]),
        "containers": found,
        "guard": guard.check(found, params["guard"]),
        "orphan_migrations": starts.orphan_migrations(found),
        "identity": identity(params),
    }


def lock(content: t.Mapping[str, t.Any], path: str) -> dict[str, t.Any]:
    """Returns who has the deployment, by the `content` of its lock file at `path`, whether an operator holds its client, and the time zone."""
    return {
        "upgrade": upgrade_journal.describe_lock(content),
        "hold": hold.read(topology.hold_file(path), time.time()),
        "zone": time.strftime("%z"),
    }


def identity(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns the identity in db.env and in the record."""
    path, recorded = params["env_file"], params["identity_file"]
    # The folders that the roles create, with a mode.
    for ours in filter(None, (params["compose_file"], recorded)):
        files.refuse_links_of_others(os.path.dirname(ours))
    db_env = inspection.db_env(path, params["env_format"]) if path else {}
    if params["compose_file"]:
        client_files.refuse_unmanaged(params["compose_file"], Store(params["compose_file"]).read())
    if not recorded:
        return {"db_env": db_env, "recorded": {}, "others": []}
    records = [inspection.shown(one) for one in (inspection.record(recorded), *inspection.others(recorded))]
    return {"db_env": db_env, "recorded": records[0], "others": records[1:]}
