# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong values and faults on a healthy client: the effect and the message of each playbook, and the effect of the next run.

Compares snapshots of the host from before and after each run, taken independently of the collection: ids, start times, modes
and contents. A run in check mode must end with the same message and change nothing. The rows of docs/faults.md are compared with
those in tests/faults; `--record` writes them there.

    python tests/deep/no_harm.py LAB [--record] [CASE...]
"""

from __future__ import annotations

import pathlib
import re
import sys
import typing as t
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from observer import Lab, Run, changes, compare_table, expect, without_ids  # noqa: E402 - needs the path above
from walab.inventory import STORES  # noqa: E402 - needs the path above

PROJECT = "wa-h1"
LONGEST = 420  # characters of a message in the table
RUN_SPECIFIC = {
    "ID": r"\b[0-9a-f]{12,64}\b",
    "ADDRESS": r"\b\d{1,3}(\.\d{1,3}){3}\b",
    "-i INVENTORY": r"-i \S+",
    "for SECONDS": r"for up to \d+ s",
    "TIME": r"\b\d{4}-\d\d-\d\d \d\d:\d\d UTC",
}

# Objects of another client and of other programs on the same host and server: no run may change them.
NEIGHBOURS = f"""
set -eu
! docker inspect shop-web >/dev/null 2>&1 || exit 0
image=$(docker inspect --format '{{{{.Config.Image}}}}' {PROJECT}-waweb-1)
docker tag "$image" shop/web:1.0
docker run --detach --name shop-web --restart always --entrypoint sleep shop/web:1.0 infinity >/dev/null
mkdir -p /srv/shop/data
echo planted >/srv/shop/data/orders
"""


@dataclass(frozen=True)
class Case:
    """A fault, the playbook that runs with it, and the expected result.

    `happens`: `nothing is touched`, `the client is not touched` (containers, volumes, databases), `is taken back` (files restored,
    containers recreated from them, healthy), `the new files stay`, or `is repaired` (the run succeeds).
    """

    fault: str
    words: tuple[str, ...]
    happens: str = "nothing is touched"
    code: int = 2
    playbook: str = "provision"
    variables: t.Mapping[str, t.Any] = field(default_factory=dict)
    before: str = ""  # scripts on the host
    after: str = ""
    check: bool = True  # whether check mode can predict the result
    again: str = "changes nothing"  # result of the next run with the right values


# A session on the client's database, as a second client or a forgotten program has one.
SESSION = (
    "password=$(sed -n 's/^WA_DB_PASSWORD=//p' /opt/waba/h1/db.env) python3 -c '"
    'import os, pymysql, time; c = pymysql.connect(host="mariadb.lab", user="whatsapp", password=os.environ["password"], '
    'database="messageStore"); open("/tmp/other-session", "w"); time.sleep(300)\' </dev/null >/dev/null 2>&1'
)
SERVICE = "{environment: {WA_DB_NAME_PREFIX: x_}}"
OTHER_PREFIX = f"echo 'services: {{wacore: {SERVICE}, waweb: {SERVICE}}}' >/root/more.yml"
ENV_TOO = {"wa_db_env_extra": {"WA_PLANTED": "1"}}  # what is due in db.env, too, is not written either


def set_password(new: str, now: str = "") -> str:
    """A script by which the client's user changes its own password; an empty one is that of the healthy client."""
    return f"""
[ -e /root/db.env ] || cp -p /opt/waba/h1/db.env /root/db.env
python3 - {new!r} {now!r} <<'END'
import sys, pymysql
env = dict(line.rstrip("\\n").split("=", 1) for line in open("/root/db.env") if line[:1].isalpha())
new, now = (given or env["WA_DB_PASSWORD"] for given in sys.argv[1:])
login = dict(host=env["WA_DB_HOSTNAME"], user=env["WA_DB_USERNAME"], password=now)
with pymysql.connect(**login) as session:
    session.cursor().execute("SET PASSWORD = PASSWORD(%s)", (new,))
END
{"" if new else "rm -f /root/db.env"}
"""


