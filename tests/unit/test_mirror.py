# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each source file has its own test file: `plugins/x/_y.py` has `tests/unit/plugins/x/test_y.py`.

Tests may be split: `test_y_faults.py` also tests `y.py`.
"""

from __future__ import annotations

import typing as t
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Files without one. The list only gets shorter: those of `_adopt` are tested through its `inventory`; a module here is the documentation
# of its action plugin, and a documentation fragment a text; an `options.py` is an argument spec, and in `_core/test_files` is what that
# of `_env` reads.
WITHOUT = {
    "doc_fragments/api",
    "doc_fragments/attributes",
    "doc_fragments/database",
    "doc_fragments/docker",
    "doc_fragments/env",
    "doc_fragments/lease",
    "module_utils/_adopt/clients",
    "module_utils/_adopt/db_env",
    "module_utils/_adopt/variables",
    "module_utils/_database/options",
    "module_utils/_docker/options",
    "module_utils/_env/options",
    "modules/wa_guard",
    "modules/wa_inventory_version",
    "modules/wa_report",
    "modules/wa_upgrade_check",
    "modules/wa_upgrade_step",
    "modules/wa_upgrade_watch",
}


def names(folder: Path, pattern: str) -> set[str]:
    """The Python files below `folder` as `modules/x`, without their suffix."""
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(pattern)}


def mirror(source: str) -> str:
    """The test file of a source file: `plugin_utils/test_run` for `plugin_utils/_run`."""
    path = PurePosixPath(source)
    return str(path.with_name(f"test_{path.name.lstrip('_')}"))


def faults(sources: t.Collection[str], tests: t.Collection[str], without: t.Collection[str]) -> list[str]:
    """What is not mirrored, and superfluous entries of `without`."""
    found = [
        f"{one} has no {mirror(one)}.py"
        for one in sorted(sources)
        if mirror(one) not in {*tests, *map(mirror, without)}
    ]
    found += [f"{one} has its test: it is excepted no more" for one in sorted(without) if mirror(one) in tests]
    found += [f"{one} is excepted and is no file" for one in sorted({*without} - {*sources})]
    mirrored = tuple(mirror(one) for one in sources)
    found += [
        f"{one} tests no file"
        for one in sorted(tests)
        if not any(one == name or one.startswith(f"{name}_") for name in mirrored)
    ]
    return found


def test_every_source_file_has_a_test_file() -> None:
    sources = names(ROOT / "plugins", "*.py")
    assert len(sources) > 100, "the sources were not found"
    assert faults(sources, names(ROOT / "tests" / "unit" / "plugins", "test_*.py"), WITHOUT) == []


@pytest.mark.parametrize(
    ("sources", "tests", "without", "fault"),
    [
        ({"modules/x"}, {"modules/test_x"}, set(), []),
        ({"module_utils/_core/x"}, {"module_utils/_core/test_x"}, set(), []),
        ({"plugin_utils/_x"}, {"plugin_utils/test_x"}, set(), []),
        ({"modules/x"}, {"modules/test_x", "modules/test_x_faults"}, set(), []),
        ({"modules/x"}, set(), {"modules/x"}, []),
        ({"modules/x"}, set(), set(), ["modules/x has no modules/test_x.py"]),
        (
            {"modules/x"},
            {"action/test_x"},
            set(),
            ["modules/x has no modules/test_x.py", "action/test_x tests no file"],
        ),
        (
            {"modules/x"},
            {"modules/test_x_faults"},
            set(),
            ["modules/x has no modules/test_x.py"],
        ),
        ({"modules/x"}, {"modules/test_x", "modules/test_xy"}, set(), ["modules/test_xy tests no file"]),
        ({"modules/x"}, {"modules/test_x"}, {"modules/x"}, ["modules/x has its test: it is excepted no more"]),
        (set(), set(), {"modules/x"}, ["modules/x is excepted and is no file"]),
    ],
)
def test_missing_and_superfluous_files_are_found(
    sources: set[str], tests: set[str], without: set[str], fault: list[str]
) -> None:
    assert faults(sources, tests, without) == fault
