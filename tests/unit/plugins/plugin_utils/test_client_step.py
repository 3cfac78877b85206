# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role wa_client does on a host, by the inventory and what a run has read."""

from __future__ import annotations

import typing as t

import pytest
from ansible import context
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.module_utils._client import prediction
from ansible_collections.waba.onprem.plugins.plugin_utils import _client_step as client_step
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired

Values = dict[str, t.Any]
CORE: Values = {
    "name": "wa-support-wacore-1",
    "id": "id-core",
    "project": "wa-support",
    "service": "wacore",
    "role": "core",
    "state": "running",
    "health": "healthy",
    "version": "2.53.4",
    "one_shot": False,
    "own": True,
    "api_url": "",
}
WEB: Values = {
    **CORE,
    "name": "wa-support-waweb-1",
    "service": "waweb",
    "role": "web",
    "api_url": "https://192.0.2.7:9",
}
OTHER: Values = {**WEB, "project": "wa-other", "api_url": "https://192.0.2.7:1"}
HOSTS = ["h1", "h2", "h3"]


def found(state: str = "running", version: str = "2.53.4", **more: t.Any) -> Values:
    return {"containers": [{**CORE, "state": state, "version": version}], **more}


@pytest.fixture(autouse=True)
def command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", {})


def step(**given: t.Any) -> Values:
    """What is decided for a single host."""
    return client_step.decide(inventory(**{"ansible_play_hosts": ["support"], **given}))


def members(reached: list[str], name: str, looks: Values, **given: t.Any) -> Values:
    """What the members have in common; `looks` are those of the hosts."""
    ours = inventory(name, HOSTS, ansible_play_hosts=reached, **given)
    for host, look in looks.items():
        ours.variables["hostvars"][host]["__wa_host_found"] = look
    return client_step.members(ours)


@pytest.mark.parametrize(
    ("started", "recreate"), [(None, "later"), ([], "later"), (["never"], "later"), (["always"], "auto")]
)
def test_what_was_recreated_is_rolled_back_after_the_window_too(
    monkeypatch: pytest.MonkeyPatch, started: list[str] | None, recreate: str
) -> None:
    monkeypatch.setattr(desired, "restart_allowed", lambda _ours: False)
    calls = {"calls": [{"recreate": one} for one in started or ()]} if started is not None else {}
    assert step(__wa_host_found=found(), __wa_client_started=calls)["recreate"] == recreate


def test_the_members_of_a_run_are_read_from_their_results() -> None:
    looks = {"h1": found(), "h3": found("exited", "2.51.2")}
    asked = {"wa_api_key": "k"}
    assert members(["h2", "h1"], "h2", looks, __wa_in_turn=True, **asked) == {
        "hold": "",
        "moving": ["wacore"],
        "first": "h2",
        "refusal": "",
    }
    assert members(["h2", "h3"], "h2", looks, wa_version="2.51.2", wa_client_service_names={"wacore1": "core"}) == {
        "hold": "",
        "moving": [],
        "first": "h2",
        "refusal": "",
    }
    together = members(["h1", "h2"], "h1", looks, **asked)
    assert together["hold"] == "the client runs on several hosts, and only provision.yml restarts one after the other"
    unmeasured = members(["h1", "h2"], "h1", looks, __wa_in_turn=True)
    assert unmeasured["hold"].startswith("wa_api_password is not set")
    assert members(["h2"], "h2", {"h2": found(version="2.55.1")}, wa_version="2.55.1")["refusal"] == ""


@pytest.mark.parametrize(
    ("versions", "wanted", "said", "upgrade"),
    [
        ([], "2.53.4", "", False),
        (["2.53.4"], "2.53.4", "", False),
        (["2.51.2"], "2.53.4", "support runs 2.51.2, or ran it last, wa_version is 2.53.4. A start of another", True),
        (["2.53.4"], "2.51.2", "support runs 2.53.4, or ran it last, wa_version is 2.51.2. A start of another", False),
        (["2.9.1", "2.51.2"], "2.10.0", "support runs 2.51.2, 2.9.1, or ran it last, ", False),
        (["latest"], "2.51.2", "support runs latest, or ran it last, ", True),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_start_of_another_version_is_refused(
    versions: list[str], wanted: str, said: str, upgrade: bool, there: bool
) -> None:
    look: Values = {"containers": [{**CORE, "version": one} for one in versions]}
    if not there:  # of a client without a container its record counts
        look = {"containers": [], "identity": {"recorded": {"version": versions[0]} if len(versions) == 1 else {}}}
    text = members(["h1"], "h1", {"h1": look}, wa_version=wanted)["refusal"]
    if there or len(versions) < 2:
        assert text.startswith(said)
        assert bool(text) is bool(said)
        assert ("Or upgrade: ansible-playbook" in text) is upgrade


def test_a_confirmed_version_is_not_compared_with_the_records() -> None:
    look = {"containers": [], "identity": {"recorded": {"version": "2.51.2"}}}
    given = {"wa_version": "2.53.4", "wa_confirm_identity": {"version": "2.53.4"}}
    assert members(["h1"], "h1", {"h1": look}, **given)["refusal"] == ""


STARTS: Values = {"__wa_planned": {}, "wa_drift": {"only_starts": True}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, False),
        (STARTS, True),
        ({"__wa_planned": {}, "wa_drift": {"only_starts": False}}, False),
        ({"wa_drift": STARTS["wa_drift"]}, False),  # not by provision.yml
        ({**STARTS, "__wa_in_turn": True}, False),
        ({**STARTS, "wa_client_hold": "audit"}, False),
        ({**STARTS, "wa_db_env_result": {"changed": True}}, False),
        ({**STARTS, "wa_db_env_result": {"changed": False}}, True),
    ],
)
def test_only_what_provision_has_just_seen_is_started_without_a_file(given: Values, expected: bool) -> None:
    decided = step(__wa_host_found=found("exited"), **given)
    assert (decided["only_starts"], decided["due"]) == (expected, expected)


