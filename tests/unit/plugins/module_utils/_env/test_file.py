# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parsing, quoting and editing of db.env. tests/integration/test_wa_db_env_readers.py compares it with the real readers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), max_size=30)
TRICKY = st.text(st.sampled_from("'\"\\$#{}= \tabn0:\x85\u2028é"), max_size=12)
FILE = st.text(st.sampled_from("AB_=:'\"\\$# \t\r\n1x\ufeff\u2028"), max_size=80)

HAND_WRITTEN = (
    "\ufeff# the client's database\r\n"
    "\r\n"
    "WA_DB_ENGINE=MYSQL\r\n"
    "  WA_DB_HOSTNAME=old.example.com\r\n"
    "# do not touch\r\n"
    "TZ=UTC\r\n"
    "WA_DB_PORT=3306\r\n"
    "WA_DB_PASSWORD=first\r\n"
    "WA_DB_PASSWORD=second\r\n"
    "LAST=1"
)


def values(entries: list[env_file.Entry]) -> dict[str, str | None]:
    return {entry.key: entry.value for entry in entries if entry.key}


@pytest.mark.parametrize(
    ("line", "compose", "docker"),
    [
        # The table measured with the real readers.
        ("B=dol$HOME", None, "dol$HOME"),
        ("E=sp #x", "sp", "sp #x"),
        ('F="dq$HOME"', None, '"dq$HOME"'),
        ("G='sq$HOME'", "sq$HOME", "'sq$HOME'"),
        (r'L="dq\n"', "dq\n", r'"dq\n"'),
        (r"R='a\'b'", "a'b", r"'a\'b'"),
        ("K=trail  ", "trail", "trail  "),
        ("O=${X}", None, "${X}"),
        # More, measured the same way.
        ("A=a#b", "a#b", "a#b"),
        ("A=a\t#b", "a\t#b", "a\t#b"),
        ("A=\xa0x\xa0", "x", "\xa0x\xa0"),
        ("A=a$$b", "a$b", "a$$b"),
        ("A=a$ b$1$", "a$ b$1$", "a$ b$1$"),
        (r'A="a\\"', "a\\", r'"a\\"'),
        (r'A="a\$b"', "a$b", r'"a\$b"'),
        (r'A="\a\x41\0101\e\012"', "\a\\x41A\\e\\12", r'"\a\x41\0101\e\012"'),
        (r"A='a\\'", r"a\\", r"'a\\'"),
        ("A='x' # why", "x", "'x' # why"),
        ("A='x'\r", "x", "'x'"),
        ("A=", "", ""),
        ("A", None, None),
    ],
)
def test_a_line_as_each_reader_parses_it(line: str, compose: str | None, docker: str | None) -> None:
    key = line.partition("=")[0]
    assert values(env_file.read_compose(line + "\n")) == {key: compose}
    assert values(env_file.read_docker(line + "\n")) == {key: docker}


def test_a_byte_order_mark_counts_only_at_the_start() -> None:
    for how in (env_file.read_compose, env_file.read_docker):
        assert values(how("\ufeff  A=1\nB=2\n")) == {"A": "1", "B": "2"}
        assert "A" not in values(how(" \ufeffA=1\n"))


def test_docker_takes_a_carriage_return_as_part_of_a_name() -> None:
    assert values(env_file.read_docker("A\r=1\nB\r\n")) == {"A\r": "1", "B": None}
    assert values(env_file.read_compose("A\r=1\n")) == {"A": "1"}
    assert env_file.edit("A\r=1\n", {"A": "1"}, "portable").text == "A=1\n"


def test_only_compose_reads_a_quoted_value_over_several_lines() -> None:
    text = 'A="x\ny" # end\nB=2\n'
    compose = env_file.read_compose(text)
    assert values(compose) == {"A": "x\ny", "B": "2"}
    assert [entry.line for entry in compose] == [1, 3]
    assert values(env_file.read_docker(text))["A"] == '"x'
    assert "A" in env_file.disagreements(text)


@given(FILE)
def test_parsing_keeps_every_byte(text: str) -> None:
    for how in (env_file.read_compose, env_file.read_docker):
        assert "".join(entry.raw for entry in how(text)) == text


