# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurement scripts, run by the installed shells, and the parsing of their output."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import commands
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._logs.measurement import (
    MEASURE_SCRIPT,
    RUN_SCRIPT,
    Measurement,
    parse_measurement,
    parse_run,
)

TOKEN = "waTOKEN"
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]


def run(script: str, *arguments: str, shell: str = "sh", path: str = os.environ["PATH"], **variables: str) -> str:
    """The output of a script with only these tools in its PATH."""
    argv = [shutil.which(shell) or shell, "-c", script, "sh", TOKEN, *arguments]
    return commands.run(*argv, env={"PATH": path, **variables})


def tools(folder: Path, *names: str) -> str:
    """A PATH with only these tools."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A log folder with an archive and unusual file names."""
    folder = tmp_path / "logs"
    (folder / "archive").mkdir(parents=True)
    (folder / "web.log").write_bytes(b"x" * 5000)
    (folder / "a b\nc.log").write_bytes(b"y" * 10)
    (folder / "archive" / "web.log-1.gz").write_bytes(b"z" * 100)
    os.utime(folder / "archive" / "web.log-1.gz", (1e9 + 0.5, 1e9 + 0.5))
    with open(folder / "sparse.log", "wb") as file:
        file.truncate(1 << 30)
    (folder / "link.log").symlink_to("web.log")
    return folder


@pytest.mark.parametrize("shell", SHELLS)
def test_all_folders_are_measured_in_one_run(logs: Path, shell: str) -> None:
    """Sizes, disk usage, times. Links are no files. A folder named twice or inside another counts once."""
    paths = f"{logs}\n{logs}/archive\n/nowhere\n{logs}/../logs"
    found = parse_measurement(run(MEASURE_SCRIPT, paths, shell=shell), TOKEN)
    by_name = {file.name: file for file in found.files}
    assert set(by_name) == {"web.log", "a b?c.log", "web.log-1.gz", "sparse.log"}
    assert len(found.files) == 4
    assert by_name["web.log"].size == 5000
    assert by_name["web.log"].used == 8192
    assert by_name["sparse.log"].size == 1 << 30
    assert by_name["sparse.log"].used == 0
    assert by_name["web.log-1.gz"].path == f"{logs}/archive/web.log-1.gz"
    assert by_name["web.log-1.gz"].mtime == 1e9 + 0.5
    assert by_name["web.log"].inode == (logs / "web.log").stat().st_ino
    assert (found.missing, found.unreadable) == (["/nowhere"], [])
    assert found.bytes == 8192 + 4096 + 4096


def test_environment_variables_do_not_change_the_measurement(logs: Path) -> None:
    """Variables that change the output of ls are unset."""
    plain = parse_measurement(run(MEASURE_SCRIPT, str(logs)), TOKEN)
    odd = run(
        MEASURE_SCRIPT,
        str(logs),
        POSIXLY_CORRECT="1",
        BLOCK_SIZE="human-readable",
        TIME_STYLE="long-iso",
        QUOTING_STYLE="c",
        LC_ALL="de_DE.UTF-8",
        LS_BLOCK_SIZE="512",
        CDPATH="/tmp",
    )
    assert parse_measurement(odd, TOKEN).files == plain.files


def test_an_image_needs_only_ls(logs: Path, tmp_path: Path) -> None:
    """Without it nothing is known, which is an error."""
    only_ls = parse_measurement(run(MEASURE_SCRIPT, str(logs), path=tools(tmp_path / "ls", "ls")), TOKEN)
    assert only_ls.count == 4
    with pytest.raises(WaError, match="the image has no ls that prints full times"):
        parse_measurement(run(MEASURE_SCRIPT, str(logs), path=tools(tmp_path / "none")), TOKEN)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("code", [0, 3])
def test_a_run_measures_before_and_after_the_command(logs: Path, shell: str, code: int) -> None:
    """The output of the cleanup, even if it resembles the script's, is kept apart."""
    command = f"echo '{TOKEN} rc 9'; echo '{TOKEN} end'; cat; rm \"$1\"; exit {code}"
    output = run(RUN_SCRIPT, str(logs), "sh", "-c", command, "sh", f"{logs}/web.log", shell=shell)
    before, rc, after = parse_run(output, TOKEN)
    assert rc == code
    assert after is not None
    assert (before.count, after.count) == (4, 3)


BUSYBOX = """waTOKEN folder /l
/l/.:
total 20
11199043      4 -rw-r--r--    1 0        0                2 2026-11-24 15:22:56 +0000 a b.log
11207200      4 drwxr-xr-x    2 0        0             4096 2026-11-24 15:22:56 +0000 archive
11199048      0 lrwxrwxrwx    1 0        0                1 2026-11-24 15:22:56 +0000 l -> a
11199099      0 crw-rw-rw-    1 0        0           1,   3 2026-11-24 15:22:56 +0000 null.log

/l/./archive:
total 4
11207217      4 -rw-r--r--    1 0        0                7 2026-11-24 15:22:56 +0000 x.gz

/l/./sub
dir:
total 0
11207219      0 -rw-r--r--    1 0        0                0 2026-11-24 15:22:56 +0000 f:
waTOKEN free 75619188
waTOKEN end
"""


def test_the_output_of_another_ls_is_parsed() -> None:
    """BusyBox, with a line feed in a folder's name."""
    found = parse_measurement(BUSYBOX, TOKEN).files
    assert [(file.path, file.size, file.used) for file in found] == [
        ("/l/a b.log", 2, 4096),
        ("/l/archive/x.gz", 7, 4096),
        ("/l/sub\ndir/f:", 0, 0),
    ]
    assert found[0].mtime == 1795533776.0


def test_an_incomplete_output_is_an_error() -> None:
    """It is never taken for an empty folder."""
    for text in ("", "waTOKEN folder /l\n/l/.:\ntotal 0\n", "OCI runtime exec failed"):
        with pytest.raises(WaError, match="is incomplete"):
            parse_measurement(text, TOKEN)
    before, rc, after = parse_run("waTOKEN end\n", TOKEN)
    assert (before.count, rc, after) == (0, None, None)
    with pytest.raises(WaError, match="is incomplete"):
        parse_run("waTOKEN end\nwaTOKEN rc 0\nwaTOKEN folder /l\n", TOKEN)


@given(st.text(max_size=300))
def test_any_output_is_parsed_or_refused(text: str) -> None:
    """No output of a container raises another error."""
    try:
        found = parse_measurement(f"{TOKEN} folder /l\n{text}\n{TOKEN} end\n", TOKEN)
    except WaError:
        return
    assert isinstance(found, Measurement)
