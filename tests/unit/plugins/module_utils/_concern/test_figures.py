# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of a host: each part with its own error and limit, nothing is changed, no secret is returned."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import typing as t
from datetime import datetime, timezone
from pathlib import Path

import commands
import fake_webapp
import pytest
from fake_docker import FakeDocker
from observed_host import API_KEY, CORE, PASSWORD, VOLUME, WEB, ObservedHost

from ansible_collections.waba.onprem.plugins.module_utils._concern import figures
from ansible_collections.waba.onprem.plugins.module_utils._docker import container_files
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._dump import manifest


@pytest.fixture
def host(engine: FakeDocker, tmp_path: Path) -> ObservedHost:
    return ObservedHost(engine, tmp_path)


def options(host: ObservedHost, **more: t.Any) -> dict[str, t.Any]:
    given = {
        "project": "wa-a",
        "volume": VOLUME,
        "deployment": "a",
        "log_cleanup_status_file": str(host.state / "log-cleanup-a.json"),
        "gc_state_file": str(host.state / "gc-a.json"),
        "dump_dir": str(host.state / "dumps"),
    }
    return {**{name: spec.get("default") for name, spec in figures.SPEC.items()}, **given, **more}


def run(*_arguments: t.Any, **_options: t.Any) -> tuple[int, str, str]:
    return 1, "", ""


def read(host: ObservedHost, **more: t.Any) -> dict[str, t.Any]:
    docker = {"docker_host": host.engine.host, "docker_timeout": "5s"}
    found = figures.Figures(options(host, **more), Docker(docker), Docker(docker), run).collect()
    for secret in (PASSWORD, API_KEY):
        assert secret not in json.dumps(found)
    return found


def test_a_host_is_read_without_a_change(host: ObservedHost) -> None:
    before = host.files()
    found = read(host)
    assert {name: part["error"] for name, part in found.items() if part["error"]} == {}
    assert [(one["role"], one["state"], one["version"]) for one in found["containers"]["containers"]] == [
        ("core", "running", "2.53.4"),
        ("web", "running", "2.53.4"),
    ]
    assert found["disk_docker"]["path"] == str(host.engine.root)
    assert found["disk_media"]["path"] == host.engine.mountpoint(VOLUME)
    assert 0 < found["disk_docker"]["free_bytes"] < found["disk_docker"]["total_bytes"]
    assert [(one["name"], one["on_host"], one["pullable"]) for one in found["images"]["images"]] == [
        (CORE, True, None),
        (WEB, True, None),
    ]
    assert "denied" in found["images"]["images"][0]["error"]
    assert found["gc"] == found["log_cleanup"] == {"error": ""}
    assert found["copies"] == {"error": "", "made": None, "proven": None}
    assert host.files() == before
    assert {line.split()[0] for line in host.engine.requests} == {"GET"}


def test_a_support_bundle_has_inspections_without_environments_and_logs_on_request(host: ObservedHost) -> None:
    def logs(argv: list[str], **_options: t.Any) -> tuple[int, str, str]:
        return 0, f"{argv[3]} {argv[-2]}\n", "password=Canary-7\n"

    docker = {"docker_host": host.engine.host, "docker_timeout": "5s"}
    found = figures.Figures(
        options(host, bundle=True, bundle_logs=True), Docker(docker), Docker(docker), logs
    ).collect()
    bundle = found["bundle"]
    assert bundle["error"] == ""
    assert len(bundle["inspections"]) == 2
    for record in bundle["inspections"].values():
        assert "Env" not in record["Config"]
        assert "Image" in record["Config"]
    assert set(bundle["logs"].values()) == {"logs 2000\npassword=<hidden>\n"}
    assert "bundle" not in read(host)
    assert "logs" not in read(host, bundle=True)["bundle"]


@pytest.mark.parametrize(("answer", "pullable"), [((200, ""), True), ((404, "manifest unknown"), False)])
def test_the_registry_says_whether_images_can_be_pulled(
    host: ObservedHost, answer: tuple[int, str], pullable: bool
) -> None:
    host.engine.failures["GET /distribution/"] = answer
    assert {one["pullable"] for one in read(host)["images"]["images"]} == {pullable}


def test_logs_and_media_have_a_file_system_of_their_own(host: ObservedHost, tmp_path: Path) -> None:
    host.core["Mounts"].append(
        {"Type": "bind", "Source": str(tmp_path), "Destination": "/var/log/whatsapp", "RW": True}
    )
    host.engine.volumes[VOLUME]["Options"] = {"type": "none", "o": "bind", "device": str(tmp_path)}
    found = read(host)
    assert found["disk_logs"]["path"] == found["disk_media"]["path"] == str(tmp_path)


def test_without_an_engine_files_are_read_all_the_same(host: ObservedHost) -> None:
    (host.state / "log-cleanup-a.json").write_text('{"started": 10, "result": "ok", "last_success": 12}')
    found = figures.Figures(options(host), None, None, run).collect()
    assert found["log_cleanup"] == {"error": "", "started": 10.0, "result": "ok", "last_success": 12.0}
    assert {found[name]["error"] for name in ("containers", "disk_docker", "images", "certificates")} == {
        "Docker Engine: does not answer."
    }


