# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks before an upgrade get from the hosts of the run and from the rules of other features."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from preflight_samples import CLIENTS, GOOD
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import failure_report, preflight
from ansible_collections.waba.onprem.plugins.plugin_utils import _upgrade_checks as upgrade_checks

HOSTS = ["h1", "h2"]
GROUPS = {"all": HOSTS, "a": HOSTS}
IDENTITY: dict[str, t.Any] = {
    "host": "h1",
    "topology": "high_availability",
    "shards": 1,
    "media_volume": "media",
    "db_env": {},
    "file": {},
    "deployment": topology.deployment("h1", GROUPS, "a"),
    "confirmed": None,
    "folder": "",
}
KEPT = {"identity": {}, "keeps_configuration": True, "configuration_mount": "", "layer_media": "", "one_shot": False}


def upgrade_verdict(
    hostvars: dict[str, dict[str, t.Any]], inspected: bool = True, read: t.Any = None, **changes: t.Any
) -> dict[str, t.Any]:
    """The verdict on h1, whose look has found what is good, with the changes in `read`."""
    deployment = IDENTITY["deployment"]
    clients = [{**one, **KEPT, "project": deployment["project"], "own": True} for one in CLIENTS]
    look = {**GOOD["found"], "containers": clients, **(read or {})}
    looks = {one.look: GOOD[one.look] for one in preflight.CHECKS if one.look}
    known = {**hostvars, "h1": {"__wa_upgrade_host": look, "__wa_upgrade_looks": looks, **hostvars["h1"]}}
    facts = {**GOOD, "hooks": [], "deployment": deployment, "identity": IDENTITY, **changes}
    return upgrade_checks.of_host(facts, known, GROUPS, HOSTS, inspected)


def test_the_verdict_of_a_host_has_what_other_features_refuse(tmp_path: Path) -> None:
    hostvars: dict[str, dict[str, t.Any]] = {"h1": {}, "h2": {}}
    hook = tmp_path / "hook.yml"
    hook.write_text("- debug:\n")
    assert upgrade_verdict(hostvars, hooks=[str(hook)])["failures"] == []
    hook.write_text("- meta: end_play\n")
    recorded = {"host": "h2", "leader": "h2", "project": "wa-a"}
    hostvars["h2"]["__wa_upgrade_host"] = {"identity": {"recorded": recorded}}
    ours = {**CLIENTS[0], **KEPT, "project": IDENTITY["deployment"]["project"], "own": True}
    loss = {"containers": [{**ours, "keeps_configuration": False}]}
    failed = upgrade_verdict(hostvars, hooks=[str(hook)], read=loss)["failures"]
    assert [text.partition(" ")[0] for text in failed] == ["h1:"] * 3
    assert f"{hook}: ansible.builtin.meta would end the upgrade" in failed[0]
    assert "leader h2 (as recorded on h2) would become h1" in failed[1]
    assert "wa-waba-wacore-1 keeps its configuration, registration included," in failed[2]


@pytest.mark.parametrize(
    ("begun", "changes", "leaders"),
    [
        ([], {}, ""),
        (["h9"], {}, "h9"),
        (["h9"], {"version": "2.51.2", "dump": False}, "h9"),
        (["h1"], {}, "h1"),
        # The same playbook twice in a run: the second finds nothing to upgrade.
        (["h1"], {"version": "2.51.2", "dump": False}, ""),
        (["h2"], {}, ""),  # of another deployment, which is refused itself
    ],
)
def test_a_run_that_has_upgraded_before_is_refused(
    begun: list[str], changes: dict[str, t.Any], leaders: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GROUPS, "wa_upgrade_leaders", ["h1", "h2", "h9"])
    hostvars: dict[str, dict[str, t.Any]] = {
        host: {"__wa_upgrade_begun": {}} if host in begun else {} for host in ("h1", "h2", "h9")
    }
    failed = upgrade_verdict(hostvars, **changes)["failures"]
    assert [text.partition("the deployment of ")[2].partition(",")[0] for text in failed] == (
        [leaders] if leaders else []
    )


def test_the_command_that_takes_a_deployment_over_is_named() -> None:
    read = {"upgrade": {"held": True, "message": "locked by a run"}}
    (failed,) = upgrade_verdict({"h1": {}, "h2": {}}, read=read, version="2.53.4")["failures"]
    options = """-e '{"wa_upgrade_take_over": true}' -e wa_upgrade_version=2.53.4"""
    command = f"ansible-playbook waba.onprem.upgrade {options}"
    assert failed == f"a is locked by a run (on h1). To take it over: {command}"


def test_a_configuration_on_a_volume_is_no_loss() -> None:
    ours = {**KEPT, "project": IDENTITY["deployment"]["project"], "own": True, "configuration_mount": "wadata"}
    mounted = {"containers": [{**one, **ours} for one in CLIENTS]}
    assert upgrade_verdict({"h1": {}, "h2": {}}, read=mounted)["failures"] == []


def test_an_upgrade_that_is_to_be_completed_is_named_with_its_command() -> None:
    hostvars: dict[str, dict[str, t.Any]] = {"h1": {}, "h2": {}}
    left = {**at("stopping"), "target": "2.55.1"}
    failed = upgrade_verdict(hostvars, read={"journal": left})["failures"]
    assert failed == [
        f"a: {failure_report.standing(left, True)} Go on with it: ansible-playbook waba.onprem.upgrade -e wa_upgrade_version=2.55.1"
    ]


def test_the_verdict_has_what_the_upgrade_needs() -> None:
    images = [{"name": GOOD["target_images"][0], "expires_on": ""}]
    found = upgrade_verdict({"h1": {}, "h2": {}}, read={"images": images})
    assert (found["before"], found["unfinished"], found["left"], found["serves"]) == ("2.51.2", False, {}, True)
    assert found["missing_images"] == GOOD["target_images"][1:]
    assert found["counted"] == {}


@pytest.mark.parametrize(
    ("markers", "state"),
    [({"h1": "a", "h2": "a"}, "ok"), ({"h1": "a", "h2": "b"}, "failed"), ({"h1": "", "h2": None}, "skipped")],
)
def test_with_check_only_the_markers_of_the_members_are_compared(markers: dict[str, t.Any], state: str) -> None:
    hostvars = {
        host: {"__wa_upgrade_looks": {"drift": {"marker": marker, "drift": []}}} for host, marker in markers.items()
    }
    checks = upgrade_verdict(hostvars, check_only=True)["checks"]
    assert [one["state"] for one in checks if one["check"] == "the members share the media volume"] == [state]


def test_the_verdict_of_a_deployment_is_made_from_what_its_members_have_recorded() -> None:
    verdict = upgrade_verdict({"h1": {}, "h2": {}})
    hostvars = {"h1": {"__wa_upgrade_verdict": verdict}, "h2": {"__wa_upgrade_verdict": verdict}}
    joined = upgrade_checks.of_deployment
    assert joined(IDENTITY["deployment"], hostvars, HOSTS, HOSTS)["passed"] is True
    found = joined(IDENTITY["deployment"], hostvars, HOSTS, ["h2"])  # what an earlier run has recorded does not count
    assert (found["unready"], found["reporter"]) == (["h1"], "h2")
