# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads db.env with Docker Compose and docker, with more values than the tests: 20,000 of each
kind with --long. It compares no times; it prints how long all values take."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from compare import title

TESTS = Path(__file__).resolve().parents[1] / "integration" / "test_wa_db_env_readers.py"


def main() -> None:
    """Run the tests of the readers with a larger number of values."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="20,000 values of each kind instead of 2,000")
    values = 20000 if parser.parse_args().long else 2000
    title(f"env_readers: {values} values of each kind through Docker Compose and docker run")
    begin = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "--quiet", str(TESTS)]
    done = subprocess.run(command, check=False, env={**os.environ, "WA_TEST_VALUES": str(values)})
    print(f"  {time.perf_counter() - begin:.0f} s: {'every value came back' if done.returncode == 0 else 'FAILED'}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
