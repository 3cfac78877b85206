# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command that fails in a test or benchmark shows its output."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import commands
import pytest


def hides(call: ast.Call) -> bool:
    """Whether the call raises subprocess.CalledProcessError, which does not show the captured standard error."""
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    function = ast.unparse(call.func)
    captured = "capture_output" in given or "stderr" in given
    return function == "subprocess.check_output" or (
        function in ("subprocess.run", "subprocess.check_call") and captured and given.get("check") != "False"
    )


def calls(path: Path) -> t.Iterator[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize(
    ("code", "hidden"),
    [
        ("subprocess.run(argv, check=True, capture_output=True)", True),
        ("subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)", True),
        ("subprocess.check_output(argv)", True),
        ("subprocess.run(argv, check=True, stdout=subprocess.PIPE)", False),
        ("subprocess.run(argv, check=False, capture_output=True)", False),
    ],
)
def test_calls_that_hide_errors_are_recognised(code: str, hidden: bool) -> None:
    assert [hides(call) for call in ast.walk(ast.parse(code)) if isinstance(call, ast.Call)] == [hidden]


def test_no_call_hides_errors() -> None:
    root = commands.REPOSITORY
    files = [path for folder in ("tests", "script", "molecule") for path in root.glob(f"{folder}/**/*.py")]
    # The simulated client is no test, but a program with its own log.
    files = [path for path in files if not path.is_relative_to(root / "tests/lab/client")]
    assert len(files) > 100
    assert [f"{path}:{call.lineno}" for path in files for call in calls(path) if hides(call)] == []


def test_a_failed_command_shows_its_output() -> None:
    with pytest.raises(AssertionError, match=r"(?s)sh -c .*ended with 3:\nout\nerr\n"):
        commands.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert commands.run("cat", stdin="x\n") == "x\n"
    assert commands.docker("no-such-verb", check=False) == ""
