# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python3 -m simclient`: the program of the image's role."""

from __future__ import annotations

import sys

from . import build, coreapp, webapp
from .settings import SettingsError


def main() -> int:
    """Run the Webapp or the Coreapp. Exit code 2: the environment cannot be used."""
    try:
        role = build.load().role
        return webapp.main() if role == "web" else coreapp.main()
    except SettingsError as exc:
        print(f"cannot start: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
