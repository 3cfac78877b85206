# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that use Docker, separate from the adapter, so that modules load it only when needed."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import env_fallback

DEFAULT_HOST = "unix:///var/run/docker.sock"
ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "docker_host": {
        "type": "str",
        "default": DEFAULT_HOST,
        "fallback": (env_fallback, ["DOCKER_HOST"]),
    },
    "docker_timeout": {"type": "str", "default": "60s", "fallback": (env_fallback, ["DOCKER_TIMEOUT"])},
    "client_images": {
        "type": "dict",
        "options": {
            "web": {"type": "list", "elements": "str"},
            "coreapp": {"type": "list", "elements": "str"},
        },
    },
}
