# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the client's automatic message GC with the inventory. Only the leader of a deployment reads it from the API."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._concern.finding import Finding
from ansible_collections.waba.onprem.plugins.module_utils._concern.health import API_SPEC, Session
from ansible_collections.waba.onprem.plugins.module_utils._webapp import answers

SPEC: dict[str, dict[str, t.Any]] = {
    **API_SPEC,
    "automatic": {"type": "bool", "required": True},
}


def observe(params: t.Mapping[str, t.Any], session: Session) -> Finding:
    """Returns how the setting differs."""
    found = Finding()
    if not params["api_password"]:
        return Finding(warnings=["the automatic GC cannot be compared without wa_api_password. Set it"])
    enabled = answers.automatic_gc(session.log_in(params).application())
    if enabled != params["automatic"]:
        states = ("off", "on")
        found.changes.append(
            f"the automatic GC of messages is {states[enabled]}, expected {states[params['automatic']]}"
        )
    return found


def skip_reason(found: t.Mapping[str, t.Any], password: str, check_mode: bool, held: str = "") -> str:
    """Returns why the setting cannot be compared or set now; empty if it can. `found` is the result of `wa_info`.

    `held` is why containers stay as they are: the client may be stopped.
    """
    if held:
        return f"the client is {held}."
    if found["upgrade"].get("blocking"):
        return str(found["upgrade"]["message"])
    running = [one for one in found["containers"] if not one["one_shot"] and one["state"] == "running"]
    if check_mode and not running:
        return "the client does not run yet."
    return "" if password else "it cannot be checked without wa_api_password. Set it."
