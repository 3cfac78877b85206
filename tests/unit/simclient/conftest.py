# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the simulated client and the control service on the path, and makes deployments for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from simclient_deployment import PASSWORD, Deployment
from waiting import until


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """`deploy(version, **knobs)`: an empty deployment, stopped at the end of the test."""
    deployments: list[Deployment] = []

    def make(version: str = "2.51.2", **knobs: Any) -> Deployment:
        folder = tmp_path / f"d{len(deployments)}"
        folder.mkdir()
        deployments.append(Deployment(folder, version, **knobs))
        return deployments[-1]

    yield make
    for deployment in deployments:
        deployment.close()


@pytest.fixture
def single(deploy: Callable[..., Deployment]) -> Deployment:
    """A single instance, connected, first login done, webhook set."""
    deployment = deploy()
    deployment.core()
    deployment.start_web()
    until(lambda: deployment.web is not None and not deployment.web.broken)
    until(lambda: deployment.health() == {"gateway_status": "connected"})
    assert deployment.login("secret", PASSWORD)[0] == 200
    url = f"{deployment.control.url}/webhook"
    assert deployment.call("PATCH", "/v1/settings/application", {"webhooks": {"url": url}})[0] == 200
    return deployment
