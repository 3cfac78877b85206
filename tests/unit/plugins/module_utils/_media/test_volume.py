# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume and the files behind it: made, removed only when nobody can lose anything, and how much room there is."""

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
    params = {"docker_host": engine.host, "docker_timeout": "9s", "docker_tls": False, "docker_api_version": "1.45"}
    return Docker(params)


def bind(path: t.Any) -> dict[str, str]:
    return {"type": "none", "o": "bind", "device": str(path)}


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """Say what is mounted on this machine."""

    def call(*paths: t.Any) -> None:
        monkeypatch.setattr(
            volume, "mount_table", lambda: [MountPoint("/", "ext4"), *(MountPoint(str(path), "nfs4") for path in paths)]
        )

    return call


# A file system that does not answer


def test_an_answer_in_time_and_none() -> None:
    forever = threading.Event()
    assert volume.bounded(lambda: 7) == 7
    with pytest.raises(volume.FilesystemTimeout):
        volume.bounded(forever.wait, 0.05)
    forever.set()


def test_a_failure_is_told_as_it_is() -> None:
    with pytest.raises(FileNotFoundError):
        volume.bounded(lambda: os.listdir("/nowhere"))


def test_a_dead_share_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def silent(_function: t.Any) -> None:
        raise volume.FilesystemTimeout

    monkeypatch.setattr(volume, "bounded", silent)
    with pytest.raises(WaError) as told:
        volume.visit(str(tmp_path))
    assert str(told.value) == (
        f"device {tmp_path}: no answer within 5s: the share is dead; expected a share that answers. Bring its server back, or "
        "unmount it (umount -l)"
    )


