# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks before an upgrade of the images, and when those that run expire. Pure rules."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import units
from ansible_collections.waba.onprem.plugins.module_utils._upgrade.check import Observed, Problem

# Bytes for the images, and for what the new containers write until the next log cleanup: Docker's own log of one takes up to 350 MB,
# the client's files up to 600 MB.
_IMAGES, _LOGS = 3 << 30, 1 << 30
_EXPIRES_SOON = datetime.timedelta(days=30)  # the next version must be obtained and tried


def _joined(texts: t.Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def missing_images(now: Observed) -> Problem:
    missing = now.found.get("missing_images")
    if not missing:
        return None
    cure = "Set wa_upgrade_version to a version that the registry has, or correct wa_registry or wa_images."
    if now.unfinished:  # which takes no other version
        cure = "Load the image, or correct wa_registry or wa_images, and run upgrade.yml again."
    if now.unfinished and not now.schema_started:
        cure += f" Or go back to the version before on the database as it is: {now.facts['commands']['restored']}"
    return f"{_joined(missing)}.", cure


def unanswered_images(now: Observed) -> Problem:
    unanswered = now.found.get("unanswered_images")
    if not unanswered:
        return None
    return (
        f"{_joined(unanswered)}. The registry gave no clear answer whether it has the version, also when asked "
        "again (a refused login is not repeated).",
        "Run again when it answers; if the message is about a login or the network, correct that (docker login on the host as root, "
        "wa_registry, wa_images).",
    )


def wrong_images(now: Observed) -> Problem:
    # The migration would run with it, and what it leaves has another schema than the version that its name promises.
    wrong = now.found.get("wrong_images")
    if not wrong:
        return None
    return (
        f"{_joined(wrong)}. Nothing was changed.",
        f"Take the registry's build (docker pull {'; docker pull '.join(wrong)}), or load the right one, and run upgrade.yml again.",
    )


def expired(now: Observed) -> Problem:
    images = [one for one in now.found.get("images", []) if one["name"] in now.facts["target_images"]]
    expired = [f"{one['name']} on {one['expires_on']}" for one in images if "" < one["expires_on"] < now.facts["today"]]
    return (f"expired: {', '.join(expired)}.", "Choose a newer version in wa_upgrade_version.") if expired else None


def room(now: Observed) -> Problem:
    """What is wanted needs room unless it is there already; that for logs, on the same file system, completes no upgrade."""
    free, wanted = now.found.get("image_free_bytes"), {*now.facts["target_images"]}
    if free is None:
        return None
    needed = 0 if now.unfinished else _LOGS
    if not wanted or not wanted <= {image["name"] for image in now.found["images"]}:
        needed += _IMAGES
    if free >= needed:
        return None
    found = f"{units.format_size(free)} free where Docker keeps images and containers; expected {units.format_size(needed)}."
    return found, "Make room, such as by docker image prune."


def expiry(now: Observed) -> list[str]:
    """Returns a warning where the running version has expired, or will soon; none where its images have no day of expiry."""
    running = {str(one["image"]) for one in now.facts["clients"]}
    known = [one for one in now.found.get("images") or () if one["name"] in running and one["expires_on"]]
    if not known:
        return []
    first = min(known, key=lambda one: str(one["expires_on"]))
    day, today = str(first["expires_on"]), datetime.date.fromisoformat(now.facts["today"])
    if day > str(today + _EXPIRES_SOON):
        return []
    found, cure = ("expires", "before") if day >= str(today) else ("expired", "with wa_upgrade_skip: [expiry]")
    return [
        f"{now.host}: warning: version {first['version']}, which runs, {found} on {day}. An expired client refuses health, GC "
        f"and the settings backup. Upgrade it {cure}."
    ]