CASES: dict[str, Case] = {
    "password": Case(
        "a wrong database password",
        ("Access denied",),
        variables={"wa_db_env_password": "Wrong9pass-Canary"},
    ),
    "hostname": Case(
        "a database server's name that does not resolve",
        ("mariadb.lba",),
        variables={"wa_db_env_hostname": "mariadb.lba"},
    ),
    "prefix": Case(
        "another prefix of the database names",
        ("name_prefix", "x_"),
        variables={"wa_db_env_name_prefix": "x_"},
    ),
    "engine": Case(
        "another database engine and server",
        ("engine", "PGSQL"),
        variables={"wa_db_env_engine": "PGSQL", "wa_db_env_hostname": "postgres.lab", "wa_db_env_port": 5432},
    ),
    "volume": Case(
        "another media volume",
        ("other",),
        variables={"wa_media_volume_name": "other"},
    ),
    "project": Case(
        "another Compose project",
        ("project wa-h1", "would become other", "Nothing was changed"),
        variables={"wa_project": "other"},
    ),
    "slash": Case(
        "the folder of the deployment, written with slashes at the end",
        (),
        code=0,
        variables={"wa_project_dir": "/opt//waba/h1/"},
    ),
    "relative": Case(
        "a relative path for a folder",
        ("wa_project_dir", "is relative"),
        variables={"wa_project_dir": "srv/wa"},
    ),
    "version": Case(
        "another version in the inventory",
        ("runs 2.51.2", "wa_version is 2.53.4"),
        variables={"wa_version": "2.53.4", **ENV_TOO},
    ),
    "down": Case(
        "another version in the inventory, after docker compose down",
        ("2.51.2, or ran it last", "wa_version is 2.53.4"),
        before="docker compose --project-name wa-h1 --file /opt/waba/h1/compose.yml down",
        variables={"wa_version": "2.53.4", **ENV_TOO},
        again="is repaired",
    ),
    "other-session": Case(
        "a stopped client whose database another session of its user is on",
        ("sessions of the client's user that are not this client's", "Find out whose they are"),
        before="docker stop wa-h1-waweb-1 wa-h1-wacore-1; "
        + SESSION
        + " & n=0; until [ -e /tmp/other-session ]; do n=$((n + 1)); [ $n -lt 200 ]; sleep 0.1; done",
        after="pkill -f other-session; rm -f /tmp/other-session",
        again="is repaired",
    ),
    "copy": Case(
        "an upgrade without a copy of the database",
        ("no copy is made before the migration",),
        playbook="upgrade",
        variables={"wa_upgrade_version": "2.53.4"},
    ),
    "retag": Case(
        "a tag that points to another image than the one that runs",
        ("coreapp:v2.51.2",),
        before="docker tag $(docker inspect --format '{{.Image}}' wa-h1-waweb-1)"
        " $(docker inspect --format '{{.Config.Image}}' wa-h1-wacore-1)",
        after="docker tag $(docker inspect --format '{{.Image}}' wa-h1-wacore-1)"
        " $(docker inspect --format '{{.Config.Image}}' wa-h1-wacore-1)",
    ),
    "retag-upgrade": Case(
        "the new version's tag, which points to the build that runs, at an upgrade",
        ("coreapp:v2.53.4: on this host it is the image", "coreapp:v2.51.2", "Nothing was changed"),
        playbook="upgrade",
        before="docker tag $(docker inspect --format '{{.Config.Image}}' wa-h1-wacore-1) registry.lab:5000/whatsapp/coreapp:v2.53.4",
        after="docker rmi --no-prune registry.lab:5000/whatsapp/coreapp:v2.53.4",
        variables={"wa_upgrade_version": "2.53.4", "wa_upgrade_skip": ["database_backup"]},
    ),
    "database-away": Case(
        "the database server cannot be reached, and another password",
        ("not reachable",),
        variables={"wa_db_env_password": "Wrong9pass-Canary"},
        before="ip route add blackhole $(getent ahostsv4 mariadb.lab | awk '{print $1; exit}')",
        after="ip route del blackhole $(ip route show type blackhole | awk '{print $2; exit}')",
    ),
    "unhealthy": Case(
        "a change with which the client does not become healthy",
        ("put back, and the client is healthy again",),
        happens="is taken back",
        variables={"wa_db_env_extra": {"SIM_FAULTS": "unregistered"}, "wa_client_health_timeout": 20},
    ),
    "password-changed": Case(
        "a change with which the client does not become healthy, after the server has another password",
        ("The new files stay", "Access denied"),
        happens="the new files stay",
        before=set_password("Next9pass-Canary"),
        after=set_password("", "Next9pass-Canary") + "sed -i /SIM_FAULTS/d /opt/waba/h1/db.env\n",
        variables={
            "wa_db_env_password": "Next9pass-Canary",
            "wa_db_env_extra": {"SIM_FAULTS": "unregistered"},
            "wa_client_health_timeout": 20,
        },
        again="is repaired",
    ),
    "port": Case(
        "a change with which a container does not start: the port of another program",
        ("put back, and the client is healthy again",),
        happens="is taken back",
        variables={"wa_client_web_port": 22},
    ),
    "stopped": Case(
        "a stopped container, with wa_client_restart: report",
        (),
        happens="is repaired",
        before="docker stop wa-h1-waweb-1",
        variables={"wa_client_restart": "report"},
    ),
    "foreign": Case(
        "a Webapp of the client outside Compose",
        ("web-by-hand", "containers of this client outside the Compose project wa-h1", "by five commands"),
        before="""docker rm --force wa-h1-waweb-1
image=$(docker inspect --format '{{.Config.Image}}' wa-h1-wacore-1 | sed 's,/coreapp:,/web:,')
docker run --detach --name web-by-hand --network wa-h1_default --env-file /opt/waba/h1/db.env --env WA_CONFIG_ON_DB=1 "$image"
""",
        after="docker rm --force web-by-hand",
        again="is repaired",
    ),
    "override": Case(
        "another prefix by a Compose file of the operator's, not by db.env",
        ("compose.yml of project wa-h1", "name_prefix (empty) (wa-h1-wacore-1) would become x_"),
        before=OTHER_PREFIX,
        after="rm -f /root/more.yml",
        variables={"wa_client_compose_files": ["/root/more.yml"]},
    ),
    "override-upgrade": Case(
        "another prefix by a Compose file of the operator's, at an upgrade",
        ("compose.yml of project wa-h1", "name_prefix (empty) (wa-h1-wacore-1) would become x_"),
        playbook="upgrade",
        happens="the client is not touched",
        check=False,  # the new version's file is written first
        before=OTHER_PREFIX,
        after="rm -f /opt/waba/h1/compose-2.53.4.yml /opt/waba/h1/migration-2.53.4.yml /root/more.yml;"
        " docker image rm $(docker image ls --quiet --filter reference='*/whatsapp/*:v2.53.4')",  # which it has pulled
        variables={
            "wa_upgrade_version": "2.53.4",
            "wa_upgrade_skip": ["database_backup"],
            "wa_client_compose_files": ["/root/more.yml"],
            # Without a prefix that of the neighbour is doubtful, which would stop the checks before.
            "wa_message_gc_databases": [one for one in STORES if one != "messageStore1"],
        },
    ),
    "compose": Case(
        "a Compose file of the operator's own in wa_project_dir",
        ("/opt/waba/h1/compose.yml: a Compose file that is not this collection's",),
        before="cp -p /opt/waba/h1/compose.yml /root/ours.yml; echo 'services: {}' >/opt/waba/h1/compose.yml",
        after="[ ! -e /root/ours.yml ] || mv /root/ours.yml /opt/waba/h1/compose.yml",
    ),
    "text": Case(
        "a text for a mapping",
        ("wa_images is text, but must be a mapping",),
        variables={"wa_images": "acme"},
    ),
    "held": Case(
        "a stopped Coreapp of a client that is held",
        (
            "by /var/lib/waba/h1.hold on h1: moving, Ann. No container of the client is started",
            "To end it: sudo rm /var/lib/waba/h1.hold",
            "h1 | held: wa-h1-wacore-1 has exited",
        ),
        code=0,
        before="docker stop wa-h1-wacore-1; echo moving, Ann >/var/lib/waba/h1.hold",
        after="rm --force /var/lib/waba/h1.hold",
        again="is repaired",
    ),
    "held-upgrade": Case(
        "an upgrade of a client that is held",
        ("by /var/lib/waba/h1.hold on h1: moving, Ann", "To end it: sudo rm /var/lib/waba/h1.hold"),
        playbook="upgrade",
        before="echo moving, Ann >/var/lib/waba/h1.hold",
        after="rm --force /var/lib/waba/h1.hold",
        variables={"wa_upgrade_version": "2.53.4", "wa_upgrade_skip": ["database_backup"]},
    ),
}


