# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Selects the roles that provision.yml runs on a host, from the comparisons of all members of its deployment. Pure rules."""

from __future__ import annotations

import itertools
import re
import typing as t

Concerns = t.Mapping[str, t.Mapping[str, t.Any]]
Results = t.Mapping[str, t.Mapping[str, t.Any]]  # of `wa_drift_info`, by host
# In the order of provision.yml.
ALL = ("host", "media_volume", "db_env", "client", "log_cleanup", "automatic_gc")
_SHOWN = 10  # names of hosts in a line
_STOPPED = re.compile("has exited|was never started|is (paused|dead|exited|created)")
NOW = "now"  # mode of `wa_client_restart`
# What a hold lets wait: each of these findings is about the state of containers.
_HELD = ("containers", "restarts")
_UNASKED = ("automatic_gc", "health")
CLIENT = ("media_volume", "db_env", "client")
# What runs where more than the concern itself does: containers depend on db.env and on the volume.
_AFFECTED = {"media_volume": CLIENT, "db_env": CLIENT[1:]}

# A client that does not serve may do so when its role has run, which also removes a container that is too many, or refuses to.
_HEALED_BY = {"health": "client", "client": "client"}


def differs(finding: t.Mapping[str, t.Any], restart: str) -> bool:
    """Returns whether a concern's role runs: it differs or is unknown. Restarts count unless `restart` is `report`."""
    return bool(
        finding["state"] in ("drifted", "unknown")
        or finding.get("changes")
        or finding.get("containers")
        or (finding.get("restarts") and restart != "report")
    )


def held(found: Concerns) -> Concerns:
    """Returns the findings of a client whose containers are held: what starts, stops or restarts one waits.

    How its containers are is no reason to fail a run, and a client that may be stopped is not asked.
    """
    waiting = {}
    for name, finding in found.items():
        if name in _UNASKED:
            continue
        waits = [text for key in _HELD for text in finding.get(key) or ()]
        one = {key: value for key, value in finding.items() if key not in _HELD}
        if waits:
            one["pending"] = [*waits, *finding.get("pending", ())]
        if finding["state"] == "drifted" and not finding.get("changes"):
            one["state"] = "restart_pending"
        waiting[name] = one
    return waiting


def _findings(result: t.Mapping[str, t.Any]) -> Concerns:
    """Returns the findings of a result of `wa_drift_info`, as a hold leaves them."""
    found: Concerns = result.get("concerns") or {}
    return held(found) if result.get("held") else found


def concerns(results: t.Mapping[str, t.Mapping[str, t.Any]]) -> list[str]:
    """Returns the concerns to run on every member of one deployment; empty if nothing differs.

    `results` are those of `wa_drift_info` by member. A concern that differs on one member runs on all, so that rolling
    changes keep their order. If a member was not compared, all concerns run.
    """
    found: set[str] = set(ALL) if any("concerns" not in one for one in results.values()) else set()
    waits = any(one.get("held") for one in results.values())  # a member's hold is the deployment's
    for result in results.values():
        compared = result.get("concerns") or {}
        for name, finding in (held(compared) if waits else compared).items():
            if differs(finding, result["restart"]) and not (name == "automatic_gc" and _unasked(compared)):
                found.update(_AFFECTED.get(name, (name,)))
    if "client" in found and any(_unasked(one.get("concerns") or {}) for one in results.values()):
        found.add("automatic_gc")
    if split_volume(results):
        found.add("media_volume")
    return [name for name in ALL if name in found]


def _unasked(found: Concerns) -> bool:
    """Returns whether the setting of automatic GC is not known because the client does not serve."""
    return bool(found.get("automatic_gc", {}).get("error") and found.get("health", {}).get("alarms"))


