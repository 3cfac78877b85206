# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.waba.onprem.plugins.module_utils import _topology
from ansible_collections.waba.onprem.plugins.module_utils._errors import WaError


def _told(rule: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """`rule` with its errors in Ansible's own kind."""

    def apply(*args: t.Any, **kwargs: t.Any) -> t.Any:
        try:
            return rule(*args, **kwargs)
        except WaError as error:
            raise AnsibleFilterError(str(error)) from None

    return apply


def container_line(container: t.Mapping[str, t.Any]) -> str:
    """One container of `wa_info` for a message: name, image, project, state."""
    project = f"project {container['project']}" if container["project"] else "outside Compose"
    return f"{container['name']} ({container['image']}, {project}, {container['state']})"


class FilterModule:
    """The few filters that roles need over the rules of `_topology`."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {
            "deployment": _told(_topology.deployment),
            "version": _told(_topology.normalise_version),
            "health": _told(_topology.judge_health),
            "jump": _told(_topology.judge_jump),
            "projects_at": _told(_topology.projects_at),
            "container_line": container_line,
        }
