# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""High availability and multiconnect: who is there, who is primary master, which Coreapp owns which shard."""

from __future__ import annotations

from dataclasses import dataclass

from .database import Database, Session
from .schema import store
from .settings import Settings

# A node that was killed is shown (disconnected) for so long, then forgotten.
FORGET_SECONDS = 300


@dataclass(frozen=True)
class NodeInfo:
    """A node as the cluster store knows it: `ports` are messages, contacts, control, health check from outside."""

    name: str
    hostname: str
    ports: tuple[int, ...]
    master: bool
    version: str


def lease_names(shards: int) -> list[str]:
    """The leases that Coreapps compete for."""
    return [f"shard_{number}" for number in range(shards)]


def nodes(session: Session) -> list[NodeInfo]:
    """All known nodes, by name."""
    rows = session.rows("SELECT name, hostname, ports, master, version FROM nodes ORDER BY name")
    return [
        NodeInfo(row[0], row[1], tuple(int(port) for port in row[2].split(",")), bool(row[3]), row[4]) for row in rows
    ]


class Cluster:
    """This node's membership, kept up by `tick`, in a store that every node can reach: the database."""

    def __init__(self, settings: Settings, version: str, database: Database) -> None:
        self._settings = settings
        self._version = version
        self._db = database
        self.primary = False
        self.shard: int | None = None
        self.has_primary = False

    def announce(self) -> None:
        """Write this node down, in place of an earlier one behind the same host name and ports."""
        s = self._settings
        ports = ",".join(str(port) for port in s.external_ports)
        with self._db.session(store("cluster")) as session:
            session.execute(
                "DELETE FROM nodes WHERE hostname = %s AND ports = %s AND name <> %s", (s.hostname, ports, s.node)
            )
            now = session.now()
            if not session.execute(
                "UPDATE nodes SET seen = %s, version = %s, ports = %s WHERE name = %s",
                (now, self._version, ports, s.node),
            ):
                session.execute(
                    "INSERT INTO nodes (name, hostname, ports, master, version, seen) VALUES (%s, %s, %s, %s, %s, %s)",
                    (s.node, s.hostname, ports, int(s.master), self._version, now),
                )

    def tick(self, shards: int, validity: float) -> None:
        """Renew what this node holds, take what is free. `validity` is how long a silent node keeps a lease (seconds)."""
        self.announce()
        with self._db.session(store("cluster")) as session:
            now = session.now()
            if self._settings.master:
                self.primary = self._take(session, "primary_master", now, validity)
                if self.primary:
                    session.execute("DELETE FROM nodes WHERE seen < %s", (now - FORGET_SECONDS,))
            self.has_primary = bool(
                session.value("SELECT 1 FROM leases WHERE name = 'primary_master' AND valid_until > %s", (now,))
            )
            if not self._settings.master:
                self.shard = self._shard(session, lease_names(shards), now, validity)

    def _shard(self, session: Session, names: list[str], now: float, validity: float) -> int | None:
        mine = [
            row[0]
            for row in session.rows(
                "SELECT name FROM leases WHERE owner = %s AND name LIKE 'shard%%'", (self._settings.node,)
            )
        ]
        order = [name for name in names if name in mine] + [name for name in names if name not in mine]
        for name in order:
            # Without a primary master nobody hands out shards; the ones held go on.
            if (self.has_primary or name in mine) and self._take(session, name, now, validity):
                for other in mine:
                    if other != name:
                        session.execute(
                            "DELETE FROM leases WHERE name = %s AND owner = %s", (other, self._settings.node)
                        )
                return int(name.split("_")[1])
        return None

    def _take(self, session: Session, name: str, now: float, validity: float) -> bool:
        me = self._settings.node
        if session.execute(
            "UPDATE leases SET owner = %s, valid_until = %s WHERE name = %s AND (owner = %s OR valid_until < %s)",
            (me, now + validity, name, me, now),
        ):
            return True
        if session.value("SELECT 1 FROM leases WHERE name = %s", (name,)):
            return False
        ignore, conflict = ("", " ON CONFLICT DO NOTHING") if self._db.engine == "PGSQL" else (" IGNORE", "")
        session.execute(
            f"INSERT{ignore} INTO leases (name, owner, valid_until) VALUES (%s, %s, %s){conflict}",
            (name, me, now + validity),
        )
        return bool(session.value("SELECT owner FROM leases WHERE name = %s", (name,)) == me)

    def owners(self, shards: int) -> list[str]:
        """Names of the nodes that own a shard now, sorted: the ones that collect garbage."""
        with self._db.session(store("cluster")) as session:
            rows = session.rows("SELECT name, owner FROM leases WHERE valid_until > %s", (session.now(),))
        wanted = set(lease_names(shards))
        return sorted(owner for name, owner in rows if name in wanted)

    def leave(self) -> None:
        """A clean stop: give back what this node holds, so that another takes over at once."""
        with self._db.session(store("cluster")) as session:
            session.execute("DELETE FROM leases WHERE owner = %s", (self._settings.node,))
            session.execute("DELETE FROM nodes WHERE name = %s", (self._settings.node,))
