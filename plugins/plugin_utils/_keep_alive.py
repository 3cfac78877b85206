# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a host that is lost fail within half a minute, without a task of its own."""

from __future__ import annotations

import typing as t

KEEP_ALIVE = "-o ServerAliveInterval=5 -o ServerAliveCountMax=5"  # as in playbooks/tasks/keep_ssh_alive.yml


def keep_alive(connection: t.Any, variables: t.Mapping[str, t.Any]) -> None:
    """Lets a host that is lost during the comparison fail within half a minute, without a task of its own.

    Existing SSH options come first, so that the operator's ServerAliveInterval takes precedence. An open connection of an earlier
    playbook is not used, since it lacks these options.
    """
    if connection.transport != "ssh" or KEEP_ALIVE in (connection.get_option("ssh_extra_args") or ""):
        return
    connection.set_option("ssh_extra_args", f"{connection.get_option('ssh_extra_args') or ''} {KEEP_ALIVE}")
    if "ansible_control_path_dir" not in variables:
        connection.set_option("control_path_dir", f"{connection.get_option('control_path_dir')}/waba")
