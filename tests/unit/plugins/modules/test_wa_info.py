# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_info with a fake Docker Engine: which containers it returns, and that it returns no value of their environment."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.module_utils._deployment import upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile

MODULE = "wa_info"
Run = t.Callable[..., "dict[str, t.Any]"]
WEB = "registry.lab:5000/whatsapp/web:v2.53.4"


def containers(engine: FakeDocker, run_module: Run, **options: t.Any) -> dict[str, dict[str, t.Any]]:
    done = run_module(MODULE, {"docker_host": engine.host, **options})
    assert not done["changed"]
    return {one["name"]: one for one in done["containers"]}


def test_client_containers_of_every_project_are_returned(engine: FakeDocker, run_module: Run) -> None:
    engine.container("wa-a-waweb-1", image=WEB, project="wa-a", service="waweb")
    engine.container("biz_wacore_1", project="biz", service="wacore", state="exited")
    engine.container("plain", image="other/coreapp@sha256:" + "0" * 64, project="")
    engine.container("proxy", image="nginx:1", project="wa-a")
    found = containers(engine, run_module)
    assert sorted(found) == ["biz_wacore_1", "plain", "wa-a-waweb-1"]
    web = found["wa-a-waweb-1"]
    assert (web["role"], web["version"], web["project"], web["state"]) == ("web", "2.53.4", "wa-a", "running")
    assert (found["plain"]["project"], found["plain"]["version"]) == ("", "")


def test_option_project_selects_one_project(engine: FakeDocker, run_module: Run) -> None:
    engine.container("a", project="wa-a")
    engine.container("b", project="wa-b")
    engine.container("c", project="")
    assert sorted(containers(engine, run_module, project="wa-b")) == ["b"]
    assert sorted(containers(engine, run_module, project="")) == ["c"]


def test_a_container_named_explicitly_has_the_role_other(engine: FakeDocker, run_module: Run) -> None:
    engine.container("wa-a-waweb-1", image="nginx:1", project="")
    found = containers(engine, run_module, container_names=["wa-a-waweb-1"])
    assert found["wa-a-waweb-1"]["role"] == "other"
    assert containers(engine, run_module) == {}


@pytest.mark.parametrize(
    ("environment", "mounted", "keeps"),
    [
        ({}, False, False),
        ({"WA_CONFIG_ON_DB": "1"}, False, True),
        ({"WA_CONFIG_ON_DB": "0"}, False, False),
        ({}, True, True),
    ],
)
def test_keeps_configuration_depends_on_environment_and_mount(
    engine: FakeDocker, run_module: Run, environment: dict[str, str], mounted: bool, keeps: bool
) -> None:
    mounts = [engine.mount("data", "/usr/local/waent/data")] if mounted else []
    engine.container("core", environment=environment, mounts=mounts)
    assert containers(engine, run_module)["core"]["keeps_configuration"] is keeps


MEDIA = "/usr/local/wamedia"


@pytest.mark.parametrize(
    ("mounted", "changes", "failure", "expected"),
    [
        ("", None, None, ""),
        ("", [{"Path": MEDIA + "/a", "Kind": 2}], None, ""),
        ("", [{"Path": MEDIA + "/a", "Kind": 1}], None, ""),  # already removed
        # The engine is not asked in these cases: a mount holds the media, or the request fails.
        (MEDIA + "/", None, (500, "no"), ""),
        ("/usr/local", None, (500, "no"), ""),
        ("/usr/local/wamedia2", None, (500, "driver failed"), f"unknown content of {MEDIA} (layer of container "),
        (MEDIA + "/incoming", None, (404, "no such container"), f"unknown content of {MEDIA} (layer of container "),
    ],
)
def test_media_in_the_container_layer_are_reported(
    engine: FakeDocker,
    run_module: Run,
    mounted: str,
    changes: list[dict[str, t.Any]] | None,
    failure: tuple[int, str] | None,
    expected: str,
) -> None:
    one = engine.container("core", mounts=[engine.mount("data", mounted)] if mounted else [])
    one["Changes"] = changes
    if failure:
        engine.failures[f"GET /containers/{one['Id']}/changes"] = failure
    found = containers(engine, run_module)["core"]["layer_media"]
    assert found.startswith(expected) if expected else found == ""
    if failure:
        assert (failure[1] in found) is bool(expected)


