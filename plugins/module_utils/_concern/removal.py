# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a host with the roles that are to be absent: what they made and is still there."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._core import removal
from ansible_collections.waba.onprem.plugins.module_utils._docker import options as docker_options
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

SPEC: dict[str, dict[str, t.Any]] = {
    **docker_options.ARGUMENT_SPEC,
    "files": {"type": "list", "elements": "path", "default": []},  # a `*` in the last component matches any text
    "folders": {"type": "list", "elements": "path", "default": []},
    "volume": {"type": "str"},
    "project": {"type": "str", "default": ""},
    "identity_file": {"type": "path"},  # removed after the last container of `project`
}


def observe(engine: t.Callable[[], Docker], params: t.Mapping[str, t.Any]) -> Finding:
    """Returns what is left. A folder that would not be empty after the removal is to stay."""
    files = [*params["files"]]
    if params["identity_file"] and not engine().client_containers(params["project"]):
        files.append(params["identity_file"])
    there = removal.plan(files, params["folders"])
    left = [*there.files, *there.folders]
    if params["volume"] and engine().volume(params["volume"]):
        left.append(f"the volume {params['volume']}")
    return Finding(changes=[f"{one} is to be absent" for one in left])
