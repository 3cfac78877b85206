# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_db_dump and wa_db_restore beside the same tools in a pipe by hand, on the host of the database server.

Both sides are the client's user over the same connection, TCP with TLS, and compress by the same program. Printed are the whole task
with the start of Ansible, that without a run in check mode (start and checks: all but the work), and of a restore also without the
comparison, which is a count by hand. The sum, and the count of every row, are in the time of a copy. The CPU is that of the container.
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
MYSQL = f"--host=127.0.0.1 --user=wa --password={CANARY}"
PGSQL = f"PGPASSWORD={CANARY} {{}} --host=127.0.0.1 --username=wa"
COUNT = "SELECT count(*) FROM messages"
# The copy, its restore, and the comparison.
BY_HAND = {
    "mariadb": (
        f"mariadb-dump {MYSQL} --single-transaction --quick --hex-blob --skip-lock-tables --skip-add-locks --no-tablespaces {NAME}"
        " | gzip -1 >/by-hand.gz",
        f"mariadb {MYSQL} -e 'DROP DATABASE IF EXISTS copy; CREATE DATABASE copy'; gzip -dc /by-hand.gz | mariadb {MYSQL} copy",
        f"mariadb {MYSQL} -e '{COUNT}' copy",
    ),
    "postgres": (
        f"{PGSQL.format('pg_dump')} --no-owner {NAME} | gzip -1 >/by-hand.gz",
        f"{PGSQL.format('dropdb')} --if-exists copy; {PGSQL.format('createdb')} copy;"
        f" gzip -dc /by-hand.gz | {PGSQL.format('psql')} -q -o /dev/null copy",
        f"{PGSQL.format('psql')} -c '{COUNT}' copy",
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

    def cpu(self) -> float:
        """Seconds of CPU of all in the container: the server, its tools, the compressor and the module."""
        usage = "cat /sys/fs/cgroup/cpuacct/cpuacct.usage || sed -n 's/^usage_usec .*/&000/p' /sys/fs/cgroup/cpu.stat"
        return float(Engine().run(self.where.container, usage).split()[-1]) / 1e9

    def module(self, module: str, check: bool = False, **options: t.Any) -> None:
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
                *(["--check"] if check else []),
            ]
            commands.run(str(Path(sys.executable).with_name("ansible-playbook")), *at, file.name)


def main() -> None:
    """Fill a server of each product, measure, take everything away."""
    long = "--long" in sys.argv
    rows, rounds = (LONG, 1) if long else (ROWS, ROUNDS)
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory()))
        container = docker("create", lab_images.base(), "true")
        ends.callback(docker, "rm", container)
        for name in ("pymysql", "psycopg2"):
            docker("cp", f"{container}:/usr/lib/python3/dist-packages/{name}", str(folder))
        for kind in ("mariadb", "postgres"):
            with tempfile.TemporaryDirectory() as files, server(kind, Path(files)) as where:
                compare(Host(where, rows, folder), rows, rounds)


def compare(host: Host, rows: int, rounds: int) -> None:
    dump, restore, count = BY_HAND[host.where.kind]
    manifest = f"{FOLDER}/d.json"
    options: dict[str, dict[str, t.Any]] = {
        "wa_db_dump": {"dest": FOLDER, "name": "d"},
        "wa_db_restore": {"operation": "restore", "manifest": manifest},
    }

    def complete() -> None:
        for operation in ("complete", "remove_former"):
            host.module("wa_db_restore", operation=operation, manifest=manifest)

    def run(
        module: str, prepare: t.Callable[[], None], sides: dict[str, t.Callable[[], object]], target: float
    ) -> None:
        both = {
            "whole task": lambda: host.module(module, **options[module]),
            "check mode": lambda: host.module(module, check=True, **options[module]),
            **sides,
        }
        measured = measure(both, rounds, {"whole task": prepare, "check mode": prepare}, host.cpu)
        whole, check, *rest, by_hand = measured
        tell(measured, target)
        # The CPU is that of the container, without Ansible: whatever else this machine does, falls less on it.
        tell(measured, target, "cpu")
        work = whole.without("without start and checks", check)
        for clock in ("wall", "cpu"):
            tell([work, by_hand], target, clock)
            if rest:
                tell([work.without("and without the comparison", rest[0]), by_hand], target, clock)

    title(f"{host.where.kind}: a copy of {rows} rows")
    run("wa_db_dump", lambda: host.shell(f"rm -rf {FOLDER}"), {"by hand": lambda: host.shell(dump)}, 1.1)
    host.module("wa_db_dump", **options["wa_db_dump"])
    title(f"{host.where.kind}: the restore of it")
    host.shell(restore)
    sides: dict[str, t.Callable[[], object]] = {
        "count by hand": lambda: host.shell(count),
        "by hand": lambda: host.shell(restore),
    }
    run("wa_db_restore", complete, sides, 1.15)


if __name__ == "__main__":
    main()
