# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a registry has an image: yes, no, or no answer."""

from __future__ import annotations

import time
import typing as t

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._docker import engine as docker_engine
from ansible_collections.waba.onprem.plugins.module_utils._docker import images as docker_images

BUSY = (500, "received unexpected HTTP status: 503 Service Unavailable")
DENIED = (403, "denied")
MISSING = (404, "manifest unknown: manifest unknown")
LOGIN = (401, "unauthorized")
PRESENT = (200, "")
NAME = "registry.lab:5000/whatsapp/web:v2.53.4"


def no_login(*_args: t.Any, **_kwargs: t.Any) -> tuple[int, str, str]:
    raise AssertionError("no program keeps logins here")


@pytest.fixture(autouse=True)
def slept_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return seconds


@pytest.mark.parametrize(
    ("answers", "missing", "unanswered"),
    [
        ([PRESENT], "", ""),
        ([MISSING], "Docker does not have it: manifest unknown: manifest unknown", ""),
        ([BUSY, PRESENT], "", ""),
        ([DENIED, DENIED, MISSING], "Docker does not have it: manifest unknown: manifest unknown", ""),
        (
            [BUSY, DENIED, BUSY, BUSY, BUSY],
            "",
            "Docker refused: received unexpected HTTP status: 503 Service Unavailable",
        ),
        ([LOGIN], "", "Docker refused: unauthorized"),
    ],
)
def test_only_temporary_failures_are_retried(
    engine: FakeDocker,
    slept_seconds: list[float],
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
        status, message = left.pop(0)
        return status, {"message": message} if message else {"Descriptor": {}}

    monkeypatch.setattr(engine, "answer", answer)
    params = {"docker_host": engine.host, "docker_timeout": 5}
    found = docker_images.missing(docker_engine.Docker(params), [NAME], no_login)
    assert found == ({NAME: missing} if missing else {}, {NAME: unanswered} if unanswered else {})
    assert left == []
    assert len(slept_seconds) == len(answers) - 1


OURS, THEIRS = "sha256:" + "a" * 64, "sha256:" + "b" * 64
CORE = "registry.lab:5000/whatsapp/coreapp:v2.53.4"


@pytest.mark.parametrize(
    ("tags", "digests", "registry", "wrong"),
    [
        ([NAME], [OURS], OURS, ""),
        ([NAME, "mirror.lab/web:v2.53.4"], [OURS], OURS, ""),
        ([NAME, "registry.lab:5000/whatsapp/web:stable"], [OURS], OURS, ""),
        ([NAME, "acme/billing:v1.0"], [OURS], OURS, ""),
        ([NAME], [], THEIRS, ""),  # loaded from a file
        ([NAME], [OURS], "", ""),  # an unreachable registry
        ([NAME], [OURS], THEIRS, f"on this host it is {OURS}, in the registry {THEIRS}"),
        ([NAME, NAME.replace("53.4", "51.2")], [], "", f"on this host it is the image {NAME.replace('53.4', '51.2')}"),
        ([NAME, CORE], [], "", f"on this host it is the image {CORE}"),
    ],
)
def test_a_tag_of_another_build_is_recognised(
    engine: FakeDocker,
    monkeypatch: pytest.MonkeyPatch,
    tags: list[str],
    digests: list[str],
    registry: str,
    wrong: str,
) -> None:
    own = engine.answer
    repository = NAME.rpartition(":")[0]

    def answer(method: str, path: str, *rest: t.Any) -> tuple[int, t.Any]:
        if path.startswith("/images/"):
            return 200, {"Id": OURS, "RepoTags": tags, "RepoDigests": [f"{repository}@{one}" for one in digests]}
        if path.startswith("/distribution/"):
            return (200, {"Descriptor": {"digest": registry}}) if registry else (500, {"message": "no route to host"})
        return own(method, path, *rest)

    monkeypatch.setattr(engine, "answer", answer)
    params = {"docker_host": engine.host, "docker_timeout": 5}
    found = docker_images.wrong_builds(docker_engine.Docker(params), [NAME], no_login)
    assert found == ({NAME: wrong} if wrong else {})
