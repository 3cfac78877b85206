# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_log_cleanup side by side with community.docker.docker_container_exec in a loop."""

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
import lab_images
import log_containers
from clients import Clients
from commands import docker

COUNT = 16
CLEANUP = "/opt/whatsapp/bin/cleanup.sh"
# A month of archives, a live log, and a cleanup that takes a second.
FILL = f"""
mkdir -p /var/log/whatsapp/archive /usr/local/waent/logs {CLEANUP.rpartition("/")[0]}
printf '#!/bin/sh\\nsleep 1\\n' > {CLEANUP}; chmod 755 {CLEANUP}
for i in $(seq 30); do head -c 20000 /dev/urandom > /var/log/whatsapp/archive/wa-service-$i.log.gz; done
head -c 3000000 /dev/zero > /usr/local/waent/logs/wa-service-99.log
"""


class Play:
    """One task as an operator runs it: `ansible-playbook` from start to end."""

    def __init__(self, folder: Path, name: str, task: dict[str, t.Any]) -> None:
        path = folder / f"{name}.yml"
        path.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        variables = json.dumps({"ansible_python_interpreter": sys.executable})
        self._argv = [program, "-i", "localhost,", "-c", "local", "-e", variables, str(path)]

    def __call__(self) -> None:
        """Run it; a failure ends the benchmark."""
        done = subprocess.run(self._argv, capture_output=True, text=True, check=False, env=_environment())
        if done.returncode:
            sys.exit(f"{' '.join(self._argv)}:\n{done.stdout}{done.stderr}")


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(lab_images.REPOSITORY / ".lab" / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "0",
    }


def main() -> None:
    """Make the containers, measure, take everything away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="seven rounds instead of three")
    rounds = 7 if parser.parse_args().long else 3
    many = Clients(lab_images.base(), f"bench{uuid.uuid4().hex[:8]}")
    try:
        names = [many.add(f"wacore{number}") for number in range(1, COUNT + 1)]
        for name in names:
            docker("exec", "-i", name, "sh", stdin=FILL)
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), names, many.project, rounds)
    finally:
        many.clean()
        log_containers.remove_locks(many.project)


def measure(folder: Path, names: t.Sequence[str], many: str, rounds: int) -> None:
    """The comparison."""

    def task(project: str) -> dict[str, t.Any]:
        return {"waba.onprem.wa_log_cleanup": {"project": project}}

    loop = {
        "community.docker.docker_container_exec": {"container": "{{ item }}", "argv": [CLEANUP]},
        "loop": list(names),
    }
    compare.title(f"wa_log_cleanup: {COUNT} containers whose cleanup takes a second")
    sides = compare.measure(
        {
            "docker_container_exec in a loop": Play(folder, "loop", loop),
            "wa_log_cleanup": Play(folder, "clean", task(many)),
        },
        rounds,
    )
    compare.tell(sides, 6, at_least=True)


if __name__ == "__main__":
    main()
