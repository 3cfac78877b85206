# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client on a lab host that an operator has started from Compose files of their own: adopted, provisioned and upgraded.

The layouts are those of the integration tests; here they run the simulated client, and the playbooks change them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shlex
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import commands  # noqa: E402 - needs the path above
from engine import Engine, lab_engine  # noqa: E402
from observer import Lab, Run, changes  # noqa: E402
from operator_layouts import DATABASE, RARE, USUAL, VERSION  # noqa: E402
from operator_project import NEW, OLD, Layout, Start  # noqa: E402

NAME, HOSTS = "deep-adopt-layouts", ("h1", "h2", "h3", "h4", "h5", "h6", "h7", "h8")
FORKS = f"--forks={len(HOSTS)}"
REGISTRY, IMAGES = "registry.lab:5000", "whatsapp"
BASE = Path("/srv/operator")
ROWS = 2000
VAULT = "sesame"
CRON = "/etc/cron.d/wa-*-log-cleanup"
MARKER = ".wa-marker"  # by which hosts find out whether they share their media
LAYOUTS = {**USUAL, **RARE}
# The callback that prints JSON does not know where a task belongs that is skipped in a rescue.
CALLBACK_FAILS = re.compile(r"\[WARNING\]: Callback dispatch '\w+' failed for plugin '[\w.]+\.callback\.json'.*")
T = t.TypeVar("T")
Containers = dict[str, dict[str, t.Any]]

LAUNCH = "/opt/whatsapp/bin/launch_within_docker.sh"
# What a real client needs: by layout, texts of its files and what stands there instead.
REAL: dict[str, dict[str, str]] = {
    # The client has to write there, and a volume that copies nothing belongs to root.
    "limits, bound folders, secrets and configs": {"nocopy: true": "nocopy: false"},
    # The container of the migration is found whatever names the others have.
    "links in the folder": {VERSION: f"COMPOSE_COMPATIBILITY=true\n{VERSION}"},
    # The test's password is no login.
    "env_file and environment as lists, dollar signs in secrets": {"{WA_DB_PASSWORD:": "{WA_API_KEY:"},
    # No resolver answers at 192.0.2.53.
    "names, users and devices": {
        '"b.example.com:192.0.2.2"': '"b.example.com:192.0.2.2", "mariadb.lab:@A(mariadb)", "control.lab:@A(control)"'
    },
    # The Webapp looks for its Coreapp under the name of the vendor's files.
    "other names of the services": {
        "depends_on: [business-api_core.1]": 'depends_on: [business-api_core.1]\n    links: ["business-api_core.1:wacore"]'
    },
    "commands and inline configs with dollar signs": {
        'exec sleep "$${TIME:-1000}"': f"exec $${{LAUNCH:-{LAUNCH}}}",
        "command: sleep 1000": f"command: {LAUNCH}",
    },
}
# Their client depends on services beside it. Compose before 2.40 has that in the hash of a service, and an upgrade makes the client alone.
DEPENDENT = {
    "COMPOSE_FILE, COMPOSE_PROFILES and COMPOSE_PROJECT_NAME in .env",
    "labels, container_name, links and logging",
    "database, cache and a preparation in the project",
}
# What an operator does where the collection cannot set the version: file, text, what stands there instead.
CURES = {
    "extends from another file": ("base/base.yml", OLD, NEW),
    "include": ("wa/compose.yml", OLD, NEW),
}
WRITE = """
import json, pathlib, sys
for path, content in json.load(sys.stdin).items():
    file = pathlib.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode())
"""
READ = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
print(json.dumps({str(path.relative_to(folder)): [path.stat().st_mode, path.read_bytes().decode(errors="surrogateescape")] for path in files}))
"""
CLEAN = f"""
docker ps --all --quiet | xargs --no-run-if-empty docker rm --force >/dev/null
docker volume ls --quiet | xargs --no-run-if-empty docker volume rm --force >/dev/null
docker network prune --force >/dev/null
rm -rf {BASE} /opt/waba /var/lib/waba {CRON} /usr/local/sbin/wa-log-cleanup
"""
# The images of the services beside the client, and those without a registry.
PREPARE = f"""
set -e
for image in web:v{OLD} coreapp:v{OLD} web:v{NEW} coreapp:v{NEW}; do
    docker pull --quiet {REGISTRY}/{IMAGES}/$image
    docker tag {REGISTRY}/{IMAGES}/$image {IMAGES}/$image
