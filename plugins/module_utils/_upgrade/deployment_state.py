# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks have found of a deployment on all of its members: its containers, and what an earlier run has left. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import service_containers
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal

Found = t.Mapping[str, t.Any]  # a result of `wa_info`, empty for a host that was not read


def of_host(reads: t.Mapping[str, Found], deployment: t.Mapping[str, t.Any], host: str) -> dict[str, t.Any]:
    """Returns what is known of the client from `reads`, by member; `host` is one of them.

    - `clients` and `everywhere`: its containers on the host and on all members; `running`: their versions, which need not run
    - `left`: the leader's journal. With `journal_lost` it is made up from the container of a migration. Empty for none.
    - `unfinished`: whether that upgrade has begun to stop the client; `before`: the version that it, or the next one, leads away from
    - `databases`: those of the client, empty where they are not known. Sessions are a sign of them, which a stopped client has not, so an
      unfinished upgrade keeps to those that its first run has noted.
    """
    containers = {
        one: [each for each in read.get("containers") or () if each["project"] == deployment["project"]]
        for one, read in reads.items()
    }
    clients = {one: service_containers(found) for one, found in containers.items()}
    everywhere = [each for found in clients.values() for each in found]
    running = sorted({str(each["version"]) for each in everywhere})
    leader = reads.get(deployment["leader"]) or {}
    orphan = (leader.get("orphan_migrations") or {}).get(deployment["project"])
    lost = {"schema": upgrade_journal.STARTED, "target": orphan, "notes": {}} if orphan else {}
    left = leader.get("journal") or {}
    if not upgrade_journal.has_begun(left):  # one that has only locked the deployment knows of no migration
        left = lost or left
    notes, unfinished = left.get("notes") or {}, upgrade_journal.has_begun(left)
    database = (reads.get(host) or {}).get("database") or {}
    return {
        "clients": clients.get(host, []),
        "everywhere": everywhere,
        "running": running,
        "left": left,
        "journal_lost": left is lost and bool(lost),
        "unfinished": unfinished,
        "before": notes.get("from_version") or ", ".join(running),
        "databases": (notes.get("databases") if unfinished else None) or database.get("databases") or [],
    }
