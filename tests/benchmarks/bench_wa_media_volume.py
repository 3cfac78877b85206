# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_media_volume side by side with community.docker.docker_volume, and its probe of 16 containers with that of one."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import typing as t
import uuid
from pathlib import Path

import compare

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import lab_images
from conftest import Clients

COUNT = 16
OURS, THEIRS = "waba.onprem.wa_media_volume", "community.docker.docker_volume"


class Payload:
    """A module with its options as Ansible sends it to a managed host, where it takes time on each of the fleet."""

    def __init__(self, folder: Path, module: str, options: t.Mapping[str, t.Any]) -> None:
        folder.mkdir()
        program = str(Path(sys.executable).with_name("ansible"))
        variables = json.dumps({"ansible_python_interpreter": sys.executable})
        command = [program, "localhost", "-i", "localhost,", "-c", "local", "-e", variables]
        done = subprocess.run(
            [*command, "-m", module, "-a", json.dumps(options)],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(lab_images.REPOSITORY / ".lab" / "collections"),
                "ANSIBLE_KEEP_REMOTE_FILES": "1",
                "ANSIBLE_REMOTE_TMP": str(folder),
            },
        )
        if done.returncode:
            sys.exit(f"{module}: {done.stdout}{done.stderr}")
        (self.path,) = folder.glob("*/AnsiballZ_*.py")

    def __call__(self) -> None:
        """Run it; a failure or a change ends the benchmark."""
        done = subprocess.run([sys.executable, str(self.path)], capture_output=True, text=True, check=False)
        if done.returncode or json.loads(done.stdout)["changed"]:
            sys.exit(f"{self.path.name}: {done.stdout}{done.stderr}")


def main() -> None:
    """Make the containers, measure, take everything away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="25 rounds instead of nine")
    rounds = 25 if parser.parse_args().long else 9
    many = Clients(lab_images.base(), f"bench{uuid.uuid4().hex[:8]}")
    alone = Clients(many.image, f"{many.project}b")
    try:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), many, alone, rounds)
    finally:
        alone.clean()
        many.clean()


def measure(folder: Path, many: Clients, alone: Clients, rounds: int) -> None:
    """The comparisons."""
    volume, one = many.volume(), alone.volume()
    for number in range(COUNT):
        many.add(f"wacore{number}", volume=volume)
    alone.add(volume=one)
    told = {"name": volume, "project": many.project, "probe": False}
    compare.title(f"A volume that is there, {COUNT} containers beside it: the module on the managed host")
    sides = compare.measure(
        {
            f"{OURS}, every container's wiring judged": Payload(folder / "ours", OURS, told),
            THEIRS: Payload(folder / "theirs", THEIRS, {"name": volume}),
        },
        rounds,
    )
    compare.tell(sides, 1.0)
    compare.tell(sides, 1.0, "cpu")
    compare.title(f"The probe of {COUNT} containers, and of one: the module on the managed host")
    sides = compare.measure(
        {
            f"{COUNT} containers": Payload(folder / "many", OURS, {**told, "probe": True}),
            "one container": Payload(folder / "one", OURS, {"name": one, "project": alone.project}),
        },
        rounds,
    )
    compare.tell(sides, 2.0)


if __name__ == "__main__":
    main()