@given(LINE | TRICKY, st.sampled_from(env_file.FORMATS))
def test_a_value_is_read_as_written(value: str, env_format: str) -> None:
    if env_format == "portable" and env_file.portable_faults(value):
        with pytest.raises(WaError) as caught:
            env_file.write("A", value, env_format)
        # The value is not in the message, unless it consists only of characters that the message names.
        assert len(value) < 3 or value not in str(caught.value)
        return
    line = env_file.write("A", value, env_format) + "\n"
    if env_format != "docker":
        assert values(env_file.read_compose(line)) == {"A": value}
    if env_format != "compose":
        assert values(env_file.read_docker(line)) == {"A": value}


@pytest.mark.parametrize("value", ["a\nb", "a\n", "\r", "a\0b", "\ud800", "é" * 32600])
@pytest.mark.parametrize("env_format", env_file.FORMATS)
def test_some_values_are_refused_for_every_reader(value: str, env_format: str) -> None:
    with pytest.raises(WaError) as caught:
        env_file.write("WA_DB_PASSWORD", value, env_format)
    assert str(caught.value).startswith("WA_DB_PASSWORD: ")


@pytest.mark.parametrize("key", ["", "1A", "A B", "A=B", "é", "A\n"])
def test_an_invalid_key_is_refused(key: str) -> None:
    with pytest.raises(WaError):
        env_file.write(key, "x", "docker")


def test_portable_names_the_characters_and_the_fix() -> None:
    with pytest.raises(WaError) as caught:
        env_file.write("WA_DB_PASSWORD", "pa$$word #1", "portable")
    text = str(caught.value)
    assert "a dollar sign ($) and a hash (#) behind white space" in text
    assert "format: compose" in text
    assert "pa$$word" not in text


def test_an_edit_keeps_other_lines() -> None:
    done = env_file.edit(
        HAND_WRITTEN,
        {
            "WA_DB_HOSTNAME": "new",
            "WA_DB_PORT": "3306",
            "WA_DB_PASSWORD": "third",
            "WA_DB_USERNAME": "wa",
            "NONE": None,
        },
        "portable",
    )
    assert done.text == (
        "\ufeff# the client's database\r\n"
        "\r\n"
        "WA_DB_ENGINE=MYSQL\r\n"
        "WA_DB_HOSTNAME=new\r\n"
        "# do not touch\r\n"
        "TZ=UTC\r\n"
        "WA_DB_PORT=3306\r\n"
        "WA_DB_PASSWORD=third\r\n"
        "LAST=1\r\n"
        "WA_DB_USERNAME=wa\r\n"
    )
    assert done.changed == ["WA_DB_HOSTNAME", "WA_DB_PASSWORD", "WA_DB_USERNAME"]
    assert done.removed == []
    assert done.duplicates == ["WA_DB_PASSWORD"]


def test_an_edit_without_settings_changes_nothing() -> None:
    text = "# c\n\nA = 1\nB='2'\nC"
    for env_format in env_file.FORMATS:
        assert env_file.edit(text, {}, env_format).text == text


def test_a_line_with_the_right_value_is_unchanged() -> None:
    text = "export A='it is' # why\n"
    assert env_file.edit(text, {"A": "it is"}, "compose").text == text
    assert env_file.edit(text, {"A": "it is"}, "portable").text == "A=it is\n"


def test_an_empty_value_removes_every_line_of_a_key() -> None:
    done = env_file.edit(HAND_WRITTEN, {"WA_DB_PASSWORD": None, "TZ": None}, "docker")
    assert "WA_DB_PASSWORD" not in done.text
    assert done.removed == ["TZ", "WA_DB_PASSWORD"]


@given(
    FILE,
    st.dictionaries(st.sampled_from(["A", "B", "AB", "_"]), st.none() | TRICKY),
    st.sampled_from(env_file.FORMATS),
)
def test_an_edit_is_complete_and_idempotent(text: str, settings: dict[str, str | None], env_format: str) -> None:
    try:
        done = env_file.edit(text, settings, env_format)
    except WaError:
        return
    read = values(env_file.read(done.text, env_format))
    for key, value in settings.items():
        assert read.get(key, None) == value, (text, done.text)
        if value is None:
            assert key not in read
    again = env_file.edit(done.text, settings, env_format)
    assert (again.text, again.changed, again.removed, again.duplicates) == (done.text, [], [], [])


