# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labs of one machine, of whichever copy of the repository, have different ports."""

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
    """A Docker that has networks only, each with the folder of its lab."""

    def __init__(self, folders: dict[str, str]) -> None:
        super().__init__()
        self.folders = folders

    def run(self, argv: Sequence[str], **_options: t.Any) -> subprocess.CompletedProcess[bytes]:
        told = ""
        if argv[:3] == ["docker", "network", "create"]:
            labels = dict(one.split("=", 1) for flag, one in zip(argv, argv[1:]) if flag == "--label")
            self.folders[argv[-1] + labels[FOLDER_LABEL]] = labels[FOLDER_LABEL]
        elif "--format" in argv:
            told = "\n".join(self.folders.values())
        else:
            assert argv[:4] == ["docker", "network", "ls", "--quiet"], argv
        return subprocess.CompletedProcess(argv, 0, told.encode(), b"")


@pytest.fixture(autouse=True)
def _lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "PORTS_LOCK", tmp_path / "lock")


def reserve(home: Path, networks: Networks, name: str = "a") -> Lab:
    """A lab that has chosen its ports; labs of one name would like the same ones."""
    lab = Lab(name, home)
    lab.load()
    lab.options.versions = list(VERSIONS)
    site.Site(lab, networks).reserve_ports(())
    return lab


def test_labs_that_start_at_once_have_ports_of_their_own(tmp_path: Path) -> None:
    networks, labs = Networks({}), list[Lab]()
    # A copy of the repository each.
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


def test_a_lab_keeps_its_ports_and_frees_them_with_its_folder(tmp_path: Path) -> None:
    networks = Networks({})
    first, second = reserve(tmp_path / "1", networks), reserve(tmp_path / "2", networks)
    assert (reserve(tmp_path / "1", networks).ports, reserve(tmp_path / "2", networks).ports) == (
        first.ports,
        second.ports,
    )
    shutil.rmtree(first.folder)
    assert reserve(tmp_path / "3", networks).ports == first.ports


def test_a_state_that_is_damaged_holds_nobody_up(tmp_path: Path) -> None:
    networks = Networks({})
    first = reserve(tmp_path / "1", networks)
    first.state_path.write_text("{", encoding="utf-8")
    assert reserve(tmp_path / "2", networks).ports == first.ports
