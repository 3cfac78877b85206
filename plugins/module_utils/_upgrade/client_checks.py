# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before an upgrade of the client and its host. Pure rules."""

from __future__ import annotations

from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.client_containers import MOVE_GUIDE
from ansible_collections.waba.onprem.plugins.module_utils._upgrade.check import Facts, Observed, Problem, message


def host_read(now: Observed) -> Problem:
    # Only the database is read after the images.
    return None if "images" in now.found else message(now, now.found, "containers")


def identity(now: Observed) -> Problem:
    return str(now.facts["identity"])


def outside_compose(now: Observed) -> Problem:
    if not now.deployment["project"]:
        return (
            "its containers were adopted outside Compose (wa_project is empty).",
            f"Move them into a project first, by five commands: {MOVE_GUIDE}.",
        )
    made = [] if now.compose.get("repositories", True) or now.unfinished else now.facts["clients"]
    theirs = ", ".join(str(one["name"]) for one in made if not one["own"])
    what = f"made from another Compose file than the role's: {theirs}."
    return (what, "Run provision.yml, which says what to do.") if theirs else None


def not_running(now: Observed) -> Problem:
    if not now.facts["clients"]:
        return f"no container of the client in project {now.deployment['project']}: run provision.yml first."
    services = now.facts["compose"]["services"]
    surplus = [str(one["name"]) for one in now.facts["clients"] if one["service"] not in services]
    if services and surplus:
        return (
            f"of a service that the inventory does not have: {', '.join(surplus)}.",
            "Run provision.yml with wa_client_restart: now, which removes those that the role made; of others, name the service in "
            "wa_client_service_names, or remove the container.",
        )
    stopped = [str(one["name"]) for one in now.facts["clients"] if one["state"] != "running"]
    if not stopped:
        return None
    own, leader, leads = now.found.get("journal") or {}, now.deployment["leader"], now.facts["leader"]
    ours = upgrade_journal.has_begun(own)
    since = f"not running: {', '.join(stopped)}, since the upgrade to {own.get('target')} has stopped them, and {leader}, which leads it,"
    if ours and "journal" not in leads:  # the leader's decides
        return f"{since} was not read.", f"Start nothing; when {leader} can be read, run upgrade.yml again."
    if ours and not leads["journal"] and not leads.get("ended"):  # one that has led it knows of it, or of a later one
        return (
            f"{since} knows of no upgrade: it was set up again since.",
            "Start nothing: the schema may be changed. Find out whether the database was migrated, and restore it if it was. Then remove "
            f"{now.deployment['lock_file']} on the others.",
        )
    return (
        f"not running: {', '.join(stopped)}.",
        "Run provision.yml, which starts the version that they have; then run upgrade.yml again.",
    )


def loss(now: Observed) -> Problem:
    return str(now.facts["loss"])


def path(now: Observed) -> Problem:
    topology.check_jump(now.running, now.target)
    return None


def no_coreapp(now: Observed) -> Problem:
    if now.compose["coreapp"]:
        return None
    return (
        f"it leads {now.name}, and has no Coreapp; expected one, because the migration is made from the leader's Coreapp in your "
        "Compose files.",
        "Set wa_leader to a member that has one.",
    )


def operators_files(now: Observed) -> Problem:
    read = now.facts["operators_files"]
    unread = message(now, read, "actions")
    if unread or not read["actions"] or now.facts["update_compose_files"]:
        return unread
    return (
        f"after the upgrade docker compose up in {now.compose['folder']} would start the old version on the migrated database; "
        f"expected your permission to set the new one there ({'; '.join(read['actions'])}).",
        "Give it with wa_upgrade_update_compose_files: true.",
    )


def unhealthy(now: Observed) -> Problem:
    return message(now, now.facts["health"], "healthy")


def drifted(now: Observed) -> Problem:
    read = now.facts["drift"]
    unread = message(now, read, "drift")
    if unread or not read["drift"]:
        return unread
    return (
        f"{'; '.join(read['drift'])}.",
        "Run provision.yml, which corrects what the inventory can correct; then run upgrade.yml again.",
    )


def media(now: Observed) -> Problem:
    """What all members have read after the leader has written a new marker; `wa_upgrade_check_only` writes none."""
    marker: Facts = now.facts["marker"]
    return message(now, marker, "marker") if marker.get("msg") else str(now.facts["split_volume"])
