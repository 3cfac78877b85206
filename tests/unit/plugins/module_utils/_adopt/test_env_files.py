# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the env files of containers whose Compose files do not name them."""

from __future__ import annotations

import typing as t

import pytest
from adopt_samples import container, survey

from ansible_collections.waba.onprem.plugins.module_utils._adopt.env_files import complete

RUN = "docker run --name wacore --env-file=/etc/wa.env --env-file '/etc/more.env' image"


@pytest.mark.parametrize(
    ("project", "changes", "line", "expected"),
    [
        ("biz", {"env_files": ["/srv/biz/a.env"]}, RUN, ["/srv/biz/a.env"]),
        ("biz", {"env_files": [], "compose_problem": "no such file"}, RUN, ["/srv/biz/db.env"]),
        ("biz", {"env_files": [], "compose_problem": "no such file", "folder": ""}, RUN, []),
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
    assert (complete(found), sorted(one["env_files"])) == ([*interpolation, *expected], expected)
