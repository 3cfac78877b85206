# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe of a shared folder: its script on real files, and what Prober concludes from the containers' answers."""

from __future__ import annotations

import functools
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker, FakeExec
from fake_probes import FakeProbes

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._media import probe as media_probe
from ansible_collections.waba.onprem.plugins.module_utils._media.probe import Probe, Prober

PATH = "/usr/local/wamedia"
NOW = 1_700_000_000

# The script


class Script:
    """The probe's script in a folder, as it runs in a container."""

    def __init__(self, folder: Path, token: str = "a", write: str = "1") -> None:
        argv = ["/bin/sh", "-c", media_probe._PROBE, "sh", str(folder), str(NOW), token, write]
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def until(self, last: str) -> list[str]:
        """Read its output up to a line."""
        assert self.child.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1] not in (last, ""):
            lines.append(self.child.stdout.readline().rstrip("\n"))
        assert lines[-1] == last
        return lines[:-1]

    def send(self, order: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(f"{order}\n")
        self.child.stdin.flush()

    def end(self) -> list[str]:
        assert self.child.stdin is not None
        self.child.stdin.close()
        output = self.until("gone")
        self.child.wait(20)
        return output


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    for name in ("incoming", ".hidden", "lost+found", ".snapshot"):
        (folder / name).mkdir(parents=True)
    (folder / "file").write_text("media")
    (folder / "link").symlink_to("incoming")
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob(".wa-probe-*")}


def test_without_write_the_script_only_reports_permissions(media: Path) -> None:
    stale = media / "incoming" / f".wa-probe-{NOW - 99999}-a"
    stale.write_text("a")
    (media / "gone").mkdir(mode=0o500)
    before = {path: path.stat().st_mtime_ns for path in [media, *media.rglob("*")]}
    script = Script(media, write="")
    may = "ok" if os.access(media / "gone", os.W_OK) else f"bad\t{os.getuid()}:{os.getgid()}\t500\tnot writable"
    assert script.until("ready") == ["wrote\t\tok", f"wrote\tgone\t{may}", "wrote\tincoming\tok", "wrote\t.hidden\tok"]
    assert script.end() == []
    assert {path: path.stat().st_mtime_ns for path in [media, *media.rglob("*")]} == before


def test_each_probe_reads_the_file_of_the_other_and_removes_its_own(media: Path) -> None:
    one, two = Script(media, "a"), Script(media, "b")
    for script in (one, two):
        assert script.until("ready") == ["wrote\t\tok", "wrote\tincoming\tok", "wrote\t.hidden\tok"]
    names = {f"{folder}.wa-probe-{NOW}-{token}" for folder in ("", "incoming/", ".hidden/") for token in "ab"}
    assert files(media) == names
    one.send("read b")
    assert one.until("done") == ["read\t\tok", "read\tincoming\tok", "read\t.hidden\tok"]
    (media / "incoming" / f".wa-probe-{NOW}-b").unlink()
    (media / ".hidden" / f".wa-probe-{NOW}-b").write_text("c\n")
    (media / f".wa-probe-{NOW}-b").write_text("")
    one.send("read b")
    top, missing, other = one.until("done")
    assert (top, other) == ("read\t\tno content", "read\t.hidden\tother content")
    assert missing.startswith("read\tincoming\tcat: ")
    assert missing.endswith(": No such file or directory")
    assert one.end() == []
    one.child.wait(20)
    two.send("drop a")
    assert two.until("done") == []
    assert two.end() == []
    assert files(media) == set()
    assert (media / "file").read_text() == "media"


def test_files_of_another_probe_are_removed_on_request(media: Path) -> None:
    (media / f".wa-probe-{NOW}-dead").touch()
    script = Script(media)
    script.until("ready")
    script.send("drop dead")
    assert script.until("done") == []
    script.send("end")
    assert script.until("gone") == []
    assert files(media) == set()


def test_a_signal_removes_the_files(media: Path) -> None:
    script = Script(media)
    script.until("ready")
    script.child.terminate()
    script.send("read x")
    script.child.wait(20)
    assert files(media) == set()


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        (f".wa-probe-{NOW - 600}-dead", False),
        (f".wa-probe-{NOW - 599}-dead", True),
        (".wa-probe-odd-dead", True),
        (".wa-probe--dead", True),
        (".wa-probe", True),
    ],
)
def test_files_of_a_killed_probe_are_removed_after_ten_minutes(media: Path, name: str, stays: bool) -> None:
    (media / "incoming" / name).touch()
    script = Script(media)
    script.until("ready")
    assert (media / "incoming" / name).exists() is stays
    script.end()


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    script = Script(tmp_path / "none")
    assert script.until("ready") == ["wrote\t\tbad\t\t\tNo such directory"]
    assert script.end() == []


