# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker is installed only on a host without traces of an engine. The refusal names the traces and the vendor's fix."""

from __future__ import annotations

import os
import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution
from ansible_collections.waba.onprem.plugins.module_utils._host import requirements as host_requirements
from ansible_collections.waba.onprem.plugins.module_utils._host.requirements import Traces, docker_refusal

DEBIAN = {"ID": "debian", "VERSION_ID": "13"}
BOOKWORM = {"ID": "debian", "VERSION_ID": "12"}
UBUNTU = {"ID": "ubuntu", "ID_LIKE": "debian", "VERSION_ID": "24.04"}
ROCKY = {"ID": "rocky", "ID_LIKE": "rhel centos fedora", "VERSION_ID": "9.4"}
SUSE = {"ID": "opensuse-leap", "ID_LIKE": "suse opensuse", "VERSION_ID": "15.6"}
AMAZON = {"ID": "amzn", "ID_LIKE": "fedora", "VERSION_ID": "2023"}
NO_SOCKET = (
    "Docker Engine at unix:///run/docker.sock: the socket /run/docker.sock does not exist; expected an engine. Start it"
)
NO_PERMISSION = (
    "Docker Engine at unix:///run/docker.sock: no permission on the socket /run/docker.sock; expected an engine. Use x"
)
RunModule = t.Callable[..., "dict[str, t.Any]"]


def test_a_complete_or_empty_host_is_not_refused() -> None:
    assert docker_refusal("", True, Traces(packages=("docker-ce",)), DEBIAN) == ""
    assert docker_refusal(NO_SOCKET, False, Traces(), DEBIAN) == ""


@pytest.mark.parametrize(
    ("traces", "release", "fix"),
    [
        (Traces(("docker-ce", "containerd.io")), DEBIAN, "apt-get install docker-compose-plugin"),
        (Traces(("docker-ce",)), UBUNTU, "apt-get install docker-compose-plugin"),
        (Traces(("docker-ce",)), ROCKY, "dnf install docker-compose-plugin"),
        (Traces(("docker.io", "docker-cli", "containerd")), DEBIAN, "apt-get install docker-compose"),
        (Traces(("docker.io",)), BOOKWORM, "into /usr/local/lib/docker/cli-plugins, executable"),
        (Traces(("docker.io",)), UBUNTU, "apt-get install docker-compose-v2"),
        (Traces(("moby-engine",)), UBUNTU, "apt-get install moby-compose"),
        (Traces(("moby-engine",)), ROCKY, "dnf install docker-compose"),
        (Traces(("docker",)), SUSE, "zypper install docker-compose"),
        (Traces(("docker",)), AMAZON, "into /usr/local/lib/docker/cli-plugins, executable"),
        (Traces(snap=True), UBUNTU, "and move the client to one of them"),
        (Traces(("podman-docker",)), ROCKY, "use another host"),
        (Traces(others=("/usr/local/bin/dockerd",)), DEBIAN, "into /usr/local/lib/docker/cli-plugins, executable"),
        (Traces(), {}, "into /usr/local/lib/docker/cli-plugins, executable"),
    ],
)
def test_an_engine_without_compose_gets_the_plugin_of_its_vendor(
    traces: Traces, release: dict[str, str], fix: str
) -> None:
    refusal = docker_refusal("", False, traces, release)
    assert refusal.startswith("docker compose does not run, and an engine is there: ")
    assert refusal.endswith(fix)
    assert all(one in refusal for one in traces.listed())
    assert "wa_host_install_docker" not in refusal


@pytest.mark.parametrize(
    "traces",
    [
        Traces(("docker-ce",)),
        Traces(("podman-docker",)),
        Traces(("containerd.io",)),
        Traces(snap=True),
        Traces(others=("/usr/bin/docker",)),
        Traces(others=("unit docker.service",)),
        Traces(others=("socket /run/docker.sock",)),
        Traces(others=("data in /var/lib/docker",)),
    ],
)
@pytest.mark.parametrize("compose_runs", [True, False])
@pytest.mark.parametrize(("error", "fix"), [(NO_SOCKET, "Start it"), (NO_PERMISSION, "Let it be asked (become")])
def test_an_engine_that_does_not_answer_is_not_installed_again(
    traces: Traces, compose_runs: bool, error: str, fix: str
) -> None:
    refusal = docker_refusal(error, compose_runs, traces, DEBIAN)
    assert refusal.startswith(error.partition(";")[0])
    assert f"there is something of an engine on the host: {traces.listed()[0]}. Nothing is installed" in refusal
    assert (fix in refusal) is (traces.vendor() != "podman")  # podman has no service to start
    assert "wa_host_install_docker" not in refusal


