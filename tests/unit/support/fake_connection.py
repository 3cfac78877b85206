# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection of Ansible that only keeps its options."""

from __future__ import annotations


class Connection:
    """A connection with its options."""

    def __init__(self, transport: str = "ssh", **options: str) -> None:
        self.transport = transport
        self.options = {"ssh_extra_args": "", "control_path_dir": "~/.ansible/cp", **options}

    def get_option(self, name: str) -> str:
        return self.options[name]

    def set_option(self, name: str, value: str) -> None:
        self.options[name] = value