def to_correct(results: Results) -> tuple[list[str], list[list[str]]]:
    """Returns the hosts to correct whose client is not restarted, and those of each deployment whose client may be.

    Members are corrected together, and restarted in this order: the leader after others, since it says in its turn whether the client
    serves; and last those that lose a container, so that a Coreapp that moves runs on its new host first. A host with an alarm is among
    them, alone: the run compares it again and fails it.
    """
    at_once: dict[str, None] = {}
    restarting: dict[str, list[str]] = {}
    for host, result in results.items():
        members = {member: results.get(member, {}) for member in result.get("members") or ()}
        if concerns(members):
            if may_restart(members):
                ranks = {
                    one: (bool(found.get("look", {}).get("loses")), found.get("leader") == one)
                    for one, found in members.items()
                }
                order = sorted(members, key=lambda member: ranks[member])
                restarting.setdefault(" ".join(members), order)
            else:
                at_once.update(dict.fromkeys(members))
        elif alarms(_findings(result)):
            at_once[host] = None
    return list(at_once), list(restarting.values())


def may_restart(results: Results) -> bool:
    """Returns whether the roles may restart a client that runs. `results` are those of the members of one deployment."""
    if not any(one.get("runs") for one in results.values()) or any(one.get("held") for one in results.values()):
        return False
    found = [
        finding
        for one in results.values()
        for name, finding in (one.get("concerns") or {}).items()
        if name in CLIENT and one["restart"] != "report"
    ]
    # What is stopped and differs is recreated, on one of several hosts in its turn.
    recreated = [one for one in results.values() if one.get("look", {}).get("recreates") and one["restart"] != "report"]
    if any(one.get("cluster") for one in recreated):
        return True
    return any(one["state"] == "unknown" or one.get("changes") or one.get("restarts") for one in found)


Waves = t.Sequence[t.Sequence[t.Sequence[str]]]  # waves of deployments, each with its hosts in their order


