# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_media_volume on a real Docker Engine and real file systems."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import commands
import pytest
from commands import docker
from waiting import until

MODULE = "wa_media_volume"
MEDIA = "/usr/local/wamedia"
CANARY = "C4nary-Media-Pw"
# The entry point runs as root and the program as another user, as in many images.
DROPS = ("sh", "-c", "setpriv --reuid 1234 --regid 1235 --clear-groups sleep infinity & wait")


def options(clients: t.Any, volume: str, **more: t.Any) -> dict[str, t.Any]:
    return {"name": volume, "project": clients.project, **more}


def failure(ansible: t.Any, values: dict[str, t.Any], check: bool = False) -> str:
    """Run the module, which must fail and change nothing, and return its message."""
    result = ansible.module(MODULE, values, check)
    assert result.get("failed"), result
    assert not result["changed"], result
    return str(result["msg"])


class Mounts:
    """File systems that are mounted for a test and unmounted at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounted: list[str] = []

    def mount(self, *argv: str, on: Path) -> None:
        on.mkdir(exist_ok=True)
        commands.run("mount", *argv, on)
        self.mounted.append(str(on))

    def ext4(self, megabytes: int = 16) -> Path:
        """Mount a small ext4 file system in a file."""
        disk, on = self.folder / "disk.img", self.folder / "disk"
        with disk.open("wb") as file:
            file.truncate(megabytes << 20)
        commands.run("mkfs.ext4", "-q", "-m", "0", disk)
        self.mount("-o", "loop", str(disk), on=on)
        return on

    def clean(self) -> None:
        for on in reversed(self.mounted):
            subprocess.run(["umount", "--lazy", on], check=False, capture_output=True)


@pytest.fixture
def mounts(tmp_path: Path, clients: t.Any) -> t.Iterator[Mounts]:
    kept = Mounts(tmp_path)
    yield kept
    clients.clean()
    kept.clean()


def bind(path: Path) -> dict[str, str]:
    return {"type": "none", "o": "bind", "device": str(path)}


# Creation, drift and removal


def test_a_volume_is_created_and_then_unchanged(ansible: t.Any, clients: t.Any) -> None:
    """Check, run, run, check."""
    name = f"{clients.project}_whatsappMedia"
    clients.volumes.append(name)
    done = ansible.converge(MODULE, options(clients, name))
    assert done["actions"] == [f"create volume {name}"]
    assert done["diff"]["before"] == {}
    assert done["diff"]["after"]["name"] == name


def test_on_drift_fails_or_reports(ansible: t.Any, clients: t.Any) -> None:
    """The volume stays as it is."""
    name = clients.volume()
    wanted = options(clients, name, driver="other")
    assert "driver is local, wanted other" in failure(ansible, wanted)
    assert "driver is local, wanted other" in failure(ansible, wanted, check=True)
    reported = ansible.module(MODULE, dict(wanted, on_drift="report"))
    assert not reported["changed"]
    assert reported["drift"] == [{"what": "driver", "found": "local", "wanted": "other"}]


@pytest.mark.parametrize("plant", ["touch /v/incoming/empty", "ln -s nowhere /v/link", "mkfifo /v/incoming/a/b"])
def test_no_option_removes_data(ansible: t.Any, clients: t.Any, plant: str) -> None:
    """An empty file, a dangling link and a pipe in a subdirectory survive every combination of options."""
    name = clients.volume()
    docker("run", "--rm", "-v", f"{name}:/v", clients.image, "sh", "-c", f"mkdir -p /v/incoming/a; {plant}")
    before, record = clients.files(name), clients.engine.volume(name)
    assert before
    mixes: list[dict[str, t.Any]] = [
        {"state": state, "on_drift": on_drift, "driver": driver}
        for state, on_drift, driver in itertools.product(("present", "absent"), ("fail", "report"), ("local", "other"))
    ]
    results = [ansible.module(MODULE, options(clients, name, **mix)) for mix in mixes]
    assert not any(result["changed"] for result in results)
    assert all("holds files" in result["msg"] for result in results[-4:])
    assert clients.files(name) == before
    assert clients.engine.volume(name) == record


def test_absent_removes_an_empty_volume_only_if_unused(ansible: t.Any, clients: t.Any) -> None:
    """A stopped container counts as a user."""
    name = clients.volume()
    container = clients.add("wacore", volume=name, start=False)
    assert f"used by {container}" in failure(ansible, options(clients, name, state="absent"))
    docker("rm", container)
    done = ansible.converge(MODULE, options(clients, name, state="absent"))
    assert done["actions"] == [f"remove volume {name}"]
    assert done["diff"]["after"] == {}
    assert clients.engine.volume(name) is None


def test_concurrent_runs_create_one_volume(ansible: t.Any, clients: t.Any) -> None:
    """Both runs succeed."""
    name = f"{clients.project}_whatsappMedia"
    clients.volumes.append(name)
    results: list[dict[str, t.Any]] = []
    threads = [
        threading.Thread(target=lambda: results.append(ansible.module(MODULE, options(clients, name))))
        for _run in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [bool(result.get("failed")) for result in results] == [False, False], results
    assert clients.engine.volume(name)["Driver"] == "local"


def test_a_missing_volume_driver_is_explained(ansible: t.Any, clients: t.Any) -> None:
    """The message names the driver and a fix."""
    name = f"{clients.project}_m"
    result = ansible.module(MODULE, options(clients, name, driver="nosuch/driver"))
    assert result["failed"]
    assert "no volume driver nosuch/driver" in result["msg"]
    assert clients.engine.volume(name) is None
    assert "no option uid" in failure(ansible, options(clients, name, driver_options={"uid": "3"}), check=True)


def test_a_missing_or_unserved_docker_socket_is_an_error(ansible: t.Any, clients: t.Any, tmp_path: Path) -> None:
    """A socket that does not exist, and one without a server."""
    missing = f"unix://{tmp_path}/none.sock"
    assert "does not exist" in ansible.module(MODULE, {"docker_host": missing})["msg"]
    commands.run("/usr/bin/python3", "-c", f"import socket as s; s.socket(s.AF_UNIX).bind('{tmp_path}/dead.sock')")
    assert "no answer" in ansible.module(MODULE, {"docker_host": f"unix://{tmp_path}/dead.sock"})["msg"]


# Secrets


def test_passwords_in_driver_options_are_hidden(ansible: t.Any, clients: t.Any) -> None:
    """A password in `o=` is in no result, diff, error or output at -vvv. A changed one is shown as `<changed>`."""
    name = f"{clients.project}_cifs"
    clients.volumes.append(name)
    share = {"type": "cifs", "device": "//files.example.com/media"}
    first = options(clients, name, driver_options=dict(share, o=f"username=wa,password={CANARY},vers=3.0"))
    second = options(clients, name, driver_options=dict(share, o=f"username=wa,password={CANARY}-2,vers=3.0"))
    runs = ((first, True), (first, False), (first, False), (second, True), (second, False))
    tasks = [
        *({f"waba.onprem.{MODULE}": values, "check_mode": check, "ignore_errors": True} for values, check in runs),
        {f"waba.onprem.{MODULE}": dict(second, state="absent")},
    ]
    play = ansible.play(tasks, arguments=["-vvv"])
    assert CANARY not in play.stdout + play.stderr
    *seen, removed = play.results
    assert [bool(one.get("failed")) for one in seen] == [False, False, False, True, True]
    assert not seen[2]["changed"]
    assert seen[1]["diff"]["after"]["driver_options"]["o"] == "username=wa,password=<hidden>,vers=3.0"
    assert seen[4]["drift"] == [
        {
            "what": "option o",
            "found": "username=wa,password=<hidden>,vers=3.0",
            "wanted": "username=wa,password=<changed>,vers=3.0",
        }
    ]
    assert "share is not mounted" in removed["msg"]


def test_the_order_of_nfs_options_is_no_drift(ansible: t.Any, clients: t.Any) -> None:
    """Another server is a drift."""
    name = f"{clients.project}_nfs"
    clients.volumes.append(name)
    share = {"type": "nfs", "device": ":/export/media", "o": "addr=192.0.2.1,nfsvers=4.1,hard,timeo=600,retrans=2"}
    ansible.converge(MODULE, options(clients, name, driver_options=share))
    reordered = dict(share, o="nfsvers=4.1,addr=192.0.2.1,hard,retrans=2,timeo=600")
    assert not ansible.module(MODULE, options(clients, name, driver_options=reordered))["changed"]
    moved = options(clients, name, driver_options=dict(share, device=":/export/new"))
    assert "option device is :/export/media, wanted :/export/new" in failure(ansible, moved)


# Mounts of the client containers


def test_wrong_mounts_are_reported_for_each_container(ansible: t.Any, clients: t.Any, tmp_path: Path) -> None:
    """The message names each wrong mount, and nothing is created or probed."""
    name = clients.volume()
    clients.volume(f"{name}2")
    clients.add("good", volume=name)
    clients.add("none")
    clients.add("ro", "coreapp", "--volume", f"{name}:{MEDIA}:ro")
    clients.add("bind", "web", "--volume", f"{tmp_path}:{MEDIA}")
    clients.add("other", "web", volume=f"{name}2")
    clients.add("path", "web", "--volume", f"{name}:/usr/local/wamedia2")
    clients.add("tmpfs", "web", "--mount", f"type=tmpfs,destination={MEDIA}")
    clients.add(
        "nested", "coreapp", "--tmpfs", "/t", "--volume", f"{name}:{MEDIA}", "--volume", f"{name}2:{MEDIA}/incoming"
    )
    clients.add("above", "coreapp", "--volume", f"{name}:/usr/local")
    clients.add("anonymous", "coreapp", "--volume", MEDIA)
    clients.add("stopped", "coreapp", start=False)
    result = ansible.module(MODULE, options(clients, name))
    assert result["failed"]
    reasons = {one["service"]: one["reason"] for one in result["consumers"]}
    assert reasons.pop("good") is None
    for service, reason in {
        "none": f"mounts nothing at {MEDIA}",
        "ro": f"mounts {name} at {MEDIA} read-only",
        "bind": f"mounts bind {tmp_path}",
        "other": f"mounts volume {name}2",
        "above": f"mounts {name} at /usr/local, not at {MEDIA}",
        "path": "mounts " + name + " at /usr/local/wamedia2",
        "tmpfs": f"mounts tmpfs at {MEDIA}",
        "nested": f"covered by other mounts: {MEDIA}/incoming (volume {name}2)",
        "anonymous": "an anonymous volume",
        "stopped": f"mounts nothing at {MEDIA}",
    }.items():
        assert reason in (reasons.pop(service) or ""), service
        assert f"{clients.project}-{service}-1 " in result["msg"]
    assert not reasons
    reported = ansible.module(MODULE, options(clients, name, probe=False))
    assert not reported.get("failed")
    assert not reported["changed"]


def test_a_volume_name_without_the_project_prefix_is_refused(ansible: t.Any, clients: t.Any) -> None:
    """`biz_whatsappMedia` is in use and `whatsappMedia` is requested: the module fails and creates no empty volume."""
    prefixed = clients.volume(f"{clients.project}_wm")
    clients.add("wacore", volume=prefixed)
    message = failure(ansible, options(clients, "wm"))
    assert f"media_volume {prefixed} ({clients.project}-wacore-1) would become wm" in message
    assert f"All media in {prefixed} would not be used" in message
    assert clients.engine.volume("wm") is None


# The probe


def test_the_probe_writes_as_the_user_of_the_process(ansible: t.Any, clients: t.Any) -> None:
    """It writes as the program's user, names who may not write where, and leaves no file."""
    volume = clients.volume()
    core = clients.add("wacore", "coreapp", volume=volume, command=DROPS)
    clients.add("waweb", "web", "--user", "1234:1235", volume=volume)
    clients.run(core, f"mkdir -p {MEDIA}/incoming {MEDIA}/outgoing '{MEDIA}/a b'; chown -R 1234:1235 {MEDIA}")
    done = ansible.module(MODULE, options(clients, volume))
    assert not done.get("failed"), done
    assert {one["service"]: (one["probe"], one["user"]) for one in done["consumers"]} == {
        "wacore": ("passed", "1234:1235"),
        "waweb": ("passed", "1234"),
    }
    assert clients.files(volume) == []
    clients.run(core, f"chown root:root {MEDIA}/outgoing")
    message = failure(ansible, options(clients, volume))
    assert f"{MEDIA}/outgoing (owner 0:0, mode 755) cannot be written by 1234:1235: Permission denied" in message
    assert clients.files(volume) == []


