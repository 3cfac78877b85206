# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup: one dictionary a concern, with the defaults of roles; an error names what is wrong."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.lookup.desired import LookupModule
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired


def looked_up(*terms: str, **given: t.Any) -> list[dict[str, t.Any]]:
    ours = inventory(**given)
    lookup = LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables=ours.variables))
    found: list[dict[str, t.Any]] = lookup.run([*terms], {**ours.variables})
    return found


def test_each_concern_in_the_order_asked_for() -> None:
    ours = inventory()
    assert looked_up("log_cleanup", "db_env") == [desired.log_cleanup(ours), desired.db_env(ours)]
    assert looked_up() == []


@pytest.mark.parametrize(
    ("term", "given", "said"),
    [
        ("dbenv", {}, "no concern is called 'dbenv'; expected one of host, media_volume, db_env, client, log_cleanup"),
        ("client", {"wa_version": "latest"}, "version: 'latest' is no version of the client; expected "),
        ("client", {"wa_registry": None}, "wa_registry: not set; expected where the image web is pulled from. "),
        ("host", {"wa_project_dir": "srv"}, "host support: wa_project_dir: "),
    ],
)
def test_an_error_names_what_is_wrong(term: str, given: dict[str, t.Any], said: str) -> None:
    with pytest.raises(AnsibleError) as told:
        looked_up(term, **given)
    assert str(told.value).startswith(said)
