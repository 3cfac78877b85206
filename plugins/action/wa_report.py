# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the page and the metrics of the fleet on the controller, from the report that is there."""

from __future__ import annotations

import collections
import contextlib
import json
import time
import typing as t
from pathlib import Path

from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet as fleets
from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_metrics as fleet_metrics
from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_page as fleet_page

REPORT = "fleet.json"
RUNS = "runs.jsonl"
PAGE = "fleet.html"
METRICS = "metrics.prom"
_LAST_RUNS = 5000  # lines of runs.jsonl that are read
Result = dict[str, t.Any]


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """Nothing is read on a host, or written there."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Returns the files. A report is no change of the host, so neither is its page."""
        super().run(tmp, task_vars or {})
        _valid, args = self.validate_argument_spec({"path": {"type": "path", "required": True}})
        folder = Path(args["path"])
        try:
            fleet = _report(folder / REPORT)
            texts = {
                PAGE: fleet_page.page(fleet, _earlier(folder), _runs(folder / RUNS), time.time()),
                METRICS: fleet_metrics.metrics(fleet),
            }
            if not self._task.check_mode:
                for name, text in texts.items():
                    _write(folder / name, text)
        except WaError as error:
            return {"failed": True, "msg": f"{str(error).rstrip('.')}."}
        return {"changed": False, "files": [str(folder / name) for name in texts]}


def _report(path: Path) -> fleet_page.Fleet:
    """Returns the newest report. Raises WaError."""
    try:
        found: fleet_page.Fleet = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        cure = "Run status.yml with wa_report_dir first"
        raise WaError(str(path), error.strerror or str(error), "the report of the fleet", cure) from None
    except ValueError as error:
        raise WaError(str(path), f"no JSON ({error})", "what status.yml has written", "Run it again") from None
    form = found.get("format") if isinstance(found, dict) else None
    if form != fleets.FORMAT:
        cure = "Run status.yml of this version of the collection"
        raise WaError(str(path), f"format {form}", f"format {fleets.FORMAT}", cure)
    return found


def _earlier(folder: Path) -> t.Iterator[fleet_page.Fleet]:
    """Yields the kept reports, one after the other; what is none is left out."""
    for path in sorted(folder.glob("fleet-*Z.json")):
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                yield found


def _runs(path: Path) -> list[fleet_page.Run]:
    """Returns the last lines of the audit, where there is one; what is no line of it is left out."""
    found: list[fleet_page.Run] = []
    with contextlib.suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        for line in collections.deque(file, _LAST_RUNS):
            with contextlib.suppress(ValueError):
                one = json.loads(line)
                if isinstance(one, dict):
                    found.append(one)
    return found


def _write(path: Path, text: str) -> None:
    """Replaces a file that others may read, where the folder lets them: it holds no secret. Raises WaError."""
    try:
        files.replace(str(path), text.encode(), 0o644)
    except OSError as error:
        raise WaError(str(path), error.strerror or str(error), "a folder that this user may write") from None
