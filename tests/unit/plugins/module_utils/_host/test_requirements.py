# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host lacks is named, with the packages for it; that Docker does not answer, in its own words."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core import distribution
from ansible_collections.waba.onprem.plugins.module_utils._host import requirements as host_requirements


class Host:
    """The part of AnsibleModule that reads a host, with programs in a folder."""

    def __init__(self, folder: Path, docker_host: str = "") -> None:
        self.folder = folder
        self.params: dict[str, t.Any] = {"docker_host": docker_host}

    def program(self, name: str) -> None:
        path = self.folder / name
        path.touch()
        path.chmod(0o755)

    def get_bin_path(self, name: str, **_options: t.Any) -> str | None:
        path = self.folder / name
        return str(path) if path.exists() else None


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(host_requirements, "PROC", str(tmp_path / "proc"))
    monkeypatch.setattr(host_requirements, "DEFAULT_SOCKET", str(tmp_path / "default.sock"))
    monkeypatch.setattr(host_requirements, "PLUGIN_FOLDERS", (str(tmp_path / "plugins"),))
    return Host(tmp_path, f"unix://{tmp_path}/default.sock")


@pytest.mark.parametrize(
    ("client", "plugin", "answer", "found"),
    [
        ("docker", 0o755, None, ""),  # nothing is executed if the plugin has its usual path
        ("docker", 0o644, (0, "Docker Compose version 2.26.1\n", ""), ""),  # it is elsewhere, such as in /root/.docker
        (
            "docker",
            0o644,
            (1, "", "docker: 'compose' is not a docker command.\nSee 'docker --help'\n"),
            "'compose' is not a docker command",
        ),
        ("docker", 0o644, (125, "", ""), "exit status 125"),
        ("", 0o755, None, "the program docker is not installed"),
        ("snap", 0o755, None, "snap/bin/docker is a snap, which cannot read files outside of home folders"),
    ],
)
def test_compose_that_does_not_answer_is_reported_in_its_own_words(
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: str,
    plugin: int,
    answer: tuple[int, str, str] | None,
    found: str,
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str]) -> tuple[int, str, str]:
        calls.append(command)
        assert answer is not None
        return answer

    monkeypatch.setattr(host, "run_command", run, raising=False)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "docker-compose").touch()
    (tmp_path / "plugins" / "docker-compose").chmod(plugin)
    if client == "docker":
        host.program("docker")
    if client == "snap":
        (tmp_path / "snap/bin").mkdir(parents=True)
        host.program("snap/bin/snap")
        (tmp_path / "docker").symlink_to(tmp_path / "snap/bin/snap")
        found = f"{tmp_path}/docker{found[len('snap/bin/docker') :]}"
    expected = (
        f"docker compose: {found}; expected the Compose plugin. Install Docker Engine with the Compose plugin: the distribution's "
        "packages, Docker's packages, or a role made for it such as geerlingguy.docker, run before this collection"
    )
    assert host_requirements.compose_problem(host) == (expected if found else "")
    assert calls == ([[f"{tmp_path}/docker", "compose", "version"]] if answer else [])


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
    host.program(program)
    assert host_requirements.cron_service(program) == name
    assert host_requirements.stopped_services(host) == [name]
    host.program("busybox")
    (tmp_path / program).unlink()
    (tmp_path / "crond").symlink_to(tmp_path / "busybox")
    assert host_requirements.stopped_services(host) == []  # missing, not stopped


def test_a_plugin_hides_those_in_later_folders(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "run_command", lambda _command: (1, "", ""), raising=False)
    monkeypatch.setattr(host_requirements, "PLUGIN_FOLDERS", (str(tmp_path / "own"), str(tmp_path / "plugins")))
    host.program("docker")
    for folder in ("plugins", "own"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "docker-compose").symlink_to(sys.executable if folder == "plugins" else "gone")
        assert bool(host_requirements.compose_problem(host)) is (folder == "own")