def test_an_unwritable_folder_is_reported_with_owner_and_mode(media: Path) -> None:
    (media / "incoming" / f".wa-probe-{NOW}-a").mkdir()  # a path that root cannot write either
    (media / "incoming").chmod(0o751)
    script = Script(media)
    top, bad, hidden = script.until("ready")
    assert (top, hidden) == ("wrote\t\tok", "wrote\t.hidden\tok")
    word, folder, state, owner, mode, switches = bad.split("\t")
    assert (word, folder, state, owner, mode) == ("wrote", "incoming", "bad", f"{os.geteuid()}:{os.getegid()}", "751")
    assert media_probe._plain(switches) == "Is a directory"
    assert script.end() == ["left\tincoming"]


def test_an_unprintable_name_is_not_shown(media: Path) -> None:
    (media / "a\tb\nwrote\t\tok").mkdir()
    script = Script(media)
    assert sorted(script.until("ready")) == sorted(
        ["wrote\t\tok", "wrote\tincoming\tok", "wrote\t.hidden\tok", "wrote\t(unprintable name)\tok"]
    )
    script.end()


@pytest.mark.parametrize(
    ("held", "expected"),
    [("0a1f\n", ["marker\t0a1f"]), (None, []), ("x\ty\n", []), ("", [])],
)
def test_the_marker_is_read(media: Path, held: str | None, expected: list[str]) -> None:
    if held is not None:
        (media / media_probe.MARKER).write_text(held)
    script = Script(media)
    output = script.until("ready")
    assert [line for line in output if line.startswith("marker")] == expected
    script.end()
    assert (media / media_probe.MARKER).exists() is (held is not None)


def test_a_marker_is_replaced_atomically(media: Path) -> None:
    for token in ("0a", "0b"):
        argv = ["/bin/sh", "-c", media_probe._WRITE_MARKER, "sh", str(media), token]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (done.stdout, done.stderr) == ("written\n", "")
        assert (media / media_probe.MARKER).read_text() == f"{token}\n"
    assert [path.name for path in media.iterdir() if path.name.startswith(".wa")] == [media_probe.MARKER]


# Prober


@pytest.fixture
def probes(engine: FakeDocker, tmp_path: Path) -> FakeProbes:
    found = FakeProbes(tmp_path / "shared")
    found.folder.mkdir()
    engine.on_exec = found
    return found


Probing = t.Callable[..., "list[Probe]"]


@pytest.fixture
def probing(engine: FakeDocker) -> Probing:
    def call(*names: str, between: t.Any = None, **options: t.Any) -> list[Probe]:
        for name in names:
            engine.container(name)
        params = {"docker_host": engine.host, "docker_timeout": "9s"}
        docker = Docker(params)
        prober = Prober(docker, docker.client_containers(), PATH, **{"seconds": 9.0, **options})
        found = prober.run(between) if between else prober.run()
        assert all(probe.command is None and probe.stage == "over" for probe in found)
        return found

    return call


def test_each_container_reads_the_file_of_another(probes: FakeProbes, probing: Probing) -> None:
    more = "marker\t0a\ncovered\tincoming\n"
    probes.programs["a"] = functools.partial(probes.probe, more=more)
    there: list[set[str]] = []

    def between(prober: Prober) -> None:
        there.append(files(probes.folder))
        assert there[0] == {prober.file_name(probe) for probe in prober.probes}

    one, two, three = probing("a", "b", "c", between=between)
    assert len(there[0]) == 3
    assert [probe.error for probe in (one, two, three)] == [""] * 3
    assert [probe.written for probe in (one, two, three)] == [[("", "", "", "")]] * 3
    assert [probe.read for probe in (one, two, three)] == [[("c", "", "")], [("a", "", "")], [("b", "", "")]]
    assert (one.user, one.marker, one.covered) == ("1000", "0a", ["incoming"])
    assert (two.marker, two.covered) == ("", [])
    assert probes.orders == {name: ["read"] for name in "abc"}
    assert files(probes.folder) == set()


@pytest.mark.parametrize("write", [True, False])
def test_a_probe_gets_path_token_and_switch(probes: FakeProbes, probing: Probing, write: bool) -> None:
    (probe,) = probing("a", write=write)
    (command,) = probes.commands
    path, _now, token, switch = command.argv[-4:]
    assert (path, token, switch) == (PATH, probe.token, "1" if write else "")
    assert len(token) == 24
    assert command.user == ""


def test_without_setpriv_the_probe_is_started_as_the_programs_user(probes: FakeProbes, probing: Probing) -> None:
    def program(command: FakeExec) -> int:
        if command.user:
            return probes.probe(command, first="")
        command.write("become\t1000:1001\n")
        return 0

    probes.programs["a"] = program
    (probe,) = probing("a")
    first, second = probes.commands
    assert (first.argv[2], second.argv[2]) == (media_probe._FIND_USER, media_probe._PROBE)
    assert (second.user, probe.user, probe.error) == ("1000:1001", "1000:1001", "")


