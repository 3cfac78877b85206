# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to an engine: Unix socket, TCP and TLS return the same; each failure is explained with a fix."""

from __future__ import annotations

import functools
import json
import os
import socket
import ssl
import subprocess
import sys
import typing as t
from pathlib import Path

import commands
import pytest
from fake_docker import API_VERSION, FakeDocker
from relay import Relay, unix_socket

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import execute
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

LOST = "registry.lab:5000/whatsapp/coreapp:v1"


def connect(host: str, **more: t.Any) -> Docker:
    params = {name: option.get("default") for name, option in ARGUMENT_SPEC.items()}
    docker = Docker({**params, "docker_host": host, **more})
    assert docker.version  # negotiated or given
    return docker


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("pem")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=engine -addext subjectAltName=IP:127.0.0.1"
    keys = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    commands.run(*command.split(), *keys)
    return folder


@pytest.fixture(params=["unix", "tcp", "tls"])
def connection(request: pytest.FixtureRequest, engine: FakeDocker, pem: Path) -> t.Iterator[dict[str, t.Any]]:
    """The options for the fake engine by each kind of connection."""
    if request.param == "unix":
        yield {"docker_host": engine.host}
        return
    context = None
    more: dict[str, t.Any] = {}
    if request.param == "tls":
        cert, key = str(pem / "cert.pem"), str(pem / "key.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.load_verify_locations(cert)
        context.verify_mode = ssl.CERT_REQUIRED
        more = {"docker_tls": True, "docker_ca_path": cert, "docker_client_cert": cert, "docker_client_key": key}
    relay = Relay(functools.partial(unix_socket, str(engine.path)), tls=context)
    yield {"docker_host": f"tcp://127.0.0.1:{relay.port}", **more}
    relay.cut()


def test_every_connection_returns_the_same(engine: FakeDocker, connection: dict[str, t.Any]) -> None:
    engine.container("biz-wacore-1", environment={"A": "1"}, volume="biz_media")
    engine.container("biz-waweb-1", image="x/web:v1", state="exited")
    engine.container("biz-old-1", image=LOST, lost_image=True)
    engine.images[LOST] = {"B": "2"}
    engine.volume("biz_media")
    docker = connect(connection.pop("docker_host"), **connection)
    assert [one.name for one in docker.client_containers(stopped=False)] == ["biz-old-1", "biz-wacore-1"]
    old, core, web = docker.client_containers("biz")
    assert (old.image, core.mounts[0].name, web.running) == (LOST, "biz_media", False)
    docker.inspect(core)
    assert core.environment == {"A": "1"}
    image = docker.image(LOST)
    assert image is not None
    assert image["Config"]["Env"] == ["B=2"]
    assert docker.volume("biz_media") == engine.volumes["biz_media"]
    assert (docker.image("none:v1"), docker.volume("none"), docker.container("none")) == (None, None, None)
    done = execute(docker, core, ["sh", "-c", f"printf %0{1 << 18}d 7; exit 3"])  # more than one TLS record
    assert (done.rc, len(done.stdout)) == (3, 1 << 18)


def test_every_connection_fails_alike(engine: FakeDocker, connection: dict[str, t.Any]) -> None:
    host = connection.pop("docker_host")
    docker = connect(host, **connection)
    engine.failures["GET /containers"] = (500, "broken inside")
    with pytest.raises(WaError, match=r"list of containers: Docker refused: broken inside"):
        docker.client_containers()
    engine.failures["GET /version"] = (503, "busy")
    with pytest.raises(WaError, match="busy"):
        connect(host, **connection)


def test_names_are_quoted(engine: FakeDocker) -> None:
    assert connect(engine.host).volume("../containers/json?all=1") is None
    assert engine.calls == ["GET /volumes/..%2Fcontainers%2Fjson%3Fall%3D1"]


@pytest.mark.parametrize(
    ("newest", "oldest", "spoken"),
    [("1.41", "1.12", "1.41"), ("1.60", "1.24", API_VERSION), ("1.60", "1.52", "1.52"), ("1.9", "1.9", "1.9")],
)
def test_the_api_version_is_negotiated(
    engine: FakeDocker, monkeypatch: pytest.MonkeyPatch, newest: str, oldest: str, spoken: str
) -> None:
    """The newest version that was tested, unless the engine requires a newer one."""
    about = {"Version": "1", "ApiVersion": newest, "MinAPIVersion": oldest}
    monkeypatch.setattr(engine, "_version", lambda **_rest: (200, about))
    assert connect(engine.host).version == spoken


def test_podman_is_refused_by_name(engine: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"Version": "4.9.4", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine", "Version": "4.9.4"}]}
    monkeypatch.setattr(engine, "_version", lambda **_rest: (200, about))
    with pytest.raises(
        WaError, match=r"what answers there is Podman, .*; expected Docker itself. Use another host, or set"
    ):
        connect(engine.host)


def test_a_given_api_version_is_not_negotiated(engine: FakeDocker) -> None:
    assert connect(engine.host, docker_api_version="1.41").client_containers() == []
    assert engine.requests == ["GET /containers/json?all=1"]


@pytest.mark.parametrize("host", ["ssh://root@far", "/var/run/docker.sock", "tcp://", "tcp://h:none", "npipe:////./x"])
def test_an_invalid_docker_host_is_refused(host: str) -> None:
    with pytest.raises(WaError, match=r"option docker_host: .* is no address of a Docker Engine"):
        connect(host)


def test_a_missing_or_unserved_socket_is_an_error(engine: FakeDocker, tmp_path: Path) -> None:
    with pytest.raises(WaError, match="does not exist"):
        connect(f"{engine.host}.none")
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(dead))
    with pytest.raises(WaError, match=r"no answer: .*refused.*systemctl start docker"):
        connect(f"unix://{dead}")


def test_a_failed_tls_verification_is_an_error(engine: FakeDocker, pem: Path, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem / "cert.pem", pem / "key.pem")
    relay = Relay(functools.partial(unix_socket, str(engine.path)), tls=context)
    for host in (f"tcp://127.0.0.1:{relay.port}", f"https://127.0.0.1:{relay.port}"):
        with pytest.raises(WaError, match="certificate verify failed"):
            connect(host, docker_tls=True)
        connect(host, docker_tls=True, docker_ca_path=str(pem / "cert.pem"))
    with pytest.raises(WaError, match="certificate verify failed"):  # the certificate is for 127.0.0.1
        connect(f"tcp://localhost:{relay.port}", docker_tls=True, docker_ca_path=str(pem / "cert.pem"))
    with pytest.raises(WaError, match=f"docker_ca_path {tmp_path}/none.pem: .*No such file"):
        connect(f"tcp://127.0.0.1:{relay.port}", docker_tls=True, docker_ca_path=f"{tmp_path}/none.pem")
    relay.cut()


def test_an_engine_without_a_valid_answer_is_an_error(tmp_path: Path) -> None:
    script = "import socket, sys, time\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(9)\nprint(1, flush=True)\n"
    head = "c, _ = s.accept(); c.recv(999); c.sendall(b'HTTP/1.1 {}\\r\\nContent-Length: {}\\r\\n\\r\\n{}')\n"
    for number, (end, about) in enumerate(
        [
            ("time.sleep(60)", "no answer: timed out"),
            ("s.accept()[0].close()", "no answer: "),
            (head.format("200 OK", 2, "hi"), "no answer: Expecting value"),
            (head.format("200 OK", 99, "{}"), "no answer: IncompleteRead"),
            (head.format("502 Bad Gateway", 9, "no engine"), "Docker refused: no engine"),
            (head.format("403 Forbidden", 0, ""), "Docker refused: Forbidden"),
        ]
    ):
        path = tmp_path / f"{number}.sock"
        with subprocess.Popen([sys.executable, "-c", script + end, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            with pytest.raises(WaError, match=about):
                connect(f"unix://{path}", docker_timeout=0.5)
            child.kill()


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (
            "wa_db_env",
            {
                "engine": "MYSQL",
                "hostname": "db",
                "username": "wa",
                "password": "Sesame-12",
                "containers": True,
                "check_connection": False,
            },
        ),
        ("wa_media_volume", {"name": "biz_m"}),
    ],
)
def test_modules_import_only_the_standard_library(
    engine: FakeDocker, tmp_path: Path, module: str, options: dict[str, t.Any]
) -> None:
    """A run needs no third-party library on the host, and loads none."""
    engine.container("biz-wacore-1", volume="biz_m", state="exited")
    engine.volume("biz_m")
    arguments = {**options, "docker_host": engine.host}
    if module == "wa_db_env":
        arguments["path"] = str(tmp_path / "db.env")
    script = (
        "import sys, runpy\n"
        "try:\n"
        f"    runpy.run_module('ansible_collections.waba.onprem.plugins.modules.{module}', run_name='__main__')\n"
        "finally:\n"
        "    names = {name.partition('.')[0] for name in sys.modules}\n"
        "    print(sorted(names & {'docker', 'requests', 'urllib3', 'yaml', 'pymysql', 'psycopg2'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"], "_ANSIBLE_PROFILE": "legacy"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result, loaded = done.stdout.split("\n[")
    assert not json.loads(result).get("failed")
    assert loaded == "]\n"
