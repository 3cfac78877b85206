# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One login for all steps of a message GC: its token goes from step to step through the controller, and never lies on the host.

What a module returns is shown by `-vvv`, so the token travels sealed with a key that only the controller's process has.
"""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import seal
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import Webapp


def resume(webapp: Webapp, params: t.Mapping[str, t.Any]) -> None:
    """Go on with the session of an earlier step, when it is one with the same API as the same user."""
    if not (params["seal_key"] and params["session"]) or webapp.token:
        return
    try:
        found = seal.unseal(params["seal_key"], params["session"])
    except (WaError, ValueError):
        return  # another controller's, so this one logs in itself
    if found["of"] == [webapp.url, webapp.username]:
        webapp.token = found["token"]


def hand_on(webapp: Webapp, params: t.Mapping[str, t.Any]) -> str | None:
    """The session for the next step; None without a key, and for a token that the caller has given and so has anyway."""
    if not (params["seal_key"] and webapp.token) or params["api_token"]:
        return None
    return seal.seal(params["seal_key"], {"of": [webapp.url, webapp.username], "token": webapp.token})
