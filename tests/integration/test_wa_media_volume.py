# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_media_volume against a real Docker Engine and real file systems."""

from __future__ import annotations

import typing as t

MODULE = "wa_media_volume"


def test_creates_and_stays(ansible: t.Any, clients: t.Any) -> None:
    """Check, run, run, check; labels are set, figures are told."""
    name = f"{clients.project}_whatsappMedia"
    clients.volumes.append(name)
    done = ansible.converge(MODULE, {"name": name, "labels": {"tier": "media"}, "project": clients.project})
    assert done["actions"] == [f"create volume {name}"]
    assert done["diff"]["before"] == {}
    assert done["diff"]["after"]["labels"] == {"tier": "media"}
    assert 0 < done["free_bytes"] < done["total_bytes"]


def test_probe_passes_as_the_users_of_the_processes(ansible: t.Any, clients: t.Any) -> None:
    """Entry points run as root, programs as another user: the probe writes as that one, and leaves nothing."""
    volume = clients.volume()
    drop = ["sh", "-c", "setpriv --reuid 1234 --regid 1235 --clear-groups sleep infinity & wait"]
    core = clients.add("wacore", "coreapp", volume=volume, command=drop)
    clients.add("waweb", "web", volume=volume, command=drop)
    clients.run(
        core, "mkdir -p /usr/local/wamedia/incoming /usr/local/wamedia/outgoing; chown -R 1234:1235 /usr/local/wamedia"
    )
    done = ansible.module(MODULE, {"name": volume, "project": clients.project})
    assert not done.get("failed"), done
    assert [(one["probe"], one["user"]) for one in done["consumers"]] == [("passed", "1234:1235")] * 2
    assert clients.run(core, "find /usr/local/wamedia -type f") == ""
    clients.run(core, "chown root:root /usr/local/wamedia/outgoing")
    broken = ansible.module(MODULE, {"name": volume, "project": clients.project})
    assert broken["failed"]
    assert "/usr/local/wamedia/outgoing (owner 0:0, mode 755) is not writable by 1234:1235" in broken["msg"]
    assert clients.run(core, "find /usr/local/wamedia -type f") == ""
