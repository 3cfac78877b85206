# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of a lab: names, hosts, options, ports, passwords, locks."""

from __future__ import annotations

import json
import socket
import stat
import time
from pathlib import Path

import pytest
from lab_samples import sample
from walab.cli import parse_port
from walab.model import PORTS, Host, Lab, Options, is_free, locked, parse_engines, parse_hosts
from walab.shell import LabError


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab that was never started."""
    return sample(tmp_path)


@pytest.mark.parametrize("name", ["", "Up", "a_b", "-a", "a" * 41, "build", "collections", "../x"])
def test_an_invalid_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="is no name for a lab"):
        Lab(name, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", [Host("h1")]),
        ("3", [Host("h1"), Host("h2"), Host("h3")]),
        ("web", [Host("web")]),
        ("h1,h2:ready", [Host("h1"), Host("h2", "ready")]),
        ("h3:ready@postgres", [Host("h3", "ready", "postgres")]),
        ("h3@mariadb", [Host("h3", "host", "mariadb")]),
        ("h1@bookworm", [Host("h1", release="bookworm")]),
        ("h1:ready@sid", [Host("h1", "ready", release="sid")]),
        (
            "h1@bullseye@mysql-9.7,h2:ready@sid@postgres",
            [Host("h1", "host", "mysql-9.7", "bullseye"), Host("h2", "ready", "postgres", "sid")],
        ),
        ("0", []),
    ],
)
def test_hosts_are_parsed(text: str, expected: list[Host]) -> None:
    assert parse_hosts(text) == expected
    if not text.isdigit():
        assert ",".join(map(str, expected)) == text, "what is kept in the state reads as it was given"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("h1@mysql-9.7@bookworm", "h1@bookworm@mysql-9.7"),
        ("h1:host@trixie", "h1"),
        ("h1@postgres@trixie", "h1@postgres"),
    ],
)
def test_hosts_are_normalised(text: str, kept: str) -> None:
    assert str(Host.parse(text)) == kept
    assert Host.parse(kept) == Host.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("H1", "is no host"),
        ("h1:", "is no host"),
        ("2,b", "is no host"),
        ("h1:fat", "none of host, ready"),
        (
            "h1@oracle",
            "'oracle' is none of what may follow @ .release: trixie, .*sid; database: mariadb, .*; Compose: compose-2.26, compose-2.40",
        ),
        ("h1@sid@jessie", "'jessie' is none of what may follow @"),
        ("h1@", "is no host"),
        ("h1@sid:ready", "is no host"),
        ("h1@sid@bookworm", "host h1 is given sid and bookworm: name one of them"),
        ("h1@postgres@sid@postgres", "host h1 is given postgres and postgres: name one of them"),
        ("registry", "uses that name itself"),
        ("h1,h1:ready", "given twice"),
    ],
)
def test_invalid_hosts_are_refused(text: str, message: str) -> None:
    with pytest.raises(LabError, match=message):
        parse_hosts(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("both", ["mariadb", "postgres"]),
        ("mysql-9.7", ["mysql-9.7"]),
        ("postgres-13,mariadb,postgres-13", ["postgres-13", "mariadb"]),
    ],
)
def test_database_servers_are_parsed(text: str, expected: list[str]) -> None:
    assert parse_engines(text) == expected


@pytest.mark.parametrize("text", ["", "mysql", "mariadb-9", "postgres,oracle"])
def test_unknown_database_servers_are_refused(text: str) -> None:
    with pytest.raises(LabError, match=r"is none of both, mariadb, .*mysql-9\.7"):
        parse_engines(text)


@pytest.mark.parametrize("text", ["", "h1-api", "h1-api=", "h1-api=x", "h1-api=0", "h1-api=65536", "h1-api=-1"])
def test_invalid_ports_are_refused(text: str) -> None:
    with pytest.raises(LabError, match="expected WHAT=N"):
        parse_port(text)


def test_the_state_is_loaded_as_saved(lab: Lab) -> None:
    lab.save()
    again = Lab(lab.name, lab.home)
    again.load()
    assert (again.options, again.ports) == (lab.options, lab.ports)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"options": {"hosts": ["h1"], "odd": 1}, "ports": {}}'])
def test_a_damaged_state_is_an_error_with_a_fix(lab: Lab, text: str) -> None:
    lab.folder.mkdir(parents=True)
    lab.state_path.write_text(text, encoding="utf-8")
    with pytest.raises(LabError, match=r"state\.json is damaged .*lab down --name t1"):
        lab.load()


def test_ports_are_free_distinct_and_stable(lab: Lab) -> None:
    assert set(lab.ports) == {
        "registry",
        "control",
        "mariadb",
        "postgres",
        "h1-ssh",
        "h1-api",
        "h2-ssh",
        "h2-api",
    }
    assert len(set(lab.ports.values())) == len(lab.ports)
    assert all(port in PORTS for port in lab.ports.values())
    before = dict(lab.ports)
    lab.choose_ports(up=())
    assert lab.ports == before


def test_a_port_in_use_is_replaced_unless_it_is_the_labs_own(lab: Lab) -> None:
    before = dict(lab.ports)
    with socket.socket() as other:
        other.bind(("127.0.0.1", before["h1-ssh"]))
        other.listen()
        lab.choose_ports(up={"h1-ssh"})
        assert lab.ports == before, "our own container holds it"
        lab.choose_ports(up=())
        assert lab.ports["h1-ssh"] != before["h1-ssh"]
    assert {**lab.ports, "h1-ssh": 0} == {**before, "h1-ssh": 0}


def test_a_given_port_in_use_is_an_error(lab: Lab) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert not is_free(port)
        lab.options.given_ports = {"h1-api": port}
        with pytest.raises(LabError, match=f"port {port} of 127.0.0.1, wanted for h1-api, is taken"):
            lab.choose_ports(up=())


def test_prefixes_separate_clients(lab: Lab) -> None:
    assert [lab.prefix_of(host) for host in lab.options.hosts] == ["h1_", "h2_"]
    lab.options.shared = True
    assert [lab.prefix_of(host) for host in lab.options.hosts] == ["", ""]
    lab.options = Options(hosts=[Host("old-1")])
    assert lab.prefix_of(Host("old-1")) == ""


def test_passwords_are_chosen_once_and_stored_privately(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lab.secrets()
    assert lab.secrets() == first
    assert all(word.startswith("Canary-") and 8 <= len(word) <= 41 for word in first.values())
    assert not set("".join(first.values())) & set("?{}&~!()^=")
    assert stat.S_IMODE((lab.folder / "secrets.json").stat().st_mode) == 0o600
    (lab.folder / "secrets.json").write_text(json.dumps({"db_password": first["db_password"]}), encoding="utf-8")
    assert {**first, **lab.secrets()}.keys() == first.keys(), "a lab of an older program gets what it lacks"
    assert lab.secrets()["db_password"] == first["db_password"]
    (lab.folder / "secrets.json").unlink()
    monkeypatch.setenv("WALAB_DB_PASSWORD", "Od$d#1234")
    assert lab.secrets()["db_password"] == "Od$d#1234"


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path, time.sleep) as first, locked(tmp_path, time.sleep) as second:
        assert (first, second) == (True, False)

    pauses: list[float] = []

    def interrupt(seconds: float) -> None:
        pauses.append(seconds)
        raise LabError("interrupted")

    with (
        locked(tmp_path, time.sleep),
        pytest.raises(LabError, match="interrupted"),
        locked(tmp_path, interrupt, why="waiting"),
    ):
        pytest.fail("two runs at once")
    assert len(pauses) == 1
    with locked(tmp_path, time.sleep) as free_again:
        assert free_again
    assert list(tmp_path.iterdir()) == []


def test_the_state_is_json(lab: Lab) -> None:
    lab.save()
    kept = json.loads(lab.state_path.read_text(encoding="utf-8"))
    assert kept["options"]["hosts"] == ["h1", "h2:ready@postgres"]
    assert "Canary" not in lab.state_path.read_text(encoding="utf-8")
