# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is baked into an image: its version, and the day on which the build ends its life."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timezone

BUILD_FILE = "/opt/whatsapp/etc/build.json"


@dataclass(frozen=True)
class Build:
    """`version` has no leading v; `expires_on` is YYYY-MM-DD, or empty for a build that never expires."""

    version: str
    role: str = ""
    expires_on: str = ""

    @property
    def schema(self) -> int:
        """The schema version that this build needs: the minor number of its version."""
        return int(self.version.split(".")[1])

    @property
    def expire_timestamp(self) -> str:
        """The end of life as /v1/support shows it."""
        return f"{self.expires_on}T00:00:00" if self.expires_on else "9999-12-31T00:00:00"

    def expired(self, now: datetime | None = None) -> bool:
        """True from 00:00 UTC of `expires_on` on."""
        if not self.expires_on:
            return False
        today = (now or datetime.now(timezone.utc)).strftime("%Y-%m-%d")
        return today >= self.expires_on


def load(path: str | None = None) -> Build:
    """Read the baked file. Raises OSError or ValueError when it is missing or broken."""
    with open(path or os.environ.get("SIM_BUILD_FILE") or BUILD_FILE, encoding="utf-8") as stream:
        data = json.load(stream)
    return Build(
        version=str(data["version"]).lstrip("v"), role=data.get("role", ""), expires_on=data.get("expires_on", "")
    )
