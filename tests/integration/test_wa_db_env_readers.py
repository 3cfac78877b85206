# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of _env.file compared with the real readers: `docker compose config`, `docker compose create`, `docker create`.

hypothesis generates the values, and many are read from one file. WA_TEST_VALUES sets their number (default 2000).
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import typing as t
from pathlib import Path

import pytest
from engine import Engine
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

COUNT = int(os.environ.get("WA_TEST_VALUES", "2000"))
IMAGE = "waba-test-env:empty"
# Characters that a reader treats specially and ones that look like them; then every character of UTF-8.
SPECIAL = "'\"\\$#{}()[]~!&?^=`%;:,.-_<>|*@/+ \tabcfnrtvxABuU0123789\x07\x0b\x0c\x1b\x7f\x85\xa0\u017f\u212a\u2028\u2029\u3000\ufeffé😀"
LETTERS = st.one_of(st.sampled_from(SPECIAL), st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"))
VALUES = st.text(LETTERS, max_size=30)


class Refused(Exception):
    """Docker's error message."""


def docker(*argv: str, given: bytes = b"") -> str:
    """Run docker and return its output. Raises Refused with its error message."""
    done = subprocess.run(["docker", *argv], input=given, capture_output=True, check=False)
    if done.returncode:
        raise Refused(f"docker {argv[0]}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


@pytest.fixture(scope="session")
def empty_image() -> t.Iterator[str]:
    """An image without files. Containers are created from it and inspected, never run."""
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    docker("import", "-", IMAGE, given=buffer.getvalue())
    yield IMAGE
    docker("rmi", "-f", IMAGE)


def collect(strategy: st.SearchStrategy[t.Any], count: int) -> list[t.Any]:
    """At least `count` values from hypothesis, the same in each run."""
    found: list[t.Any] = []

    @settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def take(value: t.Any) -> None:
        found.append(value)

    take()
    assert len(found) >= count, "hypothesis ran out of values"
    return found[:count]


def pairs(lines: t.Iterable[str] | None) -> dict[str, str]:
    return {key: value for key, _equals, value in (line.partition("=") for line in lines or [])}


def by_docker(text: str, folder: Path, image: str) -> dict[str, str]:
    """The environment of a container created by `docker create --env-file`."""
    path = folder / "docker.env"
    path.write_bytes(text.encode())
    name = docker("create", "--env-file", str(path), image, "nothing").strip()
    try:
        return pairs(Engine().container(name)["Config"]["Env"])
    finally:
        docker("rm", name)


def by_compose(text: str, folder: Path, image: str, create: bool = False) -> dict[str, str]:
    """The environment of a service by `docker compose config`, or with `create` that of a created container."""
    (folder / "db.env").write_bytes(text.encode())
    project = f"walabenv{os.getpid()}"
    (folder / "compose.yml").write_text(
        json.dumps(
            {"services": {"s": {"image": image, "command": ["nothing"], "env_file": "db.env", "network_mode": "none"}}}
        )
    )
    base = ("compose", "-p", project, "-f", str(folder / "compose.yml"))
    if not create:
        service = json.loads(docker(*base, "config", "--format", "json"))["services"]["s"]
        # The output is a Compose file itself, in which a dollar sign is doubled.
        return {key: value.replace("$$", "$") for key, value in (service.get("environment") or {}).items()}
    try:
        docker(*base, "create")
        return pairs(Engine().container(f"{project}-s-1")["Config"]["Env"])
    finally:
        docker(*base, "down")


def written(values: t.Iterable[str], env_format: str, end: str = "\n") -> tuple[str, dict[str, str]]:
    """A file of all values that `env_format` accepts, and what the readers should return."""
    lines, expected = [], {}
    for index, value in enumerate(values):
        key = f"K{index}"
        try:
            lines.append(env_file.write(key, value, env_format) + end)
        except WaError:
            # Only `portable` may refuse a value of one line, and must name the reason.
            assert env_format == "portable"
            assert env_file.portable_faults(value)
            continue
        expected[key] = value
    return "".join(lines), expected


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_compose_reads_every_value_as_written(empty_image: str, tmp_path: Path, end: str) -> None:
    text, expected = written(collect(VALUES, COUNT), "compose", end)
    assert len(expected) == COUNT
    assert by_compose(text, tmp_path, empty_image) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_docker_reads_every_value_as_written(empty_image: str, tmp_path: Path, end: str) -> None:
    text, expected = written(collect(VALUES, COUNT), "docker", end)
    assert len(expected) == COUNT
    assert by_docker(text, tmp_path, empty_image) == expected


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["unix", "windows"])
def test_both_readers_read_every_portable_value_as_written(empty_image: str, tmp_path: Path, end: str) -> None:
    text, expected = written(collect(VALUES, COUNT), "portable", end)
    assert len(expected) >= COUNT * 0.3
    assert by_docker(text, tmp_path, empty_image) == expected
    assert by_compose(text, tmp_path, empty_image) == expected


def test_a_container_gets_what_compose_config_prints(empty_image: str, tmp_path: Path) -> None:
    text, expected = written(collect(VALUES, 300), "compose")
    assert by_compose(text, tmp_path, empty_image, create=True) == expected


def test_portable_refuses_only_values_that_the_readers_parse_differently(empty_image: str, tmp_path: Path) -> None:
    """Each printable ASCII character at the start, inside and at the end of a value."""
    values = [
        text for code in range(0x20, 0x7F) for text in (chr(code) + "ab", "a" + chr(code) + "b", "ab" + chr(code))
    ]
    _text, expected = written(values, "portable")
    refused = sorted(set(values) - set(expected.values()))
    assert refused == sorted([" ab", "ab ", "$ab", "a$b", "ab$", "'ab", '"ab'])


@pytest.mark.parametrize("env_format", env_file.FORMATS)
def test_every_pair_of_printable_characters_is_read_as_written(
    empty_image: str, tmp_path: Path, env_format: str
) -> None:
    """As a complete value, at its start, inside and at its end: 36,000 values, half of them in each file."""
    chars = [chr(code) for code in range(0x20, 0x7F)]
    pairs_of = [one + other for one in chars for other in chars]
    for values in (
        [text for pair in pairs_of for text in (pair, f"x{pair}y")],
        [text for pair in pairs_of for text in (f"{pair}y", f"x{pair}")],
    ):
        text, expected = written(values, env_format)
        assert len(expected) >= len(values) * (0.9 if env_format == "portable" else 1)
        if env_format != "docker":
            assert by_compose(text, tmp_path, empty_image) == expected
        if env_format != "compose":
            assert by_docker(text, tmp_path, empty_image) == expected


RAW = st.tuples(st.sampled_from(["=", "=", "=", " = ", ":", ": ", "= ", "=\t"]), st.text(LETTERS, max_size=20))
QUOTED = st.builds(
    lambda quote, text, behind: ("=", f"{quote}{text}{quote}{behind}"),
    st.sampled_from("'\""),
    st.text(LETTERS, max_size=20),
    st.sampled_from(["", "", " ", " # note", "#note", " 'x'", "\t"]),
)
MULTILINE = st.builds(
    lambda quote, text: ("=", f"{quote}{text}{quote}"),
    st.sampled_from("'\""),
    st.text(st.one_of(LETTERS, st.just("\n")), max_size=20),
)


def hand_written(how: t.Callable[[str], list[env_file.Entry]], count: int) -> tuple[str, dict[str, str]]:
    """Lines as people write them, and the values that our parser reads from the lines it accepts."""
    lines, expected = [], {}
    for index, (sign, text) in enumerate(collect(st.one_of(RAW, QUOTED, MULTILINE), count)):
        line = f"K{index}{sign}{text}\n"
        entries = [entry for entry in how(line) if entry.key]
        if any(entry.problem or entry.value is None for entry in entries):
            continue
        lines.append(line)
        expected.update({entry.key: entry.value for entry in entries if entry.value is not None})
    return "".join(lines), expected


def test_our_compose_parser_agrees_with_compose(empty_image: str, tmp_path: Path) -> None:
    text, expected = hand_written(env_file.read_compose, COUNT)
    assert len(expected) >= COUNT * 0.4
    assert by_compose(text, tmp_path, empty_image) == expected
    assert {entry.key: entry.value for entry in env_file.read_compose(text) if entry.key} == expected


def test_our_docker_parser_agrees_with_docker(empty_image: str, tmp_path: Path) -> None:
    text, expected = hand_written(env_file.read_docker, COUNT)
    assert len(expected) >= COUNT * 0.4
    assert by_docker(text, tmp_path, empty_image) == expected


PIECES = [*"AB=:'\"\\# \t\n\rx.-é", "A=", "B='", 'C="', "export ", "\r\n", "\n# c\n", "\ufeff"]
FILES = st.lists(st.sampled_from(PIECES), min_size=1, max_size=25).map("".join)


def test_accepted_files_are_read_as_our_parser_reads_them(empty_image: str, tmp_path: Path) -> None:
    """Random files: a reader refuses each file that we refuse, or reads what our parser reads."""
    accepted = 0
    for text in collect(FILES, COUNT // 100):
        for name, how, reader in (
            ("compose", env_file.read_compose, by_compose),
            ("docker", env_file.read_docker, by_docker),
        ):
            try:
                env_file.check_readable(text, name, "db.env")
            except WaError:
                continue
            accepted += 1
            found = reader(text, tmp_path, empty_image)
            known = {entry.key: entry.value for entry in how(text) if entry.key and entry.value is not None}
            assert {key: found.get(key) for key in known} == known, repr(text)
    assert accepted >= COUNT // 200


@pytest.mark.parametrize("line", ["A='never closed", "A='x' B=1", "A='x'y", "A B=1", "A!=1", "A='it''s'"])
def test_compose_refuses_or_splits_lines_that_our_parser_reports(empty_image: str, tmp_path: Path, line: str) -> None:
    entry = env_file.read_compose(line + "\n")[0]
    assert entry.problem
    try:
        found = by_compose(line + "\n", tmp_path, empty_image)
    except Refused:
        return
    assert found != {"A": line[2:]}


@pytest.mark.parametrize("line", ["export A=1", "A =1", "A B=1", "=1", "A: 1"])
def test_docker_refuses_lines_that_our_parser_reports(empty_image: str, tmp_path: Path, line: str) -> None:
    assert env_file.read_docker(line + "\n")[0].problem
    with pytest.raises(Refused, match="poorly formatted environment"):
        by_docker(line + "\n", tmp_path, empty_image)