def test_the_probe_works_without_setpriv(ansible: t.Any, clients: t.Any) -> None:
    """If the image has no setpriv, Docker starts the probe as that user."""
    volume = clients.volume()
    core = clients.add("wacore", "coreapp", volume=volume, command=DROPS)
    clients.run(core, f"chown 1234 {MEDIA}; rm /usr/bin/setpriv")
    done = ansible.module(MODULE, options(clients, volume))
    assert not done.get("failed"), done
    assert done["consumers"][0]["user"] == "1234:1235"
    clients.run(core, f"chown 0 {MEDIA}")
    assert "cannot be written by 1234:1235" in failure(ansible, options(clients, volume))


def test_check_mode_and_paused_containers_are_not_probed(ansible: t.Any, clients: t.Any) -> None:
    """Check mode writes nothing. A paused container cannot be probed and does not block the module."""
    volume = clients.volume()
    core = clients.add("wacore", "coreapp", "--user", "1234", volume=volume)
    assert ansible.module(MODULE, options(clients, volume), check=True)["consumers"][0]["probe"] == "not probed"
    docker("pause", core)
    done = ansible.module(MODULE, options(clients, volume))
    docker("unpause", core)
    assert not done.get("failed"), done
    assert done["consumers"][0]["probe"] == "not probed"


