# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits until the client's API answers as it should."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_duration, parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import LEASE_SPEC, Lease
from ansible_collections.waba.onprem.plugins.module_utils._webapp.errors import ApiError

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result

ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "wait_timeout": {"type": "str", "default": "120s"},
    "poll_interval": {"type": "str", "default": "1s"},
    **LEASE_SPEC,
}
# Failures that waiting does not resolve.
_FINAL = ("login", "locked", "first_login", "key", "expired", "denied", "tls", "token")


def wait_for(
    params: t.Mapping[str, t.Any], result: Result, subject: str, poll: t.Callable[[], tuple[bool, str]], patient: bool
) -> None:
    """Calls `poll` until it returns true. Raises WaError with its last reason at the time-out."""
    timeout = parse_duration("wait_timeout", params["wait_timeout"])
    end = time.monotonic() + timeout
    pause = max(parse_duration("poll_interval", params["poll_interval"]), 0.1)
    lease = Lease(params["lease_file"] if patient else None)
    while True:
        lease.renew()
        try:
            good, reason = poll()
        except ApiError as error:
            if error.kind in _FINAL:
                raise
            good, reason = False, str(error)
        result.values["reason"] = reason
        if good or not patient:
            return
        if time.monotonic() + pause > end:
            result.values["timed_out"] = True
            raise WaError(
                subject,
                reason,
                f"it to be well within {format_duration(timeout)}",
                "Look into the logs of Coreapp and Webapp",
            )
        time.sleep(pause)
