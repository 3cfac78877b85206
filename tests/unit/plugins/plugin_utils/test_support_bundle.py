# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The support bundle: what is in it and in its list, who may read it, and that nothing of it is lost."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import fleet_samples as samples
import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet as fleets
from ansible_collections.waba.onprem.plugins.plugin_utils import _support_bundle as support_bundle

STAMP = "20261201T074000Z"
ENGINE = {
    "docker": {"Version": "26.1.5"},
    "inspections": {"wacore": {"Config": {"Image": "r/coreapp:v2.53.4"}}},
    "logs": {"wacore": "login failed \udcff\n"},
    "error": "",
}


def files(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {one.name: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]


def test_the_bundle_has_what_its_list_says(tmp_path: Path) -> None:
    hosts = {
        "support": {
            **samples.drifted("client", containers=["wacore has exited"]),
            "figures": samples.figures(bundle=ENGINE),
        }
    }
    deployment = fleets.report(hosts, samples.NOW, samples.COMMANDS)["deployments"][0]
    path = support_bundle.write(str(tmp_path / "new" / "bundles"), deployment, hosts, STAMP)
    assert (path.name, path.stat().st_mode & 0o777) == (f"wa-support-{STAMP}.tar.gz", 0o600)
    found = files(path)
    listed = [line.partition(":")[0] for line in found.pop("wa-support/CONTENTS.txt").splitlines()]
    assert sorted(f"wa-support/{name}" for name in listed) == sorted(found)
    assert sorted(listed) == ["deployment.json", "support/docker.json", "support/host.json", "support/wacore.log"]
    assert found["wa-support/support/wacore.log"] == "login failed ?\n"
    (cause,) = json.loads(found["wa-support/deployment.json"])["causes"]
    assert cause["text"] == "wacore has exited"
    assert json.loads(found["wa-support/support/docker.json"])["docker"] == {"Version": "26.1.5"}
    host = json.loads(found["wa-support/support/host.json"])
    assert "bundle" not in host["figures"]
    assert host["figures"]["database"]["version"] == "13.14"
    with pytest.raises(WaError, match="File exists"):
        support_bundle.write(str(path.parent), deployment, hosts, STAMP)


def test_a_host_that_was_not_reached_is_in_it_with_the_reason(tmp_path: Path) -> None:
    hosts = {"a/b": {"about": samples.about("a"), "reached": False, "problem": "No route to host"}}
    path = support_bundle.write(str(tmp_path), {"name": "a"}, hosts, STAMP)
    assert json.loads(files(path)["wa-a/a_b/host.json"])["problem"] == "No route to host"
