# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options for the client's db.env and databases, and the settings in the file."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import file

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "env_file": {"type": "path"},
    "env_format": {"type": "str", "choices": list(file.FORMATS), "default": "portable"},
    "databases": {"type": "list", "elements": "str"},
}


def read_env(path: str, env_format: str) -> dict[str, str]:
    """Returns the settings in a db.env on this host as read with `env_format`."""
    try:
        text = files.read_text(path)
    except (OSError, UnicodeError) as error:
        found = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise WaError(
            f"env_file {path}",
            f"not readable: {found}",
            "the client's db.env",
            "Set env_file, or let wa_db_env write it",
        ) from None
    return file.load(text, env_format, path)
