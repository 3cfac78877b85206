# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a registry says of an image: it has it, it has it not, or neither."""

from __future__ import annotations

import time
import typing as t

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import images as docker_images

BUSY = (500, "received unexpected HTTP status: 503 Service Unavailable")
DENIED = (403, "denied")
GONE = (404, "manifest unknown: manifest unknown")
LOGIN = (401, "unauthorized")
HERE = (200, "")
NAME = "registry.lab:5000/whatsapp/web:v2.53.4"


def no_login(*_args: t.Any, **_kwargs: t.Any) -> tuple[int, str, str]:
    raise AssertionError("no program keeps logins here")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return slept


@pytest.mark.parametrize(
    ("answers", "missing", "unanswered"),
    [
        ([HERE], "", ""),
        ([GONE], "Docker does not have it: manifest unknown: manifest unknown", ""),
        ([BUSY, HERE], "", ""),
        ([DENIED, DENIED, GONE], "Docker does not have it: manifest unknown: manifest unknown", ""),
        ([BUSY, DENIED, BUSY], "", "Docker refused: received unexpected HTTP status: 503 Service Unavailable"),
        ([LOGIN], "", "Docker refused: unauthorized"),
    ],
)
def test_only_what_may_pass_is_asked_again(
    engine: FakeDocker,
    at_once: list[float],
    monkeypatch: pytest.MonkeyPatch,
    answers: list[tuple[int, str]],
    missing: str,
    unanswered: str,
) -> None:
    left = list(answers)
    own = engine.answer

    def answer(method: str, path: str, *rest: t.Any) -> tuple[int, t.Any]:
        if not path.startswith("/distribution/"):
            return own(method, path, *rest)
        status, words = left.pop(0)
        return status, {"message": words} if words else {"Descriptor": {}}

    monkeypatch.setattr(engine, "answer", answer)
    params = {"docker_host": engine.host, "docker_timeout": 5, "docker_tls": False, "docker_api_version": "1.45"}
    found = docker_images.missing(docker_engine.Docker(params), [NAME], no_login, retries=2)
    assert found == ({NAME: missing} if missing else {}, {NAME: unanswered} if unanswered else {})
    assert left == []
    assert len(at_once) == len(answers) - 1
