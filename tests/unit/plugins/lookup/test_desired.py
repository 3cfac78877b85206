# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup `desired`: one dictionary per concern, with role defaults. An error names the wrong variable."""

from __future__ import annotations

import time
import typing as t

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.lookup.desired import LookupModule
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired


def look_up(*terms: str, **given: t.Any) -> list[t.Any]:
    ours = inventory(**given)
    lookup = LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables=ours.variables))
    found: list[t.Any] = lookup.run([*terms], {**ours.variables})
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
            "no concern is called 'dbenv'; expected one of host, media_volume, db_env, client, log_cleanup, deployment, images, neighbours, "
            "guard, host_look, database_login, refused_values, api, compose, project, checked_compose, identity, hold, "
            "client_step, client_options, client_api",
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


def test_the_deployment_of_another_host_is_returned() -> None:
    ours = inventory()
    hostvars = {**ours.variables["hostvars"], "other": {"wa_project_dir": "/srv/other"}}
    given = {**ours.variables, "hostvars": hostvars, "groups": {"all": [*hostvars]}}
    lookup = LookupModule(loader=DataLoader(), templar=Templar(loader=DataLoader(), variables=given))
    (found,) = lookup.run(["deployment"], given, host="other")
    assert (found["name"], found["project_dir"]) == ("other", "/srv/other")


@pytest.mark.parametrize(
    ("restart", "found", "allowed"),
    [
        ("now", {}, True),
        ("report", {}, False),
        ("01:00-05:00", {}, False),
        ("01:00-05:00", {"zone": "+0000"}, True),
        ("01:00-05:00", {"zone": "+0900"}, False),
    ],
)
def test_restarts_are_allowed_by_the_inventory_and_the_clock(
    monkeypatch: pytest.MonkeyPatch, restart: str, found: dict[str, t.Any], allowed: bool
) -> None:
    monkeypatch.setattr(time, "time", lambda: 20000 * 86400 + 3 * 3600)  # 03:00 UTC
    assert desired.restart_allowed(inventory(wa_client_restart=restart, __wa_host_found=found)) is allowed


def test_invalid_values_are_refused_by_name() -> None:
    assert look_up("refused_values") == [[]]
    ((one,),) = look_up("refused_values", wa_client_web_port=0)
    assert one.startswith("wa_client_web_port: ")


def test_the_images_of_the_client() -> None:
    assert look_up("images") == [{"coreapp": "r.example.com/wa/coreapp", "web": "r.example.com/wa/web"}]
