# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Docker Engine over TCP that requires a client certificate: containers, commands in them, a volume, refused connections."""

from __future__ import annotations

import json
import subprocess
import time
import typing as t
import uuid
from pathlib import Path

import commands
import lab_images
import pytest
from commands import REPOSITORY, docker
from engine import Engine
from simulated import run_module
from waiting import until

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import execute

# Starting a lab host with its engine and an image takes about half a minute.
pytestmark = pytest.mark.deep
PORT = 2376
DAEMON = REPOSITORY / "tests/lab/images/host/daemon.json"


def authority(folder: Path, name: str) -> None:
    """Create an authority, and a certificate for 127.0.0.1 that serves as server and client certificate."""
    folder.mkdir()
    make = ("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    # Without extensions such as keyUsage, as in Docker's manual.
    ca = ("-addext", "basicConstraints=critical,CA:TRUE", "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem")
    commands.run(*make, "-x509", "-subj", f"/CN={name}", *ca)
    commands.run(*make, "-subj", "/CN=127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.csr")
    (folder / "extensions").write_text("subjectAltName = IP:127.0.0.1\nextendedKeyUsage = serverAuth, clientAuth\n")
    sign = ("openssl", "x509", "-req", "-days", "2", "-CAcreateserial", "-extfile", folder / "extensions")
    given = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca-key.pem", "-in", folder / "cert.csr")
    commands.run(*sign, *given, "-out", folder / "cert.pem")


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, docker_engine: str) -> t.Iterator[dict[str, t.Any]]:
    """The connection options for this engine, on which a client container runs."""
    folder = tmp_path_factory.mktemp("tls")
    authority(folder / "own", "own")
    authority(folder / "other", "other")
    settings = json.loads(DAEMON.read_text())
    settings.update(hosts=["unix:///var/run/docker.sock", f"tcp://0.0.0.0:{PORT}"], tlsverify=True)
    settings.update(tlscacert="/lab/tls/ca.pem", tlscert="/lab/tls/cert.pem", tlskey="/lab/tls/key.pem")
    (folder / "daemon.json").write_text(json.dumps(settings))
    name = f"waba-test-engine-{uuid.uuid4().hex[:8]}"
    image = lab_images.base()
    given = ["--privileged", "--volume", "/var/lib/docker", "--publish", f"127.0.0.1::{PORT}"]
    docker("create", "--name", name, *given, lab_images.machine("host"))
    try:
        docker("cp", f"{folder / 'own'}/.", f"{name}:/lab/tls")
        docker("cp", str(folder / "daemon.json"), f"{name}:/etc/docker/daemon.json")
        docker("start", name)
        found = {
            "docker_host": f"tcp://127.0.0.1:{Engine().port(name, PORT)}",
            "docker_tls": True,
            "docker_timeout": "20s",
            "docker_api_version": "auto",
            "docker_ca_path": str(folder / "own/ca.pem"),
            "docker_client_cert": str(folder / "own/cert.pem"),
            "docker_client_key": str(folder / "own/key.pem"),
        }
        until(lambda: answers(found), 60)
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            load = ["docker", "exec", "--interactive", name, "docker", "load"]
            loaded = subprocess.run(load, stdin=saved.stdout, check=False, capture_output=True, text=True)
        assert loaded.returncode == 0, loaded.stderr
        client = ["--name", "wacore", "--volume", "media:/usr/local/wamedia", "--env", "WA_DB_ENGINE=MYSQL"]
        docker("exec", name, "docker", "tag", image, "whatsapp/coreapp:v2.53.4")
        docker("exec", name, "docker", "run", "--detach", *client, "whatsapp/coreapp:v2.53.4", "sleep", "9999")
        yield found
    finally:
        docker("rm", "--force", "--volumes", name)


def answers(options: dict[str, t.Any]) -> bool:
    try:
        return bool(Docker(options).about)
    except WaError:
        return False


def test_containers_and_a_volume(options: dict[str, t.Any]) -> None:
    found = run_module("wa_info", {**options, "gather": ["containers"]})
    assert [one["name"] for one in found["containers"]] == ["wacore"]
    [volume] = [run_module("wa_media_volume", {**options, "name": "media"})]
    assert not volume.get("failed"), volume
    assert volume["consumers"][0]["probe"] == "passed"


def test_commands_return_output_and_end_at_their_timeout(options: dict[str, t.Any]) -> None:
    engine = Docker(options)
    [core] = engine.client_containers()
    done = execute(engine, core, ["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=20)
    assert (done.rc, done.stdout, done.stderr) == (7, "out\n", "err\n")
    large = execute(engine, core, ["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x"], timeout=60)
    assert len(large.stdout) == 3000000
    begin = time.monotonic()
    ended = execute(engine, core, ["sleep", "300"], timeout=1)
    assert (ended.timed_out, ended.rc) == (True, 124)
    assert time.monotonic() - begin < 15
    assert (
        "sleep 300"
        not in execute(engine, core, ["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"], timeout=20).stdout
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"docker_client_cert": None, "docker_client_key": None}, "certificate required"),
        ({"docker_ca_path": None}, "certificate verify failed"),
        ({"docker_ca_path": "other/ca.pem"}, "certificate verify failed"),
        ({"docker_client_cert": "other/cert.pem", "docker_client_key": "other/key.pem"}, "unknown ca"),
        ({"docker_host": "localhost"}, "Hostname mismatch"),
        ({"docker_tls": False}, "Client sent an HTTP request to an HTTPS server"),
    ],
)
def test_a_refused_connection_is_explained(options: dict[str, t.Any], change: dict[str, t.Any], expected: str) -> None:
    folder = Path(options["docker_ca_path"]).parents[1]
    given = {name: str(folder / value) if isinstance(value, str) else value for name, value in change.items()}
    if "docker_host" in change:
        given["docker_host"] = options["docker_host"].replace("127.0.0.1", change["docker_host"])
    with pytest.raises(WaError) as refused:
        Docker({**options, **given})
    assert str(refused.value).startswith("Docker Engine")
    assert expected in str(refused.value)
