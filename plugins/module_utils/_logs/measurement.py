# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scripts that measure the logs in a container, and the parser of their output. No I/O here."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

ARCHIVE = "archive"
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z", ".zip")

# Lists all log folders, one process each. It needs a POSIX shell and ls. `-q` keeps a name with a
# newline on one line, `--full-time` prints the time as a number; BusyBox supports only the latter.
# Variables: T is a token that no file name contains, P the folders, one per line.
_MEASURE = r"""
measure() (
  unset POSIXLY_CORRECT TIME_STYLE QUOTING_STYLE BLOCK_SIZE BLOCKSIZE LS_BLOCK_SIZE
  LC_ALL=C.UTF-8; export LC_ALL
  if ls -q --full-time / >/dev/null 2>&1; then o='-lAinstRkq --full-time'
  else o='-lAinstRk --full-time'; fi
  ls --full-time / >/dev/null 2>&1 || echo "$T blind"
  set -f
  n='
'
  IFS=$n
  for p in $P; do
    IFS=' '
    if ! [ -d "$p" ]; then echo "$T missing $p"
    elif ! cd -P "$p" 2>/dev/null; then echo "$T closed $p"
    else
      echo "$T folder $PWD"
      ls $o "$PWD/." 2>/dev/null || echo "$T closed $p"
    fi
    IFS=$n
  done
  echo "$T end"
)
"""

MEASURE_SCRIPT = _MEASURE + "T=$1 P=$2\nmeasure\n"
# The cleanup's output is sent to standard error, so that it cannot affect the measurement.
RUN_SCRIPT = _MEASURE + 'T=$1 P=$2\nshift 2\nmeasure\n"$@" </dev/null >&2\necho "$T rc $?"\nmeasure\n'

_LINE = re.compile(
    r" *(?P<inode>\d+) +(?P<blocks>\d+) +(?P<kind>[-a-zA-Z])\S{9}\S? +\d+ +\d+ +\d+ +(?P<size>\d+) +"
    r"(?P<full>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?P<part>\.\d+)? (?P<zone>[-+]\d{4}) (?P<name>.*)"
)
_ROTATED = re.compile(r"\.log[-._]\d")
_LOG = re.compile(r"\.log(?=$|[-._])")
# The Coreapp's logs, opened with a new name each time: `wa-service.log.<date>`, `wa-service.log.INFO.<date>`.
_CORE_LOG = re.compile(r"wa-service.*\.log(?:[-._].*)?")
_CRASH = "-crash.log"
_STAMP = re.compile(r"[-_.]?\d[\dTZ:_.-]*")


@dataclass(frozen=True)
class LogFile:
    """A regular file below a log folder. `used` are the bytes on disk, which differ from `size` for a sparse file."""

    path: str
    inode: int
    size: int
    used: int
    mtime: float

    @property
    def folder(self) -> str:
        """Returns the file's folder."""
        return posixpath.dirname(self.path)

    @property
    def name(self) -> str:
        """Returns the file's name."""
        return posixpath.basename(self.path)

    @property
    def hidden(self) -> bool:
        """Returns whether this is not a log but a tool's file, such as a lock, which is ignored."""
        return self.name.startswith(".")

    @property
    def archived(self) -> bool:
        """Returns whether the file is in an archive folder."""
        return ARCHIVE in self.folder.split("/") and not self.hidden

    @property
    def rotated(self) -> bool:
        """Returns whether the name is that of a rotated log: compressed, or with a number after `.log`.

        A Coreapp's log always has a date in its name: the newest one is live.
        """
        if self.hidden or self.crash:
            return False
        return self.name.endswith(COMPRESSED) or (bool(_ROTATED.search(self.name)) and not self.core)

    @property
    def core(self) -> bool:
        """Returns whether this is an uncompressed log of a Coreapp."""
        return bool(_CORE_LOG.fullmatch(self.name)) and not self.name.endswith(COMPRESSED)

    @property
    def crash(self) -> bool:
        """Returns whether this is a crash log, which is written once and not rotated."""
        return self.name.endswith(_CRASH) and not self.archived

    @property
    def live(self) -> bool:
        """Returns whether this is a log outside the archive that may still be written."""
        return not (self.hidden or self.archived or self.rotated or self.crash) and bool(_LOG.search(self.name))

    @property
    def log_name(self) -> str:
        """Returns the name of the file's log: `access` for `access.log-20261124.gz`, `wa-service` for `wa-service-7.log`."""
        base = self.name
        for ending in COMPRESSED:
            if base.endswith(ending):
                base = base[: -len(ending)]
                break
        return _STAMP.sub("", _LOG.sub("", base)) or base


@dataclass
class Measurement:
    """The content of one container's log folders."""

    files: list[LogFile] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """Returns the bytes on disk of all files."""
        return sum(file.used for file in self.files)

    @property
    def count(self) -> int:
        """Returns the number of files."""
        return len(self.files)


def parse_measurement(text: str, token: str) -> Measurement:
    """Parses the output of the shell function `measure`. Raises WaError if it is incomplete, or the image has no fitting `ls`."""
    found = Measurement()
    files: dict[tuple[str, str], LogFile] = {}
    folder, header, complete = "", "", False
    for line in text.split("\n"):
        if line.startswith(token + " "):
            _token, mark, *rest = line.split(" ", 2)
            value = rest[0] if rest else ""
            complete = _mark(found, mark, value) or complete
            folder, header = value if mark == "folder" else "", ""
            continue
        match = _LINE.fullmatch(line)
        if match and match["kind"] == "-":
            path = posixpath.join(folder, match["name"])
            files[path, match["inode"]] = LogFile(
                path, int(match["inode"]), int(match["size"]), int(match["blocks"]) * 1024, _mtime(match)
            )
        elif not match and not line.startswith("total "):
            header = f"{header}\n{line}" if header and line else line
            if line.endswith(":"):
                folder = posixpath.normpath(header[:-1])
    if not complete:
        raise WaError("measuring the logs", "the output is incomplete: " + (text.strip()[-200:] or "no output"))
    found.files = list(files.values())
    return found


def _mark(found: Measurement, mark: str, value: str) -> bool:
    """Adds a line of `measure` that is not from ls; returns true for the last one."""
    lists = {"folder": found.folders, "missing": found.missing, "closed": found.unreadable}
    lists.get(mark, []).append(value)
    if mark == "blind":
        raise WaError("measuring the logs", "the image has no ls that prints full times", "ls of GNU or BusyBox")
    return mark == "end"


def _mtime(match: re.Match[str]) -> float:
    moment = datetime.strptime(match["full"] + match["zone"], "%Y-%m-%d %H:%M:%S%z")
    return moment.timestamp() + float(match["part"] or 0)


def parse_run(text: str, token: str) -> tuple[Measurement, int | None, Measurement | None]:
    """Parses measurement before, exit code and measurement after; the last two are None if the run was interrupted."""
    before, found, rest = text.partition(f"{token} rc ")
    if not found:
        return parse_measurement(before, token), None, None
    code, _newline, after = rest.partition("\n")
    return parse_measurement(before, token), int(code), parse_measurement(after, token)
