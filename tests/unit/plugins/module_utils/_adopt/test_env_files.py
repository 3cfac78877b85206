# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files gave a container its environment, whatever Compose files say so."""

from __future__ import annotations

import typing as t

from adopt_samples import container, survey

from ansible_collections.waba.onprem.plugins.module_utils._adopt.env_files import note

MAIN = "/srv/biz/docker-compose.yml"


def noted(service: str, files: dict[str, t.Any]) -> tuple[list[str], list[str]]:
    """What is noted of a service, and what was asked for one round after the other."""
    one = container(service)
    found = survey(one)
    known: dict[str, t.Any] = {MAIN: files[MAIN]}
    asked: list[str] = []
    wanted = note(found, known)
    while wanted:
        asked += wanted
        known.update({path: files.get(path) for path in wanted})
        wanted = note(found, known)
    return one["env_files"], asked


def test_a_service_extends_one_of_another_file() -> None:
    files = {
        MAIN: {"services": {"waweb": {"extends": {"file": "base/common.yml", "service": "b"}, "env_file": "web.env"}}},
        "/srv/biz/base/common.yml": {"services": {"b": {"env_file": ["db.env"]}}},
    }
    assert noted("waweb", files) == (["/srv/biz/base/db.env", "/srv/biz/web.env"], ["/srv/biz/base/common.yml"])


def test_a_service_comes_from_an_included_file() -> None:
    for entry in ("wa/compose.yml", {"path": ["wa/compose.yml"]}):
        files = {MAIN: {"include": [entry]}, "/srv/biz/wa/compose.yml": {"services": {"waweb": {"env_file": "a.env"}}}}
        assert noted("waweb", files)[0] == ["/srv/biz/wa/a.env"]


def test_a_path_has_variables_of_the_projects_env_file() -> None:
    names = ["${DIR}/db.env", "${X:-own}.env", "$SITE.env"]
    files = {MAIN: {"services": {"waweb": {"env_file": names}}}, "/srv/biz/.env": "DIR=/etc/wa\nSITE=north\n"}
    assert noted("waweb", files)[0] == ["/etc/wa/db.env", "/srv/biz/own.env", "/srv/biz/north.env"]


def test_a_file_that_is_not_there_is_asked_for_once_and_files_may_include_each_other() -> None:
    assert noted("waweb", {MAIN: {"include": ["gone.yml"]}})[1] == ["/srv/biz/gone.yml"]
    assert noted("waweb", {MAIN: {"include": ["docker-compose.yml"]}})[1] == []
