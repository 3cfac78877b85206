# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restore.yml after a failed migration, then drills beside the client, which goes on writing, and what a restore has put aside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import commands  # noqa: E402 - needs the path above
import lab_images  # noqa: E402
from observer import Lab, Run  # noqa: E402
from walab.databases import users_sql  # noqa: E402

OLD, NEW = "2.51.2", "2.53.4"
DUMPS = "/var/lib/waba/dumps"
SERVERS = ("mysql-9.7", "mariadb", "postgres-13", "postgres")
DRILLS = "docker ps --all --quiet --filter label=waba.onprem.drill=h1"
OWN_CLIENT = "docker exec -i drills sh -c 'exec $(command -v mariadb || command -v mysql) -uroot -p{} -N 2>/dev/null'"
KILL = "pkill -KILL -f '^/usr/bin/python3[.0-9]*$'"  # the module, which is piped into Python
# Runs in the Coreapp: one session that writes a row every 20 ms, and prints its own number and that of the row.
WRITES = """
import os, sys, time
name = os.environ.get("WA_DB_NAME_PREFIX", "") + "messageStore"
login = dict(host=os.environ["WA_DB_HOSTNAME"], user=os.environ["WA_DB_USERNAME"], password=os.environ["WA_DB_PASSWORD"])
if os.environ["WA_DB_ENGINE"] == "PGSQL":
    import psycopg2
    db, own = psycopg2.connect(dbname=name, **login), "SELECT pg_backend_pid()"
else:
    import pymysql
    db, own = pymysql.connect(database=name, **login), "SELECT connection_id()"
cursor = db.cursor()
cursor.execute("CREATE TABLE IF NOT EXISTS beats (id INT PRIMARY KEY)")
cursor.execute(own)
session = cursor.fetchone()[0]
for number in range(1000000):
    if os.path.exists("/tmp/enough"):
        break
    cursor.execute("INSERT INTO beats VALUES (%s)", (number,))
    db.commit()
    print(session, number, flush=True)
    time.sleep(0.02)
"""


class Site:
    """A host with a client over one database server, whose upgrade has failed in the migration, with a copy."""

    def __init__(self, server: str) -> None:
        self.server, self.mysql = server, not server.startswith("postgres")
        self.name = f"deep-restore-{server.replace('.', '')}"
        self.h1 = Lab(self.name, "h1")

    def play(self, playbook: str, *arguments: str, **variables: t.Any) -> Run:
        done = self.h1.play(playbook, variables, *arguments)
        assert "Canary-" not in done.output
        return done

    def done(self, playbook: str, *arguments: str, **variables: t.Any) -> Run:
        found = self.play(playbook, *arguments, **variables)
        assert found.code == 0, found.output
        return found

    def sql(self, text: str, database: str = "messageStore") -> str:
        return self.h1.lab("sql", "--db", self.server, "--database", database, text).strip()

    @property
    def rows(self) -> str:
        return self.sql("SELECT count(*) FROM messages")

    @property
    def manifest(self) -> str:
        return self.h1.host(f"ls {DUMPS}/h1-*.json | grep -v drill").strip()

    def containers(self) -> str:
        """The client's containers, with the moment of their start."""
        return self.h1.host(
            "docker ps --quiet | xargs docker inspect --format '{{.Id}} {{.Image}} {{.State.StartedAt}}' | sort"
        )

    def drill(self, *arguments: str, **variables: t.Any) -> Run:
        return self.play("restore", *arguments, wa_restore=self.manifest, wa_restore_drill=True, **variables)

    @contextlib.contextmanager
    def writing(self) -> t.Iterator[None]:
        """The client writes meanwhile: each row is there at the end, by the one session."""
        words = [
            "docker",
            "exec",
            "-i",
            "walab-" + self.name + "-h1",
            "docker",
            "exec",
            "-i",
            "wa-h1-wacore-1",
            "python3",
            "-",
        ]
        writer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert writer.stdin
        assert writer.stdout
        writer.stdin.write(WRITES)
        writer.stdin.close()
        first = writer.stdout.readline().split()
        try:
            yield
            assert writer.poll() is None
        finally:
            self.h1.host("docker exec wa-h1-wacore-1 touch /tmp/enough")
            text = writer.stdout.read()
            writer.wait()
        lines = [first, *(line.split() for line in text.splitlines())]
        assert {session for session, _number in lines} == {first[0]}
        assert [int(number) for _session, number in lines] == list(range(len(lines)))
        assert int(self.sql("SELECT count(*) FROM beats").split()[-1]) == len(lines) > 100


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest) -> t.Iterator[Site]:
    found = Site(request.param)
    try:
        found.h1.lab("up", "--hosts", f"h1:ready@{found.server}", "--db", found.server)
        found.done("provision", wa_upgrade_dump=True)
        found.h1.lab("seed", "--rows", "3000", "--db", found.server)
        yield found
    finally:
        found.h1.lab("down")


