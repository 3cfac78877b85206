# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a Compose file: every YAML parser reads back what was written, and strings stay strings."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.plugin_utils import _compose_file as compose_file

# Strings that YAML 1.1, YAML 1.2 or Compose's parser reads as another type without quotes.
ODD = (
    *("1e3", "yes", "No", "on", "y", "0x1F", "0o17", "017", "12:30:45", "~", "null", "true", "1_000", ".inf", ".nan"),
    *(
        "2024-01-01",
        "=",
        "<<",
        "",
        " ",
        " a",
        "a ",
        "a: b",
        "a #b",
        "- a",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "{a",
        "[a",
    ),
    *(
        "a\nb",
        "a\n",
        "\ta",
        "'a'",
        '"a"',
        "a\\b",
        "$$a",
        "${A:-b}",
        "ä",
        "\u2028",
        "\x85",
        "\x00",
        "\U0001f600",
        "\ufeff",
    ),
    *("---", "...", "?", "a,b", "|", ">", "1", "-1", "1.0", "0.0.0.0:9090:443", "a  b " * 60 + "c"),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(ODD)


@pytest.mark.parametrize("text", ODD)
def test_a_string_is_read_back_as_a_string(text: str) -> None:
    written = compose_file.write({"key": text, text: "value", "list": [text]})
    assert yaml.safe_load(written) == {"key": text, text: "value", "list": [text]}


@pytest.mark.parametrize("text", ["1e3", "0x1F", "0o17", "12:30:45", "~", "1_000", "=", "", "2024-01-01", "a:b"])
def test_an_ambiguous_string_is_quoted(text: str) -> None:
    assert compose_file.write({"key": text}) == f'{compose_file.PREFACE}key: "{text}"\n'


@given(
    st.dictionaries(
        TEXT,
        st.recursive(
            TEXT | st.integers() | st.booleans() | st.none(),
            lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXT, below, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    )
)
@example({})
def test_any_document_is_read_back(document: dict[str, t.Any]) -> None:
    written = compose_file.write(document)
    assert yaml.safe_load(written) == document
    assert written.startswith(f"{HEADER}; changes made here are lost at the next provision.yml.\n")
    assert compose_file.write(document) == written


def test_a_shared_value_is_written_without_an_alias() -> None:
    shared = {"driver": "json-file"}
    written = compose_file.write({"services": {"a": {"logging": shared}, "b": {"logging": shared}}})
    assert written == compose_file.PREFACE + (
        "services:\n  a:\n    logging:\n      driver: json-file\n  b:\n    logging:\n      driver: json-file\n"
    )


def test_order_is_kept_and_tagged_strings_are_written_as_strings() -> None:
    class Tagged(str):
        """A subclass of `str`, as Ansible's own strings are."""

    written = compose_file.write({"name": Tagged("wa-a"), "image": Tagged("r/web:v2.53.4"), "count": 2})
    assert written == compose_file.PREFACE + 'name: wa-a\nimage: "r/web:v2.53.4"\ncount: 2\n'
