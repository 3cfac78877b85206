# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading from an engine without the library tells the same as reading with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._docker import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker_options import ARGUMENT_SPEC
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError

LOST = "registry.lab:5000/whatsapp/coreapp:v1"


def connect(host: str, read_only: bool, **more: t.Any) -> Docker:
    params = {name: option.get("default") for name, option in ARGUMENT_SPEC.items()}
    return Docker({**params, "docker_host": host, **more}, read_only)


@pytest.mark.parametrize("read_only", [True, False], ids=["socket", "library"])
def test_both_ways_read_the_same(engine: FakeDocker, read_only: bool) -> None:
    engine.container("biz-wacore-1", environment={"A": "1"}, volume="biz_media")
    engine.container("biz-waweb-1", image="x/web:v1", state="exited")
    engine.container("biz-old-1", image=LOST, lost_image=True)
    engine.images[LOST] = {"B": "2"}
    engine.volume("biz_media")
    docker = connect(engine.host, read_only)
    assert [one.name for one in docker.client_containers(stopped=False)] == ["biz-old-1", "biz-wacore-1"]
    old, core, web = docker.client_containers("biz")
    assert (old.image, core.mounts[0].name, web.running) == (LOST, "biz_media", False)
    docker.inspect(core)
    assert core.environment == {"A": "1"}
    image = docker.image(LOST)
    assert image is not None
    assert image["Config"]["Env"] == ["B=2"]
    assert docker.volume("biz_media") == engine.volumes["biz_media"]
    assert docker.image("none:v1") is docker.volume("none") is docker.container("none") is None


@pytest.mark.parametrize("read_only", [True, False], ids=["socket", "library"])
def test_both_ways_fail_alike(engine: FakeDocker, read_only: bool) -> None:
    docker = connect(engine.host, read_only)
    engine.failures["GET /containers"] = (500, "broken inside")
    with pytest.raises(WaError, match=r"list of containers: .*broken inside"):
        docker.client_containers()
    engine.failures["GET /version"] = (503, "busy")
    with pytest.raises(WaError, match="busy"):
        connect(engine.host, read_only)
    with pytest.raises(WaError, match="does not exist"):
        connect(f"{engine.host}.none", read_only)


def test_a_version_that_is_given_is_not_asked_for(engine: FakeDocker) -> None:
    assert connect(engine.host, True, docker_api_version="1.41").client_containers() == []
    assert engine.requests == ["GET /containers/json?all=1"]


def test_an_engine_that_says_nothing_or_nonsense(tmp_path: Path) -> None:
    script = "import socket, sys, time\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen(9)\nprint(1, flush=True)\n"
    answer = "c, _ = s.accept(); c.recv(999); c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi')\n"
    for end, told in (("time.sleep(60)", "timed out"), (answer, "no JSON: hi")):
        path = tmp_path / f"{told[:2]}.sock"
        with subprocess.Popen([sys.executable, "-c", script + end, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            with pytest.raises(WaError, match=told):
                connect(f"unix://{path}", True, docker_timeout=0.2)
            child.kill()


def test_wa_db_env_loads_nothing_but_pythons_own(engine: FakeDocker, tmp_path: Path) -> None:
    """A run that changes nothing needs no library on the host, and so takes no time to load one."""
    engine.container("biz-wacore-1", environment={})
    given = {"engine": "MYSQL", "hostname": "db", "username": "wa", "password": "Sesame-12", "containers": True}
    arguments = {"ANSIBLE_MODULE_ARGS": {**given, "path": str(tmp_path / "db.env"), "docker_host": engine.host}}
    script = (
        "import sys, runpy\n"
        "try:\n"
        "    runpy.run_module('ansible_collections.waba.onprem.plugins.modules.wa_db_env', run_name='__main__')\n"
        "finally:\n"
        "    names = {name.partition('.')[0] for name in sys.modules}\n"
        "    print(sorted(names & {'docker', 'requests', 'urllib3', 'yaml', 'pymysql', 'psycopg2'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"], "_ANSIBLE_PROFILE": "legacy"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result, loaded = done.stdout.split("\n[")
    assert json.loads(result)["stale_containers"]
    assert loaded == "]\n"
