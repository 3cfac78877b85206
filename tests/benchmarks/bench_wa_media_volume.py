# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_media_volume side by side with community.docker.docker_volume, and its probe of 16 containers with that of one.

The probe is measured as a task, and alone: there beside the least that Docker can do in a container, `true`.
"""

from __future__ import annotations

import tempfile
import typing as t
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lab_images
from clients import MOUNT_PATH, Clients
from compare import measure, tell, title
from plays import measure_tasks

from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.exec import execute
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
from ansible_collections.waba.onprem.plugins.module_utils._media.probe import Prober

COUNT = 16


def main() -> None:
    """Make the containers, measure, take everything away."""
    many = Clients(lab_images.base(), f"bench{uuid.uuid4().hex[:8]}")
    alone = Clients(many.image, f"{many.project}b")
    try:
        volume, one = many.volume(), alone.volume()
        for number in range(COUNT):
            many.add(f"wacore{number}", volume=volume)
        alone.add(volume=one)
        with tempfile.TemporaryDirectory() as folder:
            tasks(Path(folder), {"name": volume, "project": many.project}, {"name": one, "project": alone.project})
        probes(many.project)
    finally:
        alone.clean()
        many.clean()


def tasks(folder: Path, many: dict[str, t.Any], alone: dict[str, t.Any]) -> None:
    """As a playbook's task; the options are those of the two deployments."""
    title(f"wa_media_volume: the volume is there already, and {COUNT} containers are wired right")
    sides: dict[str, dict[str, t.Any]] = {
        "wa_media_volume": {"waba.onprem.wa_media_volume": {**many, "probe": False}},
        "community.docker.docker_volume": {"community.docker.docker_volume": {"name": many["name"]}},
    }
    tell(measure_tasks(sides, folder), 1.0)
    title(f"wa_media_volume: the same, and the probe of {COUNT} containers and of one")
    sides = {
        f"{COUNT} containers": {"waba.onprem.wa_media_volume": many},
        "one container": {"waba.onprem.wa_media_volume": alone},
    }
    tell(measure_tasks(sides, folder, rounds=10), 2.0)


def probes(project: str) -> None:
    """The probe alone, without Ansible and without the module."""
    docker = Docker({name: spec.get("default") for name, spec in ARGUMENT_SPEC.items()})
    containers = docker.client_containers(project)

    def probe(these: t.Sequence[Container]) -> t.Callable[[], object]:
        return lambda: Prober(docker, these, MOUNT_PATH).run()

    def true(these: t.Sequence[Container]) -> t.Callable[[], object]:
        def run() -> list[object]:
            with ThreadPoolExecutor(len(these)) as pool:
                return list(pool.map(lambda one: execute(docker, one, ["true"]), these))

        return run

    title(f"wa_media_volume: the probe alone, {COUNT} containers and one, beside `true` in them")
    sides = {
        f"probe of {COUNT} containers": probe(containers),
        f"`true` in {COUNT} containers": true(containers),
        "`true` in one container": true(containers[:1]),
        "probe of one container": probe(containers[:1]),
    }
    tell(measure(sides, 10), 2.0)


if __name__ == "__main__":
    main()