@pytest.mark.parametrize(
    ("error", "words"),
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
def test_a_device_is_visited(monkeypatch: pytest.MonkeyPatch, error: OSError, words: str) -> None:
    def fail(_function: t.Any) -> None:
        raise error

    monkeypatch.setattr(volume, "bounded", fail)
    if not words:
        volume.visit("/srv/m")
        return
    with pytest.raises(WaError) as told:
        volume.visit("/srv/m")
    assert str(told.value) == f"device /srv/m: {words}"


# Making and removing


def test_a_volume_is_made_once(engine: FakeDocker, docker: Docker) -> None:
    made = volume.create(docker, "m", "local", NFS, {"a": "1"})
    assert (made["Name"], made["Driver"], made["Options"], made["Labels"]) == ("m", "local", NFS, {"a": "1"})
    assert volume.create(docker, "m", "local", {}, {}) == made
    assert engine.bodies[-1] == {"Name": "m", "Driver": "local", "DriverOpts": None, "Labels": None}


DRIVER = "volume m: the engine has no volume driver nope; expected a driver that is installed and enabled. docker plugin install nope"


def test_a_driver_that_is_not_there_is_told_in_both_modes(engine: FakeDocker, docker: Docker) -> None:
    for act in (
        lambda: volume.create(docker, "m", "nope", {}, {}),
        lambda: volume.check_driver(volume.Engine(docker), "m", "nope"),
    ):
        with pytest.raises(WaError) as told:
            act()
        assert str(told.value) == DRIVER
    engine.failures["POST /volumes/create"] = (500, "no room")
    with pytest.raises(WaError, match="no room"):
        volume.create(docker, "m", "nope", {}, {})
    engine.failures["POST /volumes/create"] = (404, "plugin is broken")
    with pytest.raises(WaError, match="plugin is broken"):
        volume.create(docker, "m", "local", {}, {})


@pytest.mark.parametrize("drivers", [["nope"], ["local", "nope:latest"]])
def test_a_driver_that_is_listed_is_there(engine: FakeDocker, docker: Docker, drivers: list[str]) -> None:
    engine.drivers = drivers
    volume.check_driver(volume.Engine(docker), "m", "nope")


def test_a_volume_goes_but_none_in_use(engine: FakeDocker, docker: Docker) -> None:
    engine.volume("a b")
    engine.volume("used")
    engine.container("x", volume="used")
    volume.remove(docker, "a b")
    volume.remove(docker, "a b")
    with pytest.raises(WaError, match="volume used: Docker refused: remove used: volume is in use"):
        volume.remove(docker, "used")
    assert list(engine.volumes) == ["used"]
    engine.failures["DELETE /volumes/gone"] = (500, "odd")
    volume.remove(docker, "gone")  # whatever was said, it is not there


def shape(**more: t.Any) -> dict[str, t.Any]:
    return {"driver": "local", "driver_options": {}, "labels": {}, **more}


@pytest.mark.parametrize("before", [None, shape(labels={"a": "1"})])
@pytest.mark.parametrize("after", [None, shape(labels={"a": "2"})])
def test_one_volume_becomes_another(engine: FakeDocker, docker: Docker, before: t.Any, after: t.Any) -> None:
    if before:
        engine.volume("m", labels=before["labels"])
    made = volume.replace(docker, "m", before, after)
    assert (made or {}).get("Labels") == (after["labels"] if after else None)
    assert list(engine.volumes) == (["m"] if after else [])


def test_what_cannot_be_made_leaves_what_was_there(engine: FakeDocker, docker: Docker) -> None:
    before = shape(labels={"a": "1"})
    engine.volume("m", labels={"a": "1"})
    with pytest.raises(WaError) as told:
        volume.replace(docker, "m", before, shape(driver="nope"))
    assert str(told.value) == DRIVER.replace(
        " nope; expected", " nope; the empty one that was there is there again; expected"
    )
    assert engine.volumes["m"]["Labels"] == {"a": "1"}
    with pytest.raises(WaError) as told:
        volume.replace(docker, "n", None, shape(driver="nope"))
    assert str(told.value) == DRIVER.replace("volume m", "volume n")
    engine.failures["POST /volumes/create"] = (500, "no room")
    with pytest.raises(WaError) as told:
        volume.replace(docker, "m", before, shape())
    assert told.value.found == (
        "Docker refused: no room; the empty one that was there is removed and cannot be made again: Docker refused: no room"
    )


# Who uses it


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
def test_who_uses_a_volume(
    engine: FakeDocker, docker: Docker, options: dict[str, str], mounts: list[tuple[str, str]], uses: bool
) -> None:
    actual = engine.volume("m", options=options)
    made = [engine.mount(name.replace("MOUNTPOINT", actual["Mountpoint"]), "/d", kind=kind) for kind, name in mounts]
    engine.container("x", image="other/image:1", state="exited", mounts=made)
    assert volume.users(docker, actual) == (["x"] if uses else [])


# Whether the engine is here


@pytest.mark.parametrize(
    ("mark", "here", "elsewhere"),
    [("fake-engine", True, False), ("fake-engine\n", True, False), ("other", False, True), (None, False, False)],
)
def test_the_engines_mark_proves_where_it_is(
    engine: FakeDocker, docker: Docker, mark: str | None, here: bool, elsewhere: bool
) -> None:
    path = engine.root / "engine-id"
    path.write_text(mark) if mark else path.unlink()
    found = volume.Engine(docker)
    assert (found.maybe_here, found.here, found.elsewhere) == (True, here, elsewhere)
    assert engine.count == 1  # asked once


@pytest.mark.parametrize(
    ("key", "here", "elsewhere"),
    [
        ('{"kty": "EC", "kid": "fake-engine", "d": "secret"}', True, False),
        ('{"kid": "other"}', False, True),
        ("{}", False, False),
        ("[]", False, False),
        ("no key", False, False),
    ],
)
def test_an_older_engine_is_known_by_its_key(
    engine: FakeDocker,
    docker: Docker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    here: bool,
    elsewhere: bool,
) -> None:
    (engine.root / "engine-id").unlink()
    monkeypatch.setattr(volume, "KEY", str(tmp_path / "key.json"))
    (tmp_path / "key.json").write_text(key)
    found = volume.Engine(docker)
    assert (found.here, found.elsewhere) == (here, elsewhere)
    (engine.root / "engine-id").write_text("fake-engine")
    assert volume.Engine(docker).here  # what a newer one has written counts, whatever key an older one has left


def test_an_engine_whose_folder_is_not_here_is_elsewhere(
    engine: FakeDocker, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = volume.Engine(docker)
    found._info = {"ID": "fake-engine", "DockerRootDir": "/nowhere"}
    assert (found.here, found.elsewhere) == (False, True)
    found._info = {"ID": "", "DockerRootDir": str(engine.root)}
    (engine.root / "engine-id").write_text("")
    assert not found.here
    monkeypatch.setattr(Docker, "local", False)
    found._info = {"ID": "fake-engine", "DockerRootDir": str(engine.root)}
    (engine.root / "engine-id").write_text("fake-engine")
    assert (found.maybe_here, found.here, found.elsewhere) == (False, False, True)


# What forbids to remove it


def why(docker: Docker, actual: dict[str, t.Any]) -> str:
    error = volume.why_not_remove(docker, volume.Engine(docker), actual)
    expected = ("volume m", "a volume that no container uses and that holds no file")
    assert error is None or (error.subject, error.expected) == expected
    return error.found if error else ""


def test_an_empty_volume_may_go_and_one_in_use_or_with_a_file_may_not(engine: FakeDocker, docker: Docker) -> None:
    actual = engine.volume("m")
    (Path(actual["Mountpoint"]) / "in" / "deep").mkdir(parents=True)
    assert why(docker, actual) == ""
    (Path(actual["Mountpoint"]) / "in" / "photo").touch()
    assert why(docker, actual) == "holds files, in/photo is one"
    engine.container("b", volume="m", state="exited")
    engine.container("a", volume="m")
    error = volume.why_not_remove(docker, volume.Engine(docker), actual)
    assert str(error) == (
        "volume m: used by a, b; expected a volume that no container uses and that holds no file. Remove these containers "
        "first (docker compose down leaves volumes alone)"
    )


UNREAD = "its files cannot be read ({}), so it counts as holding data"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Driver": "plugin"}, UNREAD.format("driver plugin keeps them")),
        ({"Options": NFS}, UNREAD.format("its share is not mounted")),
        ({"Options": {"type": "tmpfs"}}, ""),
        ({"Mountpoint": "/nowhere"}, UNREAD.format("[Errno 2] No such file or directory: '/nowhere'")),
        ({"Options": bind("/nowhere")}, UNREAD.format("does not exist")),
    ],
)
def test_what_cannot_be_known_counts_as_data(
    engine: FakeDocker, docker: Docker, mounted: t.Callable[..., None], change: dict[str, t.Any], words: str
) -> None:
    mounted()
    actual = {**engine.volume("m"), **change}
    (Path(engine.mountpoint("m")) / "file").touch()
    assert why(docker, actual) == words


