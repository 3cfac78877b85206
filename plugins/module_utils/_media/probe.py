# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks that containers share a writable folder: each writes a file, another one reads it, all files are removed.

Runs one command in each container, in parallel. It writes its file and then reads orders from standard input; at the end
of the input, for any reason, it removes its files and exits.
"""

from __future__ import annotations

import os
import re
import secrets
import selectors
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import Exec, execute

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker

NAME = ".wa-probe-"
MARKER = ".wa-marker"  # permanent: its content shows on each host whether the volume is the same
_FIGURES = re.compile(r"\s\d+\+\d+ records")
_UNPRINTABLE = "(unprintable name)"
_STAGES = {"become": "again", "ready": "ready", "done": "read", "gone": "gone"}  # by the word that a probe prints
_STALE = 600  # seconds after which a probe's file is left from a killed probe

# The container's program may run as another user than its entry point: finds the user of most of its processes other than
# root, the older one in doubt, and switches to that user with its groups. Without setpriv the user is returned to the caller.
_FIND_USER = r"""
LC_ALL=C; export LC_ALL
self= users= best=0 user=
{ while read -r key a b rest; do case $key in Uid:) self=$b;; esac; done </proc/self/status
read -r home </proc/self/cgroup; } 2>/dev/null
for dir in /proc/[0-9]*; do
  uid=0 parent=0 state=Z gid= own= cgroup=
  { while read -r key a b rest; do
    case $key in
      State:) state=$a;; PPid:) parent=$a;; Uid:) uid=$b;; Gid:) gid=$b;; Groups:) own="$a $b $rest"; break;;
    esac
  done <"$dir/status"; read -r cgroup <"$dir/cgroup"; } 2>/dev/null
  pid=${dir#/proc/}
  # Processes without a parent in here are commands from outside; with the host's processes in view, count our own only.
  if [ "$uid" = 0 ] || [ "$state" = Z ] || [ "$cgroup" != "$home" ]; then continue; fi
  if [ "$parent" = 0 ] && [ "$pid" != 1 ]; then continue; fi
  eval "count=\${n_$uid:-0} first=\${f_$uid:-$pid}"
  [ "$count" != 0 ] || users="$users $uid"
  [ "$first" -le "$pid" ] || first=$pid
  eval "n_$uid=$((count + 1)) f_$uid=$first g_$uid=$gid o_$uid=\$own"
done
for uid in $users; do
  eval "count=\$n_$uid first=\$f_$uid"
  if [ "$count" -gt "$best" ] || { [ "$count" = "$best" ] && [ "$first" -lt "$oldest" ]; }; then
    best=$count user=$uid oldest=$first
  fi
done
script=$1; shift
if [ -z "$user" ] || [ "$user" = "$self" ]; then
  printf 'user\t%s\n' "$self"
  exec /bin/sh -c "$script" sh "$@"
fi
eval "gid=\$g_$user groups=\$o_$user"
list=$(for group in $groups; do printf '%s,' "$group"; done); list=${list%,}
if [ -n "$list" ]; then list="--groups=$list"; else list=--clear-groups; fi
if setpriv --reuid="$user" --regid="$gid" "$list" /bin/sh -c : 2>/dev/null; then
  printf 'user\t%s:%s\n' "$user" "$gid"
  exec setpriv --reuid="$user" --regid="$gid" "$list" /bin/sh -c "$script" sh "$@"
fi
printf 'become\t%s:%s\n' "$user" "$gid"
"""

# Output lines: kind, folder, and result, separated by tabs.
_PROBE = (
    r"""
LC_ALL=C; export LC_ALL; umask 022
path=$1 now=$2 token=$3 write=$4
name=.wa-probe-$now-$token
clean() {
  trap - EXIT
  for dir do shift; set -- "$@" "$dir/$name"; done
  rm -f "$@" 2>/dev/null
  for dir do
    dir=${dir%/*}
    if [ -e "$dir/$name" ]; then show "$dir"; printf 'left\t%s\n' "$shown"; fi
  done
  printf 'gone\n'
}
number=0
show() {
  shown=${1#"$path"}; shown=${shown#/}
  case $shown in *[[:cntrl:]]*) shown="ODD";; esac
}
refused() {
  facts=$(stat -c '%u:%g %a' "$dir" 2>/dev/null) || facts=
  printf 'wrote\t%s\tbad\t%s\t%s\t%s\n' "$shown" "${facts% *}" "${facts#* }" "$1"
}
set --
for dir in "$path" "$path"/* "$path"/.[!.]*; do
  case $dir in */lost+found | */.snapshot | */.snapshots | */.zfs) continue;; esac
  if [ -d "$dir" ] && { [ ! -L "$dir" ] || [ "$dir" = "$path" ]; }; then set -- "$@" "$dir"; fi
done
trap 'clean "$@"' EXIT
trap 'exit 1' HUP INT TERM
if [ "$#" = 0 ]; then printf 'wrote\t\tbad\t\t\tNo such directory\n'; fi
for dir do
  show "$dir"
  if [ -z "$write" ]; then
    if [ -w "$dir" ]; then printf 'wrote\t%s\tok\n' "$shown"; else refused "not writable"; fi
    continue
  fi
  for old in "$dir"/.wa-probe-*; do
    age=${old##*/.wa-probe-}; age=${age%%-*}
    case $age in *[!0-9]* | "") ;; *) [ $((now - age)) -lt STALE ] || rm -f "$old" 2>/dev/null;; esac
  done
  if error=$(printf '%s\n' "$token" 2>/dev/null | dd of="$dir/$name" conv=fsync 2>&1); then
    printf 'wrote\t%s\tok\n' "$shown"
  else
    set -f; error=$(printf '%s ' $error); set +f
    refused "$error"
  fi
done
real=$path
cd -P "$path" 2>/dev/null && real=$PWD
while read -r _ _ _ _ point _; do
  case $point in "$real"/?*) printf 'covered\t%s\n' "${point#"$real"/}";; esac
