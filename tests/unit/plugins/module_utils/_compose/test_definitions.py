# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is recorded of the definitions in an operator's Compose files, and how they are compared with it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._compose.definitions import Recorded

SECRET = "Canary-41-Pw"
BODY: dict[str, t.Any] = {
    "image": "r/coreapp:v2",
    "ports": [{"target": 443}],
    "command": ["--token", SECRET],
    "user": None,
    "environment": {"WA_DB_PASSWORD": SECRET},
}
KEYS = {"command", "ports"}


def test_there_is_a_digest_for_each_key() -> None:
    found = definitions.digests(BODY, "salt")
    assert [*found] == sorted(KEYS)
    assert len({*found.values()}) == len(KEYS)
    assert SECRET not in str(found)


@pytest.mark.parametrize(
    ("body", "salt", "differ"),
    [
        ({}, "salt", set()),
        ({"image": "r/coreapp:v3"}, "salt", set()),  # compared by name and build
        ({"environment": {"WA_DB_PASSWORD": "x", "A": ""}}, "salt", set()),  # compared with the container's
        # How Compose treats the service.
        ({"build": {"context": "."}, "depends_on": {"db": {}}, "develop": {}, "profiles": ["x"]}, "salt", set()),
        ({"pull_policy": "always", "scale": 2, "deploy": {"replicas": 2}}, "salt", set()),
        ({"deploy": {"replicas": 2, "resources": {}}}, "salt", {"deploy"}),
        ({"ports": [{"target": 444}], "user": "u"}, "salt", {"ports", "user"}),
        ({"ports": None}, "salt", {"ports"}),
        ({}, "other", KEYS),  # otherwise the digest of a short password could be looked up
    ],
)
def test_a_digest_differs_with_its_value(body: dict[str, t.Any], salt: str, differ: set[str]) -> None:
    before, now = definitions.digests(BODY, "salt"), definitions.digests({**BODY, **body}, salt)
    assert {key for key in {*before, *now} if before.get(key) != now.get(key)} == differ


def test_the_order_of_keys_is_no_difference() -> None:
    one, other = ({"deploy": dict(pairs)} for pairs in ([("a", 1), ("b", 2)], [("b", 2), ("a", 1)]))
    assert definitions.digests(one, "") == definitions.digests(other, "")


@pytest.mark.parametrize(
    "services",
    [
        {
            "core": {**definitions.digests(BODY, "s"), "hash": "h0,h1", "inputs": "0123", "compose": "2.40.3-3"},
            "web": {"hash": "h2"},
        },
        {"core": {"x-a=b/c": "0123456789ab", "hash": ""}},
    ],
)
def test_the_record_holds_all(services: dict[str, dict[str, str]]) -> None:
    one = Recorded(services, "salt")
    assert definitions.recorded(one.text()) == one
    assert {*one.text()} == {*definitions.KEYS}


def test_a_record_without_digests_gets_a_salt() -> None:
    first, second = definitions.recorded({}), definitions.recorded({})
    assert first.salt != second.salt
    assert (first.services, len(first.salt)) == ({}, 16)
    assert first.text() == {}  # nothing is recorded of a client without Compose files of an operator


@pytest.mark.parametrize(
    ("now", "keys"),
    [
        ({"a": "1", "b": "2"}, ""),
        ({"a": "1", "b": "2", "hash": "h1", "inputs": "i1", "compose": "2"}, ""),
        ({"a": "1", "b": "3"}, "b"),
        ({"a": "1", "b": "2", "c": "1"}, "c"),
        ({"d": "1", "c": "1", "b": "3"}, "a, b, c, d"),
    ],
)
def test_what_changed_is_named(now: dict[str, str], keys: str) -> None:
    expected = (f"is defined otherwise in its Compose files: {keys}",) if keys else ()
    assert definitions.changed({"a": "1", "b": "2", "hash": "h0"}, now) == expected


@pytest.mark.parametrize(
    ("recorded", "found", "expected"),
    [
        ({"hash": "h0"}, "h0", True),
        ({"hash": "h0,h1"}, "h1", True),
        ({"hash": "h0,h1"}, "h", False),
        ({"hash": "h0"}, "h1", False),
        ({"hash": ""}, "", False),  # a container without the label
        ({}, "h0", False),
    ],
)
def test_a_record_belongs_to_containers_with_its_hashes(recorded: dict[str, str], found: str, expected: bool) -> None:
    assert definitions.is_of(recorded, found) is expected


def test_inputs_are_the_contents_of_files() -> None:
    assert definitions.inputs(iter(["x", ""])) == definitions.inputs(["x", ""])
    different = [["", ""], ["x", ""], ["y", ""], ["", "x"], ["x", "y"], ["xy", ""], ["x"], []]
    assert len({definitions.inputs(texts) for texts in different}) == len(different)