done
docker rmi {REGISTRY}/{IMAGES}/web:v{NEW} {REGISTRY}/{IMAGES}/coreapp:v{NEW}
echo 'FROM {REGISTRY}/{IMAGES}/web:v{OLD}
CMD ["sleep", "infinity"]' | DOCKER_BUILDKIT=0 docker build --quiet --tag {REGISTRY}/{IMAGES}/db:v1 -
"""


@contextlib.contextmanager
def started_lab(hosts: t.Sequence[str], compose: str, *options: str) -> t.Iterator[Lab]:
    """A lab with hosts without a client; `down` fails if two Coreapps of a single client ever ran at the same time."""
    found = Lab(NAME, hosts[0])
    try:
        found.lab(
            "up", "--hosts", ",".join(f"{host}:ready@compose-{compose}" for host in hosts), "--db", "mariadb", *options
        )
        for host in hosts:
            Lab(NAME, host).host(PREPARE)
        yield found
    finally:
        found.lab("down")


@dataclass
class State:
    """What is compared: objects of the Engine without images, media files with their content, messages, the operator's files."""

    containers: Containers
    objects: list[str]  # volumes and networks
    media: str
    messages: str
    files: dict[str, tuple[int, str]]

    @property
    def ids(self) -> dict[str, str]:
        """Container -> its id."""
        return {name: one["Id"] for name, one in self.containers.items()}

    @property
    def runs(self) -> dict[str, tuple[str, ...]]:
        """Container -> id, state, restart policy, and the time of its start.

        One that has ended is a preparation, which each `docker compose up` runs again.
        """
        found: dict[str, tuple[str, ...]] = {}
        for name, one in self.containers.items():
            status, policy = one["State"]["Status"], one["HostConfig"]["RestartPolicy"]["Name"]
            found[name] = (one["Id"], status, policy, "" if status == "exited" else one["State"]["StartedAt"])
        return found

    @property
    def images(self) -> dict[str, str]:
        """Container -> the image that it was created from, and its state."""
        return {name: f"{one['Config']['Image']} {one['State']['Status']}" for name, one in self.containers.items()}