def test_a_full_file_system_is_reported(ansible: t.Any, clients: t.Any, mounts: Mounts) -> None:
    """An ext4 file system of 16 MiB, filled completely."""
    disk = mounts.ext4()
    volume = clients.volume("", *(f"--opt={key}={value}" for key, value in bind(disk).items()))
    core = clients.add("wacore", volume=volume)
    wanted = options(clients, volume, driver_options=bind(disk))
    assert not ansible.module(MODULE, wanted).get("failed")
    # The remaining space is less than a block, so the blocks become smaller.
    grow = f"dd if=/dev/zero of={MEDIA}/fill oflag=append conv=notrunc,fsync bs=$size || :"
    clients.run(core, f"for size in 64k 4k 1k 1; do {grow}; sync; done 2>/dev/null")
    result = ansible.module(MODULE, wanted)
    assert result["failed"]
    assert f"{MEDIA} (owner 0:0, mode 755) cannot be written by " in result["msg"]
    assert "No space left on device" in result["msg"]
    assert sorted(path.name for path in disk.iterdir()) == ["fill", "lost+found"]


def test_a_read_only_remount_is_reported(ansible: t.Any, clients: t.Any, mounts: Mounts) -> None:
    """The message differs from that for missing permissions."""
    disk = mounts.ext4()
    volume = clients.volume("", *(f"--opt={key}={value}" for key, value in bind(disk).items()))
    core = clients.add("wacore", volume=volume)
    clients.run(core, f"mkdir {MEDIA}/incoming {MEDIA}/outgoing")
    wanted = options(clients, volume, driver_options=bind(disk))
    assert not ansible.module(MODULE, wanted).get("failed")
    commands.run("mount", "-o", "remount,ro", disk)
    message = failure(ansible, wanted)
    places = f"{MEDIA}, {MEDIA}/incoming, {MEDIA}/outgoing"
    assert f"{places} (owner 0:0, mode 755) cannot be written by 0: Read-only file system" in message


