# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of what the collection makes on a host."""

from __future__ import annotations

from fnmatch import fnmatch

from ansible_collections.waba.onprem.plugins.module_utils._deployment import host_objects, topology

NAMES = {
    **host_objects.FIXED,
    **topology.names("support"),
    "metrics_file": "",
    "dump_dir": "/srv/dumps",
    "projects_dir": "",
}


def test_places_have_the_names_of_the_deployment_and_empty_names_are_left_out() -> None:
    places = {place for _one, place in host_objects.placed(NAMES)}
    assert {"/etc/cron.d/wa-support-log-cleanup", "/opt/waba/support/db.env", "/srv/dumps/support-*"} <= places
    assert len(host_objects.OBJECTS) - len(host_objects.placed(NAMES)) == 2
    assert "{" not in "".join(places)


def test_the_record_is_removed_after_all_other_files() -> None:
    files = [
        one.place
        for one in host_objects.OBJECTS
        if one.retire == host_objects.GOES and one.place.startswith(("/", "{"))
    ]
    files = [place for place in files if not place.endswith("_dir}")]
    assert files[-1] == "{identity_file}"


def test_every_file_that_a_deployment_is_described_by_is_in_the_list() -> None:
    """Whoever adds a path to a deployment decides here what becomes of it."""
    places = [place for _one, place in host_objects.placed(NAMES)]
    paths = [path for path in topology.names("support").values() if path.startswith("/")]
    assert [path for path in paths if not any(fnmatch(path, place) for place in places)] == []