def test_podman_is_refused() -> None:
    error = (
        "Docker Engine at unix:///run/podman/podman.sock: what answers there is Podman, which speaks like Docker. Use x"
    )
    refusal = docker_refusal(error, True, Traces(others=("socket /run/podman/podman.sock",)), ROCKY)
    assert refusal.startswith("Docker Engine at unix:///run/podman/podman.sock: what answers there is Podman")
    assert refusal.endswith("The collection needs Docker itself: use another host")


def test_containerd_alone_is_no_docker_vendor() -> None:
    assert Traces(("containerd.io",)).vendor() == ""
    assert Traces(("containerd.io", "docker.io")).vendor() == "distribution"


class Host:
    """The part of AnsibleModule that reads a host, with programs in a folder."""

    def __init__(self, folder: Path, docker_host: str = "") -> None:
        self.folder, self.params = folder, {"docker_host": docker_host, "cron": True}

    def program(self, name: str, prints: str = "") -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nprintf '{prints}'\n")
        path.chmod(0o755)

    def get_bin_path(self, name: str, **_options: t.Any) -> str | None:
        path = self.folder / name
        return str(path) if path.exists() else None

    def run_command(self, argv: list[str]) -> tuple[int, str, str]:
        with os.popen(argv[0]) as pipe:
            return 0, pipe.read(), ""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    for name in ("UNIT_FOLDERS", "SOCKETS", "DATA", "SNAPS", "INIT_SCRIPTS"):
        monkeypatch.setattr(host_requirements, name, (str(tmp_path / name.lower()),))
    for name in ("CONFIGURATION", "PROC"):
        monkeypatch.setattr(host_requirements, name, str(tmp_path / name.lower()))
    monkeypatch.setattr(host_requirements, "DEFAULT_SOCKET", str(tmp_path / "default.sock"))
    monkeypatch.setattr(host_requirements, "PLACES", (str(tmp_path / "opt" / "*" / "{}"),))
    return Host(tmp_path, f"unix://{tmp_path}/default.sock")


def test_traces_of_every_vendor_are_found(host: Host, tmp_path: Path) -> None:
    assert host_requirements.traces(host).listed() == []
    host.program("dpkg-query", r"ii \tdocker-ce\nrc \tdocker.io\nun \tmoby-engine\niF \tcontainerd.io\n")
    host.program("rpm", r"podman-docker\npackage docker-ce is not installed\n")
    host.program("dockerd")
    (tmp_path / "unit_folders").mkdir()
    (tmp_path / "unit_folders" / "docker.socket").touch()
    (tmp_path / "sockets").touch()
    (tmp_path / "data" / "overlay2").mkdir(parents=True)
    assert host_requirements.traces(host).listed() == [
        "package docker-ce",
        "package containerd.io",
        "package podman-docker",
        f"{tmp_path}/dockerd",
        "unit docker.socket",
        f"socket {tmp_path}/sockets",
        f"data in {tmp_path}/data",
    ]


