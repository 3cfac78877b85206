# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases are one client's own: by evidence, told from a neighbour's, never guessed."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.ownership import Traits, anchors, own

STORES = ("cluster", "config", "contact", "axolotl", "callback", "jobqueue", "web", "media", "message")
FOREIGN = ["billing", "crm", "shop"]


def stores(prefix: str, ending: str = "Store") -> list[str]:
    """The databases of a client as the lab has them."""
    return sorted(f"{prefix}{store}{ending}" for store in STORES)


def found(*names: str, **traits: Traits) -> dict[str, Traits]:
    """Databases as the server tells them; one that is named after messages holds such a table."""
    return {name: traits.get(name, Traits(messages="message" in name.lower())) for name in names}


def taken(
    prefix: str, names: dict[str, Traits], wanted: list[str] | None = None, empty: t.Collection[str] = ()
) -> list[str]:
    return own(prefix, names, wanted, lambda name: name not in empty)


@pytest.mark.parametrize("prefix", ["", "wa", "wa1", "wa_", "Größe", "p%c.", "x-1"])
@pytest.mark.parametrize("ending", ["Store", "_store", "-db", "store"])
def test_all_stores_of_one_client_are_taken_and_nothing_beside_them(prefix: str, ending: str) -> None:
    ours = stores(prefix, ending)
    assert taken(prefix, found(*ours)) == ours
    beside = FOREIGN if not prefix else [f"{prefix}rehouse", f"{prefix}gon"] if prefix == "wa" else []
    assert taken(prefix, found(*ours, *beside)) == ours


def test_a_folded_name_is_the_clients_as_well() -> None:
    ours = [name.lower() for name in stores("Wa_")]
    assert taken("Wa_", found(*ours)) == ours


def test_before_the_first_start_there_is_none() -> None:
    assert taken("wa1", {}) == []
    assert taken("", found(*FOREIGN)) == []
    assert taken("wa", found("warehouse")) == []


def test_stores_of_unknown_names_are_taken_for_prefix_and_ending() -> None:
    ours = ["wa_alphaStore", "wa_betaStore", "wa_messageStore"]
    assert taken("wa_", found(*ours)) == ours


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.2"])
def test_a_session_of_the_client_is_a_sign(address: str) -> None:
    here, there = Traits(messages=True, addresses=frozenset(["10.0.0.1"])), Traits(addresses=frozenset([address]))
    seen = found("messageStore", "chatdStore", messageStore=here, chatdStore=there)
    if address == "10.0.0.1":
        assert taken("", seen) == ["chatdStore", "messageStore"]
    else:
        with pytest.raises(WaError, match="perhaps this client's: chatdStore"):
            taken("", seen)


@pytest.mark.parametrize(("given", "ours"), [(True, True), (False, False)])
def test_what_was_given_to_the_user_by_name_is_a_sign(given: bool, ours: bool) -> None:
    seen = found("messageStore", "chatdStore", chatdStore=Traits(given=given))
    if ours:
        assert taken("", seen) == ["chatdStore", "messageStore"]
    else:
        with pytest.raises(WaError, match="option databases"):
            taken("", seen)


def test_another_owner_speaks_against_it() -> None:
    ours = {name: dataclasses.replace(traits, owner="wa") for name, traits in found(*stores("wa1")).items()}
    other = {"wa1bookStore": Traits(owner="shop"), "wa1shop": Traits(owner="shop")}
    with pytest.raises(WaError, match="wa1bookStore"):  # prefix and ending are right: asked, neither taken nor left out
        taken("wa1", {**ours, **other})
    del other["wa1bookStore"]
    assert taken("wa1", {**ours, **other}) == stores("wa1")


@pytest.mark.parametrize(
    ("prefix", "names", "doubtful"),
    [
        ("", [*stores(""), "petStore"], "petStore"),
        ("wa_", [*stores("wa_"), "wa_reporting"], "wa_reporting"),
        ("wa", [*stores("wa"), "wafooStore"], "wafooStore"),
        ("wa1", ["wa10configStore", "wa1messageStore"], "wa10configStore"),
        ("wa_", [*stores("wa_"), "wa_web"], "wa_web"),
        ("w", [*stores("w"), "wStore"], "wStore"),
    ],
)
def test_a_single_sign_is_doubt_and_named(prefix: str, names: list[str], doubtful: str) -> None:
    with pytest.raises(WaError, match=f"perhaps this client's: {doubtful}; expected") as told:
        taken(prefix, found(*names))
    assert "wa_message_gc_databases" in str(told.value)


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", [*stores(""), *stores("wa2")]),
        ("wa1", [*stores("wa1"), *stores("wa10")]),
        ("wa", [*stores("wa"), *stores("wa10"), "warehouse"]),
        ("wa1", stores("wa10")),
        ("", [*stores("a"), *stores("b")]),
    ],
)
def test_two_clients_are_told_apart_by_the_operator(prefix: str, names: list[str]) -> None:
    with pytest.raises(WaError, match="ambiguous for prefix") as told:
        taken(prefix, found(*names))
    assert all(name in str(told.value) for name in names)


