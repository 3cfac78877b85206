# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps, with a fake Docker Engine and real files."""

from __future__ import annotations

import base64
import gzip
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._backup import contents
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import FILES_LABEL, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

KEY = "Canary-jwt-key"
CORE, WEB = "registry.lab:5000/whatsapp/coreapp:v2.53.4", "registry.lab:5000/whatsapp/web:v2.53.4"


class Host:
    """A host with a client of Compose, its files and its media."""

    def __init__(self, fake: FakeDocker, folder: Path) -> None:
        self.fake, self.folder = fake, folder
        fake.volume("media")
        self.media = Path(fake.mountpoint("media"))
        for name in ("db.env", "compose.yml", "override.yml", ".env"):
            (folder / name).write_text(f"{name}\n")
        (folder / "db.env").chmod(0o600)
        labels = {FILES_LABEL: f"{folder}/compose.yml,{folder}/override.yml,{folder}/gone.yml"}
        fake.container("biz-core-1", CORE, volume="media", environment={"WA_CONFIG_ON_DB": "1"}, labels=labels)
        fake.container("biz-web-1", WEB, volume="media", environment={"WA_WEB_JWT_CRYPTO_KEY": KEY}, labels=labels)
        fake.container("other-core-1", CORE, project="other")

    def read(self, list_media: bool = True, **more: t.Any) -> contents.Contents:
        options = {name: one.get("default") for name, one in ARGUMENT_SPEC.items()}
        desired = {
            "project": "biz",
            "container_names": [],
            "env_file": f"{self.folder}/db.env",
            "files": [f"{self.folder}/compose.yml"],
            "salt": "biz",
            **more,
        }
        return contents.read(Docker({**options, "docker_host": self.fake.host}), desired, list_media)


@pytest.fixture
def host(engine: FakeDocker, tmp_path: Path) -> Host:
    folder = tmp_path / "biz"
    folder.mkdir()
    return Host(engine, folder)


def test_files_of_the_inventory_and_of_the_containers_are_kept(host: Host) -> None:
    found = host.read()
    kept = {Path(one["path"]).name: base64.b64decode(one["content"]).decode() for one in found["files"]}
    assert kept == {name: f"{name}\n" for name in ("db.env", "compose.yml", "override.yml", ".env")}
    assert found["files"][0]["mode"] == "0600"
    assert found["missing"] == [f"{host.folder}/gone.yml"]
    assert (found["version"], found["registration"]) == ("2.53.4", {"biz-core-1": "in the database"})
    assert [one["name"] for one in found["images"]] == [CORE, WEB]


def test_a_file_that_cannot_be_read_is_an_error(host: Host) -> None:
    (host.folder / "override.yml").unlink()
    (host.folder / "override.yml").mkdir()
    with pytest.raises(WaError, match=r"override\.yml: cannot be read: no regular file"):
        host.read()


@pytest.mark.parametrize(
    ("environment", "mounts", "place"),
    [
        ({}, [], "in the container alone"),
        ({}, [("data", "/usr/local/waent/data")], "data"),
        ({"WA_CONFIG_ON_DB": "1"}, [("data", "/usr/local/waent/data")], "in the database"),
    ],
)
def test_where_the_registration_is(
    host: Host, environment: dict[str, str], mounts: list[tuple[str, str]], place: str
) -> None:
    host.fake.container(
        "biz-core-1", CORE, environment=environment, mounts=[host.fake.mount(name, path) for name, path in mounts]
    )
    assert host.read()["registration"] == {"biz-core-1": place}


def test_a_secret_is_kept_as_a_fingerprint_of_its_deployment(host: Host) -> None:
    found, other = host.read()["fingerprints"], host.read(salt="other")["fingerprints"]
    assert list(found) == ["WA_WEB_JWT_CRYPTO_KEY"]
    assert found == host.read()["fingerprints"]
    assert [len(one) for one in found["WA_WEB_JWT_CRYPTO_KEY"]] == [16]
    assert found != other
    assert KEY not in str(found)


def test_media_are_listed_by_size_and_name(host: Host) -> None:
    for name, size in {"in/a": 10, "b": 5, "odd\nname": 1}.items():
        (host.media / name).parent.mkdir(exist_ok=True)
        (host.media / name).write_bytes(b"x" * size)
    (host.media / ".wa-marker").write_text("9f2c\n")
    (host.media / "link").symlink_to("b")
    found = host.read()["media"]
    lines = gzip.decompress(base64.b64decode(found.pop("list"))).decode().splitlines()
    assert sorted(lines) == ["1\todd\\nname", "10\tin/a", "5\tb"]
    assert found == {"folder": str(host.media), "marker": "9f2c", "count": 3, "bytes": 16}
    assert host.read(list_media=False)["media"] == {}


def test_media_that_cannot_be_listed_are_no_error(host: Host) -> None:
    host.media.rmdir()
    assert host.read()["media"]["problem"].endswith("cannot be read from the host: No such file or directory")
    for name in ("biz-core-1", "biz-web-1"):
        host.fake.container(name, CORE)
    assert host.read()["media"] == {"problem": "nothing is mounted at /usr/local/wamedia"}


def test_containers_outside_compose_are_those_of_the_inventory(host: Host) -> None:
    for name in ("wacore", "another"):
        host.fake.container(name, CORE, project="")
    found = host.read(project="", container_names=["wacore"], files=[])
    assert list(found["registration"]) == ["wacore"]
    assert [Path(one["path"]).name for one in found["files"]] == ["db.env"]
