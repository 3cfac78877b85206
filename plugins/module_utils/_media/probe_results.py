# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the probes of all running containers prove of the media volume, told in an operator's words."""

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
    """Whether SELinux is in force on this host; false where there is none, or it only warns."""
    try:
        with open(_SELINUX, encoding="ascii") as stream:
            return stream.read().strip() == "1"
    except OSError:
        return False


@dataclass
class Proof:
    """What came out: `problems` make the volume useless, `space` is free and total bytes as a container sees them."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    space: tuple[int, int] | None = None
    marker: str = ""  # what the marker file holds, as the first container sees it

    def check(self) -> None:
        """Raise WaError with everything that is wrong."""
        if self.problems:
            raise WaError(
                "media volume",
                "; ".join(self.problems),
                "every container to write and to read the others' media",
                "Give the folders to the user named (chown -R), or mend the file system",
            )


def prove(
    docker: Docker,
    containers: t.Sequence[Container],
    consumers: t.Sequence[Consumer],
    path: str,
    home: str | None,
    marker: str,
    measure: bool,
    write: bool = True,
) -> Proof:
    """Let the running ones of `containers` write and read at `path`, and note in `consumers` how each fared.

    `home` is the folder of this host where the files must arrive, None when there is none to look into; `marker` is what the
    leader's marker file holds, which all must see; `measure` asks for the space. Without `write` they only tell whether they may write.
    """
    proof = Proof()
    running = [one for one in containers if one.running]
    if not running:
        proof.warnings.append("no client container runs, so nothing was proven")

    def inspect(prober: Prober) -> None:
        """See that the files are where the host has the volume."""
        for probe in prober.probes if home else ():
            name, folders = prober.file_name(probe), probe.folders
            lost = [one for one in folders if arrives(os.path.join(home or "", one), name) is False]
            if lost and not probe.covered:
                proof.problems.append(f"{probe.container.name}: {filesystem.misplaced(home or '', lost)}")

    by_name = {one.name: one for one in consumers}
    for probe in Prober(docker, running, path, measure, write).run(inspect):
        consumer = by_name[probe.container.name]
        found = filesystem.probe_problems(probe, path, docker.local and selinux_is_enforced())
        if marker and not probe.error and probe.marker != marker:
            found.append(
                "does not see what the leader's container writes: the hosts do not share one volume "
                "(mount the same share on all of them, then restart their containers)"
            )
        proof.marker = proof.marker or probe.marker
        consumer.user, consumer.probe = probe.user, "failed" if found else "passed"
        proof.problems += [f"{consumer.name}: {text}" for text in found]
        if proof.space is None and probe.free is not None and probe.total is not None:
            proof.space = (probe.free, probe.total)
    return proof