def test_a_failed_migration_is_undone_by_one_command(site: Site) -> None:
    rows, containers = site.rows, site.containers()
    site.h1.lab("fault", "migration_fails", "on")
    failed = site.play("upgrade", wa_upgrade_version=NEW, wa_upgrade_dump=True)
    assert failed.code == 2, failed.output
    assert "waba.onprem.restore" in failed.output
    site.h1.lab("fault", "all", "off")
    for arguments in (["--check"], []):
        restored = site.done("restore", *arguments)
        assert f"copy {site.manifest} on h1: version {OLD}" in restored.output
    site.h1.wait_healthy()
    assert site.rows == rows
    images = [{line.split()[1] for line in found.splitlines()} for found in (site.containers(), containers)]
    assert images[0] == images[1]
    again = site.done("provision", wa_upgrade_dump=True)
    assert again.changed == 0, again.output


def test_what_was_put_aside_is_removed_by_its_own_command(site: Site) -> None:
    if not site.mysql:
        pytest.skip("PostgreSQL puts nothing aside")
    containers, rows = site.containers(), site.rows
    aside = "SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_schema LIKE '%waba%'"
    there = site.sql(aside)
    assert "messageStore__waba_out" in there
    removes = {"wa_restore": site.manifest, "wa_restore_remove_former": True}
    site.done("restore", "--check", **removes)
    assert site.sql(aside) == there
    site.done("restore", **removes)
    assert site.sql(aside) == ""
    assert (site.containers(), site.rows) == (containers, rows)


def test_a_drill_beside_a_client_that_writes(site: Site) -> None:
    image = lab_images.vendor(site.server)
    load = f"docker save {image} | docker exec -i walab-{site.name}-h1 docker load"
    commands.run("bash", "-o", "pipefail", "-c", load)
    containers, rows = site.containers(), site.rows
    with site.writing():
        predicted = site.drill("--check", wa_restore_drill_image=image)
        assert predicted.code == 0, predicted.output
        done = site.drill(wa_restore_drill_image=image)
        assert done.code == 0, done.output
    assert (site.containers(), site.rows, site.h1.host(DRILLS)) == (containers, rows, "")
    noted = json.loads(site.h1.host(f"cat {DUMPS}/*.drill.json"))
    assert noted["server"] == image


def test_a_drill_that_is_killed_is_followed_by_another(site: Site) -> None:
    image = lab_images.vendor(site.server)
    words = {"wa_restore": site.manifest, "wa_restore_drill": True, "wa_restore_drill_image": image}
    run = subprocess.Popen(
        ["ansible-playbook", "waba.onprem.restore", "-i", site.h1.inventory, "-e", json.dumps(words)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "ANSIBLE_PIPELINING": "true"},
    )
    site.h1.host(f'until [ -n "$({DRILLS})" ]; do sleep 0.1; done; {KILL}')
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    left = site.h1.host(DRILLS)
    assert left
    done = site.drill(wa_restore_drill_image=image)
    assert done.code == 0, done.output
    assert site.h1.host(DRILLS) == ""


def test_a_drill_whose_copy_is_damaged_fails(site: Site) -> None:
    image = lab_images.vendor(site.server)
    site.h1.host(f"rm -rf /root/d; cp -a {DUMPS} /root/d; rm -f /root/d/*.drill.json; truncate -s -99 /root/d/*.sql.*")
    manifest = site.h1.host("ls /root/d/*.json").strip()
    failed = site.play("restore", wa_restore=manifest, wa_restore_drill=True, wa_restore_drill_image=image)
    assert failed.code == 2
    assert "The file is damaged" in failed.output
    assert site.h1.host(f"{DRILLS}; ls /root/d/*.drill.json 2>/dev/null || true") == ""


def test_a_drill_on_a_server_of_the_operators(site: Site) -> None:
    """It has databases of others, which stay, and none of the client's is left there."""
    image, port = lab_images.vendor(site.server), "3306" if site.mysql else "5432"
    secret = "Canary-drill"
    names = ("MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD", "POSTGRES_PASSWORD")
    given = " ".join(f"-e {name}={secret}" for name in names)
    site.h1.host(f"docker run -d --name drills {given} -e MYSQL_ROOT_HOST=% -p 127.0.0.1:3399:{port} {image}")
    client = "docker exec -i drills psql -U postgres -tA" if not site.mysql else OWN_CLIENT.format(secret)
    list_ = "SELECT datname FROM pg_database ORDER BY 1" if not site.mysql else "SHOW DATABASES"
    site.h1.host(f"until echo 'SELECT 1' | {client} >/dev/null 2>&1; do sleep 1; done")
    site.h1.host(f"echo 'CREATE DATABASE others' | {client}")
    before, containers = site.h1.host(f"echo '{list_}' | {client}"), site.containers()
    secrets = json.loads((ROOT / ".lab" / site.name / "secrets.json").read_text(encoding="utf-8"))
    site.h1.host(f"{client} <<'SQL'\n{users_sql(site.server, secrets, 'whatsapp')}SQL")  # the client's user
    try:
        done = site.drill(wa_restore_drill_host="127.0.0.1:3399")
        assert done.code == 0, done.output
        assert (site.h1.host(f"echo '{list_}' | {client}"), site.containers()) == (before, containers)
        assert json.loads(site.h1.host(f"cat {DUMPS}/*.drill.json"))["server"].startswith("127.0.0.1")
    finally:
        site.h1.host("docker rm --force --volumes drills")


def test_a_drill_has_one_server(site: Site) -> None:
    without = site.drill()
    assert without.code == 2
    assert "neither wa_restore_drill_host nor wa_restore_drill_image is set" in " ".join(without.output.split())
