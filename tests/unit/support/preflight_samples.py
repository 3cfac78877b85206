# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the preflight of an upgrade has read of a deployment that passes all of its checks."""

from __future__ import annotations

import typing as t

from upgrade_journals import at

DEPLOYMENT = {
    "name": "waba",
    "leader": "h1",
    "members": ["h1", "h2"],
    "is_leader": True,
    "project": "wa-waba",
    "project_dir": "/opt/waba/waba",
    "lock_file": "/var/lib/waba/waba.lock",
    "env_file": "/opt/waba/waba/db.env",
}
IMAGES = ["reg/coreapp:v2.53.4", "reg/web:v2.53.4"]


def container(name: str, **changes: t.Any) -> dict[str, t.Any]:
    image = f"reg/{'web' if 'web' in name else 'coreapp'}:v2.51.2"
    return {
        "name": name,
        "id": f"id-{name}",
        "project": "wa-waba",
        "database": "db:3306/",
        "started_at": 10.0,
        "env_keys": [],
        "one_shot": False,
        "service": name[len("wa-waba-") : -len("-1")],
        "version": "2.51.2",
        "image": image,
        "state": "running",
        **changes,
    }


DATABASE = {"server": "db:3306", "unsupported": None, "statement_timeout": None}
CLIENTS = [container("wa-waba-wacore-1"), container("wa-waba-waweb-1")]
FOUND = {
    "containers": CLIENTS,
    "images": [{"name": name, "expires_on": "2099-06-30"} for name in IMAGES],
    "missing_images": {},
    "unanswered_images": {},
    "wrong_images": {},
    "image_free_bytes": 10 * 1024**3,
    "compose_images": {"images": ["reg/coreapp:v2.51.2", "reg/web:v2.51.2"], "problem": ""},
    "journal": {},
    "upgrade": {},
    "database": DATABASE,
}
JOURNAL = {**at("stopping"), "target": "2.53.4", "run_id": "a"}


def with_found(**changes: t.Any) -> dict[str, t.Any]:
    """What the first look at the host has found: FOUND with changes."""
    return {"found": {**FOUND, **changes}}


# A healthy leader of a deployment of two hosts, whose client runs from Compose files of the operator's own.
GOOD: dict[str, t.Any] = {
    "host": "h1",
    "deployment": DEPLOYMENT,
    "without": [],
    "run_hosts": ["h1", "h2"],
    "check_only": False,
    "version": "v2.53.4",
    "skip": [],
    "take_over": False,
    "dump": True,
    "snapshot_command": "",
    "update_compose_files": False,
    "max_messages": 2000000,
    "topology": "high_availability",
    "no_gc": "",
    "api_password": True,
    "backup_password": True,
    "backup_dir": "/srv/wa-backups",
    "images": {},
    "target_images": IMAGES,
    "invalid": [],
    "compose": {
        "compose": {"migration": True, "coreapp": "core", "repositories": {"core": "reg/coreapp"}, "folder": "/srv/wa"},
        "services": ["wacore", "waweb"],
        "refusal": "",
    },
    "hooks": {"/srv/before.yml": ""},
    "upgraded": [],
    "commands": {
        "go_on": "ansible-playbook GO",
        "take_over": "ansible-playbook TAKE",
        "restored": "ansible-playbook RESTORED",
    },
    "secrets": {"password": "Canary-1"},
    "today": "2026-06-30",
    "leader": FOUND,
    "hold": "",
    "left": {},
    "found": FOUND,
    "clients": CLIENTS,
    "everywhere": CLIENTS,
    "identity": "",
    "loss": "",
    "together": {},
    "operators_files": {"actions": []},
    "health": {"healthy": True},
    "drift": {"drift": []},
    "dumpable": {"databases": ["waba1", "messageStore"], "actions": ["dump"]},
    "marker": {},
    "markers": {"h1": "a", "h2": "a"},
    "split_volume": "",
    "sessions": "",
}