@pytest.mark.parametrize(
    ("path", "text", "expected_trace"),
    [
        ("opt/docker-20.10/dockerd", "", "{}"),
        ("opt/files/docker/compose.yml", "", ""),
        ("proc/12/status", "Name:\tdockerd\nNSpid:\t12\n", "process dockerd"),
        ("proc/12/status", "Name:\tdockerd\nNSpid:\t12\t1\n", ""),  # Docker in a container
        ("proc/12/status", "Name:\tbash\nNSpid:\t12\n", ""),
        ("unit_folders/docker-support.service", "", "unit docker-support.service"),
        ("unit_folders/snap.docker.dockerd.service", "", "unit snap.docker.dockerd.service"),
        ("unit_folders/cron.service", "", ""),
        ("init_scripts", "", "{}"),
        ("configuration", '{"data-root": "FOLDER/elsewhere"}', "data in FOLDER/elsewhere"),
        ("configuration", '{"graph": "FOLDER/elsewhere"}', "data in FOLDER/elsewhere"),
        ("configuration", '{"data-root": "FOLDER/empty", "log-driver": "local"}', ""),
        ("configuration", '["data-root"', ""),
    ],
)
def test_traces_outside_package_managers_are_found(
    host: Host, tmp_path: Path, path: str, text: str, expected_trace: str
) -> None:
    (tmp_path / "elsewhere" / "overlay2").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    planted = tmp_path / path
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text.replace("FOLDER", str(tmp_path)))
    expected = expected_trace.format(planted).replace("FOLDER", str(tmp_path))
    assert host_requirements.traces(host).listed() == [expected] * bool(expected_trace)


@pytest.mark.parametrize("address", ["tcp://10.0.0.7:2376", "unix:///srv/own/docker.sock", "ssh://there"])
def test_another_docker_host_prevents_the_installation(host: Host, address: str) -> None:
    host.params["docker_host"] = address
    found = host_requirements.traces(host).listed()
    assert found == [f"the address {address}, at which no engine of the distribution listens"]


def test_the_socket_of_docker_host_is_a_trace(host: Host, tmp_path: Path) -> None:
    (tmp_path / "own.sock").touch()
    host.params["docker_host"] = f"unix://{tmp_path}/own.sock"
    assert host_requirements.traces(host).listed() == [f"socket {tmp_path}/own.sock"]


