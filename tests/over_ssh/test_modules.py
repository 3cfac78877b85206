# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module over SSH on a lab host: in check mode, for real, and again; results are asserted independently of the collection."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

import fleets
import pytest
from ssh_site import FOLDER, HOST, NAME, PROJECT, ROOT, Converge, Module, Site

CORE, WEB = f"{PROJECT}-wacore-1", f"{PROJECT}-waweb-1"
ENV_FILE = f"{FOLDER}/db.env"
PLACE = "/srv/over-ssh"  # the folder for the files of these tests
LOCK = f"{PLACE}/biz.lock"
ARCHIVE = "/var/log/whatsapp/archive"
READS: dict[str, dict[str, t.Any]] = {
    "wa_adopt": {"operation": "read"},
    "wa_backup": {"part": "host"},
    "wa_drift_info": {},
    "wa_info": {"gather": ["containers", "images", "database"], "env_file": ENV_FILE, "project": PROJECT},
    "wa_client": {"project": PROJECT, "project_dir": FOLDER, "content": '{"services": {}}'},
    "wa_inventory_version": {"target": "2.53.4", "members": [HOST]},
    "wa_retire": {"operation": "plan"},
    "wa_status": {},
    "wa_webapp_info": {"query": "reachable", "api_validate_certs": False},
}


@pytest.mark.parametrize("name", READS)
def test_a_reading_module_changes_nothing(site: Site, run: Module, name: str) -> None:
    before = site.snapshot()
    for check in (True, False):
        result = run(name, check, **READS[name])
        assert not result.get("failed"), result
        assert not result["changed"]
    assert site.snapshot() == before


def test_wa_guard(site: Site, run: Module) -> None:
    """The client of this site is another than the one that the inventory describes, over the same database."""
    before = site.snapshot()
    for check in (True, False):
        result = run("wa_guard", check)
        assert result["failed"]
        assert "sessions of the client's user that are not this client's" in result["msg"]
        assert not result["changed"]
    assert site.snapshot() == before


def test_wa_report(site: Site, run: Module, tmp_path: Path) -> None:
    """It reads and writes on the controller only."""
    (tmp_path / "fleet.json").write_text(json.dumps(fleets.mixed(3)))
    before = site.snapshot()
    for check, files in ((True, ["fleet.json"]), (False, ["fleet.html", "fleet.json", "metrics.prom"])):
        result = run("wa_report", check, path=str(tmp_path))
        assert not result.get("failed"), result
        assert not result["changed"]
        assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert site.snapshot() == before


def test_wa_migration(site: Site, run: Module) -> None:
    """It has the lock until its run has lost the journal; then it ends without a migration."""
    site.lab.host(f"mkdir -p {PLACE}")
    target = "9.99.9"  # a container of the version that runs would count as begun by somebody
    runs = site.engine.containers(PROJECT)[CORE]["Config"]["Image"]
    image = f"{runs.rpartition(':v')[0]}:v{target}"
    site.lab.host(f"docker tag {runs} {image}")
    assert run("wa_upgrade_journal", path=LOCK, operation="begin", deployment="biz", target=target)["changed"]
    labels = {"project": PROJECT, "service": "dbupgrade"}
    creates = ["docker", "create", *(f"--label=com.docker.compose.{name}={one}" for name, one in labels.items())]

    def migrate(check: bool = False) -> tuple[t.Any, ...]:
        options = {
            "lock_file": LOCK,
            "argv": [*creates, "--env", "WA_DB_UPGRADE=1", image],
            "project": PROJECT,
            "env_file": ENV_FILE,
        }
        result = run("wa_migration", check, **options)
        assert "migration" in result, result
        return result.get("failed", False), result["changed"], result["migration"].get("state"), result.get("msg")

    before = site.snapshot()
    assert migrate(check=True) == (False, False, None, None)
    assert site.snapshot() == before
    # Not a thread: Ansible forks, and its worker would keep the pipes open that a thread is about to read to their end.
    here = f"docker exec walab-{NAME}-{HOST}"
    remove = f"until {here} grep -q '.state.: .ready' {LOCK}; do :; done; {here} rm {LOCK}"
    with subprocess.Popen(["timeout", "60", "sh", "-c", remove]) as beside:
        assert migrate() == (False, False, "ready", None)
    assert beside.returncode == 0
    before = site.snapshot()
    failed, changed, state, message = migrate()
    assert (failed, changed, state) == (True, False, None)
    assert "expected the journal of the upgrade that is begun" in message
    assert site.snapshot() == before


