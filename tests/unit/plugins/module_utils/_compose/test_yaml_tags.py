# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose's own YAML tags, and no unsafe tag."""

from __future__ import annotations

import typing as t

import pytest
import yaml

from ansible_collections.waba.onprem.plugins.module_utils._compose import yaml_tags


class OnlyPython:
    """PyYAML without its C extension, as on some hosts."""

    SafeLoader, MappingNode, SequenceNode = yaml.SafeLoader, yaml.MappingNode, yaml.SequenceNode


@pytest.fixture(params=[yaml, OnlyPython])
def loader(request: pytest.FixtureRequest) -> t.Any:
    return yaml_tags.loader(request.param)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: !override [1, {b: [2]}]", {"a": [1, {"b": [2]}]}),
        ("a: !override {b: {c: [1]}}", {"a": {"b": {"c": [1]}}}),
        ("a: !override 'x'", {"a": "x"}),
        ("a: !reset null", {"a": None}),
        ("a: !reset [1, 2]", {"a": None}),
        ("a: !reset {b: 1}", {"a": None}),
        ("a: !unknown [x]", {"a": ["x"]}),
        ("a: &one {b: 1}\nc: !override {<<: *one, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
        ("a: 1", {"a": 1}),
    ],
)
def test_a_tagged_value_is_read_as_an_untagged_one(loader: t.Any, text: str, value: t.Any) -> None:
    assert yaml.load(text, Loader=loader) == value


@pytest.mark.parametrize("text", ["!!python/object/apply:os.getcwd []", "a: !!python/name:os.system"])
def test_no_tag_creates_a_python_object(loader: t.Any, text: str) -> None:
    with pytest.raises(yaml.constructor.ConstructorError, match="could not determine a constructor"):
        yaml.load(text, Loader=loader)


def test_other_loaders_are_unchanged() -> None:
    yaml_tags.loader(yaml)
    with pytest.raises(yaml.constructor.ConstructorError, match="could not determine a constructor"):
        yaml.safe_load("a: !override [1]")
