# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plugins import only from lower layers: never from their own layer, a higher one, or in a cycle."""

from __future__ import annotations

import ast
import graphlib
import typing as t
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
PREFIX = "ansible_collections.waba.onprem.plugins."
# From the bottom to the top. CONTRIBUTING.md has the same picture, which a test compares.
LAYERS = (
    ("_core",),
    ("_deployment", "_env"),
    ("_database", "_docker", "_webapp"),
    ("_compose",),
    ("_client", "_db_env", "_dump", "_gc", "_host", "_logs", "_media", "_upgrade"),
    ("_adopt", "_backup", "_concern"),
    ("plugin_utils",),
    ("action", "callback", "doc_fragments", "filter", "lookup", "modules"),
)
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
Arrow = tuple[str, str]


def package(file: str) -> str:
    """The package of a file given as `modules/x`, `module_utils/_core/x`."""
    parts = file.split("/")
    return parts[1] if parts[0] == "module_utils" else parts[0]


def arrows(plugins: Path) -> set[Arrow]:
    """Which file imports which, as paths below `plugins` without `.py`; including imports in functions and for types only."""
    files = {path.relative_to(plugins).with_suffix("").as_posix() for path in plugins.rglob("*.py")}
    found = set()
    for file in files:
        for node in ast.walk(ast.parse((plugins / f"{file}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file} has a relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                if name.startswith(PREFIX):
                    target = name[len(PREFIX) :].replace(".", "/")
                    target = target if target in files else target.rpartition("/")[0]
                    assert target in files, f"{file} imports {name}, which is no file"
                    found.add((file, target))
    return found


def faults(graph: t.Collection[Arrow]) -> list[str]:
    """The imports to a higher or the same layer, between packages or two modules, and a cycle."""
    found = []
    for source, target in sorted(graph):
        here, there = package(source), package(target)
        inside = here == there and target.startswith(("module_utils/_", "plugin_utils/_"))
        if not inside and LEVEL[there] >= LEVEL[here]:
            found.append(f"{source} imports {target}")
    sorter = graphlib.TopologicalSorter[str]()
    for source, target in graph:
        sorter.add(source, target)
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        found.append("round: " + " <- ".join(error.args[1]))
    return found


def test_every_file_is_in_a_package_with_a_layer() -> None:
    files = [path.relative_to(PLUGINS) for path in PLUGINS.rglob("*.py")]
    assert [str(file) for file in files if package(file.as_posix()) not in LEVEL] == []


def test_every_package_of_a_layer_exists() -> None:
    there = {package(path.relative_to(PLUGINS).as_posix()) for path in PLUGINS.rglob("*.py")}
    assert set(LEVEL) == there


def test_imports_go_down() -> None:
    graph = arrows(PLUGINS)
    assert len(graph) > 300, "the imports were not found"
    assert faults(graph) == []


@pytest.mark.parametrize(
    ("graph", "fault"),
    [
        ({("module_utils/_core/a", "module_utils/_env/b")}, "module_utils/_core/a imports module_utils/_env/b"),
        ({("module_utils/_gc/a", "module_utils/_media/b")}, "module_utils/_gc/a imports module_utils/_media/b"),
        (
            {("module_utils/_docker/a", "module_utils/_compose/b")},
            "module_utils/_docker/a imports module_utils/_compose/b",
        ),
        ({("module_utils/_gc/a", "plugin_utils/_b")}, "module_utils/_gc/a imports plugin_utils/_b"),
        ({("modules/a", "modules/b")}, "modules/a imports modules/b"),
        ({("filter/a", "action/b")}, "filter/a imports action/b"),
    ],
)
def test_an_import_up_or_sideways_is_found(graph: set[Arrow], fault: str) -> None:
    assert faults(graph | {("modules/x", "module_utils/_core/a")}) == [fault]


def test_an_import_cycle_is_found() -> None:
    inside = [f"module_utils/_gc/{name}" for name in "abc"]
    graph = set(zip(inside, inside[1:]))
    assert faults(graph) == []
    (fault,) = faults(graph | {(inside[2], inside[0])})
    assert fault.startswith("round: ")


def test_every_form_of_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "module_utils" / "_core").mkdir(parents=True)
    (tmp_path / "module_utils" / "_core" / "errors.py").touch()
    (tmp_path / "modules").mkdir()
    for name, text in {
        "a": f"from {PREFIX}module_utils._core import errors",
        "b": f"from {PREFIX}module_utils._core.errors import WaError",
        "c": f"import {PREFIX}module_utils._core.errors",
        "d": f"def main():\n    from {PREFIX}module_utils._core import errors as other",
        "e": f"if t.TYPE_CHECKING:\n    from {PREFIX}module_utils._core.errors import WaError",
        "f": "import json",
    }.items():
        (tmp_path / "modules" / f"{name}.py").write_text(text)
    assert arrows(tmp_path) == {(f"modules/{name}", "module_utils/_core/errors") for name in "abcde"}


def test_the_picture_in_contributing_is_the_same() -> None:
    text = (PLUGINS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = text.split("<!-- layers -->\n```\n")[1].split("\n```")[0]
    lines = [line.split("  ")[0] for line in drawn.splitlines()]
    assert lines == [" ".join(packages) for packages in reversed(LAYERS)]
