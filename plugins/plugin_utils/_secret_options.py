# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Divides a desired state into what may be shown and its secrets, since `no_log` on a mapping hides all of it."""

from __future__ import annotations

import typing as t

# The options with `no_log` of all concerns, by name: the controller does not load the concerns for them.
SECRETS = frozenset({"driver_options", "password", "extra_secrets", "api_password", "api_key", "content"})


def split(wanted: t.Mapping[str, t.Mapping[str, t.Any]]) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Returns the desired states without secret options (`no_log`), and those options alone, to be sent hidden."""
    shown: dict[str, dict[str, t.Any]] = {}
    secrets: dict[str, dict[str, t.Any]] = {}
    for name, options in wanted.items():
        shown[name] = {key: value for key, value in options.items() if key not in SECRETS}
        secrets[name] = {key: value for key, value in options.items() if key in SECRETS}
        files = options.get("files") or []
        if any("content" in one for one in files):
            shown[name]["files"] = [{key: value for key, value in one.items() if key != "content"} for one in files]
            secrets[name]["files"] = [{"content": one["content"]} if "content" in one else {} for one in files]
    return shown, secrets
