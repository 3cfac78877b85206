# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dump is complete or absent: tools that fail, stop early or hang, full disks, killed processes."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
import typing as t
from pathlib import Path

import commands
import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as dump_commands
from ansible_collections.waba.onprem.plugins.module_utils._dump import stream as dump_stream

MARK = b"-- Dump completed"
COMPLETE = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo '-- Dump completed on now'"


@contextlib.contextmanager
def nothing() -> t.Iterator[tuple[list[str], dict[str, t.Any]]]:
    yield [], {}


def dump(
    path: Path, *scripts: str, timeout: float = 60, substitutions: t.Sequence[tuple[bytes, bytes]] = ()
) -> dump_stream.Stream:
    """Dump the output of shell scripts."""
    with dump_stream.Stream(str(path), timeout) as stream:
        parts = [dump_stream.Part(b"-- part\n", ["sh", "-c", script]) for script in scripts]
        stream.write(parts, MARK, substitutions, nothing)
        stream.finish()
    return stream


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "d.sql.gz"


def test_a_finished_dump_is_complete(path: Path) -> None:
    stream = dump(path, COMPLETE, COMPLETE)
    content = gzip.decompress(path.read_bytes())
    assert content.count(MARK) == 2
    assert content.count(b"-- part\n") == 2
    assert path.stat().st_mode & 0o777 == 0o600
    assert stream.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("kind", dump_commands.COMPRESSORS)
def test_each_compressor_works(path: Path, kind: str) -> None:
    packed = path.with_suffix(f".{kind}")
    stream = dump(packed, COMPLETE, "echo '-- Dump completed'")
    unpacked = commands.run({"gz": "gzip", "zst": "zstd"}[kind], "--decompress", "--stdout", packed)
    assert unpacked.splitlines()[-1] == MARK.decode()
    assert (stream.raw_size, stream.size) == (len(unpacked), packed.stat().st_size)
    assert stream.sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()


def test_what_a_tool_writes_is_seen_as_it_was(path: Path) -> None:
    seen: list[bytes] = []
    with dump_stream.Stream(str(path), 60) as stream:
        part = dump_stream.Part(b"-- part\n", ["sh", "-c", COMPLETE], seen.append)
        stream.write([part], MARK, [(b"^x", b"y")], nothing)
    assert b"".join(seen) == commands.run("sh", "-c", COMPLETE).encode()


def test_substitutions_are_made_before_the_first_row(path: Path) -> None:
    script = "echo one; echo two; echo three; echo 'COPY x FROM stdin;'; echo two; echo '-- Dump completed'"
    dump(path, script, substitutions=[(b"^two\n", b""), (b"^(th)r", rb"\1R")])
    assert gzip.decompress(path.read_bytes()).splitlines()[1:] == [
        b"one",
        b"thRee",
        b"COPY x FROM stdin;",
        b"two",
        MARK,
    ]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo x; echo it broke >&2; exit 3", "sh ended with 3: it broke"),
        (COMPLETE + "; exit 1", "sh ended with 1: no message"),
        ("echo x", "ends early"),
        (COMPLETE + "; head -c 9000 /dev/zero", "ends early"),
        ("kill -9 $$", "sh ended with -9"),
    ],
)
def test_a_failing_tool_leaves_no_file(path: Path, script: str, message: str) -> None:
    with pytest.raises(WaError, match=message):
        dump(path, COMPLETE, script)
    assert os.listdir(path.parent) == []


def test_a_missing_tool_leaves_no_file(path: Path) -> None:
    with pytest.raises(WaError, match="does not run"), dump_stream.Stream(str(path), 60) as stream:
        stream.write([dump_stream.Part(b"", ["/no/such/tool"])], MARK, [], nothing)
    assert os.listdir(path.parent) == []


def test_a_hanging_tool_is_killed(path: Path) -> None:
    with pytest.raises(WaError, match="not done after 1s"):
        dump(path, "echo x; exec sleep 600", timeout=1)
    assert os.listdir(path.parent) == []


def test_a_program_whose_output_is_not_read_is_killed() -> None:
    pipeline = dump_stream.Pipeline("test", 60, lambda: None)
    child = pipeline.start(["cat", "/dev/zero"], stdout=subprocess.PIPE)
    pipeline.run(lambda: None)
    assert child.returncode == -signal.SIGKILL


def test_a_program_that_is_started_after_the_end_is_killed() -> None:
    """A thread may have been between two programs when those that ran were killed."""
    pipeline = dump_stream.Pipeline("test", 0, lambda: None)
    children = []

    def work() -> None:
        with contextlib.suppress(WaError):
            pipeline.join(pipeline.start(["sleep", "600"]))
        children.append(pipeline.start(["sleep", "600"]))
        children[0].wait()

    with pytest.raises(WaError, match="not done after 0s"):
        pipeline.run(work)
    assert children[0].returncode == -signal.SIGKILL


def test_a_full_disk_is_an_error_and_leaves_no_file(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        with pytest.raises(WaError, match="cannot be written: File too large"):
            dump(path, "cat /dev/urandom")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(path.parent) == []


def test_a_killed_compressor_is_an_error(path: Path) -> None:
    with dump_stream.Stream(str(path.with_suffix(".zst")), 60) as stream:

        @contextlib.contextmanager
        def kill() -> t.Iterator[tuple[list[str], dict[str, t.Any]]]:
            packer, *_others = stream._children
            packer.kill()
            yield [], {}

        part = dump_stream.Part(b"", ["sh", "-c", COMPLETE + "; echo '-- Dump completed'"])
        with pytest.raises(WaError, match=r"zstd ended with -9: no message"):
            stream.write([part], MARK, [], kill)
    assert os.listdir(path.parent) == []


def test_a_partial_dump_of_a_killed_run_is_removed_by_the_next_run(path: Path, tmp_path_factory: t.Any) -> None:
    begun = tmp_path_factory.mktemp("told") / "begun"
    os.mkfifo(begun)
    program = f"""
        import contextlib
        from ansible_collections.waba.onprem.plugins.module_utils._dump import stream
        @contextlib.contextmanager
        def nothing():
            yield [], {{}}
        with stream.Stream({str(path)!r}, 60) as packing:
            tool = ["sh", "-c", "echo >{begun}; while :; do echo xxxxxxxx; done"]
            packing.write([stream.Part(b"", tool)], b"-", [], nothing)
    """
    environment = {**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"]}
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], env=environment) as child:
        # Now every program has started, and none of them holds the lock.
        assert begun.read_bytes() == b"\n"
        # The lock of a running process protects its partial dump.
        assert dump_stream.left_over(str(path.parent), remove=True) == []
        with pytest.raises(WaError, match="another run writes it"):
            dump(path, COMPLETE)
        child.send_signal(signal.SIGKILL)
    assert os.listdir(path.parent) == [path.name + ".waba.part"]
    assert dump_stream.left_over(str(path.parent)) == [f"{path}.waba.part"]
    assert dump_stream.left_over(str(path.parent), remove=True) == [f"{path}.waba.part"]
    assert os.listdir(path.parent) == []


def test_a_partial_dump_of_another_user_is_not_written(path: Path) -> None:
    """Its owner could read the dump, whatever its mode."""
    draft = path.with_name(path.name + dump_stream.PART)
    draft.touch()
    os.chown(draft, 65534, 65534)
    with pytest.raises(WaError, match="another user's"):
        dump(path, COMPLETE)
    assert draft.read_bytes() == b""


def test_a_fifo_is_no_partial_dump(path: Path) -> None:
    os.mkfifo(path.with_name(path.name + dump_stream.PART))
    assert dump_stream.left_over(str(path.parent)) == []
