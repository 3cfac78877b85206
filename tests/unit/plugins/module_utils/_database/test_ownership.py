# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which databases belong to a client: by evidence, distinguished from another client's, never guessed."""

from __future__ import annotations

import dataclasses
import re
import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._database.ownership import Traits, anchors, own

STORES = ("cluster", "config", "contact", "axolotl", "callback", "jobqueue", "web", "media", "message")
UNRELATED = ["billing", "crm", "shop"]


def stores(prefix: str, ending: str = "Store") -> list[str]:
    """The databases of a client as in the lab."""
    return sorted(f"{prefix}{store}{ending}" for store in STORES)


def found(*names: str, **traits: Traits) -> dict[str, Traits]:
    """Databases as listed by the server. One that is named after messages has such a table."""
    return {name: traits.get(name, Traits(messages="message" in name.lower())) for name in names}


def owned(
    prefix: str, names: dict[str, Traits], wanted: list[str] | None = None, empty: t.Collection[str] = ()
) -> list[str]:
    return own(prefix, names, wanted, lambda name: name not in empty)


@pytest.mark.parametrize("prefix", ["", "wa", "wa1", "wa_", "Größe", "p%c.", "x-1"])
@pytest.mark.parametrize("ending", ["Store", "_store", "-db", "store"])
def test_all_databases_of_one_client_are_selected_and_no_others(prefix: str, ending: str) -> None:
    ours = stores(prefix, ending)
    assert owned(prefix, found(*ours, f"x{prefix}Store" if prefix else ours[0])) == ours
    # Each other one whose name begins alike is asked for.
    others = UNRELATED if not prefix else [f"{prefix}gon", f"{prefix}rehouse"]
    with pytest.raises(WaError, match=f"perhaps this client's: {re.escape(', '.join(others))}; expected"):
        owned(prefix, found(*ours, *others))
    messages = [name for name in ours if "message" in name]
    assert owned(prefix, found(*ours, *others), messages) == owned(prefix, found(*ours, *others), ours) == ours


def test_a_name_in_lower_case_is_the_clients() -> None:
    ours = [name.lower() for name in stores("Wa_")]
    assert owned("Wa_", found(*ours)) == ours


def test_before_the_first_start_there_is_no_database() -> None:
    assert owned("wa1", {}) == []
    assert owned("", found(*UNRELATED)) == []
    assert owned("wa", found("warehouse")) == []


def test_databases_of_unknown_names_are_selected_by_prefix_and_suffix() -> None:
    ours = ["wa_alphaStore", "wa_betaStore", "wa_messageStore"]
    assert owned("wa_", found(*ours)) == ours


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.2"])
def test_a_session_from_the_clients_address_is_evidence(address: str) -> None:
    here, there = Traits(messages=True, addresses=frozenset(["10.0.0.1"])), Traits(addresses=frozenset([address]))
    seen = found("messageStore", "chatdStore", messageStore=here, chatdStore=there)
    if address == "10.0.0.1":
        assert owned("", seen) == ["chatdStore", "messageStore"]
    else:
        with pytest.raises(WaError, match="perhaps this client's: chatdStore"):
            owned("", seen)


@pytest.mark.parametrize(("prefix", "other"), [("wa_", "wa_analytics"), ("", "chatdStore"), ("wa", "wafooStore")])
def test_a_grant_on_a_database_is_no_evidence(prefix: str, other: str) -> None:
    seen = found(*stores(prefix), other, **{other: Traits(given=True)})
    with pytest.raises(WaError, match=f"perhaps this client's: {other}; expected"):
        owned(prefix, seen)
    assert owned(prefix, seen, stores(prefix)) == stores(prefix)


@pytest.mark.parametrize("prefix", ["", "wa", "wa_"])
def test_a_database_of_a_service_without_a_session_is_not_left_out_silently(prefix: str) -> None:
    """The Webapp may have closed its sessions at that moment."""
    here = frozenset(["10.0.0.1"])
    seen = found(*stores(prefix, "Store"), f"{prefix}web")
    seen[f"{prefix}messageStore"] = Traits(messages=True, addresses=here)
    with pytest.raises(WaError, match=f"perhaps this client's: {prefix}web; expected"):
        owned(prefix, seen)
    seen[f"{prefix}web"] = Traits(addresses=here)
    assert owned(prefix, seen) == sorted([*stores(prefix, "Store"), f"{prefix}web"])


def test_another_owner_is_evidence_against_it() -> None:
    ours = {name: dataclasses.replace(traits, owner="wa") for name, traits in found(*stores("wa1")).items()}
    other = {"wa1bookStore": Traits(owner="shop"), "wa1shop": Traits(owner="shop")}
    with pytest.raises(WaError, match="wa1bookStore"):  # prefix and suffix match: the operator has to decide
        owned("wa1", {**ours, **other})
    del other["wa1bookStore"]
    assert owned("wa1", {**ours, **other}) == stores("wa1")


