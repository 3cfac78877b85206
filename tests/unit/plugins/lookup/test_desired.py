# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup `desired`: one dictionary per concern, with role defaults. An error names the wrong variable."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.lookup.desired import LookupModule
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired


def look_up(*terms: str, **given: t.Any) -> list[dict[str, t.Any]]:
    ours = inventory(**given)
    lookup = LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables=ours.variables))
    found: list[dict[str, t.Any]] = lookup.run([*terms], {**ours.variables})
    return found


def test_concerns_are_returned_in_the_requested_order() -> None:
    ours = inventory()
    assert look_up("log_cleanup", "db_env") == [desired.log_cleanup(ours), desired.db_env(ours)]
    assert look_up() == []


@pytest.mark.parametrize(
    ("term", "given", "message"),
    [
        (
            "dbenv",
            {},
            "no concern is called 'dbenv'; expected one of host, media_volume, db_env, client, log_cleanup, api, compose, project, checked_compose, "
            "identity, removal",
        ),
        ("client", {"wa_version": "latest"}, "version: 'latest' is no version of the client; expected "),
        ("client", {"wa_registry": None}, "wa_registry: not set; expected where the image web is pulled from. "),
        ("host", {"wa_project_dir": "srv"}, "host support: wa_project_dir: "),
    ],
)
def test_an_error_names_the_wrong_variable(term: str, given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleError) as error:
        look_up(term, **given)
    assert str(error.value).startswith(message)
