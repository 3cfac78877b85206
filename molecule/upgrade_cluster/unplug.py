# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes a lab host's power away as soon as the leader's journal says a stage.

unplug.py LAB STAGE HOST     such as: unplug.py m-upgrade-cluster-1a2b migrating h3
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

LEADER, LOCK = "h1", "/var/lib/waba/waba.lock"
PATIENCE = 180.0  # seconds


def stage(lab: str) -> str:
    argv = ["docker", "exec", f"walab-{lab}-{LEADER}", "cat", LOCK]
    told = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return str(json.loads(told)["stage"]) if told else ""


def main() -> None:
    lab, wanted, host = sys.argv[1:]
    end = time.monotonic() + PATIENCE
    while stage(lab) != wanted:
        if time.monotonic() > end:
            raise SystemExit(f"the journal at {LEADER} did not say {wanted} within {PATIENCE:g} s")
        time.sleep(0.05)
    subprocess.run(["docker", "kill", f"walab-{lab}-{host}"], check=True, capture_output=True)


if __name__ == "__main__":
    main()
