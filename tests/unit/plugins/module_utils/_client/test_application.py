# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a container is stopped and removed. What is refused and started is tested with wa_client."""

from __future__ import annotations

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._client import application
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker


@pytest.mark.parametrize(
    ("state", "requests"),
    [
        ("running", ["stop?t=60"]),
        ("restarting", ["stop?t=60"]),
        ("paused", ["unpause", "stop?t=60"]),
        ("exited", []),
        ("created", []),
        ("dead", []),
    ],
)
def test_a_container_is_stopped_once(engine: FakeDocker, state: str, requests: list[str]) -> None:
    engine.container("wacore", state=state)
    docker = Docker({"docker_host": engine.host, "docker_timeout": application.TIMEOUT})
    for expected in (requests, []):
        before = engine.count
        application.stop(docker, "wacore")
        found = [line for line in engine.calls[before:] if not line.startswith("GET ")]
        assert found == [f"POST /containers/wacore/{one}" for one in expected]


def test_what_has_gone_is_stopped_and_removed(engine: FakeDocker) -> None:
    docker = Docker({"docker_host": engine.host, "docker_timeout": application.TIMEOUT})
    application.stop(docker, "none")
    application.remove(docker, "none")
    engine.failures["DELETE /containers/wacore"] = (409, "it runs")
    with pytest.raises(WaError, match="it runs"):
        application.remove(docker, "wacore")