class Client(Start):
    """A client on a host of the lab, which its operator starts with the files and the command of a layout."""

    def __init__(self, name: str, layout: Layout, host: str, engine: Engine, project: str = "") -> None:
        super().__init__(layout, BASE, REGISTRY, IMAGES, "9090", project)
        self.name, self.host, self.engine = name, host, engine
        self.lab, self.container = Lab(NAME, host), f"walab-{NAME}-{host}"
        self.prefix = f"{self.project}_"
        login = (
            "WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=mariadb.lab\nWA_DB_PORT=3306\nWA_DB_USERNAME=whatsapp\nWA_CONFIG_ON_DB=1\n"
            f"WA_DB_PASSWORD={secrets()['db_password']}\nWA_DB_NAME_PREFIX={self.prefix}\n"
        )
        files = {path: self.text(text) for path, text in layout.files.items()}
        for old, new in REAL.get(name, {}).items():
            assert sum(text.count(self.text(old)) for text in files.values()) == 1, old
            files = {path: text.replace(self.text(old), addresses(self.text(new))) for path, text in files.items()}
        self.db_env = [path for path, text in files.items() if DATABASE in text][
            -1
        ]  # one in another folder is in force
        self.files = {path: text.replace(DATABASE, login) for path, text in files.items()}

    def write(self, files: t.Mapping[str, str]) -> None:
        """Writes files of the operator."""
        given = {str(self.folder / path): text for path, text in files.items()}
        commands.docker("exec", "--interactive", self.container, "python3", "-c", WRITE, stdin=json.dumps(given))

    def compose(self, *arguments: str, options: t.Sequence[str] | None = None) -> str:
        """Runs Compose as the operator does, in the folder."""
        words = ["docker", "compose", *map(self.text, self.layout.options if options is None else options), *arguments]
        own = [f"{key}={value}" for key, value in self.shell.items()]
        enter = ["exec", self.container, "sh", "-c", 'cd "$1" && shift && exec env PWD="$PWD" "$@"', "sh"]
        return commands.run("docker", *enter, str(self.folder), *own, *words)

    def start(self) -> None:
        """Starts the client, and what else the folder has."""
        folders = shlex.join(["mkdir", "--parents", str(self.real_folder), str(self.folder.parent)])
        link = shlex.join(["ln", "-s", str(self.real_folder), str(self.folder)]) if self.layout.link else ":"
        self.lab.host(f"{folders}; {link}")
        self.write(self.files)
        for path, target in self.layout.links.items():
            self.lab.host(shlex.join(["ln", "-s", target, str(self.folder / path)]))
        for words in self.layout.before:
            self.lab.host(shlex.join(["docker", *map(self.text, words)]))
        for options in self.layout.others:
            self.compose("up", "--detach", options=options)
        self.compose("up", "--detach")
        for path in self.layout.gone:
            self.lab.host(shlex.join(["rm", str(self.folder / path)]))

    def plant(self) -> None:
        """Seeds messages, and writes a file of media; a folder of the host belongs to the client's user, as it has to."""
        self.lab.lab("seed", "--rows", str(ROWS), "--prefix", self.prefix)
        self.lab.host(
            f"mkdir -p {self.media}/incoming; head -c 300000 /dev/urandom >{self.media}/incoming/planted;"
            f" chown -R 20021:20021 {self.media}"
        )

    @property
    def web(self) -> str:
        """The name of the Webapp's container."""
        containers = self.engine.containers(self.project)
        (found,) = (name for name, one in containers.items() if "/web:" in one["Config"]["Image"])
        return found

    @property
    def media(self) -> str:
        """The folder of the host that the Webapp has its media in, for a shell."""
        mounts = self.engine.container(self.web)["Mounts"]
        (found,) = (one for one in mounts if one["Destination"] == "/usr/local/wamedia")
        return shlex.quote(found["Source"])

    @property
    def url(self) -> str:
        """The address of the API on the host."""
        ports = self.engine.container(self.web)["HostConfig"]["PortBindings"]["443/tcp"]
        return f"https://127.0.0.1:{ports[0]['HostPort']}"

    @property
    def topology(self) -> str:
        """The topology of the client."""
        containers = self.engine.containers(self.project).values()
        cluster = any("WA_APP_MULTICONNECT=1" in one["Config"]["Env"] for one in containers)
        return "high_availability" if cluster else "single"

    def contents(self) -> dict[str, tuple[int, str]]:
        """The modes and contents of all files in the operator's folder."""
        found = json.loads(commands.docker("exec", self.container, "python3", "-c", READ, str(self.folder)))
        return {path: (mode, text) for path, (mode, text) in found.items()}

    def state(self) -> State:
        """What is compared."""
        sql = (
            "SELECT COUNT(*), SUM(CRC32(CONCAT_WS('|', id, message_id, direction, chat, type, payload)))"
            f" FROM {self.prefix}messageStore.messages"
        )
        return State(
            self.engine.containers(),
            [line for line in self.engine.snapshot() if line.startswith(("volume ", "network "))],
            self.lab.host(f"find {self.media} -type f ! -name {MARKER} -exec md5sum {{}} + | sort"),
            self.lab.lab("sql", sql),
            self.contents(),
        )

    def images(self) -> list[str]:
        """The images that the operator's own files give, sorted."""
        return sorted({line for line in self.compose("config", "--images").splitlines() if line})


def secrets() -> dict[str, str]:
    """The lab's passwords."""
    found: dict[str, str] = json.loads((ROOT / ".lab" / NAME / "secrets.json").read_text(encoding="utf-8"))
    return found


def addresses(text: str) -> str:
    """A text with the addresses of the lab's servers in the place of `@A(server)`."""
    found = {name: one["NetworkSettings"]["Networks"] for name, one in Engine().containers().items()}
    return re.sub(
        r"@A\((\w+)\)", lambda match: str(next(iter(found[f"walab-{NAME}-{match[1]}"].values()))["IPAddress"]), text
    )