@pytest.mark.parametrize("path", ["snap/bin/docker", "usr/bin/docker"])
def test_a_docker_client_of_a_snap_does_not_count(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Whether PATH finds it in the folder of snaps, or as a link to the program that starts them."""
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "snap/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/snap").touch()
    (tmp_path / path).symlink_to(tmp_path / "usr/bin/snap")
    monkeypatch.setattr(host, "get_bin_path", lambda _name: str(tmp_path / path))
    assert not host_requirements.compose_runs(host, "")
    assert host_requirements.is_snap("/snap/bin/docker")
    assert not host_requirements.is_snap(str(tmp_path / "usr/bin/docker-ce"))


BUSYBOX = "the cron daemon of busybox reads no file in /etc/cron.d"


@pytest.mark.parametrize(
    ("programs", "generator", "systemd", "problem"),
    [
        (("cron",), False, False, ""),  # cron of Debian; its service is cron
        (("crond",), False, False, ""),  # cronie of any distribution; cron of Red Hat
        ((), True, True, ""),
        ((), True, False, "systemd-cron is installed, and systemd does not run"),
        ((), False, True, "no cron daemon is installed"),
        (("busybox",), False, False, BUSYBOX),
        (("busybox", "cron"), False, False, ""),
    ],
)
def test_problems_of_the_cron_daemon(
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    programs: tuple[str, ...],
    generator: bool,
    systemd: bool,
    problem: str,
) -> None:
    for name in programs:
        host.program(name)
        if name == "busybox":
            (tmp_path / "crond").symlink_to(tmp_path / "busybox")
    for name, exists in (("CRON_GENERATORS", generator), ("SYSTEMD", systemd)):
        path = tmp_path / name.lower()
        if exists:
            path.mkdir()
        monkeypatch.setattr(host_requirements, name, (str(path),) if name == "CRON_GENERATORS" else str(path))
    assert host_requirements.cron_problem(host) == problem


@pytest.mark.parametrize(
    ("services", "program", "name"),
    [
        (("cron",), "cron", "cron"),
        (("crond",), "crond", "crond"),
        (("cronie",), "crond", "cronie"),
        (("crond", "cronie"), "crond", "crond"),
        ((), "crond", "crond"),
    ],
)
def test_the_service_of_a_cron_daemon(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, services: tuple[str, ...], program: str, name: str
) -> None:
    (tmp_path / "services").mkdir()
    for one in services:
        (tmp_path / "services" / one).touch()
    monkeypatch.setattr(host_requirements, "SERVICE_PLACES", (f"{tmp_path}/services/{{}}",))
    monkeypatch.setattr(host_requirements, "CRON_PID_FILES", ())
    host.program(program)
    assert host_requirements.cron_service(program) == name
    assert host_requirements.stopped_services(host) == [name]
    host.program("busybox")
    (tmp_path / program).unlink()
    (tmp_path / "crond").symlink_to(tmp_path / "busybox")
    assert host_requirements.stopped_services(host) == []  # missing, not stopped


def test_an_empty_data_folder_is_no_trace(host: Host, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert host_requirements.traces(host) == Traces()


@pytest.mark.parametrize(
    ("programs", "error", "runs"),
    [
        ((), "nothing answers", False),
        (("docker",), "", True),
        (("docker-compose",), "nothing answers", True),
        (("docker-compose",), "", False),  # the client would not come with an engine that exists
    ],
)
def test_a_plugin_runs_before_its_engine(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: tuple[str, ...], error: str, runs: bool
) -> None:
    monkeypatch.setattr(host_requirements, "PLUGIN", str(tmp_path / "docker-compose"))
    for name in programs:
        host.program(name, "2.26.1")
    assert host_requirements.compose_runs(host, error) is runs


PROGRAM = Path(sys.executable).read_bytes()


@pytest.mark.parametrize(
    ("plugin", "mode", "client", "found"),
    [
        (PROGRAM, 0o755, True, True),  # nothing is executed
        (PROGRAM, 0o755, False, False),
        (PROGRAM, 0o644, True, False),
        (b"", 0o755, True, False),
        (b"<html>404</html>" * 10, 0o755, True, False),
        (PROGRAM[:40], 0o755, True, False),
        (PROGRAM[:100], 0o755, True, False),
        (PROGRAM[: len(PROGRAM) // 2], 0o755, True, False),
        (PROGRAM[:4] + b"\1" + PROGRAM[5:], 0o755, True, False),  # of 32 bits
        (PROGRAM[:18] + b"\0\0" + PROGRAM[20:], 0o755, True, False),  # for another machine
    ],
)
def test_compose_is_recognised_by_its_plugin_or_by_a_start_of_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: bytes, mode: int, client: bool, found: bool
) -> None:
    errors: list[str] = []

    def runs(_module: t.Any, error: str) -> bool:
        errors.append(error)
        return False

    monkeypatch.setattr(host_requirements, "compose_runs", runs)
    monkeypatch.setattr(host_requirements, "PLUGIN_FOLDERS", (str(tmp_path / "none"), str(tmp_path / "plugins")))
    (tmp_path / "plugins").mkdir()
    path = tmp_path / "plugins" / "docker-compose"
    path.write_bytes(plugin)
    path.chmod(mode)
    if client:
        host.program("docker")
    assert host_requirements.has_compose(host, "no engine") is found
    assert errors == ["no engine"] * (not found)


def test_a_plugin_hides_those_in_later_folders(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_requirements, "compose_runs", lambda _module, _error: False)
    monkeypatch.setattr(host_requirements, "PLUGIN_FOLDERS", (str(tmp_path / "own"), str(tmp_path / "plugins")))
    host.program("docker")
    for folder in ("plugins", "own"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "docker-compose").symlink_to(sys.executable if folder == "plugins" else "gone")
        assert host_requirements.has_compose(host, "") is (folder == "plugins")


@pytest.mark.parametrize(
    ("processes", "pid_file", "runs"),
    [
        ({}, None, False),
        ({12: "cron"}, "12\n", True),
        ({12: "crond"}, "12", True),
        ({12: "cron"}, None, True),  # it wrote no pid file, or to another path
        ({12: "bash"}, "12", False),  # the pid now belongs to another process
        ({12: "bash", 13: "cron"}, "12", True),
        ({12: "crontab"}, None, False),
        ({12: "cron"}, "none", True),
        ({}, "12", False),
        # In a container: the kernel lists its PID in each namespace.
        ({12: "cron\nNSpid:\t12\t7"}, None, False),
        ({12: "cron\nNSpid:\t12\t7"}, "12", False),
        ({12: "cron\nNSpid:\t12\t7", 13: "cron\nNSpid:\t13"}, None, True),
    ],
)
def test_a_running_cron_daemon_is_recognised(
    host: Host, tmp_path: Path, processes: dict[int, str], pid_file: str | None, runs: bool
) -> None:
    for number, name in processes.items():
        (tmp_path / "proc" / str(number)).mkdir(parents=True)
        (tmp_path / "proc" / str(number) / "status").write_text(f"Name:\t{name}\n")
    if pid_file is not None:
        (tmp_path / "cron.pid").write_text(pid_file)
    assert host_requirements.cron_runs([str(tmp_path / "none.pid"), str(tmp_path / "cron.pid")]) is runs


@pytest.mark.parametrize(
    ("programs", "runs", "stopped"),
    [
        ((), False, []),  # what is not installed is missing, not stopped
        (("cron",), False, ["cron"]),
        (("crond",), False, ["crond"]),
        (("cron", "crond"), False, ["cron"]),
        (("cron",), True, []),
    ],
)
def test_a_stopped_cron_daemon_is_recognised(
    host: Host, monkeypatch: pytest.MonkeyPatch, programs: tuple[str, ...], runs: bool, stopped: list[str]
) -> None:
    monkeypatch.setattr(host_requirements, "cron_runs", lambda: runs)
    for name in programs:
        host.program(name)
    assert host_requirements.stopped_services(host) == stopped


# Printed by `systemctl show --property=Id,LoadState,UnitFileState` of systemd 247 on a lab host.
SHOWN = """\
Id=docker.service
LoadState=loaded
UnitFileState=disabled

Id=cron.service
LoadState=loaded
UnitFileState=disabled

Id=crond.service
LoadState=not-found
UnitFileState=

Id=docker.socket
LoadState=loaded
UnitFileState=enabled

Id=ssh.socket
LoadState=masked
UnitFileState=masked
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SHOWN, {"docker": "disabled", "cron": "disabled", "docker.socket": "enabled", "ssh.socket": "masked"}),
        ("Id=cron.service\nLoadState=loaded\nUnitFileState=static\n", {"cron": "static"}),
        ("Id=cron.service\nLoadState=masked\nUnitFileState=masked\n", {"cron": "masked"}),
        ("", {}),
        ("Failed to connect to bus: No such file or directory\n", {}),
    ],
)
def test_the_state_of_services_at_boot_is_read(text: str, expected: dict[str, str]) -> None:
    assert host_requirements.boot_states(text) == expected


