# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SSH options with which a lost host fails within half a minute."""

from __future__ import annotations

import pytest
from fake_connection import Connection

from ansible_collections.waba.onprem.plugins.plugin_utils import _keep_alive as keep_alive


@pytest.mark.parametrize(
    ("transport", "given", "variables", "expected"),
    [
        ("ssh", "", {}, (f" {keep_alive.KEEP_ALIVE}", "~/.ansible/cp/waba")),
        (
            "ssh",
            "-o ServerAliveInterval=60",
            {"ansible_control_path_dir": "~/.ansible/cp"},
            (f"-o ServerAliveInterval=60 {keep_alive.KEEP_ALIVE}", "~/.ansible/cp"),
        ),
        ("ssh", keep_alive.KEEP_ALIVE, {}, (keep_alive.KEEP_ALIVE, "~/.ansible/cp")),  # a task has set them
        ("local", "", {}, ("", "~/.ansible/cp")),
    ],
)
def test_a_lost_host_fails_soon(
    transport: str, given: str, variables: dict[str, str], expected: tuple[str, str]
) -> None:
    connection = Connection(transport, ssh_extra_args=given)
    keep_alive.keep_alive(connection, variables)
    assert (connection.options["ssh_extra_args"], connection.options["control_path_dir"]) == expected