def test_a_tmpfs_volume_is_removed_when_unused(ansible: t.Any, clients: t.Any) -> None:
    """Its size is known only while a container uses it. Its files vanish with the last container, so it may be removed."""
    name = f"{clients.project}_tmp"
    clients.volumes.append(name)
    small = options(clients, name, driver_options={"type": "tmpfs", "device": "tmpfs", "o": "size=2m"})
    ansible.converge(MODULE, small)
    container = clients.add("wacore", volume=name)
    absent = dict(small, state="absent")
    assert "used by" in failure(ansible, absent)
    docker("rm", "--force", container)
    assert ansible.module(MODULE, absent)["changed"]


def test_a_missing_directory_behind_a_bind_volume_is_refused(ansible: t.Any, clients: t.Any, mounts: Mounts) -> None:
    """It is an error before anything is created."""
    name = f"{clients.project}_share"
    clients.volumes.append(name)
    share = mounts.folder / "share"
    wanted = options(clients, name, driver_options=bind(share))
    assert "does not exist" in failure(ansible, wanted)
    assert "does not exist" in failure(ansible, wanted, check=True)
    assert clients.engine.volume(name) is None
    share.mkdir()
    mounts.mount("-t", "tmpfs", "-o", "size=8m", "share", on=share)
    ansible.converge(MODULE, wanted)
    clients.add("wacore", volume=name)
    assert not ansible.module(MODULE, wanted).get("failed")


