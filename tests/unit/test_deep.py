# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""script/deep runs what a commit has not passed, and records a result only for the commit that was tested."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import commands
import pytest

STUB = """#!/bin/sh
echo "$1" >>../ran
case $1 in *"$(cat ../fails)"*) exit 1 ;; esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with script/deep, two slices, and a pytest that records its argument and fails if ../fails contains it."""
    root = tmp_path / "checkout"
    for name in ("script/deep", "script/lib.sh"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(commands.REPOSITORY / name, root / name)
    files = {
        "tests/deep/test_one.py": "",
        "tests/matrix/cells.py": "print('1.2.3')",
        ".gitignore": "/.lab\n/.venv\n",
        ".venv/bin/pytest": STUB,
        "script/bootstrap": "#!/bin/sh\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in (".venv/bin/pytest", "script/bootstrap"):
        (root / name).chmod(0o755)
    (root / "molecule").mkdir()
    (root / "molecule/deep_two").mkdir()
    (root / "molecule/deep_two/molecule.yml").touch()
    for name in ("molecule", "matrix"):
        (root / "script" / name).symlink_to("../.venv/bin/pytest")
    (root / "script/cores").write_text('#!/bin/sh\nexec "$(dirname "$0")/../.venv/bin/pytest" cores\n')
    (root / "script/cores").chmod(0o755)
    commands.run("git", "init", "--quiet", cwd=root)
    commit(root)
    (tmp_path / "ran").touch()
    (tmp_path / "fails").write_text("nothing")
    return root


def commit(root: Path) -> None:
    commands.run("git", "add", "--all", cwd=root)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    commands.run("git", *who, "commit", "--quiet", "--allow-empty", "--message", "x", cwd=root)


def deep(root: Path, *slices: str) -> tuple[int, list[str]]:
    """Its exit code, and the slices it has run."""
    (root.parent / "ran").write_text("")
    done = subprocess.run([root / "script/deep", *slices], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, (root.parent / "ran").read_text().split()


ALL = ["tests/unit/plugins", "tests/integration", "cores", "tests/deep/test_one.py", "deep_two", "1.2.3"]


def test_a_passed_slice_is_not_run_again_unless_named(checkout: Path) -> None:
    (checkout.parent / "fails").write_text("one")
    assert deep(checkout) == (1, ALL)
    (checkout.parent / "fails").write_text("nothing")
    assert deep(checkout) == (0, ["tests/deep/test_one.py"])
    assert deep(checkout) == (0, [])
    assert deep(checkout, "deep_two") == (0, ["deep_two"])
    commit(checkout)
    assert deep(checkout) == (0, ALL)


def test_results_of_a_checkout_with_changes_are_not_recorded(checkout: Path) -> None:
    (checkout / "new").touch()
    for _run in range(2):
        assert deep(checkout) == (0, ALL)
    (checkout / "new").unlink()
    assert deep(checkout) == (0, ALL)


def test_a_slice_that_fails_in_a_second_run_has_not_passed(checkout: Path) -> None:
    assert deep(checkout) == (0, ALL)
    (checkout.parent / "fails").write_text("one")
    assert deep(checkout, "one") == (1, ["tests/deep/test_one.py"])
    assert deep(checkout) == (1, ["tests/deep/test_one.py"])


def test_results_of_a_checkout_that_changes_during_the_run_are_not_recorded(checkout: Path) -> None:
    (checkout / ".venv/bin/pytest").write_text(STUB + "touch new\n")
    assert deep(checkout) == (1, ALL)
    (checkout / "new").unlink()
    assert deep(checkout, "one") == (1, ["tests/deep/test_one.py"])