@pytest.mark.parametrize(
    ("prefix", "strange"), [("", "x_"), ("", "wa2"), ("wa1", "wa10"), ("wa", "wac"), ("wa", "wa_test")]
)
def test_a_set_without_messages_that_a_wrong_prefix_has_left_is_not_the_clients(prefix: str, strange: str) -> None:
    names = found(*stores(prefix), *stores(strange))
    both_empty = [f"{prefix}messageStore", f"{strange}messageStore"]
    for empty in (both_empty, both_empty[1:]):
        assert taken(prefix, names, empty=empty) == stores(prefix)
    with pytest.raises(WaError, match="ambiguous"):
        taken(prefix, names, empty=both_empty[:1])


def test_what_may_be_another_clients_as_well_is_not_taken() -> None:
    names = found(*stores("wa_"), *stores("wa_t_"), "wa_t_fooStore")
    assert taken("wa_", names, ["wa_messageStore"]) == stores("wa_")
    with pytest.raises(WaError, match="perhaps this client's: wa_t_fooStore"):
        taken("wa_", names, empty=["wa_t_messageStore"])


@pytest.mark.parametrize("beside", [True, False])
def test_a_table_of_that_name_in_another_application_is_not_the_clients(beside: bool) -> None:
    seen = found(*stores(""), "crm", crm=Traits(messages=True, beside=beside))
    with pytest.raises(WaError, match="in crm, messageStore; candidates"):
        taken("", seen)
    assert taken("", seen, ["messageStore"]) == stores("")


def test_of_one_that_is_not_named_after_messages_the_tables_beside_it_tell() -> None:
    assert taken("", found("wacore", wacore=Traits(messages=True, beside=True))) == ["wacore"]
    with pytest.raises(WaError, match="wacore"):
        taken("", found("wacore", wacore=Traits(messages=True)))


@pytest.mark.parametrize(
    ("prefix", "names", "wanted", "expected"),
    [
        # One name is enough to tell a neighbour, and the rest of ours is not forgotten.
        ("wa1", [*stores("wa1"), *stores("wa10")], ["wa1messageStore"], stores("wa1")),
        ("wa", [*stores("wa"), *stores("wac"), "warehouse", "wafooStore"], ["wamessageStore"], stores("wa")),
        ("", [*stores(""), *stores("wa2"), *FOREIGN], ["messageStore"], stores("")),
        # Any that has no messages makes it the whole list.
        ("wa1", stores("wa1"), ["wa1messageStore", "wa1configStore"], ["wa1configStore", "wa1messageStore"]),
        ("", [*stores(""), *FOREIGN], [*stores(""), "crm"], sorted([*stores(""), "crm"])),
        # Two shards that were named are ours, although one ends like the other; one that was not is not.
        ("wa1", ["wa1messageStore", "wa1xmessageStore"], ["wa1messageStore", "wa1xmessageStore"], ["wa1messageStore", "wa1xmessageStore"]),
        ("wa1", ["wa1messageStore", "wa1xmessageStore"], ["wa1messageStore"], ["wa1messageStore"]),
        ("zz", ["messageStore"], ["messageStore"], ["messageStore"]),
    ],
)  # fmt: skip
def test_what_is_named_decides(prefix: str, names: list[str], wanted: list[str], expected: list[str]) -> None:
    assert taken(prefix, found(*names), wanted) == expected


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(WaError, match="not seen on the server: other"):
        taken("wa1", found(*stores("wa1")), ["other"])


# The databases with `messages` alone, as GC counts them


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("wa1", ["wa1messageStore"]),
        ("wa1", ["wa1messageStore0", "wa1messageStore1"]),
        ("a_b%c", ["a_b%cmessageStore"]),
        ("", ["messageStore"]),
        ('wa.1`"', ['wa.1`"messageStore']),
        ("wa", ["wamessages1", "wamessages2", "wamessages3"]),
        ("wa", ["wamessage1Store", "wamessage2Store"]),
    ],
)
def test_one_clients_messages_are_counted(prefix: str, names: list[str]) -> None:
    assert anchors(prefix, found(*names), None, lambda _name: True) == names


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("wa1", ["wa1messageStore", "wa10messageStore"]),
        ("wa1", ["wa10messageStore"]),
        ("wa", ["wamessageStore", "wa_testmessageStore"]),
        ("wa", ["wa1messageStore", "wa2messageStore"]),
        ("wa1", ["wa1messageStore0", "wa1bmessageStore1"]),
        ("wa", ["waMessageStore", "wabmessagestore"]),
        ("wa_", ["wa_messages", "wa_test_messages_1"]),
        ("", ["amessageStore", "bmessageStore"]),
        ("", ["messageStore", "messageStore1"]),
        ("wa", ["wamessages_a", "wamessages_b"]),
        ("wa_", ["wa_messageStore", "wa_messages"]),
        ("wa_", ["wa_messageStore", "wa_messageStore_old"]),
        ("wa_", ["wa_messageStore", "wa_messageStoreBackup"]),
    ],
)
def test_a_possible_neighbour_is_never_summed(prefix: str, names: list[str]) -> None:
    with pytest.raises(WaError) as told:
        anchors(prefix, found(*names), None, lambda _name: True)
    assert all(name in str(told.value) for name in names)
    assert "option databases" in str(told.value)


def test_of_those_named_the_ones_with_messages_are_counted() -> None:
    assert anchors("wa", found(*stores("wa")), stores("wa"), lambda _name: True) == ["wamessageStore"]
