# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose is called with the same words everywhere."""

from __future__ import annotations

from ansible_collections.waba.onprem.plugins.module_utils._compose import call


def test_files_come_last_and_in_their_order() -> None:
    assert call.options("biz", "/srv/biz", ["b.yml", "a.yml"], ["x.env", "y.env"], ["wa"]) == [
        "--project-name=biz",
        "--project-directory=/srv/biz",
        "--env-file=x.env",
        "--env-file=y.env",
        "--profile=wa",
        "--file=b.yml",
        "--file=a.yml",
    ]


def test_a_project_without_more_has_its_name_and_folder() -> None:
    assert call.options("biz", "/srv/biz", ()) == ["--project-name=biz", "--project-directory=/srv/biz"]


def test_variables_of_roots_environment_have_no_effect() -> None:
    assert call.ENVIRONMENT["COMPOSE_PROFILES"] == ""
    assert call.ENVIRONMENT["COMPOSE_REMOVE_ORPHANS"] == "false"