def test_a_share_mounted_after_the_containers_started_is_detected(
    ansible: t.Any, clients: t.Any, mounts: Mounts
) -> None:
    """The host sees the share, the containers write to the directory below it."""
    share = mounts.folder / "share"
    share.mkdir()
    volume = clients.volume("", *(f"--opt={key}={value}" for key, value in bind(share).items()))
    core = clients.add("wacore", volume=volume)
    mounts.mount("-t", "tmpfs", "-o", "size=8m", "share", on=share)
    wanted = options(clients, volume, driver_options=bind(share))
    message = failure(ansible, wanted)
    assert f"{core}: what it writes does not arrive in {share}" in message
    docker("restart", core)
    assert not ansible.module(MODULE, wanted).get("failed")


def test_a_volume_subpath_is_refused(ansible: t.Any, clients: t.Any) -> None:
    """A single container that mounts a subpath reads its own file. The host finds it in another directory."""
    volume = clients.volume()
    docker("run", "--rm", "-v", f"{volume}:/v", clients.image, "mkdir", "/v/part")
    core = clients.add("wacore", "coreapp", "--mount", f"type=volume,src={volume},dst={MEDIA},volume-subpath=part")
    message = failure(ansible, options(clients, volume))
    assert f"{core}: what it writes does not arrive in " in message
    assert "mounts only a part of the volume" in message


@pytest.mark.parametrize("covered", ["incoming", "incoming/deep", "a b"])
def test_a_tmpfs_over_a_part_of_the_volume_is_refused(ansible: t.Any, clients: t.Any, covered: str) -> None:
    """Docker does not list the `tmpfs:` of a Compose file as a mount, and a single container reads its own file."""
    volume = clients.volume()
    clients.add("wacore", "coreapp", "--tmpfs", f"{MEDIA}/{covered}:mode=1777", volume=volume)
    message = failure(ansible, options(clients, volume))
    assert f"parts of {MEDIA} are covered by other mounts inside the container: " in message
    assert covered.replace(" ", "\\040") in message
    assert clients.files(volume) == []


def test_a_share_mounted_over_a_subdirectory_later_is_detected(ansible: t.Any, clients: t.Any, mounts: Mounts) -> None:
    """The host sees the share in `incoming`, the container does not."""
    media = mounts.folder / "media"
    (media / "incoming").mkdir(parents=True)
    volume = clients.volume("", *(f"--opt={key}={value}" for key, value in bind(media).items()))
    core = clients.add("wacore", volume=volume)
    mounts.mount("-t", "tmpfs", "-o", "size=8m", "share", on=media / "incoming")
    message = failure(ansible, options(clients, volume, driver_options=bind(media)))
    assert f"{core}: what it writes does not arrive in {media}/incoming on the host" in message


def test_a_mount_inside_a_container_is_detected(ansible: t.Any, clients: t.Any) -> None:
    """It hides the volume. Only reading another container's file reveals it."""
    volume = clients.volume()
    clients.add("wacore", volume=volume)
    web = clients.add("waweb", "web", "--privileged", volume=volume)
    clients.run(web, f"mount -t tmpfs none {MEDIA}")
    message = failure(ansible, options(clients, volume))
    assert f"cannot read what {clients.project}-wacore-1 writes in {MEDIA}" in message


def _hold_probe(host: str, containers: list[t.Any], ready: t.Any) -> None:
    """Start the probe in this process and stop in the middle of it."""
    from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_rules
    from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
    from ansible_collections.waba.onprem.plugins.module_utils._media import probe as media_probe

    params = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    engine = docker_rules.Docker(dict(params, docker_host=host))

    def between(_prober: t.Any) -> None:
        ready.set()
        time.sleep(600)

    media_probe.Prober(engine, containers, MEDIA).run(between)


def test_a_killed_probe_leaves_no_files(clients: t.Any, docker_engine: str) -> None:
    """The module's process is killed while all files exist. The containers remove them."""
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container

    volume = clients.volume()
    names = [clients.add(f"wacore{number}", volume=volume) for number in range(3)]
    ready = multiprocessing.Event()
    containers = [Container(name, name, "coreapp", "running", {}, []) for name in names]
    process = multiprocessing.Process(target=_hold_probe, args=(docker_engine, containers, ready))
    process.start()
    assert ready.wait(20)
    assert len(clients.files(volume)) == 3
    assert process.pid
    os.kill(process.pid, 9)
    process.join()
    until(lambda: clients.files(volume) == [])
    for name in names:
        assert not [line for line in clients.engine.processes(name) if ".wa-probe-" in line]


