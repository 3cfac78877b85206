# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluates the probes of all running containers into problems and warnings."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._media import filesystem
from ansible_collections.waba.onprem.plugins.module_utils._media.probe import Prober, arrives

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Container, Docker
    from ansible_collections.waba.onprem.plugins.module_utils._media.rules import Consumer

_SELINUX = "/sys/fs/selinux/enforce"


def selinux_is_enforced() -> bool:
    """Returns whether SELinux is enforcing on this host; false if it is absent or permissive."""
    try:
        with open(_SELINUX, encoding="ascii") as stream:
            return stream.read().strip() == "1"
    except OSError:
        return False


@dataclass
class Proof:
    """The result: `problems` make the volume unusable."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    marker: str = ""  # content of the marker file in the first container

    def check(self) -> None:
        """Raises WaError with all problems."""
        if self.problems:
            raise WaError(
                "media volume",
                "; ".join(self.problems),
                "every container to write and to read the others' media",
                "Give the folders to the user named (chown -R), or repair the file system",
            )


def prove(
    docker: Docker,
    containers: t.Sequence[Container],
    consumers: t.Sequence[Consumer],
    path: str,
    home: str | None,
    marker: str,
    write: bool = True,
) -> Proof:
    """Lets the running `containers` write and read at `path`, and records each result in `consumers`.

    `home` is the folder of this host in which the files must appear, None if unknown; `marker` is the content of the
    leader's marker file, which all must read. Without `write` only permissions are checked.
    """
    proof = Proof()
    running = [one for one in containers if one.running]
    if not running:
        proof.warnings.append("no client container runs, so nothing was proven")

    def inspect(prober: Prober) -> None:
        """Checks that the files appear in the volume's folder on the host."""
        for probe in prober.probes if home else ():
            name, folders = prober.file_name(probe), probe.folders
            lost = [one for one in folders if arrives(os.path.join(home or "", one), name) is False]
            if lost and not probe.covered:
                proof.problems.append(f"{probe.container.name}: {filesystem.misplaced(home or '', lost)}")

    by_name = {one.name: one for one in consumers}
    for probe in Prober(docker, running, path, write).run(inspect):
        consumer = by_name[probe.container.name]
        found = filesystem.probe_problems(probe, path, selinux_is_enforced())
        if marker and not probe.error and probe.marker != marker:
            found.append(
                "does not see what the leader's container writes: the hosts do not share one volume "
                "(mount the same share on all of them, then restart their containers)"
            )
        proof.marker = proof.marker or probe.marker
        consumer.user, consumer.probe = probe.user, "failed" if found else "passed"
        proof.problems += [f"{consumer.name}: {text}" for text in found]
    return proof
