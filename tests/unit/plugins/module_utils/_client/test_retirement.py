# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes and what stays on one host, with a fake Docker Engine and real files."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._client import retirement
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

IMAGE = "registry.lab:5000/whatsapp/{}:v2.53.4"
KEPT = {"WA_CONFIG_ON_DB": "1", "WA_DB_HOSTNAME": "db"}
DB_ENV = "WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db.example.com\nWA_DB_PORT=3306\nWA_DB_NAME_PREFIX=x_\n"


@dataclass
class Host:
    """A host with a client whose paths are in a temporary folder."""

    fake: FakeDocker
    root: Path
    options: dict[str, t.Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        state, folder = self.root / "state", self.root / "support"
        names = {
            **topology.names("support"),
            **{
                key: value.replace("/var/lib/waba", str(state)).replace("/opt/waba", str(self.root))
                for key, value in topology.names("support").items()
            },
        }
        self.names = {
            **names,
            "cron_dir": str(self.root / "cron.d"),
            "log_script": str(self.root / "wa-log-cleanup"),
            "metrics_file": "",
            "dump_dir": str(state / "dumps"),
            "state_dir": str(state),
            "projects_dir": "",
        }
        for path, text in {
            folder / "compose.yml": f"{HEADER}\n",
            folder / "compose-2.55.1.yml": f"{HEADER}\n",
            folder / "db.env": DB_ENV,
            self.root / "cron.d" / "wa-support-log-cleanup": "",
            self.root / "wa-log-cleanup": "",
            state / "client-support.json": json.dumps({"project": "wa-support"}),
        }.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.fake.networks["wa-support_default"] = {
            "Id": "n1",
            "Labels": {"com.docker.compose.project": "wa-support"},
        }
        for name in ("wacore", "waweb"):
            self.container(name)

    def container(self, name: str, **more: t.Any) -> dict[str, t.Any]:
        image = IMAGE.format("web" if "web" in name else "coreapp")
        given: dict[str, t.Any] = {"project": "wa-support", "volume": "wa-support_whatsappMedia", "environment": KEPT}
        made = self.fake.container(f"wa-support-{name}-1", image=image, service=name, **{**given, **more})
        made["Networks"] = ["wa-support_default"]
        return made

    @property
    def engine(self) -> Docker:
        options = {name: one.get("default") for name, one in ARGUMENT_SPEC.items()}
        return Docker({**options, "docker_host": self.fake.host})

    def plan(self, **more: t.Any) -> retirement.Plan:
        desired: dict[str, t.Any] = {
            "names": self.names,
            "env_format": "portable",
            "container_names": [],
            "compose_files": [],
            "database": "other:3306/",
            "without_backup": False,
        }
        return retirement.plan(self.engine, t.cast("retirement.Desired", {**desired, **more}))

    def run(self, **more: t.Any) -> retirement.Plan:
        found = self.plan(**more)
        retirement.apply(self.engine, found)
        return found

    def files(self) -> list[str]:
        found = (
            path
            for path in self.root.rglob("*")
            if "docker" not in path.parts[-1] and self.fake.root not in path.parents
        )
        return sorted(str(path.relative_to(self.root)) for path in found)


@pytest.fixture
def host(engine: FakeDocker, tmp_path: Path) -> Host:
    return Host(engine, tmp_path)


def test_all_that_the_collection_made_goes_and_data_stay(host: Host) -> None:
    host.fake.volume("wa-support_whatsappMedia")
    host.fake.images = {IMAGE.format("web"): {}, "r/mysql:8": {}}
    dump = host.root / "state" / "dumps" / "support-2.51.2.sql.gz"
    dump.parent.mkdir()
    dump.write_text("data")
    found = host.run()
    root, mountpoint = host.root, host.fake.mountpoint("wa-support_whatsappMedia")
    assert found.goes == [
        f"container wa-support-waweb-1 ({IMAGE.format('web')}, running)",
        f"container wa-support-wacore-1 ({IMAGE.format('coreapp')}, running)",
        "network wa-support_default",
        f"{root}/cron.d/wa-support-log-cleanup",
        f"{root}/wa-log-cleanup",
        f"{root}/support/compose-2.55.1.yml",
        f"{root}/support/compose.yml",
        f"{root}/support/db.env",
        f"{root}/state/client-support.json",
        f"{root}/support",
    ]
    assert found.stays == [
        f"media volume wa-support_whatsappMedia at {mountpoint}",
        "databases on db.example.com:3306 with the prefix x_",
        str(dump),
        f"image {IMAGE.format('web')}",
        f"{root}/state, which holds dumps",
    ]
    assert found.has_client
    assert host.fake.containers == {}
    assert host.fake.networks == {}
    assert [*host.fake.volumes] == ["wa-support_whatsappMedia"]
    assert host.files() == ["cron.d", "state", "state/dumps", "state/dumps/support-2.51.2.sql.gz"]
    again = host.run()
    assert (again.goes, again.has_client) == ([], False)
    assert "databases on other:3306 without a prefix" in again.stays


def test_the_webapp_is_stopped_first_and_volumes_without_a_name_stay(host: Host) -> None:
    host.container("wacore2", state="paused")
    host.container("wacore3", state="exited")
    before = host.fake.count
    host.run()
    changes = [line for line in host.fake.calls[before:] if not line.startswith("GET")]
    assert changes == [
        "POST /containers/wa-support-waweb-1/stop?t=60",
        "POST /containers/wa-support-wacore-1/stop?t=60",
        "POST /containers/wa-support-wacore2-1/unpause",
        "POST /containers/wa-support-wacore2-1/stop?t=60",
        *(f"DELETE /containers/wa-support-{one}-1?v=0" for one in ("waweb", "wacore", "wacore2", "wacore3")),
        "DELETE /networks/n1",
    ]


def test_of_an_adopted_client_only_its_containers_go(host: Host) -> None:
    """The operator's files, db.env, and the other containers of the project stay, with their network."""
    (host.root / "op").mkdir()
    for name in ("compose.yml", "db.env"):
        (host.root / "op" / name).write_text("services: {}\n" if name == "compose.yml" else DB_ENV)
    host.names["env_file"] = str(host.root / "op" / "db.env")
    (host.root / "support" / "db.env").unlink()
    host.fake.container("biz-nginx-1", image="nginx:1", project="wa-support")["Networks"] = ["wa-support_default"]
    found = host.run(compose_files=[f"{host.root}/op/compose.yml"])
    assert [one["Name"] for one in host.fake.containers.values()] == ["biz-nginx-1"]
    assert [*host.fake.networks] == ["wa-support_default"]
    assert found.stays == [
        "container biz-nginx-1, which is not the client's",
        "network wa-support_default, which other containers use",
        "databases on db.example.com:3306 with the prefix x_",
        f"{host.root}/op/compose.yml",
        f"{host.root}/op/db.env",
    ]
    assert host.files() == ["cron.d", "op", "op/compose.yml", "op/db.env"]


def test_a_compose_file_of_others_stays(host: Host) -> None:
    (host.root / "support" / "compose.yml").write_text("services: {}\n")
    assert f"{host.root}/support, which holds compose.yml" in host.run().stays
    assert "support/compose.yml" in host.files()


def test_the_script_stays_with_another_deployment_of_the_host(host: Host) -> None:
    (host.root / "cron.d" / "wa-sales-log-cleanup").touch()
    host.run()
    assert host.files() == ["cron.d", "cron.d/wa-sales-log-cleanup", "wa-log-cleanup"]


def test_outside_compose_only_recorded_containers_go(host: Host) -> None:
    host.names["project"] = ""
    (host.root / "state" / "client-support.json").unlink()
    host.fake.containers.clear()
    for name in ("wacore", "other"):
        host.fake.container(name, image=IMAGE.format("coreapp"), project="", environment=KEPT, volume="m")
    host.run(container_names=["wacore"])
    assert [one["Name"] for one in host.fake.containers.values()] == ["other"]


def lose_media(host: Host) -> dict[str, t.Any]:
    core = host.container("wacore", mounts=[])
    core["Changes"] = [{"Path": "/usr/local/wamedia/incoming/a", "Kind": 1}]
    host.fake.failures[f"GET /containers/{core['Id']}/archive"] = (500, "broken")
    return {}


def lose_registration(host: Host) -> dict[str, t.Any]:
    host.container("wacore", environment={"WA_DB_HOSTNAME": "db"})
    return {"without_backup": True}


def lose_volumes(host: Host) -> dict[str, t.Any]:
    core = host.container(
        "wacore", mounts=[host.fake.mount("wa-support_whatsappMedia"), host.fake.mount("a" * 64, "/data")]
    )
    core["HostConfig"] = {"AutoRemove": True}
    return {}


def be_another(host: Host) -> dict[str, t.Any]:
    (host.root / "state" / "client-support.json").write_text(json.dumps({"project": "biz"}))
    return {}


def be_held(host: Host) -> dict[str, t.Any]:
    (host.root / "state" / "support.hold").write_text("moves on Monday")
    return {}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (be_held, "The client is held since "),
        (lose_media, "container wa-support-wacore-1: holds unknown content of /usr/local/wamedia"),
        (lose_registration, "container wa-support-wacore-1: has the registration only in its own writable layer"),
        (lose_volumes, "container wa-support-wacore-1: made with docker run --rm, so that a stop removes its volumes"),
        (be_another, "wa_project: wa-support; "),
    ],
)
def test_what_would_lose_data_is_refused(
    host: Host, prepare: t.Callable[[Host], dict[str, t.Any]], message: str
) -> None:
    options, files = prepare(host), host.files()
    with pytest.raises(WaError) as refused:
        host.run(**options)
    assert str(refused.value).startswith(message)
    assert len(host.fake.containers) == 2
    assert host.files() == files


def test_a_registration_in_a_container_goes_with_a_settings_backup(host: Host) -> None:
    host.container("wacore", environment={"WA_DB_HOSTNAME": "db"})
    host.run()
    assert host.fake.containers == {}


@pytest.mark.parametrize("request_of", ["POST /containers/", "DELETE /containers/", "DELETE /networks/"])
def test_a_run_that_was_cut_off_is_completed_by_the_next_one(host: Host, request_of: str) -> None:
    host.fake.failures[request_of] = (500, "cut off")
    with pytest.raises(WaError, match="cut off"):
        host.run()
    assert "state/client-support.json" in host.files()
    host.fake.failures.clear()
    assert host.run().has_client
    assert host.files() == ["cron.d"]