def test_a_part_that_hangs_or_breaks_does_not_hide_the_others(
    host: ObservedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = threading.Event()
    monkeypatch.setattr(figures, "_LIMIT", 1.0)
    monkeypatch.setattr(figures, "_disk", lambda _path: hung.wait(60) or {})
    (host.state / "log-cleanup-a.json").write_text("{}")
    (host.state / "gc-a.json").write_text("[")
    begin = time.monotonic()
    found = read(host)
    hung.set()
    assert time.monotonic() - begin < 10
    assert found["disk_media"] == {"error": "no answer in time"}
    assert found["log_cleanup"] == {"error": "log_cleanup: KeyError"}
    assert found["gc"]["error"].endswith("corrupt, or of another version of the collection.")
    assert len(found["containers"]["containers"]) == 2


def test_a_missing_volume_or_folder_is_named(host: ObservedHost) -> None:
    found = read(host, volume="none")
    assert found["disk_media"] == {"error": "volume none: not there."}
    host.engine.root.rename(host.engine.root.with_name("away"))
    assert read(host)["disk_docker"] == {"error": "Docker Engine: its files are not on this host."}


def certificates(host: ObservedHost, content: bytes, **more: t.Any) -> list[tuple[str, float | None, str]]:
    """What is said of a certificate file in the Coreapp, and of the API with `api_url`, by the real program."""

    def openssl(argv: list[str], data: str) -> tuple[int, str, str]:
        done = subprocess.run(argv, input=data, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    host.core["Config"]["Env"].append("WA_DB_SSL_CA=/opt/ca.pem")
    docker = Docker({"docker_host": host.engine.host, "docker_timeout": "5s"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container_files, "read", lambda _docker, _id, _path: content)
        found = figures.Figures(options(host, **more), docker, docker, openssl).collect()
    return [(one["name"], one["end"], one["error"]) for one in found["certificates"]["certificates"]]


def made(folder: Path, last: str) -> bytes:
    """A certificate whose last second is `last`, as OpenSSL writes times."""
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=a",
    ]
    times = ["-not_before", "19990101000000Z", "-not_after", last]
    commands.run(*argv, *times, "-keyout", folder / "k.pem", "-out", folder / "c.pem")
    return (folder / "c.pem").read_bytes()


@pytest.mark.parametrize("lasts", [["20300102030405Z"], ["20500101000000Z"], ["20010203040506Z", "20310102030405Z"]])
def test_the_end_of_a_certificate_file_is_the_latest_in_it(
    host: ObservedHost, tmp_path: Path, lasts: list[str]
) -> None:
    content = b"\ncomment\n".join(made(tmp_path, last) for last in lasts)
    end = datetime.strptime(lasts[-1], "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()
    assert certificates(host, content) == [("WA_DB_SSL_CA (/opt/ca.pem)", end, "")]


@pytest.mark.parametrize(
    "content",
    [b"", b"x\n", bytes(64), b"\xff", b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----"],
)
def test_what_is_no_certificate_is_reported_in_the_words_of_openssl(host: ObservedHost, content: bytes) -> None:
    [(_name, end, error)] = certificates(host, content)
    assert (end, error.partition(": ")[0]) == (None, "openssl")
    assert "certificate" in error


def test_without_openssl_the_end_is_not_known(host: ObservedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    [(_name, end, error)] = certificates(host, b"")
    assert end is None
    assert error == "openssl: not installed on the host. Install it, and the days of certificates are known"


def test_the_certificate_of_the_api_is_read_without_a_request(host: ObservedHost, tmp_path: Path) -> None:
    files = fake_webapp.certificate(tmp_path, days=9)
    server = fake_webapp.FakeWebapp(files)
    try:
        [(name, end, error), _database] = certificates(host, b"", api_url=server.url)
    finally:
        server.close()
    assert (name, error, server.requests) == ("API", "", [])
    assert end == pytest.approx(time.time() + 9 * 86400, abs=60)


def test_certificates_are_read_where_they_are(host: ObservedHost) -> None:
    host.core["Config"]["Env"].append("WA_DB_SSL_CA=/opt/none.pem")
    found = read(host, api_url="https://127.0.0.1:1")["certificates"]["certificates"]
    assert [(one["name"], one["error"]) for one in found] == [
        ("API", "[Errno 111] Connection refused"),
        ("WA_DB_SSL_CA (/opt/none.pem)", "/opt/none.pem: not in wa-a-wacore-1."),
    ]


def test_a_copy_counts_when_it_is_complete_and_a_drill_when_it_proved_one(tmp_path: Path) -> None:
    def copy(name: str, deployment: str, size: int, drill: str = "") -> None:
        one = {
            **{key: kind() for key, kind in manifest._KEYS.items()},
            "format": manifest.FORMAT,
            "sections": [["wa1", "tables"]],
            "databases": {"wa1": {}},
            "file": f"{name}.sql.gz",
            "bytes": 4,
            "facts": {"deployment": deployment},
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(one))
        (tmp_path / f"{name}.sql.gz").write_bytes(bytes(size))
        if drill:
            (tmp_path / f"{name}.drill.json").write_text(drill)

    copy("good", "a", 4, '{"at": "2026-11-20T04:00:00Z"}')
    copy("torn", "a", 3, '{"at": "2026-11-30T04:00:00Z"}')
    copy("other", "b", 4, '{"at": "2026-11-30T04:00:00Z"}')
    copy("odd", "a", 4, '{"at": 7}')
    os.utime(tmp_path / "good.json", (2000, 2000))
    os.utime(tmp_path / "odd.json", (1000, 1000))
    os.utime(tmp_path / "torn.json", (9000, 9000))
    assert figures.copies(str(tmp_path), "a") == {"made": 2000.0, "proven": 1_795_147_200.0}
    assert figures.copies(str(tmp_path / "none"), "a") == {"made": None, "proven": None}
