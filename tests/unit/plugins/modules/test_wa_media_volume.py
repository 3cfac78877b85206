# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_media_volume with a fake Docker Engine: requests, results, failures."""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from fake_docker import LAUNCH, FakeDocker, FakeExec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

MODULE = "wa_media_volume"
Run = t.Callable[..., "dict[str, t.Any]"]


def options(engine: FakeDocker, **more: t.Any) -> dict[str, t.Any]:
    return {"docker_host": engine.host, "name": "biz_m", "probe": False, **more}


def methods(engine: FakeDocker) -> list[str]:
    return [line.partition("?")[0] for line in engine.calls]


# Requests


def test_an_unchanged_volume_costs_two_requests(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    for number in range(20):
        engine.container(f"biz-wacore-{number}", volume="biz_m")
    done = run_module(MODULE, options(engine))
    assert not done["changed"]
    assert len(done["consumers"]) == 20
    assert methods(engine) == ["GET /volumes/biz_m", "GET /containers/json"]


def test_a_lost_image_name_costs_one_more_request_each(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    for number in range(3):
        engine.container(f"biz-wacore-{number}", volume="biz_m", lost_image=True)
    engine.container("biz-waweb-1", image="r/web:v1", volume="biz_m")
    assert len(run_module(MODULE, options(engine))["consumers"]) == 4
    assert engine.count == 2 + 3


def test_a_bind_volume_costs_no_more_requests(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    bind = {"type": "none", "o": "bind", "device": str(tmp_path)}
    engine.volume("biz_m", options=bind)
    run_module(MODULE, options(engine, driver_options=bind))
    assert engine.count == 2


def test_a_probe_costs_two_requests_for_each_container(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    folder = Path(engine.mountpoint("biz_m"))
    for number in range(4):
        engine.container(f"biz-wacore-{number}", volume="biz_m")
    tokens: list[str] = []

    def probe(command: FakeExec) -> int:
        """Does what the probe's script does, in the volume's folder."""
        _path, now, token, *_more = command.argv[-4:]
        (folder / f".wa-probe-{now}-{token}").write_text(token)
        command.write("user\t1000\nwrote\t\tok\nready\n")
        while (order := command.read_line().split())[0] != "end":
            other = (folder / f".wa-probe-{now}-{order[1]}").read_text()
            tokens.append(other)
            command.write("read\t\tok\ndone\n")
        (folder / f".wa-probe-{now}-{token}").unlink()
        command.write("gone\n")
        return 0

    engine.on_exec = probe
    done = run_module(MODULE, options(engine, probe=True))
    assert not done.get("failed"), done
    assert [(one["probe"], one["user"]) for one in done["consumers"]] == [("passed", "1000")] * 4
    assert len(set(tokens)) == 4  # each container reads one other container's file
    assert engine.count == 2 + 1 + 2 * 4  # one request finds out whether the engine is on this machine
    assert list(folder.iterdir()) == []


# Changes


def test_a_new_volume_is_predicted_created_and_then_unchanged(engine: FakeDocker, run_module: Run) -> None:
    wanted = options(engine, driver_options={"type": "nfs", "o": "addr=h,rw", "device": ":/e"})
    predicted = run_module(MODULE, wanted, check=True)
    assert "POST /volumes/create" not in methods(engine)
    done = run_module(MODULE, wanted)
    assert predicted["changed"]
    assert done["changed"]
    assert predicted["actions"] == done["actions"] == ["create volume biz_m"]
    assert predicted["diff"] == done["diff"]
    assert {key: value for key, value in done["volume"].items() if key != "mountpoint"} == predicted["volume"]
    assert not run_module(MODULE, wanted)["changed"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("state", ["running", "exited"])
def test_no_empty_volume_is_created_beside_the_mounted_one(
    engine: FakeDocker, run_module: Run, state: str, probe: bool, check: bool
) -> None:
    engine.volume("biz_media")
    engine.container("biz-wacore-1", volume="biz_media", state=state)
    failed = run_module(MODULE, options(engine, probe=probe), check=check)
    assert failed["failed"]
    assert (
        "media_volume biz_media (biz-wacore-1) would become biz_m. All media in biz_media would not be used; "
        in failed["msg"]
    )
    assert 'confirm_identity: {"media_volume": "biz_m"}' in failed["msg"]
    assert "recreate" not in failed["msg"]
    assert sorted(engine.volumes) == ["biz_media"]


def test_confirm_identity_allows_another_volume(engine: FakeDocker, run_module: Run) -> None:
    engine.container("biz-wacore-1", volume="biz_media")
    done = run_module(MODULE, options(engine, confirm_identity={"media_volume": "biz_m"}))
    assert done["actions"] == ["create volume biz_m"]


def test_a_bind_volume_over_the_mounted_folder_is_allowed(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    engine.container("biz-wacore-1", mounts=[engine.mount(str(tmp_path), kind="bind")])
    bind = {"type": "none", "o": "bind", "device": str(tmp_path)}
    assert run_module(MODULE, options(engine, driver_options=bind))["actions"] == ["create volume biz_m"]


def test_state_absent_removes_an_empty_volume(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    (Path(engine.mountpoint("biz_m")) / "incoming" / "deep").mkdir(parents=True)
    left = f".wa-probe-1700000000-{'0a' * 12}"  # of a probe and of a marker whose containers were killed
    (Path(engine.mountpoint("biz_m")) / "incoming" / left).write_text(f"{'0a' * 12}\n")
    (Path(engine.mountpoint("biz_m")) / left).write_text(f"{left}\n")
    assert run_module(MODULE, options(engine, state="absent"), check=True)["changed"]
    assert "biz_m" in engine.volumes
    assert run_module(MODULE, options(engine, state="absent"))["changed"]
    assert "biz_m" not in engine.volumes
    assert not run_module(MODULE, options(engine, state="absent"))["changed"]


def unreadable_mountpoint(engine: FakeDocker) -> None:
    (engine.root / "engine-id").write_text("another engine")


def no_engine_id(engine: FakeDocker) -> None:
    (engine.root / "engine-id").unlink()


def no_mountpoint(engine: FakeDocker) -> None:
    Path(engine.mountpoint("biz_m")).rmdir()


def a_media_file(engine: FakeDocker) -> None:
    (Path(engine.mountpoint("biz_m")) / "x").touch()


def a_file_named_like_a_probe(engine: FakeDocker) -> None:
    (Path(engine.mountpoint("biz_m")) / f".wa-probe-1700000000-{'0a' * 12}").write_text("media")


def an_unmounted_share(engine: FakeDocker) -> None:
    engine.volumes["biz_m"]["Options"] = {"type": "nfs", "o": "addr=h", "device": ":/e"}


def a_volume_of_a_plugin(engine: FakeDocker) -> None:
    engine.volumes["biz_m"]["Driver"] = "plugin"


def a_container_that_uses_it(engine: FakeDocker) -> None:
    engine.container("x", image="unrelated", volume="biz_m", state="exited")


def a_container_that_mounts_its_folder(engine: FakeDocker) -> None:
    mount = engine.mount(f"{engine.mountpoint('biz_m')}/incoming", "/data", kind="bind")
    engine.container("x", image="unrelated", mounts=[mount], state="exited")


def a_bind_volume_of_type_tmpfs(engine: FakeDocker) -> None:
    media = engine.root / "media"
    media.mkdir()
    (media / "x").touch()
    engine.volumes["biz_m"]["Options"] = {"type": "tmpfs", "o": "bind", "device": str(media)}


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (unreadable_mountpoint, "counts as holding data"),
        (no_engine_id, "counts as holding data"),
        (no_mountpoint, "counts as holding data"),
        (an_unmounted_share, "its share is not mounted"),
        (a_volume_of_a_plugin, "driver plugin keeps them"),
        (a_media_file, "holds files, x is one"),
        (a_file_named_like_a_probe, "holds files, .wa-probe-"),
        (a_container_that_uses_it, "used by x"),
        (a_container_that_mounts_its_folder, "used by x"),
        (a_bind_volume_of_type_tmpfs, "holds files, x is one"),
    ],
)
def test_a_volume_that_may_hold_data_is_not_removed(
    engine: FakeDocker, run_module: Run, plant: t.Callable[[FakeDocker], None], message: str
) -> None:
    engine.volume("biz_m")
    plant(engine)
    for check in (True, False):
        failed = run_module(MODULE, options(engine, state="absent"), check=check)
        assert failed["failed"]
        assert message in failed["msg"]
        assert not failed["changed"]
    assert not [line for line in engine.calls if line.startswith(("DELETE", "POST"))]


def share(device: str) -> dict[str, str]:
    return {"type": "none", "o": "bind", "device": device}


OPTIONS: list[dict[str, str]] = [
    {},
    {"type": "tmpfs", "device": "tmpfs"},
    {"type": "nfs", "o": "addr=h", "device": ":/e"},
    share("/"),
    share("/nowhere"),
]
MIXES: dict[str, list[t.Any]] = {
    "state": ["present", "absent"],
    "driver": ["local", "plugin"],
    "driver_options": OPTIONS,
    "on_drift": ["fail", "report"],
    "probe": [True, False],
    "client_images": [None, {"web": ["reg/web"]}, {"web": ["reg/ops/wa-webapp"], "coreapp": ["reg/ops/wa-core"]}],
    "write_marker": [False, True],
    "check": [False, True],
}
PLANTS = ["incoming/picture.jpg", ".hidden", f".wa-probe-1-{'0a' * 12}", "lost+found/#12", "a\nb/c"]


@given(
    mix=st.fixed_dictionaries({name: st.sampled_from(values) for name, values in MIXES.items()}),
    there=st.sampled_from([{}, {"type": "tmpfs", "o": "bind", "device": "HOME"}, share("HOME")]),
    plant=st.sampled_from(PLANTS),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example creates its own engine
def test_no_mix_of_options_removes_data(
    run_module: Run, tmp_path_factory: pytest.TempPathFactory, mix: dict[str, t.Any], there: dict[str, str], plant: str
) -> None:
    with FakeDocker(tmp_path_factory.mktemp("mix"), drivers=["local", "plugin"]) as engine:
        engine.volume("biz_m")
        home = engine.root / "media" if there else Path(engine.mountpoint("biz_m"))
        engine.volumes["biz_m"]["Options"] = {key: value.replace("HOME", str(home)) for key, value in there.items()}
        (home / plant).parent.mkdir(parents=True, exist_ok=True)
        (home / plant).write_text("media")
        before = dict(engine.volumes["biz_m"])
        chosen = {key: value for key, value in mix.items() if value is not None and key != "check"}
        done = run_module(MODULE, options(engine, **chosen), check=mix["check"])
        assert not done["changed"]
        assert not [line for line in engine.calls if line.startswith("DELETE")]
        assert engine.volumes == {"biz_m": before}
        assert (home / plant).read_text() == "media"


def test_a_volume_created_concurrently_is_compared(engine: FakeDocker, run_module: Run) -> None:
    create = engine._create_volume

    def raced(**request: t.Any) -> tuple[int, t.Any]:
        engine.volume("biz_m", options={"type": "tmpfs"})
        return create(**request)

    engine._create_volume = raced  # type: ignore[method-assign, assignment]  # the race cannot be produced otherwise
    failed = run_module(MODULE, options(engine))
    assert "made by somebody else meanwhile: option type is tmpfs, wanted none" in failed["msg"]


def test_a_mount_outside_the_volumes_folder_does_not_block_removal(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    for source in (f"{engine.mountpoint('biz_m')}2", "/"):
        engine.container(f"x{len(source)}", image="unrelated", mounts=[engine.mount(source, "/d", kind="bind")])
    assert run_module(MODULE, options(engine, state="absent"))["changed"]


# Faults


def test_engine_errors_are_reported(engine: FakeDocker, run_module: Run) -> None:
    engine.failures["GET /volumes/biz_m"] = (500, "database is locked")
    assert "volume biz_m: Docker refused: " in run_module(MODULE, options(engine))["msg"]
    engine.failures = {"POST /volumes/create": (507, "no space left on device")}
    failed = run_module(MODULE, options(engine))
    assert "no space left on device" in failed["msg"]
    failed = run_module(MODULE, options(engine, driver="nope"))
    engine.failures.clear()
    failed = run_module(MODULE, options(engine, driver="nope"))
    assert "the engine has no volume driver nope" in failed["msg"]


def test_containers_of_two_projects_need_option_project(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    engine.container("a-wacore-1", project="a", volume="biz_m")
    engine.container("b-wacore-1", project="b", volume="biz_m")
    assert "more than one project on this host: a, b" in run_module(MODULE, options(engine))["msg"]
    assert [one["name"] for one in run_module(MODULE, options(engine, project="b"))["consumers"]] == ["b-wacore-1"]


def test_a_marker_other_than_the_leaders_fails(engine: FakeDocker, run_module: Run) -> None:

    def probe(command: FakeExec) -> int:
        command.write("user\t1000\nwrote\t\tok\nmarker\t0a0a\nready\n")
        while command.read_line() != "end\n":
            command.write("read\t\tok\ndone\n")
        command.write("gone\n")
        return 0

    engine.on_exec = probe
    engine.volume("biz_m")
    (engine.root / "engine-id").unlink()  # so that the module does not check for files that this probe does not write
    engine.container("biz-wacore-1", volume="biz_m")
    failed = run_module(MODULE, options(engine, probe=True, expect_marker="0b0b"))
    assert "biz-wacore-1: does not see what the leader's container writes" in failed["msg"]
    assert failed["consumers"][0]["probe"] == "failed"
    same = run_module(MODULE, options(engine, probe=True, expect_marker="0a0a"))
    assert (same.get("failed"), same["marker"]) == (None, "0a0a")


def test_without_a_running_container_nothing_is_probed(engine: FakeDocker, run_module: Run, warned: list[str]) -> None:
    engine.volume("biz_m")
    engine.container("biz-wacore-1", volume="biz_m", state="exited")
    done = run_module(MODULE, options(engine, probe=True))
    assert done["consumers"][0]["probe"] == "not probed"
    assert "no client container runs, so nothing was proven" in str(warned)
    assert engine.count == 2


def test_client_images_decide_the_consumers(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    engine.container("one", image="reg:5000/a/coreapp:v2@sha256:00", volume="biz_m")
    engine.container("two", image="reg:5000/b/web", volume="biz_m")
    engine.container("three", image="nginx/webserver:1", volume="biz_m")
    engine.container("four", image="reg:5000/ops/wa-core", command=("run",), volume="biz_m")
    names = [one["name"] for one in run_module(MODULE, options(engine))["consumers"]]
    assert names == ["one", "two"]
    own = run_module(MODULE, options(engine, client_images={"coreapp": "reg:5000/ops/wa-core"}))["consumers"]
    assert [one["name"] for one in own] == ["four", "one", "two"]


def test_a_master_may_have_no_media(engine: FakeDocker, run_module: Run, warned: t.Any) -> None:
    engine.volume("biz_m")
    engine.container("core", volume="biz_m")
    engine.container("master", environment={"WA_MASTER_NODE": "1"})
    done = run_module(MODULE, options(engine))
    assert [one["name"] for one in done["consumers"]] == ["core"]
    assert "master is a master that mounts nothing at /usr/local/wamedia" in str(warned)
    engine.container("core2")
    assert "core2 mounts nothing at" in run_module(MODULE, options(engine, probe=True))["msg"]


def test_a_container_created_by_image_id_is_a_consumer(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    name = "reg:5000/whatsapp/coreapp:v2.53.4"
    engine.images.update({name: {}, "nginx:1": {}})
    for number, image in enumerate([name, "nginx:1", "gone:1"]):
        identifier = "sha256:" + hashlib.sha256(image.encode()).hexdigest()
        command = LAUNCH if image == name else None
        engine.container(f"one{number}", image=identifier, command=command)["Image"] = identifier
    failed = run_module(MODULE, options(engine, probe=True))
    assert [(one["name"], one["ok"]) for one in failed["consumers"]] == [("one0", False)]
    assert "one0 mounts nothing" in failed["msg"]


def test_a_container_of_compose_run_is_a_consumer_only_while_it_runs(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    one_off = {"com.docker.compose.oneoff": "True"}
    engine.container("biz-wacore-run-1", state="exited", labels=one_off)
    engine.container("biz-wacore-run-2", state="running", labels=one_off)
    engine.container("biz-wacore-1", volume="biz_m", labels={"com.docker.compose.oneoff": "False"})
    reported = [one["name"] for one in run_module(MODULE, options(engine))["consumers"]]
    assert reported == ["biz-wacore-1", "biz-wacore-run-2"]


def test_a_container_that_ends_during_its_probe_fails(engine: FakeDocker, run_module: Run) -> None:
    engine.volume("biz_m")
    engine.container("biz-wacore-1", volume="biz_m")
    engine.failures["POST /containers"] = (409, "container is not running")
    failed = run_module(MODULE, options(engine, probe=True))
    assert "biz-wacore-1: container biz-wacore-1: Docker refused: " in failed["msg"]
    assert failed["consumers"][0]["probe"] == "failed"
    engine.failures.clear()
    engine.on_exec = lambda _command: 137
    failed = run_module(MODULE, options(engine, probe=True))
    assert "the probe ended early (exit code 137)" in failed["msg"]


# Secrets


def test_result_and_log_contain_no_secret(engine: FakeDocker, run_module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, text, **more: logged.append(f"{text} {more}"))
    engine.volume("biz_m", options={"type": "cifs", "o": "username=u,password=old-canary", "device": "//h/s"})
    wanted = options(engine, driver_options={"type": "cifs", "o": "username=u,password=new-canary", "device": "//h/s"})
    failed = run_module(MODULE, wanted)
    assert failed["failed"]
    reported = run_module(MODULE, dict(wanted, on_drift="report", _ansible_inject_invocation=True))
    assert "canary" not in str(failed) + str(reported) + str(logged)
    assert logged
    assert reported["invocation"]["module_args"]["driver_options"]["o"] == "username=u,password=<hidden>"
    assert reported["volume"]["driver_options"]["device"] == "//h/s"
    engine.failures["POST /volumes/create"] = (500, "mount failed: username=u,password=new-canary: bad")
    del engine.volumes["biz_m"]
    failed = run_module(MODULE, wanted)
    assert "mount failed: username=u" in failed["msg"]
    assert "canary" not in str(failed)
