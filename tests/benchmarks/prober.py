# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures from outside how long a client of a lab does not serve."""

from __future__ import annotations

import json
import ssl
import threading
import time
import typing as t
import urllib.error
import urllib.request
from base64 import b64encode


class Prober(threading.Thread):
    """Requests health continuously; `down` is the seconds without a healthy answer between the first and the last healthy one."""

    def __init__(self, variables: t.Mapping[str, t.Any], pause: float = 0.1) -> None:
        """`variables` are those of a lab host, `pause` is in seconds."""
        super().__init__(daemon=True)
        self.url, self.pause = str(variables["lab_api_url"]), pause
        self.login = f"admin:{variables['wa_api_password']}"
        self.context = ssl._create_unverified_context()
        self.token = ""
        self.down = 0.0
        self.up = threading.Event()
        self.ended = threading.Event()

    def __enter__(self) -> Prober:
        self.start()
        self.wait_until_up()
        return self

    def __exit__(self, *_error: object) -> None:
        self.ended.set()
        self.join()

    def wait_until_up(self) -> None:
        if not self.up.wait(300):
            raise SystemExit("the client was not healthy for 300 s")

    def _call(self, method: str, path: str, authorization: str) -> t.Any:
        request = urllib.request.Request(self.url + path, method=method, headers={"Authorization": authorization})
        with urllib.request.urlopen(request, timeout=2, context=self.context) as answer:
            return json.load(answer)

    def healthy(self) -> bool:
        try:
            if not self.token:
                basic = "Basic " + b64encode(self.login.encode()).decode()
                self.token = self._call("POST", "/v1/users/login", basic)["users"][0]["token"]
            health = self._call("GET", "/v1/health", f"Bearer {self.token}")["health"]
        except urllib.error.HTTPError as error:
            if error.code == 401:
                self.token = ""
            return False
        except OSError:
            return False
        nodes = [health] if "gateway_status" in health else list(health.values())
        return any(node["gateway_status"] == "connected" for node in nodes)

    def run(self) -> None:
        last = time.monotonic()
        while not self.ended.wait(self.pause):
            good, now = self.healthy(), time.monotonic()
            if good:
                self.up.set()
            else:
                self.up.clear()
                self.down += now - last
            last = now