def waves(deployments: t.Sequence[t.Sequence[str]], sizes: t.Sequence[int | str]) -> Waves:
    """Returns the deployments to be restarted in waves; `sizes` are numbers of them or percentages, the last for all that are left."""
    left, found = list(deployments), []
    wanted = itertools.chain(sizes, itertools.repeat(sizes[-1]))
    while left:
        size = next(wanted)
        count = size if isinstance(size, int) else max(1, int(size.rstrip("%")) * len(deployments) // 100)
        found.append(left[:count])
        left = left[count:]
    return found


def batches(rollout: Waves) -> list[list[str]]:
    """Returns the hosts in the batches of Ansible's `serial`: of a wave the first host of each deployment, then the second ones."""
    return [[host for host in hosts if host is not None] for wave in rollout for hosts in itertools.zip_longest(*wave)]


def wave_lines(rollout: Waves) -> list[str]:
    """Returns a line for each wave, if more than one host is restarted."""
    if len(batches(rollout)) < 2:
        return []
    return [
        f"restarts, wave {number} of {len(rollout)}: {_names([' then '.join(hosts) for hosts in wave])}"
        for number, wave in enumerate(rollout, 1)
    ]


def failed_before(rollout: Waves, host: str, failed: t.Collection[str]) -> list[str]:
    """Returns the `failed` hosts that keep a `host` from its restart: those of its own deployment, and of earlier waves."""
    number, ours = _place(rollout, host)
    before = {one for wave in rollout[:number] for hosts in wave for one in hosts}
    return sorted(one for one in {*before, *ours} if one in failed)


def kept_back(rollout: Waves, host: str) -> str:
    """Returns the hosts that a failure of `host` keeps back, as text; empty for none."""
    number, ours = _place(rollout, host)
    later = [one for wave in rollout[number + 1 :] for hosts in wave for one in hosts]
    return _names([*ours[ours.index(host) + 1 :], *later])


def _place(rollout: Waves, host: str) -> tuple[int, t.Sequence[str]]:
    """Returns the number of the wave of a host, and the hosts of its deployment."""
    return next((number, hosts) for number, wave in enumerate(rollout) for hosts in wave if host in hosts)


def _names(hosts: t.Sequence[str]) -> str:
    more = len(hosts) - _SHOWN
    return ", ".join(hosts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def split_volume(results: t.Mapping[str, t.Mapping[str, t.Any]]) -> str:
    """Returns how members have read different markers in their media volumes, or none; empty if they have read the same."""
    read = {host: one["marker"] for host, one in results.items() if one.get("marker") is not None}
    markers = {*read.values()}
    if len(results) < 2 or not markers or (len(markers) == 1 and "" not in markers):
        return ""
    if markers == {""}:
        return f"no marker is on the media volume of {', '.join(read)}, by which hosts see that they share one"
    found = "; ".join(
        f"{', '.join(host for host in read if read[host] == one)}: {one or 'none'}" for one in sorted(markers)
    )
    return f"the hosts do not share one media volume, by the markers on it ({found})"


def split_lines(results: Results) -> list[str]:
    """Returns a line for each deployment whose compared members do not share one media volume."""
    found = {}
    for one in results.values():
        members = {host: results.get(host, {}) for host in one.get("members") or ()}
        text = split_volume(members)
        if text:
            found[", ".join(members)] = text
    return [f"{hosts}: {text}" for hosts, text in found.items()]


def selected(names: t.Iterable[str], run_tags: t.Sequence[str] = (), skip_tags: t.Sequence[str] = ()) -> list[str]:
    """Returns the concerns whose roles run with `--tags` and `--skip-tags`: each role has its concern's tag."""
    every = not run_tags or {"all", "tagged"} & {*run_tags}
    return [name for name in names if (every or name in run_tags) and name not in skip_tags]


def lines(found: Concerns, restart: str = NOW) -> list[str]:
    """Returns a line for each difference, without restarts that have to wait.

    A client that is down, or does not serve, is one difference, not two.
    """
    texts = []
    for name, finding in found.items():
        down = finding.get("error") and found.get("client", {}).get("containers")
        if name == "automatic_gc" and (down or _unasked(found)):
            continue
        texts += [f"{name}: {text}" for key in ("changes", "containers") for text in finding.get(key) or ()]
        if restart == NOW:
            texts += [f"{name}: {text} (needs a restart)" for text in finding.get("restarts") or ()]
        texts += [f"{name}: not known: {finding['error']}"] if finding.get("error") else []
    return texts


def pending(found: Concerns, restart: str = NOW) -> list[str]:
    """Returns a line for each change that waits for the next upgrade, or for the time set by `wa_client_restart`."""
    waits = [text for finding in found.values() for text in finding.get("pending") or ()]
    later = [
        text
        for finding in found.values()
        if restart != NOW or finding["state"] == "restart_pending"
        for text in finding.get("restarts") or ()
    ]
    return [*later, *waits]


def warnings(found: Concerns) -> list[str]:
    """Returns a line for each problem that configuration does not correct."""
    return list(dict.fromkeys(text for finding in found.values() for text in finding.get("warnings") or ()))


def alarms(found: Concerns, plan: t.Container[str] = (), skip_tags: t.Container[str] = ()) -> list[str]:
    """Returns a line, without a full stop, for what fails the run although no role corrects it.

    Not what the roles of `plan` may correct when they run, nor that of concerns in `skip_tags`.
    """
    return [
        text.rstrip(".")
        for name, finding in found.items()
        if name not in skip_tags and _HEALED_BY.get(name) not in plan
        for text in finding.get("alarms") or ()
    ]


def stopped(found: Concerns) -> list[str]:
    """Returns a line for each container that is there and does not run."""
    return [text for text in found.get("client", {}).get("containers") or () if _STOPPED.search(text)]


def only_starts(found: Concerns, look: t.Mapping[str, t.Any]) -> bool:
    """Returns whether the role of the client starts what is stopped, and has no file to write and nothing to make."""
    ours = [finding for name, finding in found.items() if name in CLIENT]
    written = any(one.get("changes") or one.get("restarts") or one.get("error") for one in ours)
    return bool(found.get("client", {}).get("containers") and look.get("only_starts") and not written)
