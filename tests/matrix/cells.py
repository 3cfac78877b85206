# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The versions that are tested together: every pair of values of two of database, host, Compose and ansible-core is in a cell."""

from __future__ import annotations

import typing as t

# ansible-core is on the controller, so each version has a run of its own, with one host for each database server.
CORES = ("2.19.14", "2.20.10", "2.21.5", "2.22.0rc1")
DATABASES = (
    "mysql-9.7",
    "postgres-13",
    "mariadb-10.5",
    "postgres-15",
    "mariadb-10.11",
    "postgres",
    "mariadb",
    "postgres-18",
)
RELEASES = ("bullseye", "bookworm", "trixie", "sid")
COMPOSE = ("2.26", "2.40")
# Server settings of administrators, with which the client's user must work.
SETTINGS = {
    "mysql-9.7": "SET PERSIST sql_require_primary_key = ON",
    "mariadb-10.5": "SET GLOBAL sql_mode = 'TRADITIONAL'",
    "mariadb-10.11": "SET GLOBAL character_set_server = 'latin1', GLOBAL collation_server = 'latin1_swedish_ci'",
}
# What is done with each cell, in this order.
STEPS = (
    "provision",
    "provision again",
    "drift",
    "drift, predicted",
    "drift, put right",
    "nothing is left",
    "seed",
    "gc",
    "messages are under the limit",
    "install the dump's tool",
    "upgrade with a dump",
    "upgrade without a dump",
    "the new version runs, with every message",
    "require client certificates",
    "provision with certificates",
    "provision with certificates again",
    "gc with certificates",
    "require no certificates",
    "remove",
    "start by hand",
    "adopt",
    "adopted, predicted",
    "adopted, provisioned",
    "adopted, nothing is left",
    "no container was started again",
)
PASSED = "passed"


class Cell(t.NamedTuple):
    """One host and the versions that are tested on it."""

    core: str
    database: str
    release: str
    compose: str

    @property
    def host(self) -> str:
        """The name of the host in the lab."""
        return "on-" + self.database.replace(".", "")


def cells(core: str) -> list[Cell]:
    """The cells of one ansible-core."""
    index = CORES.index(core)
    return [
        # The release shifts by one from core to core; Compose shifts by one after every second core, so that it meets each release.
        Cell(core, database, RELEASES[(number + index) % 4], COMPOSE[(number // 4 + number + index // 2) % 2])
        for number, database in enumerate(DATABASES)
    ]


if __name__ == "__main__":
    print("\n".join(CORES))