def test_an_engine_elsewhere_keeps_its_files(engine: FakeDocker, docker: Docker) -> None:
    actual = engine.volume("m")
    (engine.root / "engine-id").write_text("other")
    assert why(docker, actual) == UNREAD.format("the engine is not known to run on this machine")


def test_a_silent_file_system_counts_as_data(
    engine: FakeDocker, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_function: t.Any) -> None:
        raise volume.FilesystemTimeout

    actual = engine.volume("m")
    monkeypatch.setattr(volume, "bounded", silent)
    error = volume.why_not_remove(docker, volume.Engine(docker), actual)
    assert error is not None
    assert error.found == UNREAD.format("the file system does not answer")
    assert error.cure == "Media are never deleted by this collection: move them away and run docker volume rm m by hand"


@pytest.mark.parametrize(("name", "holds"), [("photo", True), (None, False)])
def test_a_bind_is_looked_into_where_it_leads(
    engine: FakeDocker, docker: Docker, tmp_path: Path, mounted: t.Callable[..., None], name: str | None, holds: bool
) -> None:
    mounted()
    media = tmp_path / "media"
    media.mkdir()
    (tmp_path / "link").symlink_to(media)
    if name:
        (media / name).touch()
    actual = engine.volume("m", options=bind(tmp_path / "link"))
    assert why(docker, actual) == ("holds files, photo is one" if holds else "")


def test_a_share_that_is_mounted_is_looked_into(
    engine: FakeDocker, docker: Docker, mounted: t.Callable[..., None]
) -> None:
    actual = engine.volume("m", options=NFS)
    mounted(actual["Mountpoint"])
    assert why(docker, actual) == ""


# Where its files are, and the room there


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
def test_where_the_files_of_a_volume_must_be(
    engine: FakeDocker,
    docker: Docker,
    mounted: t.Callable[..., None],
    change: dict[str, t.Any],
    table: list[str],
    home: str | None,
) -> None:
    actual = {**engine.volume("m"), **change}
    mounted(*(path.replace("MOUNTPOINT", actual["Mountpoint"]) for path in table))
    found = volume.home(volume.Engine(docker), actual)
    assert found == (home and home.replace("MOUNTPOINT", actual["Mountpoint"]))
    (engine.root / "engine-id").write_text("other")
    assert volume.home(volume.Engine(docker), actual) is None


