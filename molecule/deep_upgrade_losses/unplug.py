# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Powers off a lab host as soon as the next run of an upgrade has the journal on the leader at a given stage.

unplug.py LAB STAGE HOST     such as: unplug.py m-deep-upgrade-losses-1a2b migrating h3
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "lab"))

from observer import upgrade_stage

LEADER, LOCK = "h1", "/var/lib/waba/waba.lock"
TIMEOUT = 180.0  # seconds


def journal(lab: str) -> pathlib.Path:
    """The path of the leader's journal on this machine, where it is read without a delay by a busy Docker."""
    argv = ["docker", "inspect", "--format", "{{.State.Pid}}", f"walab-{lab}-{LEADER}"]
    pid = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return pathlib.Path(f"/proc/{pid}/root{LOCK}")


def read(path: pathlib.Path) -> tuple[str, str]:
    """The run that has the journal, and the stage; empty without one."""
    found = json.loads(path.read_text()) if path.exists() else {}
    return str(found.get("run_id", "")), upgrade_stage(found) or ""


def main() -> None:
    lab, wanted, host = sys.argv[1:]
    path = journal(lab)
    before, _stage = read(path)  # an earlier run may have left its journal at that stage
    end = time.monotonic() + TIMEOUT
    while True:
        run, stage = read(path)
        if run != before and stage == wanted:
            break
        if time.monotonic() > end:
            raise SystemExit(f"the journal at {LEADER} did not reach stage {wanted} within {TIMEOUT:g} s")
        time.sleep(0.02)
    subprocess.run(["docker", "kill", f"walab-{lab}-{host}"], check=True)


if __name__ == "__main__":
    main()
