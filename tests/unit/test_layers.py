# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every scenario, deep test and failing upgrade is in one layer of tests, which tests/README.md names."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import sys
import typing as t
from pathlib import Path

import no_harm
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = {"ci": "upgrade", "events": "deep_upgrade_events"}
STAGES = {"locked", "stopping", "migrating", "starting", "verifying"}


@pytest.fixture(scope="module")
def upgrades() -> t.Any:
    """The module with the cases of failing upgrades."""
    path = ROOT / "tests" / "faults" / "upgrade_faults.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look up the types of their fields there
    spec.loader.exec_module(module)
    return module


def table(title: str) -> dict[str, list[str]]:
    """A table of tests/README.md: the first cell of each row, without backquotes, maps to the other cells."""
    text = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
    part = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_every_scenario_and_deep_test_is_listed() -> None:
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
    deep = {path.stem.replace("test_", "", 1) for path in ROOT.glob("tests/deep/test_*.py")} | {
        "cores",
        "fuzz",
        "integration",
        "matrix",
    }
    layers = {name: "deep" if name in deep or name.startswith("deep_") else "ci" for name in scenarios | deep}
    assert {name: row[-1] for name, row in table("Scenarios and deep tests").items()} == layers


def test_every_case_of_an_upgrade_is_listed(upgrades: t.Any) -> None:
    assert table("Upgrades that fail") == {case: list(place) for case, place in upgrades.PLACES.items()}


def test_every_case_of_an_upgrade_is_run_by_a_scenario(upgrades: t.Any) -> None:
    bad = upgrades.bad_inputs("2.51.2", "2.53.4")
    assert set(upgrades.PLACES) == {*upgrades.CASES, *upgrades.OTHERS, *bad}
    for database, layer in upgrades.PLACES.values():
        scenario = ROOT / "molecule" / SCENARIOS.get(layer, f"deep_upgrade_faults_{database}")
        settings = (scenario / "molecule.yml").read_text(encoding="utf-8")
        assert f"--db {upgrades.DATABASES[database]} " in settings
        # One version for each upgrade, those of the scenario `upgrade` itself included, and one to start with.
        cases = [case for case, place in upgrades.PLACES.items() if place == (database, layer) and case not in bad]
        number = len(cases) + (2 if layer == "ci" else 0)
        versions = re.findall(r"\d+\.\d+\.\d+", settings)
        assert len(versions) > number
        assert f"expected_version: {versions[number]}\n" in (scenario / "verify.yml").read_text(encoding="utf-8")


def test_ci_has_faults_before_during_and_after_the_migration(upgrades: t.Any) -> None:
    cases = {
        tuple(case.split("-")): layer for case, (_database, layer) in upgrades.PLACES.items() if case in upgrades.CASES
    }
    everywhere = itertools.product(STAGES, ("fail", "kill", "docker", "database", "disk", "reboot"))
    assert set(cases) == {*everywhere, *itertools.product(("stopping", "migrating", "verifying"), ("removal",))}
    assert [case for case, layer in cases.items() if layer == "ci"] == [("stopping", "fail"), ("starting", "kill")]
    assert {layer for case, (_database, layer) in upgrades.PLACES.items() if case not in upgrades.CASES} == {"deep"}
    cluster = (ROOT / "molecule" / "cluster" / "side_effect.yml").read_text(encoding="utf-8")
    assert 'fault, --name, "{{ lab_name }}", migration_fails, "on"' in cluster  # during it


def test_every_case_has_a_row_in_the_table_of_faults(upgrades: t.Any) -> None:
    expected = {
        "upgrade_faults": [case.what for case in upgrades.CASES.values()],
        "no_harm": [case.fault for case in no_harm.CASES.values()],
    }
    for name, faults in expected.items():
        rows = json.loads((ROOT / "tests" / "faults" / f"{name}.json").read_text(encoding="utf-8"))
        assert [row["fault"] for row in rows] == faults
