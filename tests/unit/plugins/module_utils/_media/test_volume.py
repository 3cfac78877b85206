# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume and its files: creation, removal only if no data can be lost."""

from __future__ import annotations

import os
import threading
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._media import volume
from ansible_collections.waba.onprem.plugins.module_utils._media.filesystem import MountPoint

NFS = {"type": "nfs", "o": "addr=h", "device": ":/e"}


@pytest.fixture
def docker(engine: FakeDocker) -> Docker:
    params = {"docker_host": engine.host, "docker_timeout": "9s"}
    return Docker(params)


def bind(path: t.Any) -> dict[str, str]:
    return {"type": "none", "o": "bind", "device": str(path)}


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """Replace the mount table of this machine."""

    def call(*paths: t.Any) -> None:
        monkeypatch.setattr(
            volume, "mount_table", lambda: [MountPoint("/", "ext4"), *(MountPoint(str(path), "nfs4") for path in paths)]
        )

    return call


# Unresponsive file systems


def test_bounded_returns_in_time_or_raises() -> None:
    forever = threading.Event()
    assert volume.bounded(lambda: 7) == 7
    with pytest.raises(volume.FilesystemTimeout):
        volume.bounded(forever.wait, 0.05)
    forever.set()


def test_bounded_raises_the_original_error() -> None:
    with pytest.raises(FileNotFoundError):
        volume.bounded(lambda: os.listdir("/nowhere"))


def test_a_dead_share_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def time_out(_function: t.Any) -> None:
        raise volume.FilesystemTimeout

    monkeypatch.setattr(volume, "bounded", time_out)
    with pytest.raises(WaError) as error:
        volume.visit(str(tmp_path))
    assert str(error.value) == (
        f"device {tmp_path}: no answer within 5s: the share is dead; expected a share that answers. Bring its server back, or "
        "unmount it (umount -l)"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(), "does not exist; expected a directory. Create it, or mount the share there"),
        (NotADirectoryError(), "is no directory; expected a directory."),
        (
            OSError(116, "Stale file handle"),
            "Stale file handle: the mount is stale; expected a share that answers. umount -l /srv/m; mount /srv/m",
        ),
        (PermissionError(), ""),
    ],
)
def test_errors_of_a_device_are_explained(monkeypatch: pytest.MonkeyPatch, error: OSError, message: str) -> None:
    def fail(_function: t.Any) -> None:
        raise error

    monkeypatch.setattr(volume, "bounded", fail)
    if not message:
        volume.visit("/srv/m")
        return
    with pytest.raises(WaError) as raised:
        volume.visit("/srv/m")
    assert str(raised.value) == f"device /srv/m: {message}"


# Creation and removal


def test_a_volume_is_created_once(engine: FakeDocker, docker: Docker) -> None:
    made = volume.create(docker, "m", "local", NFS)
    assert (made["Name"], made["Driver"], made["Options"]) == ("m", "local", NFS)
    assert volume.create(docker, "m", "local", {}) == made
    assert engine.bodies[-1] == {"Name": "m", "Driver": "local", "DriverOpts": None}


DRIVER = "volume m: the engine has no volume driver nope; expected a driver that is installed and enabled. docker plugin install nope"


def test_a_missing_driver_is_an_error_in_both_modes(engine: FakeDocker, docker: Docker) -> None:
    for act in (
        lambda: volume.create(docker, "m", "nope", {}),
        lambda: volume.check_driver(docker, "m", "nope"),
    ):
        with pytest.raises(WaError) as error:
            act()
        assert str(error.value) == DRIVER
    engine.failures["POST /volumes/create"] = (500, "no room")
    with pytest.raises(WaError, match="no room"):
        volume.create(docker, "m", "nope", {})
    engine.failures["POST /volumes/create"] = (404, "plugin is broken")
    with pytest.raises(WaError, match="plugin is broken"):
        volume.create(docker, "m", "local", {})


@pytest.mark.parametrize("drivers", [["nope"], ["local", "nope:latest"]])
def test_a_listed_driver_is_accepted(engine: FakeDocker, docker: Docker, drivers: list[str]) -> None:
    engine.drivers = drivers
    volume.check_driver(docker, "m", "nope")


def test_a_volume_in_use_is_not_removed(engine: FakeDocker, docker: Docker) -> None:
    engine.volume("a b")
    engine.volume("used")
    engine.container("x", volume="used")
    volume.remove(docker, "a b")
    volume.remove(docker, "a b")
    with pytest.raises(WaError, match="volume used: Docker refused: remove used: volume is in use"):
        volume.remove(docker, "used")
    assert list(engine.volumes) == ["used"]
    engine.failures["DELETE /volumes/gone"] = (500, "odd")
    volume.remove(docker, "gone")  # the volume does not exist, whatever the error is


# Users


