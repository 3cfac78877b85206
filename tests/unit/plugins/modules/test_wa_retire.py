# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_retire with a fake Docker Engine: a plan and check mode change nothing, and predict what a removal does."""

from __future__ import annotations

import typing as t
from pathlib import Path

from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology

MODULE = "wa_retire"
Run = t.Callable[..., "dict[str, t.Any]"]


def options(engine: FakeDocker, folder: Path, operation: str) -> dict[str, t.Any]:
    names = {
        **{name: value.replace("/var/lib/waba", str(folder)) for name, value in topology.names("support").items()},
        "env_file": f"{folder}/db.env",
        "cron_dir": str(folder / "cron.d"),
        "log_script": "",
        "metrics_file": "",
        "dump_dir": str(folder / "dumps"),
        "state_dir": str(folder),
        "projects_dir": "",
    }
    desired = {
        "names": names,
        "env_format": "portable",
        "container_names": [],
        "compose_files": [],
        "database": "",
        "without_backup": False,
    }
    return {"docker_host": engine.host, "operation": operation, "desired": desired}


def test_a_plan_and_check_mode_change_nothing_and_a_second_removal_neither(
    engine: FakeDocker, run_module: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    for name in ("support.last-upgrade.json", "sales.lock"):
        (folder / name).touch()
    engine.container(
        "wa-support-wacore-1", project="wa-support", environment={"WA_CONFIG_ON_DB": "1", "WA_DB_HOSTNAME": "db"}
    )
    goes = [
        "container wa-support-wacore-1 (registry.lab:5000/whatsapp/coreapp:v2.53.4, running)",
        f"{folder}/support.last-upgrade.json",
    ]
    planned = run_module(MODULE, options(engine, folder, "plan"))
    assert (planned["changed"], planned["goes"], planned["stays"]) == (
        False,
        goes,
        [f"{folder}, which holds sales.lock"],
    )
    predicted = run_module(MODULE, options(engine, folder, "remove"), True)
    assert [line for line in engine.calls if not line.startswith("GET")] == []
    done = run_module(MODULE, options(engine, folder, "remove"))
    for result in (predicted, done):
        assert (result["changed"], result["actions"]) == (True, [f"remove {line}" for line in goes])
        assert result["diff"] == {"before": {"present": goes}, "after": {"present": []}}
    assert [path.name for path in folder.iterdir()] == ["sales.lock"]
    again = run_module(MODULE, options(engine, folder, "remove"))
    assert (again["changed"], again["goes"], again["has_client"]) == (False, [], False)


def test_an_engine_that_does_not_answer_is_reported(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    engine.failures["GET /containers/json"] = (500, "broken")
    failed = run_module(MODULE, options(engine, tmp_path, "remove"))
    assert failed["msg"].startswith("list of containers: Docker refused: broken")