@pytest.mark.parametrize(
    ("there", "driver", "options", "known"),
    [
        (True, "local", {}, True),
        (False, "local", {}, True),  # that of the engine's folder
        (True, "local", bind("ROOT"), True),
        (True, "local", bind("/nowhere"), False),
        (True, "local", NFS, False),
        (False, "local", NFS, False),
        (True, "plugin", {}, False),
    ],
)
def test_the_room_where_this_host_can_tell(
    engine: FakeDocker,
    docker: Docker,
    mounted: t.Callable[..., None],
    there: bool,
    driver: str,
    options: dict[str, str],
    known: bool,
) -> None:
    mounted()
    options = {key: value.replace("ROOT", str(engine.root)) for key, value in options.items()}
    actual = engine.volume("m", options=options) if there else None
    found = volume.space(volume.Engine(docker), actual, driver, options)
    assert (found is not None) is known
    if found:
        status = os.statvfs(engine.root)
        assert found[1] == status.f_blocks * status.f_frsize
        assert 0 < found[0] <= found[1]


def test_the_room_above_a_folder_that_only_root_may_look_into(
    engine: FakeDocker, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def free(path: str) -> tuple[int, int]:
        asked.append(path)
        if path != "/":
            raise PermissionError
        return 1, 2

    monkeypatch.setattr(volume, "free_bytes", free)
    actual = dict(engine.volume("m"), Mountpoint="/a/b")
    assert volume.space(volume.Engine(docker), actual, "local", {}) == (1, 2)
    assert asked == ["/a/b", "/a", "/"]


@pytest.mark.parametrize("error", [OSError, volume.FilesystemTimeout, PermissionError])
def test_room_that_nobody_tells(
    engine: FakeDocker, docker: Docker, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(_path: str) -> None:
        raise error

    monkeypatch.setattr(volume, "free_bytes", fail)
    assert volume.space(volume.Engine(docker), engine.volume("m"), "local", {}) is None


# Whether a share is mounted


@pytest.mark.parametrize(
    ("options", "required", "mountpoint", "refused"),
    [
        ({}, None, "", ""),
        ({}, False, "", ""),
        (NFS, True, "", ""),
        ({}, True, "", "a plain volume is made on the host's own disk"),
        ({}, True, "HERE", "a plain directory"),
        (bind("HERE"), True, "", "a plain directory"),
        (bind("HERE"), None, "", ""),
        (bind("HERE/none"), None, "", "does not exist"),
    ],
)
def test_a_share_that_must_be_there(
    docker: Docker,
    tmp_path: Path,
    mounted: t.Callable[..., None],
    options: dict[str, str],
    required: bool | None,
    mountpoint: str,
    refused: str,
) -> None:
    mounted()
    options = {key: value.replace("HERE", str(tmp_path)) for key, value in options.items()}
    arguments = (volume.Engine(docker), options, required, mountpoint.replace("HERE", str(tmp_path)))
    if not refused:
        volume.check_device(*arguments)
        return
    with pytest.raises(WaError) as told:
        volume.check_device(*arguments)
    assert told.value.found.startswith(refused)


def test_a_directory_of_another_machine_is_not_judged(
    engine: FakeDocker, docker: Docker, mounted: t.Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted()
    (engine.root / "engine-id").write_text("other")
    volume.check_device(volume.Engine(docker), bind("/nowhere"), None)
    monkeypatch.setattr(Docker, "local", False)
    volume.check_device(volume.Engine(docker), bind("/nowhere"), None)


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
def test_the_first_file_that_a_killed_probe_did_not_leave(
    tmp_path: Path, files: dict[str, str], found: str | None
) -> None:
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert volume.first_file(str(tmp_path)) == found


def test_a_link_is_a_file_wherever_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    assert volume.first_file(str(tmp_path)) == "link"
    (tmp_path / "link").unlink()
    (tmp_path / LEFT).symlink_to("/etc/hostname")
    assert volume.first_file(str(tmp_path)) == LEFT


def test_a_folder_that_cannot_be_read_is_no_empty_one() -> None:
    with pytest.raises(FileNotFoundError):
        volume.first_file("/nowhere")


def test_another_file_system_inside_is_not_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    other = os.stat_result([0o40755, 1, -1, 1, 0, 0, 0, 0, 0, 0])
    monkeypatch.setattr(os, "stat", lambda _path: other)  # of the root; what is in it has the device that it has
    with pytest.raises(OSError, match=f"another file system is mounted at {tmp_path}/in"):
        volume.first_file(str(tmp_path))


def test_small_files_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"a\xff")
    assert volume.read(str(tmp_path / "text")) == "a\ufffd"
    assert volume.read(str(tmp_path / "none")) == ""
    assert volume.read(str(tmp_path)) == ""


def test_what_is_mounted_here() -> None:
    assert "/proc" in [one.path for one in volume.mount_table()]