def test_wa_info_reports_the_containers_of_the_engine(site: Site, run: Module) -> None:
    found = {one["name"]: one for one in run("wa_info", project=PROJECT)["containers"]}
    records = {name: one for name, one in site.engine.containers(PROJECT).items() if name in (CORE, WEB)}
    assert sorted(found) == sorted(records)
    for name, record in records.items():
        assert (found[name]["id"], found[name]["state"]) == (record["Id"], record["State"]["Status"])
        assert f":v{found[name]['version']}" in record["Config"]["Image"]


def test_wa_db_env(site: Site, converge: Converge) -> None:
    site.lab.host(f"mkdir -p {PLACE}")
    path = f"{PLACE}/db.env"
    settings = {"engine": "MYSQL", "hostname": "mariadb.lab", "username": "whatsapp", "name_prefix": "new_"}
    converge("wa_db_env", path=path, password=site.secrets["db_password"], **settings)
    assert site.stat(path) == "600 root:root"
    assert site.lab.host(f"cut -d= -f1 {path}").split() == [
        f"WA_DB_{key}" for key in ("ENGINE", "HOSTNAME", "PORT", "USERNAME", "PASSWORD", "NAME_PREFIX")
    ]


def test_wa_client(site: Site, converge: Converge) -> None:
    """The files of a project, whose containers are left as they are."""
    site.lab.host(f"mkdir -p {PLACE}")
    path = f"{PLACE}/compose.yml"
    guard = {
        "unmanaged": {"project": "other", "neighbours": [], "database": ""},
        "adopt": "",
        "single": False,
    }
    converge(
        "wa_client",
        project="other",
        project_dir=PLACE,
        content='{"services": {}}',
        files=[{"path": path, "content": "services: {}\n", "mode": "0640"}],
        lock_file=f"{PLACE}/lock",
        guard=guard,
    )
    assert site.stat(path) == "640 root:root"
    assert site.lab.host(f"cat {path}") == "services: {}"


def test_the_earlier_files_of_a_client(site: Site, run: Module) -> None:
    folder = f"{PLACE}/files"
    site.lab.host(f"mkdir -p {folder}; echo new >{folder}/db.env; echo old >{folder}/db.env.previous")
    file = f"{folder}/db.env"
    assert run("wa_client", False, state="restored", started_from=[file])["restored"][0]["path"] == file
    run("wa_client", False, state="settled", started_from=[file])
    assert site.lab.host(f"cat {file}; ls {folder}") == "old\ndb.env"


def test_wa_upgrade_step(site: Site, converge: Converge) -> None:
    """It runs a module with an action of its own and one without, and leaves no temporary folder."""
    folders = "ls -A /root/.ansible/tmp 2>/dev/null || true"
    before = site.lab.host(folders)
    site.lab.host(f"mkdir -p {PLACE}")
    path = f"{PLACE}/step.yml"
    line = {"path": path, "line": "services: {}", "create": True, "mode": "0640"}
    converge("wa_upgrade_step", module="ansible.builtin.lineinfile", options=line)
    assert site.stat(path) == "640 root:root"
    options = {"remote_src": True, "src": path, "dest": f"{path}.copy", "mode": "preserve"}
    converge("wa_upgrade_step", module="ansible.builtin.copy", options=options)
    assert site.lab.host(f"cat {path}.copy") == "services: {}"
    assert site.lab.host(folders) == before


def test_wa_upgrade_check(site: Site, run: Module) -> None:
    """A look is what the module says that its variable names; one that cannot be made says why, and stops no other."""
    looks = {
        "__wa_upgrade_look_host": {"module": "waba.onprem.wa_info", "options": READS["wa_info"], "writes": False},
        "__wa_upgrade_look_gone": {
            "module": "waba.onprem.wa_info",
            "options": {"gather": ["nonsense"]},
            "writes": False,
        },
    }
    before = site.snapshot()
    for check in (True, False):
        found = run("wa_upgrade_check", check, looks=["gone", "host"], play_vars=looks)
        assert (found["changed"], found.get("failed", False)) == (False, False), found
        assert {CORE, WEB} <= {one["name"] for one in found["host"]["containers"]}
        assert "nonsense" in found["gone"]["msg"]
    assert site.snapshot() == before


def test_the_version_in_an_operators_files(site: Site, converge: Converge) -> None:
    file = f"{PLACE}/docker-compose.yml"
    text = "services: {wacore: {image: 'r/coreapp:v${V}'}}"
    site.lab.host(f'mkdir -p {PLACE}; echo V=2.51.2 >{PLACE}/.env; cat >{file} <<"END"\n{text}\nEND')
    images = {"wacore": "r/coreapp"}
    place: dict[str, t.Any] = {"project": "other", "project_dir": PLACE, "compose_files": [file]}
    converge("wa_client", state="versioned", images=images, version="2.53.4", **place)
    assert site.lab.host(f"cat {PLACE}/.env {file}") == f"V=2.53.4\n{text}"