BAD = "wrote\tin\tbad\t0:0\t755\tdd: failed to open '/m/in/.wa-probe-1-a': Permission denied\nwrote\t(unprintable name)\tok\n"


def test_unwritable_folders_are_not_read(probes: FakeProbes, probing: Probing) -> None:
    probes.programs["a"] = functools.partial(probes.probe, wrote=f"wrote\t\tok\n{BAD}")
    one, two = probing("a", "b")
    assert one.written[1] == ("in", "0:0", "755", "Permission denied")
    assert one.folders == [""]  # nor one with an unprintable name
    assert two.read == [("a", "", "")]


def test_a_container_with_another_folder_is_found(probes: FakeProbes, probing: Probing, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    probes.programs["b"] = functools.partial(probes.probe, folder=other)
    one, two = probing("a", "b")
    assert one.read[0][:2] == ("b", "")
    assert one.read[0][2].endswith("No such file or directory")
    assert two.read[0][2].endswith("No such file or directory")


def test_a_subfolder_missing_in_another_container_is_reported(probes: FakeProbes, probing: Probing) -> None:
    probes.programs["a"] = functools.partial(probes.probe, wrote="wrote\t\tok\nwrote\tin\tok\n")
    _one, two = probing("a", "b")
    assert two.read == [("a", "", ""), ("a", "in", "No such file or directory")]


def test_files_that_could_not_be_removed_are_reported(probes: FakeProbes, probing: Probing) -> None:
    probes.programs["a"] = functools.partial(probes.probe, left="left\tin\n")
    assert [probe.left for probe in probing("a", "b")] == [["in"], []]


def test_the_files_of_a_dead_probe_are_removed_by_another(probes: FakeProbes, probing: Probing) -> None:
    def die(command: FakeExec) -> int:
        _path, now, token, *_more = command.argv[-4:]
        (probes.folder / f".wa-probe-{now}-{token}").write_text(token)
        command.write("wrote\t\tok\n")
        command.write("out of memory\n", 2)
        return 137

    probes.programs["a"] = die
    one, two = probing("a", "b")
    assert (one.error, two.error) == ("the probe ended early (exit code 137): out of memory", "")
    assert probes.orders == {"b": ["read", "drop"]}
    assert files(probes.folder) == set()


def test_a_hanging_probe_does_not_stop_the_others(probes: FakeProbes, probing: Probing) -> None:
    def hang(command: FakeExec) -> int:
        return len(command.read_line())

    probes.programs["a"] = hang
    one, two, three = probing("a", "b", "c", seconds=2.0)
    assert one.error == f"no answer within 2s: the file system at {PATH} hangs, as that of a dead share does"
    assert (two.error, three.error) == ("", "")
    assert (two.read, three.read) == ([("c", "", "")], [("b", "", "")])


def test_an_error_of_the_engine_is_reported(engine: FakeDocker, probes: FakeProbes, probing: Probing) -> None:
    engine.failures["POST /containers"] = (409, "is not running")
    (probe,) = probing("a")
    assert probe.error == "container a: Docker refused: is not running."
    assert probes.commands == []


def test_an_exception_between_the_steps_removes_the_files(probes: FakeProbes, probing: Probing) -> None:
    def fail(_prober: Prober) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        probing("a", "b", between=fail)
    assert files(probes.folder) == set()


# Markers


def write_marker(engine: FakeDocker) -> str:
    engine.container("a")
    params = {"docker_host": engine.host, "docker_timeout": "9s"}
    docker = Docker(params)
    return media_probe.write_marker(docker, docker.client_containers()[0], PATH)


@pytest.mark.parametrize("become", [False, True])
def test_a_marker_is_written_by_the_programs_user(engine: FakeDocker, become: bool) -> None:
    commands: list[FakeExec] = []

    def program(command: FakeExec) -> int:
        commands.append(command)
        command.write("become\t1000:1001\n" if become and not command.user else "user\t1000\nwritten\n")
        return 0

    engine.on_exec = program
    token = write_marker(engine)
    assert len(token) == 24
    assert [command.argv[-2:] for command in commands] == [[PATH, token]] * (2 if become else 1)
    assert commands[-1].user == ("1000:1001" if become else "")


@pytest.mark.parametrize("output", ["user\t1000\n", "", "become\t1000:1001\n"])
def test_a_marker_that_cannot_be_written_is_an_error(engine: FakeDocker, output: str) -> None:
    def program(command: FakeExec) -> int:
        command.write(output)
        return 1

    engine.on_exec = program
    with pytest.raises(WaError) as error:
        write_marker(engine)
    assert str(error.value) == f"container a: cannot write a file in {PATH}; expected a writable media volume."


def test_arrives_reports_whether_a_file_exists(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert media_probe.arrives(str(tmp_path), "link") is True
    assert media_probe.arrives(str(tmp_path), "none") is False
    assert media_probe.arrives(str(tmp_path / "none"), "x") is False
    assert media_probe.arrives(str(tmp_path), "n" * 300) is None