@pytest.mark.parametrize("policy", ["no", "always", "unless-stopped"])
def test_the_restart_policy_is_returned(engine: FakeDocker, run_module: Run, policy: str) -> None:
    engine.container("core")["HostConfig"] = {"RestartPolicy": {"Name": policy}}
    assert containers(engine, run_module)["core"]["restart"] == policy


def test_the_environment_decides_which_coreapp_is_the_master(engine: FakeDocker, run_module: Run) -> None:
    engine.container("m", environment={"WA_MASTER_NODE": "1"})
    engine.container("c")
    found = containers(engine, run_module)
    assert (found["m"]["role"], found["c"]["role"]) == ("master", "core")


def test_environment_keys_are_returned_without_values(engine: FakeDocker, run_module: Run) -> None:
    engine.container("c", environment={"WA_DB_PASSWORD": "Canary-in-env", "WA_API_KEY": "Canary-key"})
    found = containers(engine, run_module)
    assert found["c"]["env_keys"] == ["WA_API_KEY", "WA_DB_PASSWORD"]
    assert "Canary" not in str(found)


@pytest.mark.parametrize("gather", ["containers", "images"])
def test_an_engine_that_does_not_answer_is_an_error(run_module: Run, tmp_path: Path, gather: str) -> None:
    failed = run_module(MODULE, {"gather": [gather, "identity"], "docker_host": f"unix://{tmp_path}/none.sock"})
    assert failed["msg"].startswith(
        f"Docker Engine at unix://{tmp_path}/none.sock: the socket {tmp_path}/none.sock does not exist; "
    )
    assert "containers" not in failed


