# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_db_dump and wa_db_restore beside the same tools in a pipe by hand, on the host of the database server.

What the modules do besides is in their time: the sum, the check that it can be unpacked, and every row counted, twice in a restore.
"""

from __future__ import annotations

import json
import sys
import tempfile
import typing as t
from contextlib import ExitStack
from pathlib import Path

import commands
import lab_images
from commands import docker
from compare import measure, tell, title
from database_servers import CANARY, Server, prepare, server
from engine import Engine

ROWS, LONG = 2_200_000, 20_000_000
ROUNDS = 3
FOLDER = "/var/backups/waba"
NAME = "messageStore"
SEED = {
    "mariadb": "CREATE DATABASE messageStore; USE messageStore; CREATE TABLE messageStore.messages (id BIGINT AUTO_INCREMENT PRIMARY KEY, body VARBINARY(300),"
    " at DATETIME, KEY (at)); INSERT INTO messageStore.messages (body, at) SELECT concat(md5(seq), md5(seq + 1), repeat('x', seq % 90)),"
    " now() FROM messageStore_seq;",
    "postgres": "SET ROLE wa; CREATE TABLE messages (id bigserial PRIMARY KEY, body text, at timestamptz); CREATE INDEX ON messages (at);"
    " INSERT INTO messages (body, at) SELECT md5(g::text) || md5((g + 1)::text) || repeat('x', g % 90), now() FROM generate_series(1, {rows}) g;",
}
BY_HAND = {
    "mariadb": (
        "mariadb-dump --single-transaction --quick --hex-blob --skip-lock-tables messageStore | gzip -1 >/by-hand.gz",
        "mariadb -e 'DROP DATABASE IF EXISTS copy; CREATE DATABASE copy'; gzip -dc /by-hand.gz | mariadb copy",
    ),
    "postgres": (
        "su postgres -c 'pg_dump --no-owner messageStore' | gzip -1 >/by-hand.gz",
        "su postgres -c 'dropdb --if-exists copy; createdb copy; gzip -dc /by-hand.gz | psql -q -o /dev/null copy'",
    ),
}


class Host:
    """The container of a database server, with a client's database of so many rows."""

    def __init__(self, where: Server, rows: int, drivers: Path) -> None:
        self.where = where
        docker("cp", f"{drivers}/.", f"{where.container}:/usr/lib/python3/dist-packages")
        prepare(where)
        seed = SEED[where.kind].replace("messageStore_seq", f"seq_1_to_{rows}").replace("{rows}", str(rows))
        if where.kind == "postgres":
            where.sql('CREATE DATABASE "messageStore" OWNER wa;')
            where.sql(seed, NAME)
        else:
            where.sql(seed)
        env = f"WA_DB_ENGINE={where.engine}\nWA_DB_HOSTNAME=127.0.0.1\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD={CANARY}\n"
        docker("exec", "-i", where.container, "sh", "-c", "cat >/db.env", stdin=env)

    def shell(self, script: str) -> None:
        Engine().run(self.where.container, script)

    def module(self, module: str, **options: t.Any) -> None:
        """Run a module there, as a playbook does, and fail with it."""
        play = [
            {
                "hosts": "all",
                "gather_facts": False,
                "tasks": [{f"waba.onprem.{module}": {"env_file": "/db.env", **options}}],
            }
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write(json.dumps(play))
            file.flush()
            at = [
                "-i",
                f"{self.where.container},",
                "-c",
                "community.docker.docker",
                "-e",
                "ansible_python_interpreter=/usr/bin/python3",
            ]
            commands.run(str(Path(sys.executable).with_name("ansible-playbook")), *at, file.name)


def main() -> None:
    """Fill a server of each product, measure, take everything away."""
    rows = LONG if "--long" in sys.argv else ROWS
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        container = docker("create", lab_images.base(), "true")
        ends.callback(docker, "rm", container)
        for name in ("pymysql", "psycopg2"):
            docker("cp", f"{container}:/usr/lib/python3/dist-packages/{name}", str(folder))
        for kind in ("mariadb", "postgres"):
            with tempfile.TemporaryDirectory() as files, server(kind, Path(files)) as where:
                compare(Host(where, rows, folder), rows)


def compare(host: Host, rows: int) -> None:
    dump, restore = BY_HAND[host.where.kind]
    title(f"{host.where.kind}: a copy of {rows} rows")
    remove = {"wa_db_dump": lambda: host.shell(f"rm -rf {FOLDER}")}
    sides: dict[str, t.Callable[[], object]] = {
        "wa_db_dump": lambda: host.module("wa_db_dump", dest=FOLDER, name="d"),
        "by hand": lambda: host.shell(dump),
    }
    tell(measure(sides, ROUNDS, remove), 1.1)
    title(f"{host.where.kind}: the restore of it")
    manifest = f"{FOLDER}/d.json"
    sides = {
        "wa_db_restore": lambda: host.module("wa_db_restore", operation="restore", manifest=manifest),
        "by hand": lambda: host.shell(restore),
    }

    def complete() -> None:
        for operation in ("complete", "remove_former"):
            host.module("wa_db_restore", operation=operation, manifest=manifest)

    tell(measure(sides, ROUNDS, {"wa_db_restore": complete}), 1.15)


if __name__ == "__main__":
    main()