@pytest.mark.parametrize(
    ("plan", "given", "due"),
    [
        ({"changes": [], "unproven": []}, {}, False),
        ({"changes": ["create x"], "unproven": []}, {}, True),
        ({"changes": ["create x"], "unproven": []}, {"wa_client_hold": "audit"}, False),
        ({"changes": [], "unproven": ["/srv/db.env"]}, {}, True),
        ({"changes": [], "unproven": ["/srv/db.env"]}, {"ansible_check_mode": True}, False),
        ({"changes": [], "unproven": ["/srv/db.env"]}, {"wa_client_restart": "report"}, True),
        ({"changes": [], "unproven": ["/srv/db.env"], "pending": ["x"]}, {"wa_client_restart": "report"}, False),
    ],
)
def test_a_change_is_due_by_the_plan(plan: Values, given: Values, due: bool) -> None:
    assert step(__wa_host_found=found(), __wa_client_plan={"pending": [], **plan}, **given)["due"] is due


def test_what_the_host_has_decides() -> None:
    decided = step(__wa_host_found=found("exited"), wa_client_hold="audit")
    assert (decided["acts"], decided["recreate"], decided["unhealthy"]) == (
        False,
        "never",
        ["wa-support-wacore-1 (exited, healthy)"],
    )
    assert decided["held"] == desired.hold(inventory(wa_client_hold="audit"))
    assert (decided["asks_api"], decided["in_force"]) == (False, False)
    decided = step(__wa_host_found=found(), wa_api_password="p")
    assert (decided["acts"], decided["recreate"], decided["asks_api"], decided["in_force"]) == (
        True,
        "auto",
        True,
        True,
    )
    assert step()["acts"], "a new client"


@pytest.mark.parametrize(
    ("given", "pending"),
    [
        ({}, False),
        ({"ansible_check_mode": True}, False),
        ({"ansible_check_mode": False, "wa_db_env_result": {"changed": True}}, False),
        ({"ansible_check_mode": True, "wa_db_env_result": {"changed": True, "changed_keys": ["TZ"]}}, True),
    ],
)
def test_the_options_of_wa_client(given: Values, pending: bool) -> None:
    ours = inventory(ansible_play_hosts=["support"], __wa_host_found=found("exited"), **given)
    options = client_step.options(ours)
    assert {key: options[key] for key in desired.project(ours)} == desired.project(ours)
    assert (options["recreate"], options["moving"]) == ("auto", [])
    assert (options["lock_file"], options["guard"]) == (desired.deployment(ours)["lock_file"], desired.guard(ours))
    assert options.get("env_changes") == ({"wa-support-wacore-1": ["TZ"]} if pending else None)
    assert {*options} - {*prediction.ARGUMENT_SPEC} == {"recreate", "moving", "lock_file", "run_id", "guard"}


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "https://127.0.0.1:9090"),
        ({"__wa_client_containers": [CORE, OTHER]}, "https://127.0.0.1:9090"),
        ({"__wa_client_containers": [OTHER, CORE, WEB]}, "https://192.0.2.7:9"),
        ({"__wa_client_containers": [WEB], "wa_api_url": "https://lb"}, "https://lb"),
    ],
)
def test_the_api_is_asked_at_the_webapp_that_is_there(given: Values, url: str) -> None:
    asked = client_step.api(inventory(wa_api_password="p", **given))
    assert (asked["host"], asked["options"]["api_url"], asked["options"]["api_password"]) == ("support", url, "p")
    assert asked["nodes"] == (["id-core"] if CORE in given.get("__wa_client_containers", ()) else [])
    assert asked["lease_file"] == desired.deployment(inventory())["lock_file"]


def test_the_api_of_another_member_is_asked_with_its_lock() -> None:
    ours = inventory("h2", HOSTS, wa_api_url="https://lb", wa_api_password="p")
    asked = client_step.api(ours)
    assert (asked["host"], asked["options"]["api_password"]) == ("h1", "p")
    assert asked["lease_file"] == desired.deployment(inventory("h1", HOSTS))["lock_file"]