@pytest.mark.parametrize(
    ("options", "mounts", "uses"),
    [
        ({}, [("volume", "m")], True),
        ({}, [("volume", "n")], False),
        ({}, [("bind", "MOUNTPOINT")], True),
        ({}, [("bind", "MOUNTPOINT/incoming")], True),
        ({}, [("bind", "MOUNTPOINT2")], False),
        ({}, [("bind", "/")], False),
        (bind("/srv/m"), [("bind", "/srv/m/in")], True),
        (bind("/srv/m"), [("bind", "/srv")], False),
        (NFS, [("bind", ":/e")], False),
        ({}, [], False),
    ],
)
def test_containers_that_use_a_volume(
    engine: FakeDocker, docker: Docker, options: dict[str, str], mounts: list[tuple[str, str]], uses: bool
) -> None:
    actual = engine.volume("m", options=options)
    made = [engine.mount(name.replace("MOUNTPOINT", actual["Mountpoint"]), "/d", kind=kind) for kind, name in mounts]
    engine.container("x", image="other/image:1", state="exited", mounts=made)
    assert volume.users(docker, actual) == (["x"] if uses else [])


# Location of the engine


@pytest.mark.parametrize(
    ("engine_id", "here"),
    [("fake-engine", True), ("fake-engine\n", True), ("other", False), (None, False)],
)
def test_the_engine_id_file_proves_where_the_engine_runs(
    engine: FakeDocker, docker: Docker, engine_id: str | None, here: bool
) -> None:
    path = engine.root / "engine-id"
    path.write_text(engine_id) if engine_id else path.unlink()
    assert volume.is_here(docker) is here
    assert engine.count == 1


@pytest.mark.parametrize(
    ("key", "here"),
    [
        ('{"kty": "EC", "kid": "fake-engine", "d": "secret"}', True),
        ('{"kid": "other"}', False),
        ("{}", False),
        ("[]", False),
        ("no key", False),
    ],
)
def test_an_older_engine_is_recognised_by_its_key(
    engine: FakeDocker,
    docker: Docker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    here: bool,
) -> None:
    (engine.root / "engine-id").unlink()
    monkeypatch.setattr(volume, "KEY", str(tmp_path / "key.json"))
    (tmp_path / "key.json").write_text(key)
    assert volume.is_here(docker) is here
    (engine.root / "engine-id").write_text("fake-engine")
    assert volume.is_here(docker)  # the file of a newer engine counts, whatever key an older one has left


@pytest.mark.parametrize(
    ("number", "folder", "engine_id"), [("fake-engine", "/nowhere", "fake-engine"), ("", "FOLDER", "")]
)
def test_an_engine_without_its_folder_here_is_not_here(
    engine: FakeDocker, docker: Docker, monkeypatch: pytest.MonkeyPatch, number: str, folder: str, engine_id: str
) -> None:
    info = {"ID": number, "DockerRootDir": folder.replace("FOLDER", str(engine.root))}
    monkeypatch.setattr(docker, "info", lambda: info)
    (engine.root / "engine-id").write_text(engine_id)
    assert not volume.is_here(docker)


# Reasons against a removal


def reason_against(docker: Docker, actual: dict[str, t.Any]) -> str:
    error = volume.why_not_remove(docker, actual)
    expected = ("volume m", "a volume that no container uses and that holds no file")
    assert error is None or (error.subject, error.expected) == expected
    return error.found if error else ""


def test_only_an_unused_empty_volume_may_be_removed(engine: FakeDocker, docker: Docker) -> None:
    actual = engine.volume("m")
    (Path(actual["Mountpoint"]) / "in" / "deep").mkdir(parents=True)
    assert reason_against(docker, actual) == ""
    (Path(actual["Mountpoint"]) / "in" / "photo").touch()
    assert reason_against(docker, actual) == "holds files, in/photo is one"
    engine.container("b", volume="m", state="exited")
    engine.container("a", volume="m")
    error = volume.why_not_remove(docker, actual)
    assert str(error) == (
        "volume m: used by a, b; expected a volume that no container uses and that holds no file. Remove these containers "
        "first (docker compose down leaves volumes alone)"
    )


UNREADABLE = "its files cannot be read ({}), so it counts as holding data"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Driver": "plugin"}, UNREADABLE.format("driver plugin keeps them")),
        ({"Options": NFS}, UNREADABLE.format("its share is not mounted")),
        ({"Options": {"type": "tmpfs"}}, ""),
        ({"Mountpoint": "/nowhere"}, UNREADABLE.format("[Errno 2] No such file or directory: '/nowhere'")),
        ({"Options": bind("/nowhere")}, UNREADABLE.format("does not exist")),
    ],
)
def test_unreadable_content_counts_as_data(
    engine: FakeDocker, docker: Docker, mounted: t.Callable[..., None], change: dict[str, t.Any], reason: str
) -> None:
    mounted()
    actual = {**engine.volume("m"), **change}
    (Path(engine.mountpoint("m")) / "file").touch()
    assert reason_against(docker, actual) == reason


def test_files_of_an_engine_elsewhere_count_as_data(engine: FakeDocker, docker: Docker) -> None:
    actual = engine.volume("m")
    (engine.root / "engine-id").write_text("other")
    assert reason_against(docker, actual) == UNREADABLE.format("the engine is not known to run on this machine")