MASKED = SHOWN.replace("loaded\nUnitFileState=disabled\n\nId=crond", "masked\nUnitFileState=masked\n\nId=crond")
NO_CLEANUP = "cron is masked, and so no log cleanup runs: systemctl unmask cron"


@pytest.mark.parametrize(
    ("needed", "shown", "runs", "found", "warnings"),
    [
        (True, SHOWN, True, {"cron": "is not started at boot"}, []),
        (True, SHOWN, False, {"cron": "does not run"}, []),
        (True, MASKED, True, {}, []),
        (True, MASKED, False, {}, [NO_CLEANUP]),  # a start of it would fail, and the client would stay down
        (False, SHOWN, False, {}, []),
    ],
)
def test_cron_is_started_where_it_is_needed_and_can_be(
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    needed: bool,
    shown: str,
    runs: bool,
    found: dict[str, str],
    warnings: list[str],
) -> None:
    monkeypatch.setattr(host_requirements, "SYSTEMD", str(tmp_path))
    monkeypatch.setattr(host_requirements, "SERVICE_PLACES", ())
    monkeypatch.setattr(host_requirements, "cron_runs", lambda: runs)
    monkeypatch.setattr(
        host,
        "run_command",
        lambda command, **_options: (
            0,
            "\n\n".join(one for one in shown.split("\n\n") if one.split("\n")[0][3:] in command),
            "",
        ),
    )
    host.params.update(docker_host="", cron=needed, database_engine="")
    host.program("cron")
    assert host_requirements.services(host) == (found, warnings)


