# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard takes from the inventory and from the other hosts of the run."""

from __future__ import annotations

import typing as t

import pytest
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.plugin_utils import _inventory as variables
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines
from ansible_collections.waba.onprem.plugins.plugin_utils import _start_guard as start_guard

SEEN = {"identity": "a", "started": 100, "cluster": False, "origin": "10.0.0.6", "machine": "m", "running": True}
OURS = {**SEEN, "unknown": [], "unreadable": "", "holds": False, "recorded": {}}


@pytest.fixture(autouse=True)
def forget() -> t.Iterator[None]:
    machines._sharers.clear()
    yield
    machines._sharers.clear()


def run(hosts: list[str] | None = None, looks: dict[str, t.Any] | None = None, **given: t.Any) -> start_guard.Run:
    ours = inventory("support" if not hosts else hosts[0], hosts or (), **given)
    variables = t.cast("dict[str, t.Any]", ours.variables)
    variables["ansible_play_hosts_all"] = hosts or ["support"]
    for host, look in (looks or {}).items():
        ours.variables["hostvars"][host][start_guard.LOOKS[0]] = {"database": look}
        ours.variables["hostvars"][host][start_guard.LOOKS[1]] = {"changed": False, "skipped": True}
    return start_guard.Run(ours)


def test_a_single_client_needs_nobody_elses_look() -> None:
    found = run()
    assert (found.needs_look, found.unseen(), found.deployments()) == (False, 0, 1)
    options = found.options()
    assert (options["origins"], options["running"], options["shared_origins"]) == ([], False, [])


def test_members_are_known_by_what_they_read_and_by_their_address() -> None:
    found = run(["h1", "h2", "h3"], {"h2": SEEN, "h3": {}}, wa_db_shared_origins=["10.9.9.9"])
    assert (found.needs_look, found.unseen(), found.deployments()) == (True, 1, 1)
    options = found.options()
    assert options["origins"] == ["10.0.0.6", "h2", "h3"]
    assert (options["running"], options["shared_origins"]) == (True, ["10.9.9.9"])


def two_deployments(look: dict[str, t.Any], **other: t.Any) -> start_guard.Run:
    ours = inventory()
    variables = {**ours.variables["hostvars"]["support"], "inventory_hostname": "copy", **other}
    ours.variables["hostvars"]["copy"] = {**variables, start_guard.LOOKS[0]: {"database": look}}
    ours.variables["groups"]["all"].append("copy")
    t.cast("dict[str, t.Any]", ours.variables)["ansible_play_hosts_all"] = ["support", "copy"]
    return start_guard.Run(ours)


@pytest.mark.parametrize(
    ("look", "other", "refused"),
    [
        ({**SEEN, "machine": "n"}, {}, "support and copy are different deployments"),
        ({**SEEN, "machine": "m"}, {}, "one machine and the same database"),
        ({**SEEN, "machine": "n", "started": 900}, {}, ""),
        ({}, {}, ""),  # not asked in this run
        (SEEN, {"wa_db_env_name_prefix": "copy_"}, ""),
    ],
)
def test_an_equal_name_is_a_suspicion_that_the_server_confirms(
    look: dict[str, t.Any], other: dict[str, str], refused: str
) -> None:
    found = two_deployments(look, **other)
    assert found.needs_look is not bool(other)
    refusals, _notes = found.decide(OURS)
    assert (refused in " ".join(refusals)) if refused else refusals == []


@pytest.mark.parametrize(
    ("look", "address", "refused", "noted"),
    [
        (SEEN, "192.0.2.1", True, False),  # a short DNS name
        ({**SEEN, "started": 900}, "192.0.2.1", False, False),
        ({}, "192.0.2.1", False, True),
        ({}, "192.0.2.2", False, False),
    ],
)
def test_equal_names_in_two_projects_of_a_machine_are_compared_or_noted(
    look: dict[str, t.Any], address: str, refused: bool, noted: bool
) -> None:
    found = two_deployments(look, ansible_host=address, wa_db_env_hostname="db")
    found.hostvars["support"].update(ansible_host="192.0.2.1", wa_db_env_hostname="db")
    refusals, notes = found.decide(OURS)
    assert [text.startswith("client's database: support and copy are different") for text in refusals] == [
        True
    ] * refused
    assert [text.startswith("hosts support, copy: one machine and") for text in notes] == [True] * noted


@pytest.mark.parametrize(
    ("given", "shared"),
    [
        ({"wa_db_env_hostname": "db"}, True),  # by another name, or a search domain, it may be the same server
        ({"wa_db_env_hostname": "127.0.0.1"}, True),
        ({"wa_db_env_port": 3307}, False),
        ({"wa_db_env_name_prefix": "x_"}, False),
        ({"wa_db_env_hostname": None}, False),
    ],
)
def test_port_and_prefix_make_the_suspicion(given: dict[str, t.Any], shared: bool) -> None:
    ours = inventory()
    theirs = {**ours.variables["hostvars"]["support"], "inventory_hostname": "copy", **given}
    ours.variables["hostvars"]["copy"] = theirs
    ours.variables["groups"]["all"].append("copy")
    assert machines.sharing_database(*ours.all_hosts) == (["copy"] if shared else [])


def test_what_the_first_comparison_has_read_counts_too() -> None:
    found = two_deployments({})
    found.hostvars["copy"]["wa_drift"] = {"database": {**SEEN, "machine": ""}}
    refusals, _notes = found.decide(OURS)
    assert "support and copy are different deployments" in refusals[0]


def test_unknown_content_is_confirmed_for_the_wanted_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "extra_vars", lambda: {"wa_confirm_identity": {}})
    holding = {**OURS, "holds": True, "definitions": "d"}
    refusals, _notes = run().decide(holding)
    assert "neither a container nor a record" in refusals[0]
    assert run(wa_confirm_identity={"version": "2.53.4"}).decide(holding) == ([], [])
