# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Twenty hosts of ten customers, whose databases have one private address, user, password and prefix, are ten deployments.

Each customer has a server of its own at 10.0.0.5, as its two hosts see it.
"""

from __future__ import annotations

import json
import shlex
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import commands  # noqa: E402 - needs the path above
from observer import Lab, Run  # noqa: E402
from walab.databases import users_sql  # noqa: E402

NAME = "deep-adopt-many"
PAIRS = [(f"h{number}", f"h{number + 1}") for number in range(1, 20, 2)]
HOSTS = [host for pair in PAIRS for host in pair]
SERVER = f"walab-{NAME}-mariadb"
# One server of each customer, in the container of the lab's own; all of them have the client's user.
SERVERS = """
set -e
mkdir -p /srv/customers && chown mysql /srv/customers
mariadb-install-db --no-defaults --user=mysql --datadir=/srv/customers/new --skip-test-db >/dev/null
for port in $PORTS; do
    cp -a /srv/customers/new /srv/customers/$port
    mariadbd --no-defaults --user=mysql --datadir=/srv/customers/$port --port=$port --socket=/srv/customers/$port.sock \
        --pid-file=/srv/customers/$port.pid --bind-address=0.0.0.0 --innodb-buffer-pool-size=8M --performance-schema=OFF \
        --max-connections=60 >/srv/customers/$port.log 2>&1 </dev/null &
done
for port in $PORTS; do
    until mariadb-admin --no-defaults --silent --socket=/srv/customers/$port.sock ping >/dev/null 2>&1; do sleep 0.2; done
    printf '%s' "$SQL" | mariadb --no-defaults --socket=/srv/customers/$port.sock
done
"""
# What the host, and what its containers send to 10.0.0.5 goes to the server of its customer.
ROUTE = """
set -e
for chain in PREROUTING OUTPUT; do
    iptables -t nat -A $chain -d 10.0.0.5 -p tcp --dport 3306 -j DNAT --to-destination $TO
done
iptables -t nat -A POSTROUTING -p tcp -d ${TO%:*} --dport ${TO#*:} -j MASQUERADE
"""
RUNNING = "docker ps --all --quiet --no-trunc | xargs docker inspect --format '{{.Id}} {{.State.StartedAt}}' | sort"


def assigned(**values: str) -> str:
    return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in values.items())


def start(host: str, secrets: t.Mapping[str, str], address: str) -> None:
    """Starts the client by hand, as one of the two hosts of a customer."""
    port = 3400 + HOSTS.index(host) // 2
    given = {
        "REGISTRY": "registry.lab:5000/whatsapp",
        "VERSION": "2.51.2",
        "DB_HOST": "10.0.0.5",
        "DB_PASSWORD": secrets["db_password"],
        "PREFIX": "",
        "ADDRESS": f"{host}.lab",
        "JWT_KEY": "Canary-key-of-all",
    }
    script = (ROOT / "tests/lab/layouts/by-hand").read_text(encoding="utf-8")
    first = f"{assigned(TO=f'{address}:{port}')}{ROUTE}cat >/root/by-hand <<'BY_HAND'\n{script}BY_HAND\n"
    Lab(NAME, host).host(f"{first}{assigned(**given)}sh /root/by-hand member </dev/null\n")


def api(hosts: t.Sequence[str], module: str, **options: t.Any) -> None:
    """Calls the API of clients by a module."""
    given = {"api_url": "https://127.0.0.1:9090", "api_validate_certs": False, **options}
    inventory = str(ROOT / ".lab" / NAME / "inventory.yml")
    commands.run("ansible", "-i", inventory, ",".join(hosts), "-m", f"waba.onprem.{module}", "-a", json.dumps(given))


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    """The twenty hosts with healthy clients."""
    found = Lab(NAME, HOSTS[0])
    try:
        found.lab("up", "--hosts", ",".join(f"{host}:ready" for host in HOSTS), "--db", "mariadb")
        secrets = json.loads((ROOT / ".lab" / NAME / "secrets.json").read_text(encoding="utf-8"))
        ports = " ".join(str(3400 + number) for number in range(len(PAIRS)))
        sql = users_sql("mariadb", secrets, "whatsapp")
        commands.docker("exec", "-i", SERVER, "sh", "-s", stdin=assigned(PORTS=ports, SQL=sql) + SERVERS)
        networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        address = commands.docker("inspect", "--format", networks, SERVER)
        for hosts in zip(*PAIRS):  # two masters would make the schema at once
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda host: start(host, secrets, address), hosts))
            api(hosts, "wa_webapp", operation="first_login", api_password="{{ wa_api_password }}")
        api(HOSTS, "wa_webapp_info", topology="high_availability", api_password="{{ wa_api_password }}")
        yield found
    finally:
        found.lab("down")


def deployments(run: Run) -> tuple[list[tuple[str, ...]], int]:
    """The hosts of each deployment that was found, and how many clients are a question."""
    assert run.code == 0, run.output
    report = json.JSONDecoder().raw_decode(run.output[run.output.index("{\n") :])[0]
    results = [one for play in report["plays"] for task in play["tasks"] for one in task["hosts"].values()]
    [written] = [one for one in results if "leaders" in one]
    found = sorted(tuple(sorted(one["hosts"])) for one in written["state"]["deployments"].values())
    return found, len(written["state"]["left"])


@pytest.mark.parametrize("password", [None, ""])
def test_twenty_hosts_of_ten_customers_are_ten_deployments(lab: Lab, tmp_path: Path, password: str | None) -> None:
    """By the nodes that health names; without a password for it by the running servers of one name."""
    before = [Lab(NAME, host).host(RUNNING) for host in HOSTS]
    vault = tmp_path / "vault"
    vault.write_text("sesame\n", encoding="utf-8")
    given = {"wa_adopt_dir": str(tmp_path / "adopted")}
    unasked = {} if password is None else {"wa_api_password": password}
    options = [f"--vault-password-file={vault}", *([] if password is None else ["--check"])]
    run = lab.play("adopt", {**given, **unasked}, *options)
    assert deployments(run) == (sorted(tuple(sorted(pair)) for pair in PAIRS), 0)
    assert "shares its database" not in run.output
    assert [Lab(NAME, host).host(RUNNING) for host in HOSTS] == before
