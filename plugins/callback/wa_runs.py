# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: wa_runs
type: notification
short_description: Records who has changed what, in runs.jsonl
version_added: 0.1.0
description:
  - Appends a line of JSON to C(runs.jsonl) in C(wa_report_dir), a variable of the first host, for each run that has changed something, or
    has failed. It has the time, the user, the controller, the playbook with C(--limit) and C(--tags), the hosts, and the result.
  - Runs of C(status.yml), in check mode, and without C(wa_report_dir), are not recorded. Values of variables are not in it.
  - On the hosts Ansible logs each module to syslog, and the collection what it has changed. Both begin with the user, the controller and the
    playbook, unless C(target_log_info) is set in C(ansible.cfg) or C(ANSIBLE_TARGET_LOG_INFO) in the environment.
requirements:
  - Set C(callbacks_enabled = waba.onprem.wa_runs) in C(ansible.cfg).
author:
  - waba.onprem contributors (@waba)
"""

import getpass
import json
import os
import time
import typing as t
from pathlib import Path

from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase

from ansible_collections.waba.onprem.plugins.plugin_utils import _collection as collection
from ansible_collections.waba.onprem.plugins.plugin_utils._run import controller

NAME = "runs.jsonl"
LOG_INFO = "TARGET_LOG_INFO"  # Ansible's setting: what each module's line in syslog begins with
_PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    """See the documentation above."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "waba.onprem.wa_runs"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._began, self._playbook = time.time(), ""
        self._play: t.Any = None

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Notes what is run, for the record and for what modules write to syslog on the hosts."""
        path = Path(playbook._file_name).resolve()
        self._playbook = f"waba.onprem.{path.stem}" if path.parent == _PLAYBOOKS else path.name
        self._began = time.time()
        if not C.config.get_config_value(LOG_INFO):
            os.environ[f"ANSIBLE_{LOG_INFO}"] = f"{user()} at {controller()}, {self._playbook}:"

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Keeps the play, which knows the variables."""
        self._play = play

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Writes the line."""
        hosts = sorted(stats.processed)
        only_looks = context.CLIARGS.get("check") or self._playbook == "waba.onprem.status"
        if only_looks or not (hosts and (stats.changed or stats.failures or stats.dark)):
            return
        variables = self._play.get_variable_manager().get_vars(play=self._play)["hostvars"]
        folder = next((str(found) for found in (variables[one].get("wa_report_dir") for one in hosts[:1]) if found), "")
        if not folder:
            return
        try:
            append(Path(folder).expanduser().absolute(), self._line(hosts, stats))
        except OSError as error:
            self._display.warning(f"wa_report_dir {folder}: the run is not recorded: {error.strerror}")

    def _line(self, hosts: list[str], stats: t.Any) -> dict[str, t.Any]:
        result = "failed" if stats.failures else "unreachable" if stats.dark else "ok"
        return {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._began)),
            "seconds": round(time.time() - self._began, 1),
            "user": user(),
            "controller": controller(),
            "playbook": self._playbook,
            "limit": context.CLIARGS.get("subset"),
            "tags": [one for one in context.CLIARGS.get("tags") or () if one != "all"],
            "hosts": hosts,
            "changed": sorted(stats.changed),
            "failed": sorted(stats.failures),
            "unreachable": sorted(stats.dark),
            "result": result,
            "collection_version": collection.version(),
        }


def user() -> str:
    """Returns who runs Ansible, also behind sudo."""
    try:
        own = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        own = str(os.getuid())
    behind = os.environ.get("SUDO_USER", "")
    return f"{behind} as {own}" if behind and behind != own else own


def append(folder: Path, line: t.Mapping[str, t.Any]) -> None:
    """Appends a line to the record in one call, since runs may end at once. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, f"{json.dumps(line)}\n".encode())
    finally:
        os.close(handle)
