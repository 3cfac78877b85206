# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads YAML of Compose files with Compose's tags `!override` and `!reset`."""

from __future__ import annotations

import typing as t


def loader(yaml: t.Any) -> t.Any:
    """Returns a safe loader of the module `yaml` (passed by the caller) that ignores Compose's tags."""
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = type("ComposeLoader", (base,), {})
    found.add_multi_constructor("!", lambda load, tag, node: _plain(yaml, load, tag, node))  # type: ignore[attr-defined]  # made above
    return found


def _plain(yaml: t.Any, load: t.Any, tag: str, node: t.Any) -> t.Any:
    if tag == "reset":
        return None
    if isinstance(node, yaml.MappingNode):
        return load.construct_mapping(node, deep=True)
    return (
        load.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else load.construct_scalar(node)
    )
