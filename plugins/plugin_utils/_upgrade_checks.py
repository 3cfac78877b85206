# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins what the hosts of a run have read for the checks before an upgrade, see `_upgrade.preflight`."""

from __future__ import annotations

import time
import typing as t

from ansible import context

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._client import recreation, start_guard
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import deployment_state, preflight
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import plan as upgrade_plan
from ansible_collections.waba.onprem.plugins.plugin_utils import _command_line as command_line
from ansible_collections.waba.onprem.plugins.plugin_utils import _hooks as hooks
from ansible_collections.waba.onprem.plugins.plugin_utils import _machines as machines
from ansible_collections.waba.onprem.plugins.plugin_utils import _provision_plan as provision_plan

HostVars = t.Mapping[str, t.Mapping[str, t.Any]]
Facts = t.Mapping[str, t.Any]


def of_host(
    facts: Facts,
    hostvars: HostVars,
    groups: t.Mapping[str, t.Sequence[str]],
    hosts: t.Sequence[str],
    inspected: bool = False,
) -> dict[str, t.Any]:
    """Returns the verdict of the preflight on a host of the play's `hosts`, see `_upgrade.preflight.verdict`.

    `facts` are those of the role, without what the hosts have read and what the rules of other features say; `hooks` are the paths of the
    hooks. The result also has what the upgrade needs of `deployment_state.of_host`, the rows of `messages` (`counted`), and the
    `missing_images`. Raises WaError for a variable that no check can name.
    """
    deployment, host = facts["deployment"], facts["host"]
    reads = {one: _read(hostvars, one, "__wa_upgrade_host") for one in (*deployment["members"], deployment["leader"])}
    found = reads[host]
    state = deployment_state.of_host(reads, deployment, host)
    facts = {**facts, **state, "found": found}
    members = [one for one in deployment["members"] if one in hosts]
    looks = {one: _read(hostvars, one, "__wa_upgrade_looks") if inspected else {} for one in {*members, host}}
    drift = {one: looks[one].get("drift") or {} for one in members}
    identity = {**facts["identity"], "file": (found.get("identity") or {}).get("db_env") or {}}
    sessions = (drift.get(deployment["leader"]) or {}).get("database") or {}
    notes, given = facts["left"].get("notes") or {}, str(facts["version"]).strip()
    verdict = preflight.verdict(
        {
            **facts,
            "leader": reads[deployment["leader"]],
            "neighbours": machines.neighbours(hostvars, deployment["leader"], groups),
            "hooks": {path: hooks.refusal(path) for path in facts["hooks"]},
            "commands": {
                "go_on": _command("upgrade", {"wa_upgrade_version": facts["left"].get("target", "")}),
                "take_over": _command(
                    "upgrade", {"wa_upgrade_take_over": True, **({"wa_upgrade_version": given} if given else {})}
                ),
                "restored": _command("restore", _restored(notes.get("from_version")), ",".join(deployment["members"])),
            },
            "upgraded": sorted(
                one
                for one in {deployment["leader"], *groups.get("wa_upgrade_leaders", ())}
                if "__wa_upgrade_begun" in hostvars[one] and (one == deployment["leader"] or one not in hosts)
            ),
            "identity": _identity(
                {**identity, "attributes": client_identity.ATTRIBUTES, "looks": {one: reads[one] for one in members}}
            ),
            "loss": recreation.lost_with_layers(facts["clients"]),
            "together": upgrade_plan.on_server(hostvars, groups, hosts, deployment["leader"], str(facts["version"])),
            "today": time.strftime("%Y-%m-%d", time.gmtime()),
            **{one.look: looks[host].get(one.look) or {} for one in preflight.CHECKS if one.look},
            "marker": _read(hostvars, host, "__wa_upgrade_marker"),
            "markers": {one: read["marker"] for one, read in drift.items() if read.get("marker")},
            "split_volume": provision_plan.split_volume(drift),
            "sessions": start_guard.sessions_line(sessions["unknown"]) if sessions.get("unknown") else "",
        },
        inspected,
    )
    there = {image["name"] for image in found.get("images") or ()}
    return {
        **verdict,
        **{name: state[name] for name in ("running", "left", "journal_lost", "unfinished", "before", "databases")},
        "counted": (found.get("database") or {}).get("messages") or {},
        "missing_images": [one for one in facts["target_images"] if one not in there],
        "serves": any(one["state"] == "running" for one in state["everywhere"]),
    }


def of_deployment(
    deployment: Facts, hostvars: HostVars, run_hosts: t.Sequence[str], hosts: t.Sequence[str]
) -> dict[str, t.Any]:
    """Returns the verdict of the preflight on a deployment, see `_upgrade.preflight.of_deployment`."""
    verdicts = {one: _read(hostvars, one, "__wa_upgrade_verdict") for one in deployment["members"] if one in hosts}
    return preflight.of_deployment(deployment, verdicts, run_hosts, hosts)


def _read(hostvars: HostVars, host: str, name: str) -> dict[str, t.Any]:
    return dict(hostvars[host].get(name) or {})


def _command(name: str, variables: Facts, limit: str | None = None) -> str:
    return command_line.playbook(name, variables, context.CLIARGS, limit)


def _restored(before: str | None) -> dict[str, t.Any]:
    """Returns the variables with which restore.yml ends an upgrade whose database was restored by hand."""
    given = {"wa_version": before} if before else {}
    return {**given, "wa_restore_snapshot_command": "true", "wa_restore_accept_lost": True}


def _identity(facts: Facts) -> str:
    try:
        client_identity.refusal(facts)
    except WaError as error:
        return str(error)
    return ""
