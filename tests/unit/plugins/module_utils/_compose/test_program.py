# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How `docker compose` is run for a project, and what its messages may say."""

from __future__ import annotations

import json
import tempfile
import typing as t
from pathlib import Path

import pytest
from fake_compose import FakeCompose, digest

from ansible_collections.waba.onprem.plugins.module_utils._compose.program import Compose, Run
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

CORE = "registry.lab:5000/whatsapp/coreapp:v2.51.2"
SECRET = "Canary-41-Pw"
HOST = "unix:///run/other.sock"
SERVICES: dict[str, t.Any] = {"core": {"image": CORE}, "web": {"image": "r/web:v${TAG:-0}"}}


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for private copies."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


Make = t.Callable[..., Compose]


@pytest.fixture
def make(compose: FakeCompose, tmp_path: Path) -> Make:
    """Create the Compose of a project with a file `own.yml` of an operator, and two files with variables."""
    for name, text in (("own.yml", json.dumps({"services": SERVICES})), ("one.env", "TAG=1\n"), ("two.env", "TAG=2\n")):
        (tmp_path / name).write_text(text)

    def call(run: Run = compose, **fields: t.Any) -> Compose:
        """Names of files in `fields` are relative."""
        for key, kept in (("files", ("-",)), ("interpolation", ())):
            if key in fields:
                fields[key] = [name if name in kept else str(tmp_path / name) for name in fields[key]]
        return Compose(run, HOST, "wa-a", str(tmp_path), **fields)

    return call


RESOLVED: dict[str, t.Any] = {"services": {"core": {"image": CORE, "ulimits": {"core": {}, "nofile": {"soft": 5}}}}}
OPERATORS = {"files": ["own.yml", "-"], "interpolation": ["two.env", "one.env"], "document": {"name": "wa-a"}}
UP = "up --detach --quiet-pull --pull=missing"
WHERE = "--project-name=wa-a --project-directory={0}"
FILES = "--file={0}/own.yml --file=-"
VARIABLES = "--env-file={0}/two.env --env-file={0}/one.env"


@pytest.mark.parametrize(
    ("fields", "act", "expected"),
    [
        ({}, lambda one: one.version, "60 version --short"),
        (OPERATORS, lambda one: one.version, "60 version --short"),
        ({"document": RESOLVED}, lambda one: one.config("--quiet"), "60 {where} --file=- config --quiet"),
        ({"files": ["own.yml"]}, lambda one: one.resolved([]), "60 {where} --file={0}/own.yml config --format json"),
        (
            {"files": ["own.yml"], "profiles": []},
            lambda one: one.resolved(["web"]),
            "60 {where} --file={0}/own.yml config --format json web",
        ),
        (
            {**OPERATORS, "profiles": ["site", "x"]},
            lambda one: one.resolved(["web", "core"]),
            "60 {where} {variables} --profile=site --profile=x {files} config --format json web core",
        ),
        # Of a resolved document, in which every service was enabled.
        (
            {**OPERATORS, "profiles": ["site"]},
            lambda one: one.hashes(RESOLVED),
            "60 {where} --profile=* --file=- config --hash *",
        ),
        (
            {**OPERATORS, "profiles": ["site"]},
            lambda one: one.up(["/b.yml", "/a.yml"], ["web", "core"], "--no-recreate"),
            "3600 --progress=quiet {where} {variables} --profile=site --file=/b.yml --file=/a.yml {up} --no-recreate -- web core",
        ),
        ({}, lambda one: one.up(["/a.yml"], []), "3600 --progress=quiet {where} --file=/a.yml {up} --"),
    ],
)  # fmt: skip
def test_the_command_line(
    make: Make,
    compose: FakeCompose,
    tmp_path: Path,
    fields: dict[str, t.Any],
    act: t.Callable[[Compose], t.Any],
    expected: str,
) -> None:
    act(make(**fields))
    words = {"where": WHERE, "files": FILES, "variables": VARIABLES, "up": UP}
    seconds, *rest = expected.format(tmp_path, **words).format(tmp_path).split()
    assert compose.commands == [["timeout", seconds, "docker", "--host", HOST, "compose", *rest]]