@dataclass
class Result:
    """What a playbook has come to on one host."""

    failed: bool
    changed: int
    message: str
    output: str


Results = dict[str, Result]


def by_host(run: Run) -> Results:
    """The results of a playbook by host; none of its words is a secret or a warning."""
    assert "Canary" not in run.output
    assert "WARNING" not in CALLBACK_FAILS.sub("", run.output), run.output
    report = json.JSONDecoder().raw_decode(run.output[run.output.index("{\n") :])[0]
    found = {}
    for host, stats in report["stats"].items():
        tasks = [
            (task["task"]["name"], task["hosts"][host])
            for play in report["plays"]
            for task in play["tasks"]
            if host in task["hosts"]
        ]
        failed = [str(result.get("msg", "")) for _name, result in tasks if result.get("failed")]
        told = [
            f"{name}: {json.dumps(result)}" for name, result in tasks if result.get("failed") or result.get("changed")
        ]
        found[host] = Result(
            bool(stats["failures"] or stats["unreachable"]),
            stats["changed"],
            failed[-1] if failed else "",
            "\n".join(told),
        )
    return found


class Batch:
    """Clients, one on each host of the lab, and the playbooks that are run for those without a failure.

    With a `leader` the hosts are one client.
    """

    def __init__(self, clients: t.Iterable[Client], folder: Path, leader: str = "") -> None:
        self.folder, self.leader = folder, leader
        self.failures: dict[str, Exception] = {}
        self.clients = {client.host: client for client in clients}
        (folder / "vault").write_text(VAULT, encoding="utf-8")
        answers = {
            "wa_api_password": secrets()["api_password"],
            "wa_backup_password": secrets()["backup_password"],
        }
        (folder / "answers.json").write_text(json.dumps(answers), encoding="utf-8")

    def each(self, step: t.Callable[[Client], T]) -> dict[str, T]:
        """The result of a step on each host; a client that fails takes no further part."""
        found = {}
        for host, client in list(self.clients.items()):
            try:
                found[host] = step(client)
            except Exception as error:  # noqa: BLE001 - raised in the layout's own test
                self.failures[client.name] = error
                del self.clients[host]
        return found

    def raise_failure(self) -> None:
        """Raises the failure of a client."""
        for failure in self.failures.values():
            raise failure

    def api(self, module: str, forks: str = FORKS, **options: str) -> None:
        """Calls the API of each client by a module; passwords stand as variables of the lab's inventory in `options`."""
        clients = {client.host: {"url": client.url, "topology": client.topology} for client in self.clients.values()}
        given = {"api_url": "{{ clients[inventory_hostname].url }}", "api_validate_certs": False, **options}
        words = [
            "ansible",
            "-i",
            str(ROOT / ".lab" / NAME / "inventory.yml"),
            ",".join(clients),
            "-e",
            json.dumps({"clients": clients}),
        ]
        words += ["-m", f"waba.onprem.{module}", "-a", json.dumps(given), forks]
        output = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout

        def answered(client: Client) -> None:
            assert re.search(rf"(?m)^{client.host} \| (SUCCESS|CHANGED)", output), output

        self.each(answered)

    def healthy(self, version: str) -> None:
        """Waits until all clients are healthy in that version."""
        self.api(
            "wa_webapp_info",
            topology="{{ clients[inventory_hostname].topology }}",
            expect_version=version,
            api_password="{{ wa_api_password }}",
        )

    def adopt(self) -> None:
        """Runs adopt.yml from the lab's inventory."""
        variables = {"wa_adopt_dir": str(self.folder / "adopted")}
        vault = f"--vault-password-file={self.folder / 'vault'}"
        results = by_host(Lab(NAME, HOSTS[0]).play("adopt", variables, FORKS, self.limit, vault))
        self.each(lambda client: succeeds(results[client.host]))

    @property
    def limit(self) -> str:
        """The option of ansible-playbook for the hosts whose clients have not failed."""
        return f"--limit={','.join(self.clients)}"

    def play(self, playbook: str, *arguments: str, **variables: t.Any) -> Results:
        """Runs a playbook from the inventory that was written, with the passwords that no file of a host has."""
        adopted = Lab(NAME, HOSTS[0])
        adopted.inventory = str(self.folder / "adopted" / "inventory.yml")
        options = [f"--vault-password-file={self.folder / 'vault'}", f"--extra-vars=@{self.folder / 'answers.json'}"]
        return by_host(adopted.play(playbook, variables, FORKS, self.limit, *options, *arguments))

    def upgrade(self, *arguments: str, **variables: t.Any) -> Results:
        """Runs upgrade.yml, with permission to set the version in the operator's files."""
        given = {
            "wa_upgrade_version": NEW,
            "wa_upgrade_update_compose_files": True,
            "wa_backup_dir": str(self.folder / "backups"),
            "wa_upgrade_skip": ["database_backup"],
            "wa_provision_waves": ["100%"],
            **variables,
        }
        return self.play("upgrade", *arguments, **given)

    def assert_in_sync(self, **variables: t.Any) -> None:
        """Check mode finds nothing to change."""
        results = self.play("provision", "--check", **variables)
        self.each(lambda client: succeeds(results[client.host], 0))


