# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wait until the database server accepts connections: `python3 -m simclient.waitdb`."""

from __future__ import annotations

import os
import socket
import sys
import time


def main() -> int:
    """Exit 0 once the port answers, 1 when it did not within SIM_WAIT_SECONDS (45)."""
    host, port = os.environ.get("WA_DB_HOSTNAME", ""), os.environ.get("WA_DB_PORT", "")
    if not host or not port.isdigit():
        print("cannot wait for the database: WA_DB_HOSTNAME and WA_DB_PORT are required", file=sys.stderr)
        return 1
    deadline = time.monotonic() + float(os.environ.get("SIM_WAIT_SECONDS") or 45)
    said = False
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
            return 0
        except (OSError, OverflowError) as exc:
            if not said:
                print(f"waiting for the database at {host}:{port}: {exc}", flush=True)
                said = True
        if time.monotonic() > deadline:
            print(f"the database at {host}:{port} did not answer, giving up", file=sys.stderr)
            return 1
        time.sleep(0.3)


if __name__ == "__main__":
    sys.exit(main())