def test_a_hanging_file_system_fails_within_the_timeout(clients: t.Any, docker_engine: str) -> None:
    """One container does not answer in time. The others are reported, and no file is left."""
    from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_rules
    from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
    from ansible_collections.waba.onprem.plugins.module_utils._media import probe as media_probe

    volume = clients.volume()
    names = [clients.add(f"wacore{number}", volume=volume) for number in range(2)]
    clients.run(
        names[1],
        "mv /usr/bin/dd /usr/bin/dd.real; printf '#!/bin/sh\\nsleep 60\\n' >/usr/bin/dd; chmod 755 /usr/bin/dd",
    )
    params = {name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()}
    engine = docker_rules.Docker(dict(params, docker_host=docker_engine))
    containers = [docker_rules.Container(name, name, "coreapp", "running", {}, []) for name in names]
    started = time.monotonic()
    good, hung = media_probe.Prober(engine, containers, MEDIA, seconds=2.0).run()
    assert time.monotonic() - started < 10
    assert good.error == ""
    assert "no answer within 2s" in hung.error
    assert clients.files(volume) == []


def test_files_of_an_earlier_killed_probe_are_removed(ansible: t.Any, clients: t.Any) -> None:
    """The client's own dot files and the files of a running probe are kept."""
    volume = clients.volume()
    core = clients.add("wacore", volume=volume)
    now = int(time.time())
    clients.run(core, f"cd {MEDIA}; touch .wa-probe-1700000000-aa .wa-probe-{now}-bb .wa-other .wa-probe-x-y")
    assert not ansible.module(MODULE, options(clients, volume)).get("failed")
    assert clients.files(volume) == ["/v/.wa-other", f"/v/.wa-probe-{now}-bb", "/v/.wa-probe-x-y"]


def test_twenty_containers_are_probed_in_parallel(ansible: t.Any, clients: t.Any) -> None:
    """Every one of them passes."""
    volume = clients.volume()
    for number in range(20):
        clients.add(f"wacore{number}", volume=volume)
    done = ansible.module(MODULE, options(clients, volume))
    assert not done.get("failed"), done
    assert [one["probe"] for one in done["consumers"]] == ["passed"] * 20
    assert clients.files(volume) == []


def test_a_marker_is_found_only_on_the_same_volume(ansible: t.Any, clients: t.Any) -> None:
    """Two projects represent two hosts: one on the same volume, one on another."""
    volume = clients.volume()
    clients.add("wacore", volume=volume, command=DROPS)
    docker("exec", f"{clients.project}-wacore-1", "chown", "1234", MEDIA)
    marked = ansible.module(MODULE, options(clients, volume, probe=False, write_marker=True))
    assert not marked.get("failed"), marked
    assert not marked["changed"]
    assert clients.files(volume) == ["/v/.wa-marker"]
    assert not ansible.module(MODULE, options(clients, volume, expect_marker=marked["marker"])).get("failed")
    other = clients.volume(f"{clients.project}_far")
    clients.add("wacore", volume=other, project=f"{clients.project}far")
    message = failure(ansible, {"name": other, "project": f"{clients.project}far", "expect_marker": marked["marker"]})
    assert "the hosts do not share one volume" in message


def test_a_socket_without_permission_is_explained(clients: t.Any, docker_engine: str) -> None:
    """A user outside the group docker gets a fix."""
    script = (
        "import json, sys; from ansible.module_utils.testing import patch_module_args\n"
        "from ansible_collections.waba.onprem.plugins.modules import wa_media_volume\n"
        "with patch_module_args({'docker_host': sys.argv[1]}): wa_media_volume.main()\n"
    )
    # The modules are imported as root; then the process becomes user nobody.
    become = "import os; import docker; from ansible.module_utils import basic; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
    paths = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(":")[0]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from ansible_collections.waba.onprem.plugins.modules import wa_media_volume\n" + become + script,
            docker_engine,
        ],
        env={**os.environ, "PYTHONPATH": paths, "HOME": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(done.stdout)
    assert result["failed"]
    assert "no permission on the socket" in result["msg"]
    assert "group docker" in result["msg"]
