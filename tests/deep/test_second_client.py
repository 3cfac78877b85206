# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to start a second Coreapp of one number, or another version on its database: each is refused, and no ordinary run is.

`down` fails if two Coreapps of one database ever ran at the same time. h1 runs the client; h2 and h3 are other hosts of the lab.
"""

from __future__ import annotations

import contextlib
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import commands  # noqa: E402 - needs the path above
from observer import Lab, Run, changes  # noqa: E402

OLD, NEW = "2.51.2", "2.53.4"
UNKNOWN = "sessions of the client's user that are not this client's"
UNRECORDED = "neither a container nor a record on a host of this run knows"
# Holds a session on the client's database for a minute, from the lab host itself, or from the database server's own address.
SESSION = {
    "mariadb": "import pymysql, time; c = pymysql.connect(host='mariadb.lab', user='whatsapp', password='{password}', "
    "database='{prefix}messageStore'); time.sleep(600)",
    "postgres": "import psycopg2, time; c = psycopg2.connect(host='postgres.lab', user='whatsapp', password='{password}', "
    "dbname='{prefix}messageStore'); time.sleep(600)",
}


PROXY = """
import asyncio
async def copy(a, b):
    try:
        while data := await a.read(65536):
            b.write(data)
            await b.drain()
    finally:
        b.close()
async def serve(reader, writer):
    there = await asyncio.open_connection('{server}.lab', {port})
    await asyncio.gather(copy(reader, there[1]), copy(there[0], writer), return_exceptions=True)
async def main():
    async with await asyncio.start_server(serve, '0.0.0.0', 3399) as server:
        await server.serve_forever()