def succeeds(result: Result, changed: int | None = None) -> None:
    """A playbook has not failed, and has changed so much."""
    assert not result.failed, result.output
    assert changed in (None, result.changed), result.output


def assert_same(before: State, after: State) -> None:
    """No container, volume, network, media file, message or file of the operator has changed."""
    assert after.runs == before.runs
    assert (after.objects, after.media, after.messages) == (before.objects, before.media, before.messages)
    assert after.files == before.files


def assert_restarted(before: State, after: State) -> None:
    """The same, but containers may have been stopped and started."""
    assert (after.ids, after.images) == (before.ids, before.images)
    assert_same(dataclasses.replace(before, containers=after.containers), after)


def go_through(names: t.Sequence[str], folder: Path) -> dict[str, Exception]:
    """Adopts, provisions, repairs and upgrades clients of these layouts, with an upgrade that fails after the stop.

    Returns the failure of each layout that has one.
    """
    with contextlib.ExitStack() as stack:
        clients = []
        for host, name in zip(HOSTS, names):
            Lab(NAME, host).host(CLEAN)
            clients.append(Client(name, LAYOUTS[name], host, stack.enter_context(lab_engine(NAME, host))))
        batch = Batch(clients, folder)
        begin(batch)
        for step in (adopt_and_provision, correct_drift, change_what_is_refused, fail_after_the_stop, upgrade):
            if batch.clients:
                step(batch)
    return batch.failures


def begin(batch: Batch, forks: str = FORKS) -> None:
    """Starts healthy clients with data; hosts that are one client have one login, and `forks` keeps them apart."""
    batch.each(Client.start)
    batch.api("wa_webapp", forks, operation="first_login", api_password="{{ wa_api_password }}")
    batch.healthy(OLD)
    batch.each(Client.plant)


def adopt_and_provision(batch: Batch) -> None:
    """Adoption changes nothing; provision.yml does what check mode has predicted, and nothing to the client."""
    before, files = batch.each(Client.state), batch.each(lambda client: client.lab.files())
    batch.adopt()
    predicted = batch.play("provision", "--check")

    def unchanged(client: Client) -> None:
        assert client.lab.files() == files[client.host]
        assert_same(before[client.host], client.state())

    batch.each(unchanged)
    done = batch.play("provision")

    def kept(client: Client) -> None:
        succeeds(done[client.host], predicted[client.host].changed)
        # The folders of the deployment and of the records, the file that sets the version, the cleanup with its cron file.
        own = ("/opt/waba", "/var/lib/waba", "/usr/local/sbin", "/etc/cron.d", "/opt ", MARKER)
        made = changes(files[client.host], client.lab.files())
        assert [line for line in made if not any(place in line for place in own)] == []
        assert_same(before[client.host], client.state())

    batch.each(kept)
    batch.assert_in_sync()


def correct_drift(batch: Batch) -> None:
    """A stopped Webapp is started, a removed cron file and a line of db.env are written again; nothing is recreated."""
    before = batch.each(Client.state)

    def plant(client: Client) -> None:
        db_env = shlex.quote(str(client.folder / client.db_env))
        edit = f"sed -i 's/^WA_DB_USERNAME=.*/WA_DB_USERNAME=other/' {db_env}"
        client.lab.host(f"set -e; docker stop {client.web} >/dev/null; rm {CRON}; {edit}")

    batch.each(plant)
    done = batch.play("provision")

    def corrected(client: Client) -> None:
        succeeds(done[client.host])
        assert_restarted(before[client.host], client.state())
        assert client.lab.host(f"ls {CRON}")

    batch.each(corrected)
    batch.assert_in_sync()


