# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `login_*` options, separate from the adapter, so that modules load it only when needed."""

from __future__ import annotations

import typing as t

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "login_host": {"type": "str"},
    "login_ca_cert": {"type": "path"},
    "login_client_cert": {"type": "path"},
    "login_client_key": {"type": "path"},
    "connect_timeout": {"type": "str", "default": "10s"},
}
