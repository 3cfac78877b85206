# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remembers on the controller that a client has refused the password of its API, for a playbook that writes nothing on hosts."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp import client
from ansible_collections.waba.onprem.plugins.module_utils._webapp.refused_login import RefusedLogin
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory

_UNKNOWN = "it is not known whether the client serves"


class Login:
    """The login of one deployment's leader. `refused` says why it is not tried; empty if it may be."""

    def __init__(self, folder: str, name: str, options: t.Mapping[str, t.Any] | None) -> None:
        """`options` are those of the module that logs in; None where no login is made. Without a `folder` nothing is remembered."""
        self.refused = ""
        self._folder, self._options = folder, options
        self._record = RefusedLogin(str(Path(folder).expanduser().absolute() / f"refused-login-{name}.json"))
        if options is not None and folder:
            defaults = {key: one.get("default") for key, one in client.ARGUMENT_SPEC.items()}
            ours = {**defaults, **options}
            try:
                self._record.check(client.Webapp(ours), options["api_password"], "Correct wa_api_password")
            except WaError as error:
                self.refused = f"{_UNKNOWN}: {error}"

    @property
    def is_made(self) -> bool:
        """Whether the comparison logs in."""
        return self._options is not None and not self.refused

    @classmethod
    def of(cls, inventory: Inventory) -> Login:
        """Returns that of a host, from its inventory."""
        place = desired.deployment(inventory)
        options = desired.asked_api(inventory) if place["is_leader"] else {}
        logs_in = bool(options.get("api_password")) and not options.get("api_key")
        folder = str(inventory.given("wa_report_dir") or "")
        return cls(folder, place["slug"], options if logs_in else None)

    def note(self, found: t.Mapping[str, t.Any]) -> str:
        """Records whether the login of a result of `wa_drift_info` was refused. Returns what to display, empty for nothing more."""
        if self._options is None:
            return ""
        if found.get("login_refused"):
            if not self._folder:
                said = "; ".join(found["concerns"].get("health", {}).get("alarms", ())).rstrip(".")
                return f"{said}. Each run tries it again: set wa_report_dir, where a refusal is remembered for a day"
            Path(self._record.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._record.note(self._options["api_password"])
        elif (found.get("figures") or {}).get("api", {}).get("nodes") and os.path.exists(self._record.path):
            self._record.clear()
        return ""
