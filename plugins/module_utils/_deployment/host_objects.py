# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one list of what the collection makes on a host, and what of it retire.yml removes. Pure rules.

`docs/what-is-where.md` is generated from it, and the deep test `retire` compares a host with it.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology

LOG_SCRIPT = "/usr/local/sbin/wa-log-cleanup"
CRON_FOLDER = "/etc/cron.d"
# Places that are no deployment's own, by their names in `OBJECTS`.
FIXED = {
    "cron_dir": CRON_FOLDER,
    "log_script": LOG_SCRIPT,
    "dump_dir": topology.DUMP_DIR,
    "state_dir": topology.STATE_DIR,
    "projects_dir": topology.PROJECTS_DIR,
}
GOES, STAYS = "goes", "stays"
_NAMES = re.compile(r"{(\w+)}")


class HostObject(t.NamedTuple):
    """One kind of thing. `place` has the names of a deployment in braces; in its last part `*` stands for any text.

    `rule` is the condition under which it goes, or why it stays.
    """

    kind: str  # file; compose: goes if it has our header; env; script; folder; container, network, volume, data, other
    place: str
    what: str
    maker: str
    retire: str = GOES
    rule: str = ""


_OURS, _HEADER, _EMPTY = "if it is in `wa_project_dir`", "if the collection wrote it", "if it is empty"
_DATA, _SHARED = "it is data", "others may use it"

# What goes is in the order of its removal. The record of the client is the last file: until then the next run knows what was here.
OBJECTS = (
    HostObject("container", "{project}-*", "Webapps, Coreapps, masters, a migration", "wa_client"),
    HostObject("network", "{network}", "network of the Compose project", "wa_client", GOES, "if nothing else uses it"),
    HostObject("file", "{cron_dir}/{cron_file}", "cron job of the log cleanup", "wa_log_cleanup"),
    HostObject("script", "{log_script}", "its script", "wa_log_cleanup", GOES, "with the last deployment of the host"),
    HostObject("file", "{log_cleanup_status_file}", "result of its last run", "wa_log_cleanup"),
    HostObject("file", "{metrics_file}", "its metrics", "wa_log_cleanup"),
    HostObject("file", "/run/wa-log-cleanup-{project}.lock", "its lock", "wa_log_cleanup"),
    HostObject("file", "{gc_state_file}", "state of message GC", "wa_message_gc"),
    HostObject("file", "{gc_state_file}.lock", "lock of message GC", "wa_message_gc"),
    HostObject("file", "{refused_login_file}", "record of a refused login", "wa_client, wa_message_gc"),
    HostObject("compose", "{project_dir}/compose*.yml", "Compose file, also staged", "wa_client", GOES, _HEADER),
    HostObject("compose", "{project_dir}/migration-*.yml", "staged migration", "wa_upgrade", GOES, _HEADER),
    HostObject("compose", "{project_dir}/compose.*.previous", "their earlier content", "wa_client", GOES, _HEADER),
    HostObject("env", "{env_file}", "database settings, with the password", "wa_db_env", GOES, _OURS),
    HostObject("env", "{env_file}.previous", "their earlier content", "wa_db_env", GOES, _OURS),
    HostObject("file", "{project_dir}/.*.wa_*", "locks and drafts of killed runs", "wa_client, wa_db_env"),
    HostObject("file", "{state_dir}/{slug}.lock", "lock, and journal of an upgrade", "wa_client, wa_upgrade"),
    HostObject("file", "{state_dir}/.{slug}.lock.*", "locks of this file", "wa_client, wa_upgrade"),
    HostObject("file", "{state_dir}/{slug}.last-upgrade.json", "journal of the last upgrade", "wa_upgrade"),
    HostObject("file", "{dump_dir}/{slug}.backup-*", "what a killed run did not bring to the controller", "backup.yml"),
    HostObject("file", "{identity_file}", "record of which client is here", "wa_host"),
    HostObject("folder", "{project_dir}", "folder of the deployment", "wa_host", GOES, _EMPTY),
    HostObject("folder", "{state_dir}", "state of deployments", "wa_host", GOES, _EMPTY),
    HostObject("folder", "{projects_dir}", "folders of deployments", "wa_host", GOES, _EMPTY),
    HostObject("volume", "{volume}", "media, with a marker file", "wa_media_volume", STAYS, _DATA),
    HostObject("data", "{dump_dir}/{slug}-*", "dumps of the database", "wa_upgrade", STAYS, _DATA),
    HostObject(
        "other",
        "",
        "container `wa-drill-NAME` of a drill that was killed",
        "restore.yml",
        STAYS,
        "`docker rm --force --volumes` removes it",
    ),
    HostObject("other", "{hold_file}", "hold of the client", "you", STAYS, "and `retire.yml` refuses"),
    HostObject("other", "", "databases of the client", "the client", STAYS, _DATA),
    HostObject("other", "", "images of the client", "wa_client, wa_upgrade", STAYS, "they are hard to get again"),
    HostObject("other", "", "packages", "wa_host", STAYS, _SHARED),
    HostObject("other", "~/.docker/config.json", "login to the registry", "wa_client", STAYS, _SHARED),
)


def placed(names: t.Mapping[str, str]) -> list[tuple[HostObject, str]]:
    """Returns each object with its place for the `names` of a deployment, without those whose name is empty."""
    return [
        (one, one.place.format(**names)) for one in OBJECTS if all(names[name] for name in _NAMES.findall(one.place))
    ]