def sentence(message: str) -> str:
    """A message for the table: on one line, shortened, without parts that differ from run to run."""
    text = " ".join(message.split()).replace("|", "\\|")
    for kind, pattern in RUN_SPECIFIC.items():
        text = re.sub(pattern, kind, text)
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " ..."


def run_case(lab: Lab, name: str, case: Case) -> dict[str, str]:
    """Run one case; return its row of the table."""
    print(f"\n### {name}: {case.fault}", flush=True)
    lab.wait_healthy()
    initial = lab.snapshot()
    if case.before:
        lab.host(case.before)
    try:
        return observe(lab, case, initial)
    finally:
        lab.host(case.after, check=False)


def observe(lab: Lab, case: Case, initial: list[str]) -> dict[str, str]:
    """Run one case on the broken host; `initial` is the snapshot from before the fault."""
    before = lab.snapshot()
    code = 0 if case.happens == "is repaired" else case.code
    if case.check:
        run = lab.play(case.playbook, case.variables, "--check")
        if case.happens == "nothing is touched":
            expect_run("check mode", run, code, case.words)
        expect("check mode touched", changes(before, lab.snapshot()), [])
    run = lab.play(case.playbook, case.variables)
    expect_run("the run", run, code, case.words)
    after = lab.snapshot()
    if case.happens == "nothing is touched":
        expect("touched", changes(before, after), [])
    elif case.happens == "the client is not touched":
        expect("touched", changes(client_lines(before), client_lines(after)), [])
    elif case.happens == "is taken back":
        expect("not taken back", changes(without_ids(before), without_ids(after)), [])
    lab.host(case.after)
    if case.again != "changes nothing":
        again = lab.play("provision", {})
        expect("the next run, exit code", again.code, 0)
        expect("the next run changed something", again.changed > 0, True)
    if case.happens != "nothing is touched" or case.again != "changes nothing":
        again = lab.play("provision", {})
        expect("a run after it", (again.code, again.changed), (0, 0))
    if case.before and case.after:
        expect("left over", changes(without_ids(initial), without_ids(lab.snapshot())), [])
    return {
        "fault": case.fault,
        "playbook": f"{case.playbook}.yml",
        "happens": case.happens,
        "said": sentence(run.message),
        "next": case.again,
    }


