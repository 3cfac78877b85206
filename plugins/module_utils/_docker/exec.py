# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Executes commands in containers through the Docker API: in parallel, with time-outs that really end the commands.

Docker has no call to end a command. Here a shell wrapper ends the command and its children when it reads a line, or the end
of the connection (this process was killed, the network failed), from standard input.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import reason

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker

# Needs a POSIX shell and /proc only; grep and sleep are optional. Exit code 124: ended; 125: some processes survived.
_SUPERVISOR = r"""
exec 3<&0 </dev/null
tenths=$1; mark=$2; shift 2
stopping=
trap "stopping=1" TERM
"$@" 3<&- &
child=$!
( read -r line <&3; sleep 0.1; kill -TERM $$; sleep 0.3; kill -TERM $$ ) >/dev/null 2>&1 &
watcher=$!
wait "$child"; code=$?
exec 3<&- >/dev/null 2>&1
# Whatever is left unreaped stays as a zombie under many a PID 1.
if [ -z "$stopping" ]; then kill -KILL "$watcher"; wait "$watcher"; exit "$code"; fi
others() {
  found=
  marked=$(grep -ls "$mark" /proc/[0-9]*/environ)
  for dir in /proc/[0-9]*; do
    pid=${dir#/proc/}
    if [ "$pid" = $$ ] || [ "$pid" = "$watcher" ]; then continue; fi
    { read -r line <"$dir/stat"; } || continue
    set -- ${line##*) }
    [ "$1" = Z ] && continue
    if [ "$4" = $$ ]; then found="$found $pid"; continue; fi
    case $marked in *"$dir/environ"*) found="$found $pid";; esac
  done
  [ -n "$found" ]
}
ended() {
  turn=0
  while others; do
    [ "$turn" -lt "$1" ] || return 1
    turn=$((turn + 1)); sleep 0.1 || sleep 1
  done
}
code=124
others && kill -TERM $found
if ! ended "$tenths"; then kill -KILL $found; ended 20 || code=125; fi
[ "$code" = 125 ] || wait
exit "$code"
"""
_MARK = "WABA_EXEC"
_KEEP = 16 << 20  # bytes kept of each stream; the rest is discarded
_AFTER_KILL = 10.0  # seconds to wait for the shell after SIGKILL


@dataclass
class Outcome:
    """The result of a command. `rc` is None if it could not be ended (it hangs in the kernel, as on a dead NFS server)."""

    rc: int | None
    stdout: str
    stderr: str
    timed_out: bool