done 2>/dev/null </proc/self/mountinfo
if read -r held 2>/dev/null <"$path/MARKER"; then
  case $held in *[!0-9a-f]*) ;; *) printf 'marker\t%s\n' "$held";; esac
fi
printf 'ready\n'
while read -r order other; do
  case $order in
    read)
      for dir do
        show "$dir"
        if read -r got 2>/dev/null <"$dir/.wa-probe-$now-$other"; then
          if [ "$got" = "$other" ]; then got=ok; else got="other content"; fi
        else
          got=$(cat "$dir/.wa-probe-$now-$other" 2>&1) && got="no content"
        fi
        printf 'read\t%s\t%s\n' "$shown" "$got"
      done
      printf 'done\n';;
    drop) for dir do rm -f "$dir/.wa-probe-$now-$other"; done; printf 'done\n';;
    end) break;;
  esac
done
""".replace("STALE", str(_STALE))
    .replace("ODD", _UNPRINTABLE)
    .replace("MARKER", MARKER)
)

# Atomic, so that another host reads either the old or the new text.
_WRITE_MARKER = r"""
umask 022
file=$1/MARKER
trap 'rm -f "$file.new"' EXIT
printf '%s\n' "$2" | dd of="$file.new" conv=fsync 2>/dev/null && mv -f "$file.new" "$file" && printf 'written\n'
""".replace("MARKER", MARKER)


@dataclass
class Probe:
    """The result of one container's probe. `error` is set if it is missing or incomplete."""

    container: Container
    token: str = field(default_factory=lambda: secrets.token_hex(12))
    user: str = ""
    error: str = ""
    # (folder, owner, mode, error text; empty on success)
    written: list[tuple[str, str, str, str]] = field(default_factory=list)
    # (name of the writing container, folder, error text; empty on success)
    read: list[tuple[str, str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    covered: list[str] = field(default_factory=list)
    marker: str = ""  # content of the marker file; empty if there is none
    command: Exec | None = None
    stage: str = "starting"
    seen: int = 0

    @property
    def folders(self) -> list[str]:
        """Returns the folders with its file, without those with an unprintable name."""
        return [folder for folder, _owner, _mode, error in self.written if not error and folder != _UNPRINTABLE]


class Prober:
    """Runs the probes of several containers in parallel, with `seconds` for each of three steps.

    Without `write` no file is created: each container only checks its write permission.
    """

    def __init__(
        self,
        docker: Docker,
        containers: t.Sequence[Container],
        path: str,
        write: bool = True,
        seconds: float = 15.0,
    ) -> None:
        self.docker, self.path, self.seconds = docker, path, seconds
        self.write = write
        self.now = int(time.time())
        self.probes = [Probe(container) for container in containers]
        self._selector = selectors.DefaultSelector()

    def file_name(self, probe: Probe) -> str:
        """Returns the name of the file that a probe writes in each folder."""
        return f"{NAME}{self.now}-{probe.token}"

    def run(self, between: t.Callable[[Prober], None] = lambda _prober: None) -> list[Probe]:
        """Writes, reads and removes; `between` is called while all files exist."""
        try:
            for probe in self.probes:
                self._start(probe)
            self._await({"ready"})
            if self.write:
                self._exchange()
                between(self)
        finally:
            self._finish()
        return self.probes

    def _exchange(self) -> None:
        """Lets each container read the files of the next one."""
        ready = [probe for probe in self.probes if probe.stage == "ready"]
        for writer, reader in zip(ready, [*ready[1:], *ready[:1]]):
            self._order(reader, f"read {writer.token}\n", "reading")
        self._await({"read"})
        for writer, reader in zip(ready, [*ready[1:], *ready[:1]]):
            self._compare(writer, reader)

    def _start(self, probe: Probe, user: str = "") -> None:
        script = ["/bin/sh", "-c", _PROBE, "sh"] if user else ["/bin/sh", "-c", _FIND_USER, "sh", _PROBE]
        argv = [*script, self.path, str(self.now), probe.token, "1" if self.write else ""]
        try:
            probe.command = Exec(self.docker, probe.container, argv, user)
        except WaError as error:
            probe.error, probe.stage = str(error), "over"
            return
        probe.seen, probe.user, probe.stage = 0, user, "writing"
        self._selector.register(probe.command, selectors.EVENT_READ, probe)
        self._receive(probe)  # the first lines may have arrived already

    def _order(self, probe: Probe, text: str, stage: str) -> None:
        if probe.command and probe.stage != "over":
            probe.stage = stage
            probe.command.send(text)

    def _await(self, stages: set[str]) -> None:
        """Waits until each probe has ended or reached one of `stages`; at the time-out the others are ended."""
        until = time.monotonic() + self.seconds
        while True:
            late = [probe for probe in self.probes if probe.stage not in stages and probe.stage != "over"]
            wait = until - time.monotonic()
            if not late or wait <= 0:
                break
            for key, _events in self._selector.select(wait):
                self._receive(key.data)
        for probe in late:
            probe.error = probe.error or (
                f"no answer within {self.seconds:.0f}s: the file system at {self.path} hangs, as that of a dead share does"
            )
            self._over(probe)

    def _receive(self, probe: Probe) -> None:
        command = probe.command
        if command is None:
            return
        ended = not command.feed()
        lines = command.stdout.split("\n")
        for line in lines[probe.seen : -1]:
            self._take(probe, line.split("\t"))
            if probe.stage == "again":
                self._over(probe)
                self._start(probe, line.split("\t")[1])
                return
        probe.seen = len(lines) - 1
        if ended and probe.stage != "over":
            if not probe.error and probe.stage != "gone":
                probe.error = self._why(command)
            self._over(probe)

    def _take(self, probe: Probe, fields: list[str]) -> None:
        kind, rest = fields[0], fields[1:]
        if kind in _STAGES:
            probe.stage = _STAGES[kind]
        elif kind in ("user", "marker"):
            setattr(probe, kind, rest[0])
        elif kind in ("covered", "left"):
            getattr(probe, kind).append(rest[0])
        elif kind == "wrote":
            problem = ("", "", "") if rest[1] == "ok" else (rest[2], rest[3], _plain(rest[4]))
            probe.written.append((rest[0], *problem))
        elif kind == "read":
            probe.read.append(("", rest[0], "" if rest[1] == "ok" else rest[1]))

    @staticmethod
    def _why(command: Exec) -> str:
        """Returns why a probe ended early."""
        try:
            code = command.exit_code()
        except WaError as error:
            return error.found
        output = " ".join((command.stderr or command.stdout).split())
        return f"the probe ended early (exit code {code}){': ' + output if output else ''}"

    def _over(self, probe: Probe) -> None:
        probe.stage = "over"
        if probe.command:
            self._selector.unregister(probe.command)
            probe.command.close()
            probe.command = None

    @staticmethod
    def _compare(writer: Probe, reader: Probe) -> None:
        """Records which files of the writer the reader could not read."""
        if reader.stage == "over":
            return
        errors = {folder: error for _writer, folder, error in reader.read}
        reader.read = [
            (writer.container.name, folder, errors.get(folder, "No such file or directory"))
            for folder in writer.folders
        ]

    def _finish(self) -> None:
        """Lets all containers remove their files; those of a failed probe are removed by another container."""
        broken = [probe for probe in self.probes if probe.stage == "over" and probe.written]
        helper = next((probe for probe in self.probes if probe.command), None)
        if helper:
            for probe in broken:
                self._order(helper, f"drop {probe.token}\n", "dropping")
        for probe in self.probes:
            self._order(probe, "end\n", "ending")
        self._await({"gone"})
        for probe in self.probes:
            if probe.command:
                self._over(probe)
        self._selector.close()


def write_marker(docker: Docker, container: Container, path: str) -> str:
    """Lets a container write a new marker file, as the user of its processes. Returns its content."""
    token = secrets.token_hex(12)
    subject, user = f"container {container.name}", ""
    while True:
        script = ["/bin/sh", "-c", _WRITE_MARKER, "sh"] if user else ["/bin/sh", "-c", _FIND_USER, "sh", _WRITE_MARKER]
        lines = execute(docker, container, [*script, path, token], user, timeout=15.0).stdout.splitlines()
        if "written" in lines:
            return token
        become = [line.partition("\t")[2] for line in lines if line.startswith("become\t")]
        if not become or user:
            raise WaError(subject, f"cannot write a file in {path}", "a writable media volume")
        user = become[0]


def _plain(text: str) -> str:
    """Returns the error in the output of `dd`, without its statistics."""
    return _FIGURES.split(text.split(": ", 2)[-1], maxsplit=1)[0].strip()


def arrives(folder: str, name: str) -> bool | None:
    """Returns whether a probe's file is in a folder of this host; None if the folder is not readable."""
    try:
        os.lstat(os.path.join(folder, name))
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return True