def client_lines(snapshot: t.Iterable[str]) -> list[str]:
    """The lines of a snapshot about the client: containers, volumes and databases."""
    return [line for line in snapshot if line.startswith(("container ", "volume ", "database "))]


def expect_run(what: str, run: Run, code: int, words: t.Sequence[str]) -> None:
    """Expect that a run ended with `code`, that its output contains all of `words`, and that it contains no secret."""
    if run.code != code or any(text not in " ".join(run.output.split()) for text in words):
        print(run.output, flush=True)
    expect(f"{what}, exit code", run.code, code)
    expect(f"{what}, words", [text for text in words if text not in " ".join(run.output.split())], [])
    expect(f"{what}, secrets", "Canary" in run.output, False)


def run(lab: Lab, chosen: t.Sequence[str] = (), record: bool = False) -> None:
    """Create the neighbours' objects, run the cases and compare the table, or `record` it. Raises SystemExit on a difference."""
    lab.host(NEIGHBOURS)
    for statement in (
        "CREATE DATABASE IF NOT EXISTS billing",
        "CREATE TABLE IF NOT EXISTS billing.invoices (id INT PRIMARY KEY)",
    ):
        lab.lab("sql", "--db", "mariadb", statement)
    rows = [run_case(lab, case, CASES[case]) for case in chosen or CASES]
    again = lab.play("provision", {})
    expect("a run with the right values", (again.code, again.changed), (0, 0))
    compare_table("no_harm", rows, record)


if __name__ == "__main__":
    name, *words = sys.argv[1:]
    run(Lab(name, "h1"), [word for word in words if word != "--record"], "--record" in words)