def test_wa_media_volume(site: Site, converge: Converge) -> None:
    converge("wa_media_volume", name="over_ssh", project="other")
    volume = site.engine.volume("over_ssh")
    assert volume is not None
    assert (volume["Driver"], volume["Options"]) == ("local", None)


def test_wa_log_cleanup(site: Site, converge: Converge) -> None:
    make = 'echo $i | gzip >wa-service-$i.log.gz; touch -d "2020-01-01 $i days" wa-service-$i.log.gz'
    site.engine.run(CORE, f"mkdir -p {ARCHIVE}; cd {ARCHIVE}; for i in $(seq 10 44); do {make}; done")
    done = converge("wa_log_cleanup", project=PROJECT)
    assert [one["status"] for one in done["containers"]] == ["cleaned", "cleaned"]
    left = [line for line in site.engine.run(CORE, f"ls {ARCHIVE}").split() if line.endswith(".gz")]
    assert left == [f"wa-service-{number}.log.gz" for number in range(15, 45)]


def test_wa_webapp_and_wa_message_gc(site: Site, run: Module, converge: Converge) -> None:
    """The first login, which GC needs, then GC."""
    api: dict[str, t.Any] = {"api_validate_certs": False}
    converge("wa_webapp", operation="first_login", api_password=site.secrets["api_password"], **api)
    api["api_password"] = site.secrets["api_password"]
    healthy = run("wa_webapp_info", **api)
    assert (healthy["changed"], healthy["healthy"]) == (False, True)
    wait = {"seconds": 0.0, "leader": HOST, "drain_timeout": 10}
    watched = run("wa_upgrade_watch", api=api, health={"topology": "single"}, **wait)
    assert (watched["changed"], watched.get("failed", False)) == (False, False), watched
    site.lab.lab("seed", "--rows", "3000")
    site.lab.host(f"mkdir -p {PLACE}")
    options: dict[str, t.Any] = {
        "env_file": ENV_FILE,
        "state_file": f"{PLACE}/gc.json",
        "max_messages": 1000,
        "quiet_period": "5s",
        "poll_interval": "1s",
        **api,
    }
    before = site.snapshot()
    predicted = run("wa_message_gc", True, **options)
    assert predicted["changed"], predicted
    assert site.messages() == 3000
    assert site.snapshot() == before
    done = run("wa_message_gc", **options)
    assert done["changed"], done
    assert done["messages_after"] == site.messages()
    assert site.messages() == 450
    again = run("wa_message_gc", **options)
    assert (again["changed"], site.messages()) == (False, 450)
    converge("wa_webapp", operation="automatic_gc", automatic=True, **api)


def test_wa_upgrade_journal(site: Site, run: Module, converge: Converge) -> None:
    begin: dict[str, t.Any] = {"operation": "begin", "path": LOCK, "deployment": "biz", "target": "2.53.4"}
    assert run("wa_upgrade_journal", True, **begin)["changed"]
    assert site.stat(LOCK) == ""
    site.lab.host(f"mkdir -p {PLACE}")
    done = run("wa_upgrade_journal", **begin)
    assert done["changed"], done
    assert site.stat(LOCK) == "600 root:root"
    converge("wa_upgrade_journal", operation="end", path=LOCK, outcome="rolled_back")
    assert site.stat(LOCK) == ""


def test_wa_db_dump(site: Site, run: Module, converge: Converge) -> None:
    assert run("ansible.builtin.apt", name="mariadb-client", install_recommends=False)["changed"]
    done = converge("wa_db_dump", env_file=ENV_FILE, dest="/var/backups/waba", name="biz")
    assert site.stat(done["dest"]) == "600 root:root"
    assert site.lab.host(f"stat --format %s {done['dest']}") == str(done["bytes"])
    checked = run("wa_db_restore", operation="check", env_file=ENV_FILE, manifest=done["manifest"])
    assert (checked["changed"], list(checked["manifest"]["databases"])) == (False, done["databases"])
    # The client runs.
    assert (
        "its user still has sessions"
        in run("wa_db_restore", operation="restore", env_file=ENV_FILE, manifest=done["manifest"])["msg"]
    )


def test_every_module_is_tested_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    modules = [path.stem for path in ROOT.glob("plugins/modules/wa_*.py")]
    assert [name for name in modules if json.dumps(name) not in text] == []