asyncio.run(main())
"""
PORTS = {"mariadb": 3306, "postgres": 5432}


class Site:
    """A lab over one database server, whose hosts are observed one by one."""

    def __init__(self, server: str) -> None:
        self.server, self.name = server, f"deep-second-{server}"
        self.h1, self.h2 = Lab(self.name, "h1"), Lab(self.name, "h2")

    def provision(self, *hosts: str, check: bool = False, **variables: t.Any) -> Run:
        return self.h1.play("provision", variables, f"--limit={','.join(hosts)}", *(["--check"] if check else []))

    def refused(self, said: str, *hosts: str, **variables: t.Any) -> None:
        """Both a run and its check refuse, and leave every container and file of the hosts."""
        before = [Lab(self.name, host).snapshot() for host in hosts]
        for check in (True, False):
            done = self.provision(*hosts, check=check, **variables)
            assert done.code == 2, done.output
            assert said in done.output.replace("\\", ""), done.output
        after = [Lab(self.name, host).snapshot() for host in hosts]
        for one, two in zip(before, after):  # folders are made before the database can be asked
            assert [line for line in changes(one, two) if not line[2:].startswith("path ") or " f " in line] == []

    @contextlib.contextmanager
    def session(self, host: Lab, prefix: str = "h1_") -> t.Iterator[None]:
        """Another program's session on the client's database, from a lab host."""
        script = SESSION[self.server].format(password=self.password, prefix=prefix)
        commands.docker("exec", "--detach", f"walab-{self.name}-{host.at}", "python3", "-c", script)
        try:
            yield
        finally:
            host.host("pkill -f messageStore || true")

    @property
    def password(self) -> str:
        text = (ROOT / ".lab" / self.name / "group_vars/all/secrets.yml").read_text(encoding="utf-8")
        return next(line.split('"')[1] for line in text.splitlines() if "wa_db_env_password" in line)


@pytest.fixture(scope="module", params=["mariadb", "postgres"])
def site(request: pytest.FixtureRequest) -> t.Iterator[Site]:
    found = Site(request.param)
    try:
        found.h1.lab("up", "--hosts", "h1:ready,h2:ready,h3:ready", "--db", request.param)
        first = found.provision("h1")
        assert first.code == 0, first.output
        yield found
    finally:
        found.h1.lab("down")


def test_another_host_with_the_database_of_a_client_that_serves(site: Site) -> None:
    site.refused(UNKNOWN, "h2", wa_db_env_name_prefix="h1_")


def test_two_new_hosts_with_one_database(site: Site) -> None:
    site.refused(
        "are different deployments, and reach the same running server", "h2", "h3", wa_db_env_name_prefix="new_"
    )


def test_a_session_of_another_address_fails_the_daily_run(site: Site) -> None:
    with site.session(site.h2):
        for check in (True, False):
            done = site.provision("h1", check=check)
            assert (done.code, done.changed) == (2, 0), done.output
            assert UNKNOWN in done.output
        origin = done.output.partition(UNKNOWN)[2].partition(" from ")[2].partition(" ")[0]
        shared = site.provision("h1", wa_db_shared_origins=[origin])
        assert (shared.code, shared.changed) == (0, 0), shared.output
    assert site.provision("h1").code == 0


def test_a_stopped_client_is_not_started_beside_a_session_of_its_own_address(site: Site) -> None:
    """A client behind the same NAT, a pool, or what a crashed client has left."""
    site.h1.host("docker stop wa-h1-waweb-1 wa-h1-wacore-1")
    with site.session(site.h1):
        site.refused(UNKNOWN, "h1")
    again = site.provision("h1")
    assert again.code == 0, again.output


def test_a_fail_over_is_no_question(site: Site) -> None:
    commands.docker("restart", f"walab-{site.name}-{site.server}")
    site.h1.host("docker stop wa-h1-wacore-1")
    done = site.provision("h1")
    assert done.code == 0, done.output


def test_the_start_of_another_version_after_down(site: Site) -> None:
    site.h1.host("cd /opt/waba/h1 && docker compose down")
    site.refused(f"h1 runs {OLD}, or ran it last", "h1", wa_version=NEW)
    back = site.provision("h1")
    assert back.code == 0, back.output


def test_a_rebuilt_host_is_asked_which_version_ran(site: Site) -> None:
    site.h1.host("cd /opt/waba/h1 && docker compose down; rm -rf /opt/waba /var/lib/waba")
    site.refused(UNRECORDED, "h1", wa_version=NEW)
    site.refused(f"gives version {OLD}", "h1", wa_version=NEW, wa_confirm_identity={"version": OLD})
    done = site.provision("h1", wa_confirm_identity={"version": OLD})
    assert done.code == 0, done.output
    again = site.provision("h1")
    assert (again.code, again.changed) == (0, 0), again.output


def test_a_proxy_of_the_database_is_no_question_and_its_idle_sessions_are_named(site: Site) -> None:
    proxy = PROXY.format(server=site.server, port=PORTS[site.server])
    commands.docker("exec", "--detach", f"walab-{site.name}-h3", "python3", "-c", proxy)
    through: dict[str, t.Any] = {"wa_db_env_hostname": "h3.lab", "wa_db_env_port": 3399, "wa_db_env_name_prefix": "px_"}
    first = site.provision("h2", **through)
    assert first.code == 0, first.output
    again = site.provision("h2", **through)
    assert (again.code, again.changed) == (0, 0), again.output
    site.h2.host("docker stop wa-h2-waweb-1 wa-h2-wacore-1")
    with site.session(Lab(site.name, "h3"), "px_"):  # what a pool keeps of a client that has gone
        site.refused(UNKNOWN, "h2", **through)
        origin = (
            site.provision("h2", check=True, **through)
            .output.partition(UNKNOWN)[2]
            .partition(" from ")[2]
            .partition(" ")[0]
        )
        shared = site.provision("h2", **through, wa_db_shared_origins=[origin])
        assert shared.code == 0, shared.output


@pytest.fixture(scope="module", params=["mariadb", "postgres"])
def pair(request: pytest.FixtureRequest) -> t.Iterator[Site]:
    """Two hosts that are one client over one database."""
    found = Site(request.param)
    found.name = f"deep-pair-{found.server}"
    found.h1, found.h2 = Lab(found.name, "h1"), Lab(found.name, "h2")
    try:
        found.h1.lab("up", "--hosts", "h1:ready,h2:ready", "--shared", "--db", found.server)
        first = found.provision("h1", "h2")
        assert first.code == 0, first.output
        yield found
    finally:
        found.h1.lab("down")


DOWN = "cd /opt/waba/waba && docker compose down"


def test_a_rebuilt_member_is_known_by_the_others(pair: Site) -> None:
    pair.h2.host(f"{DOWN}; rm -rf /opt/waba /var/lib/waba")
    pair.refused(UNRECORDED, "h2")
    pair.refused(f"runs {OLD}", "h1", "h2", wa_version=NEW)
    done = pair.provision("h1", "h2")
    assert done.code == 0, done.output
    again = pair.provision("h1", "h2")
    assert (again.code, again.changed) == (0, 0), again.output


def test_members_that_a_run_leaves_out_are_no_question(pair: Site) -> None:
    pair.h1.host("docker stop $(docker ps --quiet)")
    done = pair.provision("h1")
    assert done.code == 0, done.output
    for host in (pair.h1, pair.h2):
        host.host(DOWN)
    both = pair.provision("h1", "h2")
    assert both.code == 0, both.output
