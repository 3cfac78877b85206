# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs on one machine have different ports, also those of different checkouts."""

from __future__ import annotations

import shutil
import subprocess
import threading
import typing as t
from collections.abc import Sequence
from pathlib import Path

import pytest
from lab_samples import VERSIONS
from walab import site
from walab.model import Lab
from walab.shell import Shell
from walab.yard import FOLDER_LABEL


class Networks(Shell):
    """A Docker with networks only, each labelled with the folder of its lab."""

    def __init__(self, folders: dict[str, str]) -> None:
        super().__init__()
        self.folders = folders

    def run(self, argv: Sequence[str], **_options: t.Any) -> subprocess.CompletedProcess[bytes]:
        output = ""
        if argv[:3] == ["docker", "network", "create"]:
            labels = dict(one.split("=", 1) for flag, one in zip(argv, argv[1:]) if flag == "--label")
            self.folders[argv[-1] + labels[FOLDER_LABEL]] = labels[FOLDER_LABEL]
        elif "--format" in argv:
            output = "\n".join(self.folders.values())
        else:
            assert argv[:4] == ["docker", "network", "ls", "--quiet"], argv
        return subprocess.CompletedProcess(argv, 0, output.encode(), b"")


@pytest.fixture(autouse=True)
def _lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "PORTS_LOCK", tmp_path / "lock")


def reserve(home: Path, networks: Networks, name: str = "a") -> Lab:
    """Return a lab that has chosen its ports. Labs with one name prefer the same ports."""
    lab = Lab(name, home)
    lab.load()
    lab.options.versions = list(VERSIONS)
    site.Site(lab, networks).reserve_ports(())
    return lab


def test_labs_started_concurrently_have_different_ports(tmp_path: Path) -> None:
    networks, labs = Networks({}), list[Lab]()
    # Each has its own checkout.
    threads = [
        threading.Thread(target=lambda home=tmp_path / str(number): labs.append(reserve(home, networks)))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ports = [port for lab in labs for port in lab.ports.values()]
    assert (len(labs), len(ports)) == (12, 12 * 5)
    assert len(set(ports)) == len(ports)


def test_a_lab_keeps_its_ports_until_its_folder_is_removed(tmp_path: Path) -> None:
    networks = Networks({})
    first, second = reserve(tmp_path / "1", networks), reserve(tmp_path / "2", networks)
    assert (reserve(tmp_path / "1", networks).ports, reserve(tmp_path / "2", networks).ports) == (
        first.ports,
        second.ports,
    )
    shutil.rmtree(first.folder)
    assert reserve(tmp_path / "3", networks).ports == first.ports


def test_a_damaged_state_reserves_no_ports(tmp_path: Path) -> None:
    networks = Networks({})
    first = reserve(tmp_path / "1", networks)
    first.state_path.write_text("{", encoding="utf-8")
    assert reserve(tmp_path / "2", networks).ports == first.ports