class Exec:
    """One command running in one container, with its three streams; `fileno` makes it usable with `selectors`."""

    def __init__(
        self,
        docker: Docker,
        container: Container,
        argv: t.Sequence[str],
        user: str = "",
        environment: t.Sequence[str] = (),
    ) -> None:
        """Starts `argv`; `user` is `uid`, `uid:gid` or a name, empty for the container's user."""
        self.docker, self.container = docker, container
        self.subject = f"container {container.name}"
        self.started = time.monotonic()
        self._raw = b""
        self._streams = {1: bytearray(), 2: bytearray()}
        streams = {"AttachStdin": True, "AttachStdout": True, "AttachStderr": True, "Tty": False}
        body = {**streams, "Cmd": list(argv), "User": user, "Env": list(environment)}
        created = docker.request(self.subject, "POST", f"/containers/{container.id}/exec", body=body)
        self.id: str = created["Id"]
        self._socket = self._start()
        self._unframe()  # data that arrived together with the response header

    def fileno(self) -> int:
        """Returns the connection's file descriptor."""
        return self._socket.fileno()

    def _start(self) -> socket.socket:
        try:
            connection = (
                self.docker.transport.connect()
            )  # http.client would discard data that arrives with the response header
        except OSError as error:
            raise self.docker.transport.unreachable(error) from None
        body = b'{"Detach":false,"Tty":false}'
        head = (
            f"POST /v{self.docker.version}/exec/{self.id}/start HTTP/1.1\r\nHost: docker\r\n"
            "Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            connection.sendall(head.encode() + body)
            answer, _end, self._raw = _read_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
            status = int(answer.split(None, 2)[1])
            if status not in (101, 200):
                connection.settimeout(1.0)
                raise WaError(self.subject, f"Docker refused the command: {_message(self._raw, connection)}")
            connection.setblocking(False)
        except (OSError, IndexError, ValueError) as error:
            connection.close()
            raise WaError(self.subject, f"no answer of the Docker Engine to a command: {error}") from None
        except WaError:
            connection.close()
            raise
        return connection

    def send(self, text: str) -> None:
        """Writes `text` to the command's standard input; a command that has ended is not an error."""
        try:
            self._socket.sendall(text.encode())
        except OSError:
            return

    def feed(self) -> bool:
        """Reads available data; returns false at the end of the streams."""
        while True:
            try:
                data = self._socket.recv(65536)
            except BlockingIOError:
                return True
            except OSError:
                data = b""
            self._raw += data
            self._unframe()
            if not data:
                return False

    def _unframe(self) -> None:
        while len(self._raw) >= 8:
            size = int.from_bytes(self._raw[4:8], "big")
            if len(self._raw) < 8 + size:
                return
            stream = self._streams[2 if self._raw[0] == 2 else 1]
            stream += self._raw[8 : 8 + min(size, _KEEP - len(stream))]
            self._raw = self._raw[8 + size :]

    @property
    def stdout(self) -> str:
        """Returns the standard output so far."""
        return self._streams[1].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """Returns the standard error so far."""
        return self._streams[2].decode(errors="replace")

    def close(self) -> None:
        """Closes the connection; the command's standard input ends."""
        self._socket.close()

    def exit_code(self, wait: float = 2.0) -> int | None:
        """Returns the exit code, None if the command still runs after `wait` seconds.

        Raises WaError if the command could not be started (no such user, no shell in the image).
        """
        until = time.monotonic() + wait
        while True:
            state = self.docker.request(self.subject, "GET", f"/exec/{self.id}/json")
            if not state["Running"] and state["ExitCode"] is not None:
                break
            if time.monotonic() >= until:
                return None
            time.sleep(0.05)
        code = int(state["ExitCode"])
        output = " ".join(self.stdout.split())
        if code in (126, 127) and (output.startswith("OCI runtime exec failed") or "unable to find user" in output):
            raise WaError(self.subject, f"a command cannot be started: {output}")
        return code


def _read_until(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        more = connection.recv(4096)
        if not more:
            raise OSError("the connection was closed")
        data += more
    return data


def _message(body: bytes, connection: socket.socket) -> str:
    """Returns the message of an error response, whose body may be chunked and late."""
    try:
        while b"}" not in body:
            more = connection.recv(4096)
            if not more:
                break
            body += more
    except OSError:
        pass  # the received part is sufficient
    return reason(body[body.find(b"{") : body.rfind(b"}") + 1] or body)


def execute(
    docker: Docker,
    container: Container,
    argv: t.Sequence[str],
    user: str = "",
    timeout: float = 60.0,
    grace: float = 2.0,
) -> Outcome:
    """Runs one command, without standard input, and waits for its end. Raises WaError if it cannot be started.

    After `timeout` seconds the command and its children in the container get SIGTERM, `grace` seconds later SIGKILL. The image
    needs `/bin/sh`.
    """
    mark = f"{_MARK}={secrets.token_hex(8)}"
    wrapped = ["/bin/sh", "-c", _SUPERVISOR, "sh", str(round(grace * 10)), mark, *argv]
    command = Exec(docker, container, wrapped, user, [mark])
    try:
        stopped = not _has_ended(command, command.started + timeout)
        if stopped:
            command.send("\n")
            _has_ended(command, time.monotonic() + grace + _AFTER_KILL)
        code = command.exit_code()
    finally:
        command.close()
    # A command that ended at the moment of the time-out has its own exit code.
    timed_out = stopped and code in (None, 124, 125)
    rc = None if timed_out and code == 125 else code
    return Outcome(rc, command.stdout, command.stderr, timed_out)


def _has_ended(command: Exec, until: float) -> bool:
    """Reads the streams up to their end; returns false if they have not ended until then."""
    with selectors.DefaultSelector() as selector:
        selector.register(command, selectors.EVENT_READ)
        while True:
            ready = selector.select(max(0.0, until - time.monotonic()))
            if ready and not command.feed():
                return True
            if time.monotonic() >= until:
                return False
