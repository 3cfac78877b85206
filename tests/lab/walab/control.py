# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the control service of a lab: fault switches and received webhooks."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from .model import Lab
from .shell import LabError


def call(lab: Lab, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """One request to the control service; returns what it answers, read as JSON where it is JSON."""
    url = f"http://127.0.0.1:{lab.ports.get('control', 0)}{path}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        answer = error.read().decode(errors="replace").strip()
        raise LabError(f"control service: {method} {path} answered {error.code}: {answer}") from error
    except OSError as error:
        raise LabError(
            f"the control service of lab {lab.name} does not answer ({error}); is the lab up? `tests/lab/lab status`"
        ) from error
    try:
        return json.loads(text)
    except ValueError:
        return text


def collisions(lab: Lab) -> list[str]:
    """Each pair of Coreapps of one single client that were connected at once, a line a pair. Raises LabError if unknown."""
    lab.load()
    rows = call(lab, "GET", "/collisions")
    return list(dict.fromkeys(f"client {row['client']}: {' and '.join(row['nodes'])}" for row in rows))