def test_the_version_is_asked_once(make: Make, compose: FakeCompose) -> None:
    one = make()
    assert [one.version, one.version] == ["2.40.3-3", "2.40.3-3"]
    assert len(compose.commands) == 1


def test_the_files_in_their_order_are_resolved_and_hashed(make: Make, compose: FakeCompose) -> None:
    document = {"services": {"web": {"image": "r/web:v3"}}}
    for files, image in ((["-", "own.yml"], "r/web:v1"), (["own.yml", "-"], "r/web:v3")):
        one = make(files=files, document=document, interpolation=["two.env", "one.env"])
        found = one.resolved(["web"])
        assert found == {"services": {"web": {"image": image}}}
        assert one.hashes(found) == {"web": {digest({"image": image})}}
        assert compose.documents[-2:] == [document, found]


def test_a_service_has_another_hash_without_those_that_it_depends_on(make: Make) -> None:
    bodies: dict[str, dict[str, t.Any]] = {
        "web": {"image": "r/web:v1", "depends_on": ["core"]},
        "core": {"image": CORE},
    }
    assert make(files=["own.yml"]).hashes({"services": bodies}) == {
        "web": {digest(bodies["web"]), digest({"image": "r/web:v1"})},
        "core": {digest(bodies["core"])},
    }


def test_the_resolved_document_has_the_limits_that_compose_leaves_out(make: Make) -> None:
    limits = {"core": {"soft": 0, "hard": 0}, "nofile": {"soft": 5, "hard": 0}}
    one = make(lambda *_command, **_options: (0, json.dumps(RESOLVED), ""))
    assert one.resolved([]) == {"services": {"core": {"image": CORE, "ulimits": limits}}}


@pytest.mark.parametrize(
    ("output", "complaint", "said"),
    [
        ("", f"level=warning msg=x\nservices.core: {SECRET} is no port\n", "services.core: <hidden> is no port"),
        (f"on {SECRET}\n", "level=warning msg=x", "on <hidden>"),
        ("", "level=warning msg=x", "exit status 15"),  # a warning is not part of the error
        (
            "",
            f"required variable TAG is missing a value: {SECRET}",
            "required variable TAG is missing a value <hidden>",
        ),
        ("", "unauthorized.", "unauthorized. Log in to the registry on the host as root, such as with docker login"),
    ],
)
def test_an_error_has_the_words_of_compose_without_a_secret(make: Make, output: str, complaint: str, said: str) -> None:
    one = make(lambda *_command, **_options: (15, output, complaint), secrets=[SECRET])
    refused = (
        f"Compose file of project wa-a: Compose refuses it: {said}; expected a file that docker compose config takes."
    )
    acts: list[t.Callable[[], t.Any]] = [
        lambda: one.version,
        one.config,
        lambda: one.resolved([]),
        lambda: one.hashes({}),
    ]
    for act in acts:
        with pytest.raises(WaError) as error:
            act()
        assert str(error.value) == refused
    with pytest.raises(WaError) as error:
        one.up(["/a.yml"], ["core"])
    assert str(error.value) == f"the client in {one.folder} did not come up: {said}."


def test_secrets_of_all_files_are_known(make: Make) -> None:
    environment = {"WA_DB_PASSWORD": "read", "TZ": "UTC", "MY_TOKEN": "", "MY_KEY": None}
    one = make(
        files=["own.yml", "-"],
        document={"services": {"web": {"image": CORE}, "core": {"environment": environment}}},
        secrets=["known"],
    )
    assert one.secrets == ["known"]
    one.resolved([])
    assert one.secrets == ["known", "read"]