@pytest.mark.parametrize("needed", [True, False])
def test_cron_is_missing_only_where_it_is_needed(host: Host, needed: bool) -> None:
    host.params.update(cron=needed, database_engine="")
    assert ("cron" in host_requirements.missing(host, "", True)) is needed


@pytest.mark.parametrize(
    ("socket", "programs", "systemd", "asked"),
    [
        ("unix:///var/run/docker.sock", ("cron",), True, ["cron.service", "docker.service"]),
        ("unix:///run/user/1000/docker.sock", ("crond",), True, ["crond.service"]),
        ("tcp://docker.example.com:2376", (), True, []),
        ("unix:///var/run/docker.sock", ("cron",), False, []),
    ],
)
def test_systemd_is_asked_for_the_services_of_this_host(
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    socket: str,
    programs: tuple[str, ...],
    systemd: bool,
    asked: list[str],
) -> None:
    calls: list[list[str]] = []

    def show(command: list[str], **_options: t.Any) -> tuple[int, str, str]:
        calls.append(command)
        return 0, SHOWN, ""

    monkeypatch.setattr(host_requirements, "DEFAULT_SOCKET", "/run/docker.sock")
    monkeypatch.setattr(host_requirements, "SYSTEMD", str(tmp_path if systemd else tmp_path / "none"))
    monkeypatch.setattr(host_requirements, "SERVICE_PLACES", ())
    monkeypatch.setattr(host_requirements, "cron_runs", lambda: False)
    monkeypatch.setattr(host, "run_command", show)
    host.params["docker_host"] = socket
    for name in programs:
        host.program(name)
    found, warnings = host_requirements.services(host)
    assert [word for command in calls for word in command if word.endswith(".service")] == asked
    assert found == {**({"cron": "is not started at boot"} if asked else {}), **dict.fromkeys(programs, "does not run")}
    assert warnings == (
        ["docker is not started at boot, and so the client is not: systemctl enable docker"] if asked else []
    )


@pytest.mark.parametrize(("compose", "missing"), [(True, False), (False, True), (None, True)])
def test_a_known_state_of_compose_is_not_checked_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, compose: bool | None, missing: bool
) -> None:
    monkeypatch.setattr(host_requirements, "compose_runs", lambda _module, _error: False)
    host.params["database_engine"] = ""
    assert ("docker_compose" in host_requirements.missing(host, "", compose)) is missing


@pytest.mark.parametrize(
    ("engine", "release", "reasons"),
    [
        (
            "MYSQL",
            DEBIAN,
            {
                "python_requests": "the Python library requests (package python3-requests) cannot be imported; "
                "community.docker needs it",
                "python_mysql": "the Python library PyMySQL (package python3-pymysql) cannot be imported",
            },
        ),
        (
            "PGSQL",
            {"ID": "arch"},
            {
                "python_requests": "the Python library requests cannot be imported; community.docker needs it",
                "python_postgresql": "the Python library psycopg2 cannot be imported",
            },
        ),
    ],
)
def test_a_missing_library_is_named_with_its_package(
    host: Host, monkeypatch: pytest.MonkeyPatch, engine: str, release: dict[str, str], reasons: dict[str, str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("importlib.util.find_spec", asked.append)
    monkeypatch.setattr(host_requirements, "cron_problem", lambda _module: "")
    monkeypatch.setattr(distribution, "read_release", lambda: release)
    host.params["database_engine"] = engine
    assert host_requirements.missing(host, "", True) == reasons
    assert asked == ["requests", {"MYSQL": "pymysql", "PGSQL": "psycopg2"}[engine]]


def test_the_refusal_reads_the_traces_of_this_host(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_requirements, "traces", lambda _module: Traces(("docker-ce",)))
    monkeypatch.setattr(distribution, "read_release", lambda: DEBIAN)
    refused = host_requirements.refusal(host, {"docker_compose": "docker compose does not run"})
    assert refused.endswith("Install Docker's own plugin: apt-get install docker-compose-plugin")
    assert host_requirements.refusal(host, {"cron": "no cron daemon is installed"}) == ""