def test_an_upgrade_that_holds_the_lock_is_reported(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    lock = tmp_path / "support.lock"
    options = {"docker_host": engine.host, "lock_file": str(lock)}
    assert run_module(MODULE, options)["upgrade"] == {}
    identity = {"path": str(lock), "run_id": "m/1/5"}
    begin = {"deployment": "support", "target": "2.53.4", "user": "ann", "controller": "ops1", "operation": "begin"}
    run_module("wa_upgrade_journal", {**identity, **begin})
    reported = run_module(MODULE, options)["upgrade"]
    assert (reported["blocking"], reported["stage"], reported["target"], reported["run_id"]) == (
        True,
        "locked",
        "2.53.4",
        "m/1/5",
    )
    assert "by ann from ops1" in reported["message"]
    run_module("wa_upgrade_journal", {**identity, "operation": "note", "times": ["down_at"], "lease": "0s"})
    assert run_module(MODULE, options)["upgrade"]["blocking"], "a client that is stopped stays stopped"
    run_module("wa_upgrade_journal", {**identity, "operation": "end", "outcome": "rolled_back"})
    assert run_module(MODULE, options)["upgrade"] == {}


def test_an_untouched_upgrade_blocks_only_during_its_lease(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    lock = str(tmp_path / "support.lock")
    claim = {"deployment": "support", "target": "2.53.4", "user": "ann", "controller": "ops1", "run_id": "m/1/5"}
    run_module("wa_upgrade_journal", {"path": lock, "operation": "begin", "lease": "0s", **claim})
    reported = run_module(MODULE, {"docker_host": engine.host, "lock_file": lock})["upgrade"]
    assert (reported["blocking"], reported["held"]) == (False, False)


IDENTITY = {
    "WA_DB_ENGINE": "MYSQL",
    "WA_DB_HOSTNAME": "DB.lab",
    "WA_DB_PORT": "3306",
    "WA_DB_PASSWORD": "Canary-in-env",
}


def test_the_client_identity_is_returned_without_secrets(engine: FakeDocker, run_module: Run, tmp_path: Path) -> None:
    env_file, recorded = tmp_path / "db.env", tmp_path / "client.json"
    env_file.write_text("".join(f"{key}={value}\n" for key, value in IDENTITY.items()))
    engine.container("c", environment={**IDENTITY, "WA_APP_MULTICONNECT": "1", "WA_DB_NAME_PREFIX": "x_"})
    engine.container("none", environment={})
    options = {"gather": ["containers", "identity"], "docker_host": engine.host, "env_file": str(env_file)}
    done = run_module(MODULE, {**options, "identity_file": str(recorded)})
    database = {"engine": "MYSQL", "hostname": "db.lab", "port": "3306", "name_prefix": ""}
    assert done["identity"] == {"db_env": database, "recorded": {}, "others": []}
    reported = {one["name"]: one["identity"] for one in done["containers"]}
    assert reported == {"c": {"database": {**database, "name_prefix": "x_"}, "clustered": True}, "none": {}}
    recorded.write_text('{"leader": "h1"}')
    done = run_module(MODULE, {**options, "identity_file": str(recorded)})
    assert done["identity"]["recorded"] == {"leader": "h1"}
    assert "Canary" not in str(done)
    (tmp_path / "client-b.json").write_text('{"project": "wa-b"}')
    assert run_module(MODULE, {**options, "identity_file": str(recorded)})["identity"]["others"] == [
        {"project": "wa-b"}
    ]
    for text in ("[]", "no JSON"):
        recorded.write_text(text)
        assert str(recorded) in run_module(MODULE, {**options, "identity_file": str(recorded)})["msg"]


def test_the_record_is_read_without_an_engine(run_module: Run, tmp_path: Path) -> None:
    options = {
        "gather": ["identity"],
        "docker_host": f"unix://{tmp_path}/none.sock",
        "identity_file": f"{tmp_path}/none",
    }
    assert run_module(MODULE, options)["identity"] == {"db_env": {}, "recorded": {}, "others": []}


def test_what_forbids_a_start_is_reported(engine: FakeDocker, run_module: Run) -> None:
    engine.container("core-by-hand", "r/coreapp:v2.53.4", "", "", environment={**IDENTITY, "WA_DB_NAME_PREFIX": ""})
    guard = {
        "unmanaged": {"project": "a", "neighbours": [], "database": "", "names": ["core-by-hand"]},
        "adopt": "ADOPT",
        "single": True,
    }
    found = run_module(MODULE, {"docker_host": engine.host, "guard": guard})["guard"]
    assert (
        "core-by-hand (r/coreapp:v2.53.4, outside Compose, running): containers of this client outside"
        in found["refusal"]
    )
    assert "guard" not in run_module(MODULE, {"docker_host": engine.host})


def test_a_migration_without_a_client_that_runs_is_reported_by_project(engine: FakeDocker, run_module: Run) -> None:
    for project, version in (("a", "v2.53.4"), ("b", "v2.51.2")):
        engine.container(f"{project}-core", "r/coreapp:v2.51.2", project, "wacore", "exited", environment=IDENTITY)
        migrates = {**IDENTITY, "WA_DB_UPGRADE": "1"}
        engine.container(
            f"{project}-upgrade", f"r/coreapp:{version}", project, "dbupgrade", "exited", environment=migrates
        )
    assert run_module(MODULE, {"docker_host": engine.host})["orphan_migrations"] == {"a": "2.53.4"}


def test_a_container_of_the_collection_is_recognised_by_its_label(engine: FakeDocker, run_module: Run) -> None:
    engine.container("owned", labels={"onprem.waba.deployment": "a"})
    engine.container("theirs", labels={"com.docker.compose.project.config_files": "/opt/waba/a/compose.yml"})
    reported = run_module(MODULE, {"docker_host": engine.host})["containers"]
    assert {one["name"]: one["own"] for one in reported} == {"owned": True, "theirs": False}


@pytest.mark.parametrize(("text", "refused"), [("", False), (HEADER + "; more\n", False), ("a: b\n", True)])
def test_a_compose_file_of_another_tool_is_refused(run_module: Run, tmp_path: Path, text: str, refused: bool) -> None:
    path = tmp_path / "compose.yml"
    options = {"gather": ["identity"], "compose_file": str(path)}
    assert "msg" not in run_module(MODULE, options)
    path.write_text(text)
    assert ("is not this collection's" in run_module(MODULE, options).get("msg", "")) is refused


def test_where_an_upgrade_stands_is_returned_without_an_engine(run_module: Run, tmp_path: Path) -> None:
    file = JournalFile(str(tmp_path / "one.lock"))
    claim = upgrade_journal.Claim("one", "m/1/1", "ops", "ctl", "2.53.4")
    file.save(upgrade_journal.begin(None, claim, 0, 600, schema="started"))
    options = {"docker_host": f"unix://{tmp_path}/none.sock", "lock_file": file.path}
    done = run_module(MODULE, {**options, "gather": ["journal", "containers"]})
    assert (done["upgrade"]["stage"], done["journal"]["target"], done["ended"]) == ("migrating", "2.53.4", {})


def test_a_journal_needs_a_lock_file(run_module: Run) -> None:
    assert "option lock_file: not given" in run_module(MODULE, {"gather": ["journal"]})["msg"]
