# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of plugins and roles: antsibull-docs accepts it; public modules have samples and state their attributes."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import typing as t

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = ROOT / ".lab/collections/ansible_collections/waba/onprem"
PUBLIC = [
    *("wa_db_dump", "wa_db_env", "wa_drift_info", "wa_info", "wa_log_cleanup", "wa_media_volume", "wa_message_gc"),
]
INTERNAL = sorted({path.stem for path in ROOT.glob("plugins/modules/wa_*.py")} - {*PUBLIC})
PYTHON_TYPES = {
    "str": str,
    "path": str,
    "raw": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
}


def run(*argv: str) -> str:
    environment = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(ROOT / ".lab/collections"), ANSIBLE_NOCOLOR="1")
    done = subprocess.run(argv, cwd=COLLECTION, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def documented(kind: str, names: list[str]) -> dict[str, t.Any]:
    """The output of ansible-doc for plugins, by name."""
    output = run("ansible-doc", "-t", kind, "--json", *(f"waba.onprem.{name}" for name in names))
    return {name.rpartition(".")[2]: doc for name, doc in json.loads(output).items()}


@pytest.fixture(scope="session")
def docs() -> dict[str, t.Any]:
    return documented("module", [*PUBLIC, *INTERNAL])


def problems(entries: dict[str, t.Any], samples: t.Any = None, at: str = "") -> t.Iterator[str]:
    """Return values without a sample, and samples of another type than the value.

    `samples` are samples of the dictionary that contains these entries; such a sample may show several of them.
    """
    for name, entry in entries.items():
        own = [entry["sample"]] if "sample" in entry else [one[name] for one in samples or [] if name in one]
        kind = PYTHON_TYPES[entry["type"]]
        for sample in own:
            if not isinstance(sample, kind) or isinstance(sample, bool) != (kind is bool):
                yield f"{at}{name}: the sample {sample!r} is no {entry['type']}"
                return
        if "contains" in entry:
            inner = [one for sample in own for one in (sample if kind is list else [sample])]
            for sample in inner:
                yield from (f"{at}{name}: no value is called {key}" for key in sorted({*sample} - {*entry["contains"]}))
            yield from problems(entry["contains"], inner, f"{at}{name}.")
        elif not own:
            yield f"{at}{name}: no sample"


@pytest.mark.parametrize("plugin", PUBLIC)
def test_every_return_value_has_a_sample(docs: dict[str, t.Any], plugin: str) -> None:
    assert list(problems(docs[plugin]["return"])) == []


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"type": "str"}, "a: no sample"),
        ({"type": "str", "sample": 1}, "a: the sample 1 is no str"),
        ({"type": "int", "sample": True}, "a: the sample True is no int"),
        ({"type": "list", "sample": [{}], "contains": {"b": {"type": "str"}}}, "a.b: no sample"),
        ({"type": "list", "sample": [{"c": 1}], "contains": {}}, "a: no value is called c"),
        ({"type": "dict", "sample": {"b": 1}, "contains": {"b": {"type": "str"}}}, "a.b: the sample 1 is no str"),
    ],
)
def test_a_missing_or_wrong_sample_is_found(entry: dict[str, t.Any], problem: str) -> None:
    assert list(problems({"a": entry})) == [problem]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_module_states_its_attributes(docs: dict[str, t.Any], module: str) -> None:
    attributes = docs[module]["doc"]["attributes"]
    assert {"check_mode", "diff_mode", "idempotent"} <= {*attributes}
    for name, attribute in attributes.items():
        assert attribute["support"] in ("full", "partial", "none", "N/A"), name
        assert attribute["support"] != "partial" or attribute["details"], name


@pytest.mark.parametrize("module", INTERNAL)
def test_an_internal_module_is_marked(docs: dict[str, t.Any], module: str) -> None:
    assert docs[module]["doc"]["description"] == ["Internal to the roles and playbooks of the collection."]


def test_the_action_group_has_public_modules_only() -> None:
    group = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]["wa"]
    assert [name for name in group if name not in PUBLIC] == []


def test_no_filter_is_public() -> None:
    output = run("ansible-doc", "-t", "filter", "--list", "--json", "waba.onprem")
    assert {*json.loads(output).values()} == {"Internal to the roles and playbooks of the collection"}


def test_antsibull_docs_accepts_the_collection() -> None:
    run("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs=dependent", ".")