@pytest.mark.parametrize(
    ("prefix", "names", "ambiguous"),
    [
        ("", [*stores(""), "petStore"], "petStore"),
        ("wa_", [*stores("wa_"), "wa_reporting"], "wa_reporting"),
        ("wa", [*stores("wa"), "wafooStore"], "wafooStore"),
        ("wa1", ["wa10configStore", "wa1messageStore"], "wa10configStore"),
        ("wa_", [*stores("wa_"), "wa_web"], "wa_web"),
        ("w", [*stores("w"), "wStore"], "wStore"),
    ],
)
def test_a_single_piece_of_evidence_is_ambiguous(prefix: str, names: list[str], ambiguous: str) -> None:
    with pytest.raises(WaError, match=f"perhaps this client's: {ambiguous}; expected") as error:
        owned(prefix, found(*names))
    assert "wa_message_gc_databases" in str(error.value)


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
def test_databases_of_two_clients_are_ambiguous(prefix: str, names: list[str]) -> None:
    with pytest.raises(WaError, match="ambiguous for prefix") as error:
        owned(prefix, found(*names))
    assert all(name in str(error.value) for name in names)


@pytest.mark.parametrize(
    ("prefix", "other"), [("", "x_"), ("", "wa2"), ("wa1", "wa10"), ("wa", "wac"), ("wa", "wa_test")]
)
def test_a_set_without_messages_of_a_wrong_prefix_is_not_selected(prefix: str, other: str) -> None:
    names = found(*stores(prefix), *stores(other))
    both_empty = [f"{prefix}messageStore", f"{other}messageStore"]
    for empty in (both_empty, both_empty[1:]):
        assert owned(prefix, names, empty=empty) == stores(prefix)
    with pytest.raises(WaError, match="ambiguous"):
        owned(prefix, names, empty=both_empty[:1])


def test_a_database_that_may_be_another_clients_is_not_selected() -> None:
    names = found(*stores("wa_"), *stores("wa_t_"), "wa_t_fooStore")
    assert owned("wa_", names, ["wa_messageStore"]) == stores("wa_")
    with pytest.raises(WaError, match="perhaps this client's: wa_t_fooStore"):
        owned("wa_", names, empty=["wa_t_messageStore"])


@pytest.mark.parametrize("beside", [True, False])
def test_a_messages_table_of_another_application_is_not_selected(beside: bool) -> None:
    seen = found(*stores(""), "crm", crm=Traits(messages=True, beside=beside))
    with pytest.raises(WaError, match="in crm, messageStore; candidates"):
        owned("", seen)
    assert owned("", seen, ["messageStore"]) == stores("")


def test_other_tables_identify_a_database_of_another_name() -> None:
    assert owned("", found("wacore", wacore=Traits(messages=True, beside=True))) == ["wacore"]
    with pytest.raises(WaError, match="wacore"):
        owned("", found("wacore", wacore=Traits(messages=True)))


@pytest.mark.parametrize(
    ("prefix", "names", "wanted", "expected"),
    [
        # One name is enough to exclude another client's databases. The rest of the client's own is still selected.
        ("wa1", [*stores("wa1"), *stores("wa10")], ["wa1messageStore"], stores("wa1")),
        ("wa", [*stores("wa"), *stores("wac"), "warehouse", "wafooStore"], ["wamessageStore"], stores("wa")),
        ("", [*stores(""), *stores("wa2"), *UNRELATED], ["messageStore"], stores("")),
        # A name of a database without messages makes the list complete.
        ("wa1", stores("wa1"), ["wa1messageStore", "wa1configStore"], ["wa1configStore", "wa1messageStore"]),
        ("", [*stores(""), *UNRELATED], [*stores(""), "crm"], sorted([*stores(""), "crm"])),
        # Two named shards are the client's, although one ends like the other. A shard that was not named is not.
        ("wa1", ["wa1messageStore", "wa1xmessageStore"], ["wa1messageStore", "wa1xmessageStore"], ["wa1messageStore", "wa1xmessageStore"]),
        ("wa1", ["wa1messageStore", "wa1xmessageStore"], ["wa1messageStore"], ["wa1messageStore"]),
        ("zz", ["messageStore"], ["messageStore"], ["messageStore"]),
    ],
)  # fmt: skip
def test_named_databases_decide(prefix: str, names: list[str], wanted: list[str], expected: list[str]) -> None:
    assert owned(prefix, found(*names), wanted) == expected


def test_a_named_database_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(WaError, match="not seen on the server: other"):
        owned("wa1", found(*stores("wa1")), ["other"])


# Databases with `messages`, as GC counts them


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
def test_databases_with_messages_of_one_client(prefix: str, names: list[str]) -> None:
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
def test_databases_with_messages_of_two_clients_are_ambiguous(prefix: str, names: list[str]) -> None:
    with pytest.raises(WaError) as error:
        anchors(prefix, found(*names), None, lambda _name: True)
    assert all(name in str(error.value) for name in names)
    assert "option databases" in str(error.value)


def test_named_databases_with_messages() -> None:
    assert anchors("wa", found(*stores("wa")), stores("wa"), lambda _name: True) == ["wamessageStore"]
