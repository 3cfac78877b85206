# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_message_gc: count and look against tasks that count, and a whole run against the simulated client's own time.

A lab of its own (`bench-gc`) with a client over MariaDB and one over PostgreSQL, taken down at the end. 2.2 million rows
each; with --long 10 million, too: the count, and the targets of count and look against COUNT(*), are for those.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import compare

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".lab" / "collections"))

# ruff: noqa: E402 - these need the path above
from ansible_collections.waba.onprem.plugins.module_utils._database import activity, messages
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database_connection
from ansible_collections.waba.onprem.plugins.module_utils._gc import completion

NAME = "bench-gc"
LAB = ROOT / ".lab" / NAME
LIMIT = 2_000_000
LARGE = 10_000_000
QUIET = 180.0
BIN = Path(sys.executable).parent
COUNTERS = {
    "rows read": ("Handler_read_first", "Handler_read_key", "Handler_read_next", "Handler_read_rnd_next"),
    "pages asked for": ("Innodb_buffer_pool_read_requests",),
    "pages from disk": ("Innodb_buffer_pool_reads", "Innodb_buffer_pool_read_ahead"),
    "pages written": ("Innodb_buffer_pool_pages_flushed",),
    "temporary rows": ("Handler_tmp_write",),
}
Work = dict[str, int]


