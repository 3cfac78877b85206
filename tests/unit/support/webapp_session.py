# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An API session on a fake Webapp, with a clock that moves only when somebody sleeps."""

from __future__ import annotations

import typing as t

from fake_webapp import FakeWebapp

from ansible_collections.waba.onprem.plugins.module_utils._webapp.client import Webapp

GC = "/v1/services/message/gc"
PASSWORD = "Right-1234"


class Time:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def session(fake: FakeWebapp, time: Time | None = None, **options: t.Any) -> Webapp:
    time = time or Time()
    params = {
        "api_url": fake.url,
        "api_password": PASSWORD,
        "api_ca_path": None,
        "api_validate_certs": True,
        "api_timeout": "2s",
        **options,
    }
    return Webapp(params, sleep=time.sleep, clock=lambda: time.now)
