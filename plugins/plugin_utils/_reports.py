# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of reports on the controller, and the command that is run when its state changes. It is for reports only: nothing is decided by it."""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import mask

KEPT = 48  # reports, unless wa_report_keep says otherwise
NAME = "fleet.json"
_TOLD = "notified.json"  # by deployment the state that was last notified
_LIMIT = 60.0  # seconds for the command
_SHOWN = 300  # characters of its words
Fleet = t.Mapping[str, t.Any]


def stamp(fleet: Fleet) -> str:
    """Returns the time of a report as it is in names of files: 20261201T074000Z."""
    return str(fleet["time"]).replace("-", "").replace(":", "")


class Folder:
    """`wa_report_dir`, readable by its owner only."""

    def __init__(self, path: str) -> None:
        """Makes the folder. Raises WaError."""
        self.path = Path(path).expanduser().absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> WaError:
        cure = "Set it to a folder of the controller that you may write"
        return WaError(f"wa_report_dir {self.path}", error.strerror or str(error), cure=cure)

    def write(self, fleet: Fleet, keep: int) -> Path:
        """Writes a report under its time and as the newest one, and removes all but the newest `keep`. Raises WaError."""
        newest = self.path / NAME
        try:
            files.write_json(str(self.path / f"fleet-{stamp(fleet)}.json"), fleet)
            files.write_json(str(newest), fleet)
            for old in sorted(self.path.glob("fleet-*Z.json"))[:-keep]:
                old.unlink()
        except OSError as error:
            raise self._unusable(error) from None
        return newest

    def notified(self) -> dict[str, str]:
        """Returns the state of each deployment that was last notified."""
        try:
            found = json.loads((self.path / _TOLD).read_text(encoding="utf-8"))
            return {str(name): str(state) for name, state in found.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def note(self, states: t.Mapping[str, str]) -> None:
        """Records what was notified. Raises WaError."""
        try:
            files.write_json(str(self.path / _TOLD), states)
        except OSError as error:
            raise self._unusable(error) from None


def notify(command: str, message: Fleet) -> str:
    """Gives the message as JSON to a shell command on its standard input. Returns why that failed, empty if it did not.

    The command's own text is not in it: it may hold the address of a webhook, which is a secret.
    """
    try:
        done = subprocess.run(
            command, shell=True, input=json.dumps(message), capture_output=True, text=True, check=False, timeout=_LIMIT
        )
    except subprocess.TimeoutExpired:
        return f"it had not ended after {_LIMIT:.0f} s"
    if not done.returncode:
        return ""
    said = " ".join(str(mask(done.stderr or done.stdout)).split())[-_SHOWN:]
    return f"exit status {done.returncode}" + (f": {said}" if said else "")