def change_what_is_refused(batch: Batch) -> None:
    """Where the collection cannot set the version, the message says what to change; what it says is enough."""
    hosts = [client.host for client in batch.clients.values() if client.layout.refused]
    if not hosts:
        return
    before, results = batch.each(Client.state), batch.upgrade(f"--limit={','.join(hosts)}")

    def follow(client: Client) -> None:
        if not client.layout.refused:
            return
        assert results[client.host].failed
        assert client.text(client.layout.refused).partition("; expected ")[0] in results[client.host].message
        assert_same(before[client.host], client.state())
        path, old, new = CURES[client.name]
        client.write({path: client.files[path].replace(old, new)})
        client.layout = dataclasses.replace(client.layout, shell={}, version={})

    batch.each(follow)
    batch.adopt()


def fail_after_the_stop(batch: Batch) -> None:
    """The upgrade fails after the stop: the same containers serve again, in the old version, with the same files."""
    before = batch.each(Client.state)
    results = batch.upgrade(wa_upgrade_snapshot_command="false")
    batch.healthy(OLD)

    def back(client: Client) -> None:
        result = results[batch.leader or client.host]
        assert result.failed
        assert 'failed at "Run wa_upgrade_snapshot_command within wa_upgrade_dump_timeout"' in result.message
        assert_restarted(before[client.host], client.state())

    batch.each(back)
    batch.assert_in_sync()


def upgrade(batch: Batch) -> None:
    """The new version has the volumes, media and messages of the old one, and the operator's files describe it."""
    states, images = batch.each(Client.state), batch.each(Client.images)
    results = batch.upgrade()
    batch.each(lambda client: succeeds(results[client.host]))
    batch.healthy(NEW)

    def upgraded(client: Client) -> None:
        before, after = states[client.host], client.state()
        assert (after.objects, after.media, after.messages) == (before.objects, before.media, before.messages)
        ours = {one for one, image in before.images.items() if "/coreapp:" in image or "/web:" in image}
        new = {
            one: image.replace(f":v{OLD}", f":v{NEW}") if one in ours else image for one, image in before.images.items()
        }
        assert after.images == new
        assert {one for one in before.ids if after.ids[one] != before.ids[one]} == ours
        edited = {
            path: (mode, client.edited(path, text.encode(errors="surrogateescape")).decode(errors="surrogateescape"))
            for path, (mode, text) in before.files.items()
        }
        assert after.files == edited
        if client.name not in DEPENDENT or not client.lab.host("docker compose version --short").startswith("2.26"):
            client.compose("up", "--detach")
            assert_same(after, client.state())
        assert client.images() == sorted(image.replace(f":v{OLD}", f":v{NEW}") for image in images[client.host])

    batch.each(upgraded)
    batch.assert_in_sync(wa_version=NEW)


class Outcomes:
    """What layouts have come to: those of a batch go through together as soon as one of them is asked for."""

    def __init__(self, names: t.Sequence[str], folder: t.Callable[[], Path]) -> None:
        self.names, self.folder = list(names), folder
        self.failures: dict[str, Exception | None] = {}

    def check(self, name: str) -> None:
        """Raises the failure of a layout."""
        if name not in self.failures:
            first = self.names.index(name) // len(HOSTS) * len(HOSTS)
            batch = self.names[first : first + len(HOSTS)]
            self.failures.update(dict.fromkeys(batch))
            self.failures.update(go_through(batch, self.folder()))
        failure = self.failures[name]
        if failure:
            raise failure


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Outcomes]:
    """What the selected layouts of a file have come to, several at a time, with the version of Compose that the file names."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    selected = [str(item.callspec.params["name"]) for item in items]
    with started_lab(HOSTS, request.module.COMPOSE):
        yield Outcomes(selected, lambda: tmp_path_factory.mktemp("batch"))
