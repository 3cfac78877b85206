# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags of images: equal inputs have equal tags, and any change has another tag."""

from __future__ import annotations

import datetime
import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_samples import VERSIONS
from walab.images import Builder, Catalogue, Image, context_tar, expires_on
from walab.model import COMPOSES, ENGINES, Host
from walab.shell import LabError, Shell


class Usage(NamedTuple):
    """The return value of shutil.disk_usage."""

    total: int
    used: int
    free: int


@given(st.dates(datetime.date(2020, 1, 1), datetime.date(2100, 1, 1)))
def test_expiry_is_the_end_of_a_month_at_least_180_days_ahead(today: datetime.date) -> None:
    day = datetime.date.fromisoformat(expires_on(today))
    assert (day + datetime.timedelta(days=1)).day == 1
    assert 180 <= (day - today).days <= 211
    assert expires_on(today) == expires_on(
        (today + datetime.timedelta(days=180)).replace(day=1) - datetime.timedelta(days=180)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "Dockerfile").write_text("FROM x\n", encoding="utf-8")
    (tmp_path / "sub" / "run").write_text("#!/bin/sh\n", encoding="utf-8")
    return tmp_path


def tag(folder: Path, **changes: object) -> str:
    given_to = {"arguments": (("A", "1"),), **changes}
    return Image("i", (Image("base", recipe=("x",)),), folder, **given_to).tag  # type: ignore[arg-type] # a test's own keywords


def test_a_tag_ignores_files_of_editors_and_python(folder: Path) -> None:
    before = tag(folder)
    cache = folder / "sub" / "__pycache__"
    cache.mkdir()
    (cache / "run.pyc").write_bytes(b"x")
    (folder / ".run.swp").write_bytes(b"x")
    (folder / "Dockerfile").touch()
    assert tag(folder) == before
    assert before.startswith("walab/i:")


def test_a_tag_changes_with_every_input(folder: Path) -> None:
    tags = {tag(folder), tag(folder, target="t"), tag(folder, arguments=(("A", "2"),)), tag(folder, recipe=("r",))}
    tags.add(Image("i", (Image("base", recipe=("y",)),), folder, arguments=(("A", "1"),)).tag)
    (folder / "sub" / "run").chmod(0o755)
    tags.add(tag(folder))
    (folder / "sub" / "run").rename(folder / "sub" / "go")
    tags.add(tag(folder))
    (folder / "sub" / "go").write_text("#!/bin/sh\nexit\n", encoding="utf-8")
    tags.add(tag(folder))
    assert len(tags) == 8


def test_the_context_is_what_was_hashed(folder: Path) -> None:
    image = Image("i", (), folder)
    before = image.tag
    (folder / "Dockerfile").write_text("FROM y\n", encoding="utf-8")
    assert image.tag == before
    with tarfile.open(fileobj=io.BytesIO(image.context)) as tar:
        member = tar.extractfile("Dockerfile")
        assert member is not None
        assert member.read() == b"FROM x\n"


def test_the_context_keeps_programs_executable(folder: Path) -> None:
    (folder / "sub" / "run").chmod(0o750)
    with tarfile.open(fileobj=io.BytesIO(context_tar(folder))) as tar:
        assert {member.name: member.mode for member in tar} == {"Dockerfile": 0o644, "sub/run": 0o755}


def test_tags_of_client_images_and_of_the_store() -> None:
    one, other = Catalogue(VERSIONS), Catalogue([("2.51.2", "2030-02-28"), ("2.53.4", "2030-01-31")])
    assert len({image.tag for image in one.clients.values()}) == 4
    assert set(one.clients) == {
        f"whatsapp/{role}:v{version}" for role in ("web", "coreapp") for version, _day in VERSIONS
    }
    assert one.store.tag != other.store.tag
    assert one.machines["host"].tag == other.machines["host"].tag
    assert one.clients["whatsapp/web:v2.53.4"].tag == other.clients["whatsapp/web:v2.53.4"].tag


def test_database_images_use_the_debian_release_with_their_version() -> None:
    machines = Catalogue(VERSIONS).machines
    suites = {name: machines[name].parents[0].parents[0].recipe[0] for name in ENGINES}
    assert suites == ENGINES
    assert dict(machines["postgres-13"].arguments) == {"VERSION": "13"}
    assert machines["postgres"].arguments == ()
    assert len({machines[name].tag for name in ENGINES}) == len(ENGINES)


@pytest.mark.parametrize(
    ("host", "chain"),
    [
        ("h1", ["host", "apt", "debian"]),
        ("h1@compose-2.26", ["host", "apt", "debian"]),
        ("h1@compose-2.40", ["host-compose-2.40", "host", "apt", "debian"]),
        ("h1@bookworm", ["host-bookworm-compose-2.26", "host-bookworm", "apt-bookworm", "debian-bookworm"]),
        (
            "h1:ready@compose-2.40@bullseye",
            ["ready-bullseye-compose-2.40", "ready-bullseye", "base-bullseye", "apt-bullseye", "debian-bullseye"],
        ),
        ("h1:ready@sid", ["ready-sid", "apt-sid", "debian-sid"]),
        ("h1@sid@compose-2.40", ["host-sid", "apt-sid", "debian-sid"]),
        ("h1@sid@compose-2.26", ["host-sid-compose-2.26", "host-sid", "apt-sid", "debian-sid"]),
    ],
)
def test_a_host_image_has_its_debian_release_and_compose_version(host: str, chain: list[str]) -> None:
    catalogue = Catalogue(VERSIONS)
    image = catalogue.host(Host.parse(host))
    source = image.parents[-1]
    found = [image]
    while found[-1].parents:
        found.append(found[-1].parents[0])
    assert [one.name for one in found] == chain
    assert found[-1].recipe[0] == Host.parse(host).release
    if "compose" in image.name:
        version = image.name.rpartition("-")[2]
        assert source == catalogue.apts[COMPOSES[f"compose-{version}"]]
        assert dict(image.arguments) == {"SOURCE": source.tag, "VERSION": version}


def test_host_images_of_other_releases_have_a_name() -> None:
    named = Catalogue(VERSIONS).by_name()
    for name in ("host-sid", "host-bookworm", "ready-bullseye"):
        flavour, _sign, release = name.partition("-")
        assert named[name] == Catalogue(VERSIONS).host(Host("h1", flavour, release=release))


def test_a_full_disk_is_an_error_before_anything_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "docker"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n[ "$1" != info ] || echo /var/lib/docker\n', encoding="utf-8"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(shutil, "disk_usage", lambda _where: Usage(10**12, 10**12, 10**9))
    catalogue = Catalogue(VERSIONS)
    with pytest.raises(LabError, match=r"needs 5 GiB in /.*, and 0\.9 GiB are free; make room there"):
        Builder(Shell(), catalogue, tmp_path / "build").ensure([catalogue.debian])
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert [call.split()[0] for call in calls] == ["image", "image", "info"]
