# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a Compose file. Pure rules."""

from __future__ import annotations

import json
import re
import typing as t

import yaml

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER

PREFACE = f"""{HEADER}; changes made here are lost at the next provision.yml.
# db.env is the role wa_db_env's, the volume the role wa_media_volume's. dbupgrade is upgrade.yml's one-shot migration.
"""
# Where an operator's own Compose files describe the client.
AFTER_OTHERS = (
    f"{HEADER}; it comes after your own Compose files and sets the client's version. Changes made here are lost.\n"
)
_PLAIN = re.compile(r"[A-Za-z/][\w /.-]*")


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, and quotes each text that a YAML parser may read as another type."""

    def ignore_aliases(self, _data: t.Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(value) and value == value.strip()
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def write(document: t.Mapping[str, t.Any], preface: str = PREFACE) -> str:
    """Returns a document of `_compose.document` as text."""
    plain = json.loads(json.dumps(document))  # the dumper does not support Ansible's own string types
    return preface + yaml.dump(plain, Dumper=_Dumper, sort_keys=False, width=200, allow_unicode=True)
