# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which env files a client has, and how the operator's Compose files are called, by table."""

from __future__ import annotations

import typing as t

import pytest
from adopt_samples import container, single, survey

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files

KEPT = {
    "wa_client_compose_dir": "/srv/biz",
    "wa_client_compose_files": ["/srv/biz/docker-compose.yml"],
    "wa_client_restart": "report",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"declared": {"profiles": ["main", "other"]}}, {"wa_client_compose_profiles": ["main"]}),
        ({"interpolation_files": ["/srv/biz/prod.env"]}, {"wa_client_compose_env_files": ["/srv/biz/prod.env"]}),
    ],
)
def test_the_variables_of_the_role(changes: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    found = [container("wacore", **changes), container("waweb", **changes)]
    assert compose_files.variables(found, []) == {**KEPT, **expected}


def test_the_file_with_the_variables_is_that_of_the_project_or_the_one_that_was_given() -> None:
    one = single()["containers"][0]
    assert compose_files.interpolation_files(one) == ["/srv/biz/.env"]
    assert compose_files.interpolation_files({**one, "folder": ""}) == []
    assert compose_files.interpolation_files({**one, "interpolation_files": ["/x"]}) == ["/x"]


RUN = "docker run --name wacore --env-file=/etc/wa.env --env-file '/etc/more.env' image"


@pytest.mark.parametrize(
    ("project", "changes", "line", "expected"),
    [
        ("biz", {"env_files": ["/srv/biz/a.env"]}, RUN, ["/srv/biz/a.env"]),
        ("biz", {"env_files": []}, RUN, []),
        ("", {"env_files": []}, RUN, ["/etc/more.env", "/etc/wa.env"]),
        ("", {"env_files": []}, RUN.replace("wacore", "wacore2"), []),
    ],
)
def test_env_files_of_the_compose_file_the_vendors_name_or_the_unit(
    project: str, changes: dict[str, t.Any], line: str, expected: list[str]
) -> None:
    one = container("wacore", project, **changes)
    found = survey(one, autostart=[{"kind": "unit", "path": "/u", "line": line}])
    interpolation = ["/srv/biz/.env"] if project and one["folder"] else []
    assert (compose_files.complete_env_files(found), sorted(one["env_files"])) == (
        [*interpolation, *expected],
        expected,
    )
