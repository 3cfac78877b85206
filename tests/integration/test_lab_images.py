# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs of other versions, which run beside each other, share one set of images."""

from __future__ import annotations

import typing as t

import lab_images
import pytest
from commands import run

VERSIONS = ("9.51.1", "9.53.1", "9.55.1")  # that no lab has


@pytest.fixture
def built() -> t.Iterator[list[str]]:
    """The client's images of three versions, each by a build of its own, and the first once more, from the cache."""
    tags = [lab_images.client("web", version) for version in VERSIONS]
    run("docker", "image", "tag", tags[0], "walab-kept:1")
    run("docker", "image", "rm", "--no-prune", tags[0])
    tags.append(lab_images.client("web", VERSIONS[0]))
    yield tags
    run("docker", "image", "rm", *tags[:3], "walab-kept:1")


def test_a_build_takes_no_image_from_another(built: list[str]) -> None:
    """An image is not in use by a container between the build of one lab and the start of its hosts."""
    there = run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    assert built[0] == built[3]
    assert set(built) <= set(there)
