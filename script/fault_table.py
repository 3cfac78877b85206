# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/faults.md from what tests have recorded in tests/faults."""

from __future__ import annotations

import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "faults.md"
HEAD = """# Faults

What the playbooks do when a value is wrong, a host is broken or a run is cut off. Each row was seen on lab hosts by the
tests that its part is named after; a run in which another thing happens, or another thing is said, fails there.
`script/docs` writes this page from `tests/faults`.

"Nothing is touched" means: every container with its id and start time, every volume, network, image, database and file is as
it was, in check mode as well. "Is taken back" means: the files are as before, and the containers run from them, healthy.
"""
COLUMNS = ("fault", "playbook", "happens", "said", "next")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for file in sorted((ROOT / "tests" / "faults").glob("*.json")):
        rows = json.loads(file.read_text(encoding="utf-8"))
        parts.append(
            f"\n## {file.stem}\n\n| Fault | Playbook | What happens | What is said | The next run |\n|---|---|---|---|---|\n"
        )
        parts += [f"| {' | '.join(row[column] for column in COLUMNS)} |\n" for row in rows]
    return "".join(parts)


def main() -> int:
    wanted = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    if "--check" in sys.argv:
        print("docs/faults.md is out of step with tests/faults. Run script/docs.", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