def test_an_unresponsive_file_system_counts_as_data(
    engine: FakeDocker, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(_function: t.Any) -> None:
        raise volume.FilesystemTimeout

    actual = engine.volume("m")
    monkeypatch.setattr(volume, "bounded", time_out)
    error = volume.why_not_remove(docker, actual)
    assert error is not None
    assert error.found == UNREADABLE.format("the file system does not answer")
    assert error.cure == "Media are never deleted by this collection: move them away and run docker volume rm m by hand"


@pytest.mark.parametrize(("name", "holds"), [("photo", True), (None, False)])
def test_the_target_of_a_bind_volume_is_searched(
    engine: FakeDocker, docker: Docker, tmp_path: Path, mounted: t.Callable[..., None], name: str | None, holds: bool
) -> None:
    mounted()
    media = tmp_path / "media"
    media.mkdir()
    (tmp_path / "link").symlink_to(media)
    if name:
        (media / name).touch()
    actual = engine.volume("m", options=bind(tmp_path / "link"))
    assert reason_against(docker, actual) == ("holds files, photo is one" if holds else "")


def test_a_mounted_share_is_searched(engine: FakeDocker, docker: Docker, mounted: t.Callable[..., None]) -> None:
    actual = engine.volume("m", options=NFS)
    mounted(actual["Mountpoint"])
    assert reason_against(docker, actual) == ""


# Location of the files


@pytest.mark.parametrize(
    ("change", "table", "home"),
    [
        ({}, [], "MOUNTPOINT"),
        ({"Options": bind("/srv/m")}, [], "/srv/m"),
        ({"Options": NFS}, [], None),
        ({"Options": NFS}, ["MOUNTPOINT"], "MOUNTPOINT"),
        ({"Driver": "plugin"}, [], None),
    ],
)
def test_the_folder_of_the_files(
    engine: FakeDocker,
    docker: Docker,
    mounted: t.Callable[..., None],
    change: dict[str, t.Any],
    table: list[str],
    home: str | None,
) -> None:
    actual = {**engine.volume("m"), **change}
    mounted(*(path.replace("MOUNTPOINT", actual["Mountpoint"]) for path in table))
    found = volume.home(docker, actual)
    assert found == (home and home.replace("MOUNTPOINT", actual["Mountpoint"]))
    (engine.root / "engine-id").write_text("other")
    assert volume.home(docker, actual) is None


# Mounted shares


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({}, ""),
        (NFS, ""),
        (bind("HERE"), ""),
        (bind("HERE/none"), "does not exist"),
    ],
)
def test_a_share_that_must_be_mounted(
    tmp_path: Path, mounted: t.Callable[..., None], options: dict[str, str], refused: str
) -> None:
    mounted()
    options = {key: value.replace("HERE", str(tmp_path)) for key, value in options.items()}
    if not refused:
        volume.check_device(options)
        return
    with pytest.raises(WaError) as error:
        volume.check_device(options)
    assert error.value.found.startswith(refused)


# Files


TOKEN = "0a" * 12
LEFT = f".wa-probe-1700000000-{TOKEN}"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, None),
        ({"a/b/c": ""}, "a/b/c"),
        ({LEFT: f"{TOKEN}\n"}, None),
        ({f"a/{LEFT}": f"{LEFT}\n"}, None),
        ({LEFT: ""}, None),
        ({LEFT: "media"}, LEFT),
        ({LEFT: TOKEN}, LEFT),
        ({f"{LEFT}0": ""}, f"{LEFT}0"),
        ({".wa-probe-x-" + TOKEN: ""}, ".wa-probe-x-" + TOKEN),
    ],
)
def test_files_of_a_killed_probe_do_not_count_as_data(tmp_path: Path, files: dict[str, str], found: str | None) -> None:
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert volume.first_file(str(tmp_path)) == found


def test_a_symbolic_link_counts_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    assert volume.first_file(str(tmp_path)) == "link"
    (tmp_path / "link").unlink()
    (tmp_path / LEFT).symlink_to("/etc/hostname")
    assert volume.first_file(str(tmp_path)) == LEFT


def test_an_unreadable_folder_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        volume.first_file("/nowhere")


def test_another_file_system_inside_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    other = os.stat_result([0o40755, 1, -1, 1, 0, 0, 0, 0, 0, 0])
    monkeypatch.setattr(os, "stat", lambda _path: other)  # of the root folder; its content has its own device
    with pytest.raises(OSError, match=f"another file system is mounted at {tmp_path}/in"):
        volume.first_file(str(tmp_path))


def test_small_files_are_read_or_empty(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\xff")
    assert volume.read(str(tmp_path / "text")) == "a\ufffd"
    assert volume.read(str(tmp_path / "none")) == ""
    assert volume.read(str(tmp_path)) == ""


def test_the_mount_table_of_this_machine() -> None:
    assert "/proc" in [one.path for one in volume.mount_table()]
