# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the pip bootstrap that ansible-test downloads, on a machine that reaches only package indexes.

script/test puts it where ansible-test looks for its cached copy. It gets pip from Python's own ensurepip and lets that
install the versions it is asked for.
"""

from __future__ import annotations

import subprocess
import sys

UNKNOWN_TO_PIP = ("--no-setuptools", "--no-wheel")

if __name__ == "__main__":
    subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
    wanted = [argument for argument in sys.argv[1:] if argument not in UNKNOWN_TO_PIP]
    subprocess.run([sys.executable, "-m", "pip", "install", *wanted], check=True)