def run(*command: str | Path, stdin: str = "") -> str:
    """The output of a command; its complaint goes with the error."""
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".lab" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_NOCOLOR": "1",
    }
    done = subprocess.run(
        [str(part) for part in command], input=stdin, capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode:
        raise SystemExit(f"{command[0]}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


def lab(verb: str, *arguments: str) -> str:
    """The output of a verb of the lab."""
    return run(ROOT / "tests" / "lab" / "lab", verb, "--name", NAME, *arguments)


@dataclass
class Client:
    """One host's client and its database server, reached at 127.0.0.1."""

    host: str
    kind: str
    engine: str
    module: str
    settings: database_connection.Settings
    tables: list[messages.Table]

    @property
    def database(self) -> str:
        return self.tables[0].database

    def restart(self) -> None:
        """Stop and start the database server, so that its own buffers are empty."""
        run("docker", "restart", "--time", "30", f"walab-{NAME}-{self.kind}")
        end = time.monotonic() + 120
        while True:
            try:
                with database_connection.connect(self.settings, self.database) as session:
                    session.rows("SELECT 1")
                    return
            except database_connection.DatabaseError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def worked(self, work: t.Callable[[], t.Any]) -> tuple[float, Work]:
        """Seconds and what MariaDB did meanwhile (its status before and after; the client's own traffic is in it)."""
        before = self._status()
        begin = time.perf_counter()
        work()
        seconds = time.perf_counter() - begin
        after = self._status()
        return seconds, {name: after[name] - before[name] for name in after}

    def _status(self) -> Work:
        if self.engine == database_connection.PGSQL:
            return {}
        with database_connection.connect(self.settings) as session:
            found = {str(name): value for name, value in session.rows("SHOW GLOBAL STATUS")}
        return {name: sum(int(found[part]) for part in parts) for name, parts in COUNTERS.items()}

    def planned(self, statement: str) -> Work:
        """What PostgreSQL does for a statement, as EXPLAIN (ANALYZE, BUFFERS) tells."""
        with database_connection.connect(self.settings, self.database, statement_timeout=600) as session:
            lines = [str(row[0]) for row in session.rows(f"EXPLAIN (ANALYZE, BUFFERS) {statement}")]
        scans = [line for line in lines if re.search(r"Scan", line)]
        rows = sum(round(float(n) * float(loops)) for n, loops in re.findall(r"rows=([\d.]+) loops=(\d+)", scans[0]))
        told = next((line for line in lines if "Buffers:" in line), "")
        pages = {word: int(n) for word, n in re.findall(r"(hit|read|dirtied|written)=(\d+)", told)}
        return {
            "rows read": rows,
            "pages asked for": pages.get("hit", 0) + pages.get("read", 0),
            "pages from disk": pages.get("read", 0),
            "pages dirtied": pages.get("dirtied", 0),
            "pages written": pages.get("written", 0),
            "temporary": sum("temp" in line for line in lines),
        }

    def count_task(self) -> float:
        """Seconds of `SELECT COUNT(*)` in the module that others use, as it tells them itself."""
        options: dict[str, t.Any] = {
            "login_host": "127.0.0.1",
            "login_port": self.settings.port,
            "login_user": self.settings.user,
            "login_password": self.settings.password,
            "login_db": self.database,
            "query": "SELECT COUNT(*) FROM messages",
        }
        result = task({self.module: options})
        told = result["execution_time_ms"]
        return sum(told if isinstance(told, list) else [told]) / 1000

    def count(self) -> messages.Count:
        return messages.count_up_to(self.settings, self.tables, LIMIT)

    def sample(self) -> list[list[list[t.Any]]]:
        return activity.take_sample(self.settings, self.tables, completion.SAMPLE)

    def statements_of_look(self, keys: list[list[list[t.Any]]]) -> tuple[float, float]:
        """Seconds of the look without its sample, and of all its statements, on a new connection that is there already."""
        seconds = []
        none: list[list[list[t.Any]]] = [[] for _table in self.tables]
        for given in (none, keys):
            for session, here in messages.sessions(self.settings, self.tables):
                begin = time.perf_counter()
                activity._inspect(session, here, dict(zip(self.tables, given)))
                seconds.append(time.perf_counter() - begin)
        return seconds[0], seconds[1]


def task(work: dict[str, t.Any]) -> dict[str, t.Any]:
    """The result of one task on this machine."""
    play = [{"hosts": "all", "gather_facts": False, "tasks": [work]}]
    path = LAB / "bench-play.yml"
    path.write_text(json.dumps(play))
    path.chmod(0o600)
    try:
        text = run(
            *(BIN / "ansible-playbook", "-i", "localhost,", "-c", "local"),
            *("-e", f"ansible_python_interpreter={sys.executable}", path),
        )
    finally:
        path.unlink()
    found: dict[str, t.Any] = json.loads(text[text.find("{") :])["plays"][0]["tasks"][0]["hosts"]["localhost"]
    return found


def clients(pause: str) -> list[Client]:
    """Bring the lab up, install the clients, and return them; `pause` is in seconds, between two batches of their GC."""
    lab("up", "--hosts", "h1:ready@mariadb,h2:ready@postgres", "--db", "both")
    slow = json.dumps({"wa_db_env_extra": {"SIM_GC_PAUSE": pause}})
    run(BIN / "ansible-playbook", "-i", LAB / "inventory.yml", ROOT / "playbooks" / "provision.yml", "-e", slow)
    password = json.loads((LAB / "secrets.json").read_text())["db_password"]
    ports = json.loads((LAB / "state.json").read_text())["ports"]
    found = []
    for host, kind, engine, module in (
        ("h1", "mariadb", database_connection.MYSQL, "ansible.mysql.mysql_query"),
        ("h2", "postgres", database_connection.PGSQL, "community.postgresql.postgresql_query"),
    ):
        settings = database_connection.Settings(engine, "127.0.0.1", ports[kind], "whatsapp", password)
        tables = messages.find_tables(settings, f"{host}_")
        found.append(Client(host, kind, engine, module, settings, tables))
    return found


def seed(client: Client, rows: int) -> None:
    lab("seed", "--rows", str(rows), "--top-up", "--db", client.kind, "--prefix", f"{client.host}_")


def table(title: str, ours: Work, theirs: Work) -> None:
    """The server's work for both, side by side."""
    print(f"  {title}: " + ", ".join(f"{name} {ours[name]:,} : {theirs[name]:,}" for name in ours), flush=True)


def bench_count(client: Client, rows: int, state: str) -> None:
    """The bounded count against COUNT(*) in a task, in seconds and in the server's work."""
    compare.title(f"{client.kind}, {rows:,} rows, {state}: count up to {LIMIT:,} against COUNT(*) in {client.module}")
    cold = state != "warm"
    ours, told = [], []
    if not cold:
        client.count()
        client.count_task()
    for _number in range(3 if cold else 5):
        if cold:
            client.restart()
        seconds, our_work = client.worked(client.count)
        ours.append(seconds)
        if cold:
            client.restart()
        their_work = client.worked(lambda: told.append(client.count_task()))[1]
    one, other = statistics.median(ours), statistics.median(told)
    print(
        f"  count, with its connection                {one:9.3f} s\n  COUNT(*), as the task tells it itself     {other:9.3f} s"
    )
    if client.engine == database_connection.MYSQL:
        table("server's work, count : task", our_work, their_work)
    else:
        index = f"OFFSET {LIMIT} LIMIT 1"
        table(
            "server's work, count : task",
            client.planned(f"SELECT 1 FROM messages {index}"),
            client.planned("SELECT COUNT(*) FROM messages"),
        )
    compare.check("COUNT(*) : count, time", other / one, 3, at_least=True)


def bench_look(client: Client, rows: int, state: str, samples: int = 30) -> None:
    """A look, with the keys of a sample and without, against COUNT(*) in a task."""
    compare.title(f"{client.kind}, {rows:,} rows, {state}: look against COUNT(*) in {client.module}")
    begin = time.perf_counter()
    keys = client.sample()
    print(f"  the sample, {sum(map(len, keys)):,} keys: {time.perf_counter() - begin:.3f} s")
    whole, inner, activities = [], [], []
    for _number in range(samples):
        begin = time.perf_counter()
        activity.inspect(client.settings, client.tables, keys)
        whole.append(time.perf_counter() - begin)
        without, seconds = client.statements_of_look(keys)
        activities.append(without)
        inner.append(seconds)
    work = client.worked(lambda: activity.inspect(client.settings, client.tables, keys))[1]
    told: list[float] = []
    their_work = client.worked(lambda: told.append(client.count_task()))[1]
    for name, values in (("activity", activities), ("and sample", inner), ("whole", whole)):
        low, middle, high = (round(value * 1000, 2) for value in (min(values), statistics.median(values), max(values)))
        print(f"  look, {name:<12}  {middle:9.2f} ms ({low} to {high})")
    print(f"  COUNT(*)            {told[0] * 1000:9.2f} ms")
    if work:
        table("server's work, look : task", work, their_work)
    compare.check("activity in units of 5 ms", statistics.median(activities) / 0.005, 1)
    compare.check(
        "COUNT(*) : look, whole", told[0] / statistics.median(whole), 3 if rows < LARGE else 10, at_least=True
    )


def collected(host: str) -> float:
    """The seconds that the simulated client took for its last GC, as its log tells."""
    script = "docker ps -q | while read -r id; do docker logs $id 2>&1; done"
    found = re.findall(r"message gc: complete, \d+ deleted in ([\d.]+) s", lab("ssh", host, script))
    return float(found[-1])


def bench_run(client: Client, rows: int, watch: bool) -> None:
    """A whole run of the role with its own defaults; with `watch` the look is measured meanwhile."""
    play = [
        {
            "hosts": client.host,
            "gather_facts": False,
            "tasks": [
                {
                    "ansible.builtin.include_role": {"name": "waba.onprem.wa_message_gc"},
                    "vars": {
                        "wa_message_gc_policy": "limit",
                        "wa_message_gc_window": "",
                        "__wa_message_gc_quiet_period": f"{QUIET:g}s",
                        "__wa_message_gc_poll_interval": "10s",
                    },
                },
                {"ansible.builtin.debug": {"var": "wa_message_gc_result"}},
            ],
        }
    ]
    path = LAB / "bench-run.yml"
    path.write_text(json.dumps(play))
    log = LAB / "bench-run.json"
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".lab" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
    }
    command = [str(BIN / "ansible-playbook"), "-i", str(LAB / "inventory.yml"), str(path)]
    begin = time.perf_counter()
    with (
        log.open("w") as stream,
        subprocess.Popen(command, stdout=stream, stderr=subprocess.PIPE, text=True, env=environment) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            if watch and "deleting" in line:
                watch = False
                bench_look(client, rows, "while GC runs", 20)
        process.wait()
    seconds = time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(log.read_text()[-3000:])
    text = log.read_text()
    result = json.loads(text[text.find("{") :])["plays"][0]["tasks"][-1]["hosts"][client.host]["wa_message_gc_result"]
    own = collected(client.host)
    compare.title(f"{client.kind}: {rows:,} rows brought under {LIMIT:,}, quiet period {QUIET:g} s, poll 10 s")
    print(
        f"  the client's own GC {own:.1f} s, playbook {seconds:.1f} s, run {result['seconds']:.1f} s, rows left"
        f" {result['messages_after']:,} (exact: {result['exact']})"
    )
    compare.check("run : client's own time + quiet period", result["seconds"] / (own + QUIET), 1.1)
    compare.check("playbook : client's own time + quiet period", seconds / (own + QUIET), 1.1)


def bench_after(client: Client, rows: int) -> None:
    """What the count costs after GC and vacuum: no page is to be dirtied."""
    left = client.count()
    compare.title(f"{client.kind}, {rows:,} rows before GC, {left.rows:,} after it: count")
    seconds, work = client.worked(client.count)
    if client.engine == database_connection.PGSQL:
        work = client.planned("SELECT COUNT(*) FROM messages")
    print(
        f"  count {seconds:.3f} s; COUNT(*) {client.count_task():.3f} s; "
        + ", ".join(f"{k} {v:,}" for k, v in work.items())
    )


def bench_memory(client: Client) -> None:
    """The largest memory of a process that runs the module, in check mode."""
    env = LAB / "bench.env"
    env.write_text(
        f"WA_DB_ENGINE={client.engine}\nWA_DB_HOSTNAME=127.0.0.1\nWA_DB_PORT={client.settings.port}\nWA_DB_USERNAME=whatsapp\n"
        f"WA_DB_PASSWORD={client.settings.password}\nWA_DB_NAME_PREFIX={client.host}_\n"
    )
    env.chmod(0o600)
    program = (
        "import atexit, resource, sys\n"
        "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))\n"
        "from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.waba.onprem.plugins.modules.wa_message_gc import main\n"
        f"with patch_module_args({{'env_file': {str(env)!r}, 'state_file': {str(LAB / 'bench-gc.json')!r}, '_ansible_check_mode': True}}):\n"
        "    main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".lab" / "collections")},
    )
    env.unlink()
    if done.returncode:
        raise SystemExit(f"wa_message_gc ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    before = json.loads(done.stdout)["messages_before"]
    compare.title(f"{client.kind}, about {before:,} rows: memory of the module")
    megabytes = int(done.stderr.split()[-1]) / 1024
    print(f"  {megabytes:.1f} MB")
    compare.check("memory in units of 60 MB", megabytes / 60, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="with 10 million rows, too")
    parser.add_argument("--kind", choices=("mariadb", "postgres"), help="only one of the two servers")
    parser.add_argument(
        "--pause", default="0.03", help="seconds between two batches of the client's GC (default: 0.03)"
    )
    arguments = parser.parse_args()
    try:
        for client in clients(arguments.pause):
            if arguments.kind not in (None, client.kind):
                continue
            sizes = [2_200_000, *([LARGE] if arguments.long else [])]
            for rows in sizes:
                seed(client, rows)
                if rows >= LARGE:
                    bench_count(client, rows, "warm")
                    bench_count(client, rows, "after a restart of the server")
                bench_look(client, rows, "idle")
                bench_memory(client)
                bench_run(client, rows, watch=rows == sizes[-1])
                bench_after(client, rows)
    finally:
        lab("down")


if __name__ == "__main__":
    main()
