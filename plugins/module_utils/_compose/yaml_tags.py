# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YAML of Compose files, which may bear Compose's own tags, `!override` and `!reset`."""

from __future__ import annotations

import typing as t


def loader(yaml: t.Any) -> t.Any:
    """A safe loader of the library `yaml`, given by who has it, that takes what is tagged for what it is without."""
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