@pytest.mark.parametrize(
    ("processes", "runs"),
    [
        ({}, False),
        ({12: "cron"}, True),
        ({12: "crond"}, True),
        ({12: "bash"}, False),
        ({12: "bash", 13: "cron"}, True),
        ({12: "crontab"}, False),
        # In a container: the kernel lists its PID in each namespace.
        ({12: "cron\nNSpid:\t12\t7"}, False),
        ({12: "cron\nNSpid:\t12\t7", 13: "cron\nNSpid:\t13"}, True),
    ],
)
def test_a_running_cron_daemon_is_recognised(host: Host, tmp_path: Path, processes: dict[int, str], runs: bool) -> None:
    for number, name in processes.items():
        (tmp_path / "proc" / str(number)).mkdir(parents=True)
        (tmp_path / "proc" / str(number) / "status").write_text(f"Name:\t{name}\n")
    assert host_requirements.cron_runs() is runs


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
    ("shown", "runs", "found", "warnings"),
    [
        (SHOWN, True, {"cron": "is not started at boot"}, []),
        (SHOWN, False, {"cron": "does not run"}, []),
        (MASKED, True, {}, []),
        (MASKED, False, {}, [NO_CLEANUP]),  # a start of it would fail, and the client would stay down
    ],
)
def test_cron_is_started_where_it_can_be(
    host: Host,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
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
        raising=False,
    )
    host.params.update(docker_host="", database_engine="")
    host.program("cron")
    assert host_requirements.services(host) == (found, warnings)


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
    monkeypatch.setattr(host, "run_command", show, raising=False)
    host.params["docker_host"] = socket
    for name in programs:
        host.program(name)
    found, warnings = host_requirements.services(host)
    assert [word for command in calls for word in command if word.endswith(".service")] == asked
    assert found == {**({"cron": "is not started at boot"} if asked else {}), **dict.fromkeys(programs, "does not run")}
    assert warnings == (
        ["docker is not started at boot, and so the client is not: systemctl enable docker"] if asked else []
    )


@pytest.mark.parametrize(
    ("engine", "family", "reasons"),
    [
        (
            "MYSQL",
            "Debian",
            {
                "python_requests": f"the Python library requests (package python3-requests) cannot be imported by {sys.executable}",
                "python_mysql": f"the Python library PyMySQL (package python3-pymysql) cannot be imported by {sys.executable}",
            },
        ),
        (
            "PGSQL",
            "",
            {
                "python_requests": f"the Python library requests cannot be imported by {sys.executable}",
                "python_postgresql": f"the Python library psycopg2 cannot be imported by {sys.executable}",
            },
        ),
    ],
)
def test_a_missing_library_is_named_with_its_package(
    host: Host, monkeypatch: pytest.MonkeyPatch, engine: str, family: str, reasons: dict[str, str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("importlib.util.find_spec", asked.append)
    monkeypatch.setattr(host_requirements, "cron_problem", lambda _module: "")
    monkeypatch.setattr(distribution, "family", lambda: family)
    host.params.update(database_engine=engine, dumps=False)
    assert host_requirements.missing(host) == reasons
    assert asked == ["requests", {"MYSQL": "pymysql", "PGSQL": "psycopg2"}[engine]]


@pytest.mark.parametrize(
    ("family", "install", "without"),
    [
        ("Debian", ["python3-requests", "python3-pymysql", "python3-psycopg2", "cron"], []),
        ("RedHat", ["python3-requests", "python3-PyMySQL", "python3-psycopg2", "cronie"], []),
        ("Suse", ["python3-requests", "python3-PyMySQL", "python3-psycopg2", "cronie"], []),
        ("", [], ["python_requests", "python_mysql", "python_postgresql", "cron"]),
    ],
)
def test_the_packages_of_each_family(family: str, install: list[str], without: list[str]) -> None:
    lacks = ["python_requests", "python_mysql", "python_postgresql", "cron"]
    assert host_requirements.packages(lacks, family) == (install, without)


@pytest.mark.parametrize(
    ("engine", "tool", "reason", "package"),
    [
        ("MYSQL", "mysqldump", "mariadb-dump or mysqldump is not installed", "mariadb-client"),
        ("PGSQL", "pg_dump", "pg_dump is not installed", "postgresql-client"),
    ],
)
def test_the_tool_of_a_dump_is_needed_where_one_is_made(
    host: Host, monkeypatch: pytest.MonkeyPatch, engine: str, tool: str, reason: str, package: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: True)
    monkeypatch.setattr(host_requirements, "cron_problem", lambda _module: "")
    host.params.update(database_engine=engine, dumps=False)
    assert host_requirements.missing(host) == {}
    host.params["dumps"] = True
    assert host_requirements.missing(host) == {"database_client": reason}
    assert host_requirements.packages(["database_client"], "Debian", engine) == ([package], [])
    assert host_requirements.packages(["database_client"], "", engine) == ([], ["database_client"])
    host.program(tool)
    assert host_requirements.missing(host) == {}
