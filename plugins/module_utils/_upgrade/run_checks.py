# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before an upgrade of the run itself: its variables, the lock, an upgrade that was left unfinished. Pure rules."""

from __future__ import annotations

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._upgrade.check import Observed, Problem


def left_out(now: Observed) -> Problem:
    without, members = {*now.facts["without"]}, {*now.deployment["members"]}
    wrong = sorted(without & {now.deployment["leader"], now.host})
    if wrong:
        return (
            f"{', '.join(wrong)} {'leads it' if now.deployment['leader'] in wrong else 'answers'}, and wa_upgrade_without names it.",
            "Name hosts there that are lost; one that answers is upgraded. If the leader is lost, name another one in wa_leader.",
        )
    missing = sorted(members - without - {*now.facts["run_hosts"]})
    begun_with = {*((now.left.get("notes") or {}).get("members") or ())} if now.leads and now.unfinished else set()
    removed = sorted(begun_with - members - without)
    if removed:
        return (
            f"the unfinished upgrade has stopped {', '.join(removed)}, which the inventory no longer has in deployment {now.name}.",
            'Put it back. One that is lost is named on the command line: -e \'{"wa_upgrade_without": ["HOST"]}\'.',
        )
    if not missing:
        return None
    return (
        f"not in this run (--limit, or wa_hosts): {', '.join(missing)} of deployment {now.name}.",
        "A deployment is upgraded as a whole: take all of its hosts, or none. One that is lost is named on the command line: "
        '-e \'{"wa_upgrade_without": ["HOST"]}\'.',
    )


def upgraded(now: Observed) -> Problem:
    # A second upgrade that finds nothing to do is none.
    leaders = [one for one in now.facts["upgraded"] if now.needed or one != now.deployment["leader"]]
    if not leaders:
        return None
    return (
        f"an earlier play of this run has upgraded the deployment of {', '.join(leaders)}, and its facts are still set.",
        "Run ansible-playbook once for each upgrade; waves of one upgrade are set in wa_provision_waves.",
    )


def version(now: Observed) -> Problem:
    try:
        topology.normalise_version(now.facts["version"])
    except WaError as error:
        return f"wa_upgrade_version: {error}"
    return None


def values(now: Observed) -> Problem:
    refused = [*now.facts["invalid"], now.facts["compose"]["refusal"]]
    texts = dict.fromkeys(str(one).rstrip(".") for one in refused if one)
    return f"{'. '.join(texts)}. Nothing was changed." if texts else None


def api_password(now: Observed) -> Problem:
    if now.facts["api_password"] or ("expiry" in now.skip and not now.target_given):
        return None
    return (
        "wa_api_password is not set: health, GC and backup need the API, and so does the health of the new version, also where the "
        "old one has expired.",
        "Set it, from a vault.",
    )


def backup_password(now: Observed) -> Problem:
    missing = [
        f"{name} ({what})"
        for name, what in (("backup_password", "12 characters or more"), ("backup_dir", "a folder of the controller"))
        if not now.facts[name]
    ]
    if not missing:
        return None
    return (
        f"{' and '.join(f'wa_{one}' for one in missing)} not set: the settings backup needs both.",
        "Set them, or go without a backup with wa_upgrade_skip: [settings_backup].",
    )


def hooks(now: Observed) -> Problem:
    return " ".join(text for text in now.facts["hooks"].values() if text)


def locked(now: Observed) -> Problem:
    lock = now.found.get("upgrade") or {}
    if not lock.get("held") or (
        now.found.get("journal") and not upgrade_journal.counts(now.found, now.facts["leader"])
    ):
        return None
    cure = "" if lock.get("playbook") == "restore" else f"To take it over: {now.facts['commands']['take_over']}"
    return f"{now.name} is {lock['message']} (on {now.host}).", cure


def traffic(now: Observed) -> list[str]:
    """Returns that a run was cut off after it had begun to keep traffic away."""
    away = (now.left.get("notes") or {}).get(upgrade_journal.TRAFFIC) if now.leads else None
    if not away:
        return []
    return [
        f"{now.name}: traffic may be kept away since {upgrade_journal.clock(away)}, by wa_upgrade_before_outage of a run that was cut off; "
        "wa_upgrade_after_outage lets it come, at the end of an upgrade or run by itself"
    ]


def held(now: Observed) -> Problem:
    return f"{now.facts['hold']}." if now.facts["hold"] else None


def uncompleted(now: Observed) -> Problem:
    if (now.left.get("notes") or {}).get(upgrade_journal.RESTORES):
        return f"{upgrade_journal.describe_block(now.left, False)}."
    if now.target_given and now.target == now.left["target"]:
        return None
    cure = f"Go on with it: {now.facts['commands']['go_on']}"
    runs = all(one["state"] == "running" for one in now.facts["everywhere"])
    if now.migrated and runs and now.running == [now.left["target"]]:
        copy = (now.left.get("notes") or {}).get("manifest")
        noted = f", note its copy of the database ({copy}, for wa_restore)" if copy else ""
        cure += (
            f". If {now.left['target']} cannot serve{noted}: remove {now.deployment['lock_file']} on each host, and run upgrade.yml again "
            "with a newer version and wa_upgrade_skip: [health, settings_backup], or [expiry] if that version has expired"
        )
    return now.standing, cure


def other_leader(now: Observed) -> Problem:
    led_by = ((now.found.get("journal") or {}).get("notes") or {}).get("leader") or now.host
    if led_by == now.host:
        return None
    return (
        f"the upgrade to {now.left.get('target', '')} was led by {led_by}, which has its journal, and now wa_leader names {now.host}.",
        "Have it lead again; if that host is lost, find out whether the database was migrated, then remove "
        f"{now.deployment['lock_file']} on the others.",
    )