@pytest.mark.parametrize("text", ['NOTE:"\n', "NOTE='its\n", 'A=1\nNOTE="\nB=2\n'])
def test_an_unclosed_quote_is_refused(text: str) -> None:
    """The value of NOTE would extend to the first quote of the new line, and the setting would be lost."""
    quoted = {"WA_DB_PASSWORD": "a\"'$b"}
    with pytest.raises(
        WaError, match=r"/srv/db.env, line \d: a quote that is never closed: Docker Compose cannot read it"
    ):
        env_file.edit(text, quoted, "compose", path="/srv/db.env")
    assert env_file.edit(text, {"NOTE": None, **quoted}, "compose").changed == ["WA_DB_PASSWORD"]
    assert env_file.edit(text, quoted, "docker").changed == ["WA_DB_PASSWORD"]


def test_load_returns_the_values_of_a_format() -> None:
    text = "WA_DB_ENGINE=MYSQL\nWA_DB_PASSWORD='a b'\nTZ=\"UTC\"\nWA_API_KEY\n"
    assert env_file.load(text, "compose") == {"WA_DB_ENGINE": "MYSQL", "WA_DB_PASSWORD": "a b", "TZ": "UTC"}
    assert env_file.load(text, "docker")["WA_DB_PASSWORD"] == "'a b'"
    with pytest.raises(WaError) as caught:
        env_file.load(text, "portable", "/x/db.env")
    assert str(caught.value).startswith("/x/db.env: WA_DB_PASSWORD: not read the same by every reader")
    assert "a b" not in str(caught.value)


def test_a_setting_that_only_docker_sees_is_refused() -> None:
    text = 'NOTE="one\nWA_DB_PASSWORD=sesame"\nTZ="a\nb=c"\n'
    with pytest.raises(WaError, match="WA_DB_PASSWORD: not read the same by every reader: only one"):
        env_file.load(text, "portable")
    assert env_file.load(text, "compose") == {"NOTE": "one\nWA_DB_PASSWORD=sesame", "TZ": "a\nb=c"}
    assert env_file.names(text) == {"NOTE": "NOTE", "WA_DB_PASSWORD": "WA_DB_PASSWORD", "TZ": "TZ", "b": "line 4"}


def test_load_refuses_variables() -> None:
    with pytest.raises(WaError, match="WA_DB_PASSWORD"):
        env_file.load("WA_DB_PASSWORD=$SECRET\n", "compose")
    assert env_file.load("TZ=$ZONE\nA=1\n", "compose") == {"A": "1"}


@pytest.mark.parametrize(
    ("text", "env_format", "line"),
    [
        ("A=1\nWA_DB_PASSWORD='sesame\nB=2\n", "compose", "line 2 (WA_DB_PASSWORD)"),
        ("export A=1\n", "docker", "line 1:"),
        ("export A=1\n", "portable", "line 1:"),
        ("A='x' sesame=1\n", "compose", "line 1:"),
        ("open sesame\n", "docker", "line 1:"),
        ("A=1\nB=" + "é" * 32600 + "sesame\n", "docker", "line 2:"),
        ("=sesame\n", "compose", "line 1:"),
        ("open!sesame=1\n", "compose", "line 1:"),
    ],
)
def test_an_unreadable_file_is_reported_by_line(text: str, env_format: str, line: str) -> None:
    with pytest.raises(WaError) as caught:
        env_file.load(text, env_format)
    assert line in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_line_without_a_key_is_named_by_its_number() -> None:
    names = env_file.names("WA_DB_PASSWORD=abc\nsesame\nhttp_proxy=x\nWA_API_KEY\n")
    assert names == {
        "WA_DB_PASSWORD": "WA_DB_PASSWORD",
        "sesame": "line 2",
        "http_proxy": "http_proxy",
        "WA_API_KEY": "WA_API_KEY",
    }
