# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_drift_info: each drift is reported under its concern with the attribute. The module changes nothing and returns no secret."""

from __future__ import annotations

import json
import os
import pwd
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from fake_compose import FakeCompose, digest
from fake_docker import FakeDocker, image_id
from fake_probes import FakeProbes
from observed_host import API_KEY, CANARIES, CORE, NETWORK, PASSWORD, SERVICE_KEY, VOLUME, WEB, ObservedHost

from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._host import requirements
from ansible_collections.waba.onprem.plugins.modules import wa_drift_info
from ansible_collections.waba.onprem.plugins.plugin_utils._secret_options import split

MODULE, HASH = "wa_drift_info", "com.docker.compose.config-hash"
Run = t.Callable[..., "dict[str, t.Any]"]
Look = t.Callable[..., "dict[str, t.Any]"]
GUARD = {
    "unmanaged": {
        "project": "wa-a",
        "neighbours": [],
        "database": "",
        "known": [],
        "names": [],
    },
    "adopt": "",
    "single": True,
    "services": [],
}
SYNCED = {"state": "in_sync"}
CONCERNS = ("host", "media_volume", "db_env", "client", "log_cleanup")


@pytest.fixture
def host(engine: FakeDocker, compose: FakeCompose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObservedHost:
    monkeypatch.setattr(requirements, "compose_problem", lambda _module: "")
    monkeypatch.setattr(requirements, "services", lambda _module: ({}, []))
    monkeypatch.setattr(requirements, "missing", lambda _module: {})
    return ObservedHost(engine, tmp_path)


@pytest.fixture
def look(run_module: Run, host: ObservedHost) -> Look:
    """Runs the module and asserts that it changes nothing and returns no secret."""

    def run(check: bool = False, diff: bool = False, **options: t.Any) -> dict[str, t.Any]:
        host.planted()
        desired, secrets = split(host.desired)
        assert not any(canary in json.dumps(desired) for canary in CANARIES)
        given = {"desired": desired, "secrets": secrets, **options}
        done = run_module(MODULE, given, check=check)
        assert host.touched() == {}
        for canary in CANARIES:
            assert canary not in json.dumps(done)
        assert done["changed"] is False
        if not diff:
            for one in done.get("concerns", {}).values():
                one.pop("diff", None)
        return done

    return run


def test_a_host_that_matches_the_inventory_is_in_sync(host: ObservedHost, compose: FakeCompose, look: Look) -> None:
    assert look(probe=True) == {
        "changed": False,
        "actions": [],
        "concerns": dict.fromkeys(CONCERNS, SYNCED),
        "requirements": {"docker": "", "missing": {}, "install": [], "without_package": [], "services": {}},
        "unmanaged": [],
        "marker": "",
        "database": {},
        "record": {},
        "record_changed": False,
        "hold": {},
        "lock": {},
        "engine_away": False,
        "runs": True,
        "expires_on": "",
    }
    assert len([line for line in host.engine.calls if line.startswith("POST")]) == 2 * 2  # a probe in each container
    assert compose.commands == []


@pytest.mark.parametrize(
    ("drift", "steps"),
    [
        (
            lambda host: host.web.update(State="exited"),
            {"only_starts": True, "starts_coreapp": False, "recreates": False},
        ),
        (
            lambda host: host.core.update(State="exited"),
            {"only_starts": True, "starts_coreapp": True, "recreates": False},
        ),
        (
            lambda host: host.web["Labels"].update({compose_document.DEFINITION_LABEL: "other"}),
            {"only_starts": False, "starts_coreapp": False, "recreates": True},
        ),
        (lambda host: host.record.unlink(), {"only_starts": False, "starts_coreapp": False, "recreates": False}),
    ],
)
def test_a_host_that_differs_is_read_for_the_roles(
    host: ObservedHost, look: Look, drift: t.Callable[[ObservedHost], t.Any], steps: dict[str, bool]
) -> None:
    places = {
        name: f"{host.project}/none/{name}" for name in ("env_file", "identity_file", "compose_file", "lock_file")
    }
    asked = {**places, "container_names": [], "guard": GUARD, "env_format": "portable"}
    assert "look" not in look(look=asked)
    drift(host)
    read = look(look=asked)["look"]
    assert {name: read[name] for name in steps} == steps
    assert len(read["containers"]) == 2


def test_the_hold_in_the_file_beside_the_lock_is_read(host: ObservedHost, look: Look) -> None:
    file = Path(host.desired["host"]["lock_file"]).with_suffix(".hold")
    file.write_text("stopped by Ann\n", encoding="utf-8")
    hold = look()["hold"]
    assert (hold["path"], hold["reason"], hold["old"]) == (str(file), "stopped by Ann", False)


def test_each_engine_request_is_sent_once(host: ObservedHost, look: Look) -> None:
    look(check=True)
    requests = host.engine.requests
    assert len(requests) == len({*requests})
    assert host.engine.count <= 14


@pytest.mark.parametrize(
    ("project", "names", "runs", "expires_on"),
    [
        ("wa-a", [], True, "2027-01-31"),
        ("", ["biz_core"], False, "2026-12-31"),  # no role restarts it
        ("", ["biz_web"], False, ""),
        ("", [], False, "2026-12-31"),
    ],
)
def test_what_runs_says_when_it_expires(
    host: ObservedHost, look: Look, project: str, names: list[str], runs: bool, expires_on: str
) -> None:
    host.core["Labels"]["EXPIRES_ON"] = "2027-01-31"
    host.engine.container("biz_core", CORE, project="", labels={"EXPIRES_ON": "2026-12-31"})
    host.engine.container("biz_web", CORE, project="", labels={"EXPIRES_ON": "2026-11-30"})["State"] = "exited"
    host.desired["client"].update(project=project, container_names=names)
    found = look()
    assert (found["runs"], found["expires_on"]) == (runs, expires_on)


@pytest.mark.parametrize("restart", ["window", "report"])
def test_a_file_that_no_container_has_proven_waits_for_the_restart(
    host: ObservedHost, look: Look, restart: str
) -> None:
    host.project.joinpath("compose.yml.previous").touch()
    assert look(restart=restart)["concerns"]["client"]["state"] == "restart_pending"
    assert look(restart="now")["concerns"]["client"]["state"] == "drifted"


def test_without_the_host_its_requirements_are_not_read(look: Look) -> None:
    found = look(concerns=["db_env"])
    assert (found["concerns"], found["requirements"]) == ({"db_env": SYNCED}, None)


def test_without_a_probe_only_get_requests_are_sent(host: ObservedHost, look: Look) -> None:
    assert look()["concerns"] == dict.fromkeys(CONCERNS, SYNCED)
    assert all(line.startswith("GET ") for line in host.engine.requests)


def changes(*lines: str) -> dict[str, t.Any]:
    return {"state": "drifted", "changes": list(lines)}


def containers(*lines: str) -> dict[str, t.Any]:
    return {"state": "drifted", "containers": list(lines)}


def restarts(*lines: str) -> dict[str, t.Any]:
    return {"state": "drifted", "restarts": list(lines)}


def pending(*lines: str) -> dict[str, t.Any]:
    return {"state": "restart_pending", "pending": list(lines)}


def write_env(host: ObservedHost, **values: str) -> None:
    """Write db.env with these values changed."""
    host.db_env.write_text(host.lines({**host.environment, **values}))


def created_with(container: dict[str, t.Any], **values: str) -> None:
    """Set the environment that a container was created with, of which Compose has another hash."""
    container["Labels"][HASH] = "of-its-db.env"
    kept = [one for one in container["Config"]["Env"] if one.partition("=")[0] not in values]
    container["Config"]["Env"] = kept + [f"{key}={value}" for key, value in values.items()]


Plant = t.Callable[[ObservedHost], t.Any]
DRIFTS: list[tuple[str, Plant, dict[str, t.Any]]] = [
    ("host", lambda host: host.project.chmod(0o755), changes("{}/project has the mode 0755, expected 0750")),
    ("host", lambda host: host.state.chmod(0o2750), changes("{}/state has the mode 2750, expected 0750")),
    (
        "host",
        lambda host: host.state.joinpath("a.lock").write_text("[]"),
        {
            "state": "unknown",
            "error": "lock file {}/state/a.lock: not written by this collection (no lock of format 2); expected the lock of a run. Find "
            "out who holds the deployment; then remove the file",
        },
    ),
    (
        "media_volume",
        lambda host: host.engine.volumes.clear(),
        changes(f"create volume {VOLUME}"),
    ),
    (
        "db_env",
        lambda host: write_env(host, WA_DB_PORT="3307"),
        changes("set WA_DB_PORT"),
    ),
    ("db_env", lambda host: write_env(host, WA_DB_PASSWORD="Older-Pw"), changes("set WA_DB_PASSWORD")),
    ("db_env", lambda host: host.db_env.chmod(0o644), changes("changed mode from 0644 to 0600")),
    (
        "db_env",
        lambda host: host.db_env.unlink(),
        changes(
            "set WA_DB_ENGINE, WA_DB_HOSTNAME, WA_DB_PORT, WA_DB_USERNAME, WA_DB_PASSWORD, WA_CONFIG_ON_DB, WA_API_KEY"
        ),
    ),
    (
        "db_env",
        lambda host: created_with(host.core, WA_DB_PORT="3307"),
        restarts("wa-a-wacore-1 was created with another WA_DB_PORT than {}/project/db.env holds"),
    ),
    (
        "db_env",
        lambda host: created_with(host.core, WA_DB_PASSWORD="Older-Pw", WA_API_KEY="Older-Key"),
        restarts("wa-a-wacore-1 was created with another WA_DB_PASSWORD, WA_API_KEY than {}/project/db.env holds"),
    ),
    (
        "db_env",
        lambda host: write_env(host, TZ="UTC"),  # undeclared: the collection does not put it in force
        pending(
            "{}/project/db.env holds TZ, which the inventory does not declare; it is not in force in wa-a-wacore-1, "
            "wa-a-waweb-1. Declare it in wa_db_env_extra, or remove the line"
        ),
    ),
    ("client", lambda host: host.core.update(State="paused"), containers("wa-a-wacore-1 is paused")),
    ("client", lambda host: host.core.update(State="exited"), containers("wa-a-wacore-1 has exited")),
    (
        "client",
        lambda host: host.engine.containers.pop(host.web["Id"]),
        containers("wa-a-waweb-1 is missing"),
    ),
    (
        "client",
        lambda host: host.compose.chmod(0o644),
        changes("{}/project/compose.yml has the mode 0644, expected 0640"),
    ),
    (
        "client",
        lambda host: host.compose.write_text(f"{compose_document.HEADER}\nservices: {{}}\n"),
        changes("{}/project/compose.yml has another content"),
    ),
    (
        "client",
        lambda host: host.project.joinpath("compose.yml.previous").touch(),
        restarts("{}/project/compose.yml was changed and not proven since"),
    ),
    (
        "client",
        lambda host: host.project.joinpath("db.env.previous").touch(),
        restarts("{}/project/db.env was changed and not proven since"),
    ),
    (
        "client",
        lambda host: host.record.write_text(host.record.read_text().replace('"db"', '"other"')),
        changes("{}/state/client-a.json does not record the client that the inventory describes"),
    ),
    (
        "client",
        lambda host: host.record.unlink(),
        {
            **changes("{}/state/client-a.json does not record the client that the inventory describes"),
            **containers(
                *(
                    f"wa-a-{name}-1 is not in the record of this host as its Compose files are read now: it was created, or Compose upgraded, since "
                    "provision.yml last ended. provision.yml compares it with these files, and records it"
                    for name in ("wacore", "waweb")
                )
            ),
        },
    ),
    (
        "client",
        lambda host: host.web["Labels"].update({HASH: "other"}),
        restarts("wa-a-waweb-1 was made from other Compose files than there are now"),
    ),
    (
        "client",
        lambda host: host.web["Labels"].update({compose_document.DEFINITION_LABEL: "other"}),
        restarts("wa-a-waweb-1 was created with other settings than the inventory has"),
    ),
    (
        "client",
        lambda host: host.web["Config"].update(Image="mirror/web:v2.53.4"),
        restarts(f"wa-a-waweb-1 runs mirror/web:v2.53.4, expected {WEB}"),
    ),
    (
        "client",
        lambda host: host.core.update(Image="sha256:0"),
        restarts(f"wa-a-wacore-1 runs another build of {CORE}: sha256:0, expected {image_id(CORE)[:19]}"),
    ),
    (
        "client",
        lambda host: host.web.update(Networks=[]),
        restarts(f"wa-a-waweb-1 is not on the network {NETWORK}"),
    ),
    (
        "client",
        lambda host: host.web["HostConfig"]["RestartPolicy"].update(Name="no"),
        containers("wa-a-waweb-1 has the restart policy no, expected unless-stopped"),
    ),
    (
        "client",
        lambda host: host.engine.networks.clear(),
        restarts(*(f"wa-a-{name}-1 is not on the network {NETWORK}" for name in ("wacore", "waweb"))),
    ),
    (
        "client",
        lambda host: host.engine.networks[NETWORK].update(Labels={HASH: "other"}),
        pending(
            f"network {NETWORK}: was made with other options than the Compose files have; Compose would recreate it, and disconnect "
            "what is on it; expected the options that it has. Declare it "
            "as external in a Compose file of yours ({networks: {default: {external: true}}}), or renew it yourself"
        ),
    ),
    (
        "client",
        lambda host: host.web.update(Health="unhealthy", FailingStreak=3),
        containers("wa-a-waweb-1 is unhealthy. Look into its log (docker logs wa-a-waweb-1)"),
    ),
    (
        "log_cleanup",
        lambda host: host.cron.chmod(0o666),
        changes("{}/system/wa-a-log-cleanup has the mode 0666, expected 0644"),
    ),
    (
        "log_cleanup",
        lambda host: host.script.write_text("#!/bin/sh\nexit\n"),
        changes("{}/system/wa-log-cleanup has another content"),
    ),
]


@pytest.mark.parametrize("number", range(len(DRIFTS)))
def test_a_drift_is_reported_only_under_its_concern(host: ObservedHost, look: Look, number: int) -> None:
    concern, plant, expected = DRIFTS[number]
    plant(host)
    finding = json.loads(json.dumps(expected).replace("{}", str(host.folder)))
    found = look()["concerns"]
    assert found == {**dict.fromkeys(CONCERNS, SYNCED), concern: finding}


def test_a_deferred_restart_is_pending_and_not_a_drift(host: ObservedHost, look: Look) -> None:
    created_with(host.core, WA_DB_PORT="3307")
    text = f"wa-a-wacore-1 was created with another WA_DB_PORT than {host.db_env} holds"
    for restart in ("window", "report"):
        assert look(restart=restart)["concerns"]["db_env"] == {"state": "restart_pending", "restarts": [text]}


def test_with_fail_on_drift_the_missing_record_is_ignored(host: ObservedHost, look: Look) -> None:
    host.record.unlink()
    done = look(fail_on_drift=True)
    assert done["concerns"] == dict.fromkeys(CONCERNS, SYNCED)
    assert done["record_changed"]
    assert done["record"]["digests"] == "wacore/hash=hash-of-wacore waweb/hash=hash-of-waweb"
    host.write(host.record, json.dumps(done["record"]), 0o640)
    again = look(fail_on_drift=True)
    assert (again["record"], again["record_changed"]) == ({}, False)


def test_with_fail_on_drift_a_container_of_another_file_is_not_ignored(host: ObservedHost, look: Look) -> None:
    host.web["Labels"][HASH] = "other"
    line = "wa-a-waweb-1 was made from other Compose files than there are now"
    assert look(fail_on_drift=True)["concerns"]["client"] == restarts(line)
    host.web["Labels"][HASH] = digest(host.document()["services"]["waweb"])  # recreated from the file
    assert look(fail_on_drift=True)["concerns"]["client"] == SYNCED


def test_drifts_of_all_concerns_are_reported_together(host: ObservedHost, look: Look) -> None:
    host.project.chmod(0o755)
    host.cron.chmod(0o666)
    host.core["State"] = "paused"
    host.web["Mounts"] = []
    write_env(host, WA_DB_PORT="3307")
    found = look(check=True)["concerns"]
    assert {name: one["state"] for name, one in found.items()} == dict.fromkeys(CONCERNS, "drifted")
    assert [one.get("changes") or one["containers"] for one in found.values()] == [
        [f"{host.project} has the mode 0755, expected 0750"],
        found["media_volume"]["changes"],
        ["set WA_DB_PORT"],
        ["wa-a-wacore-1 is paused"],
        [f"{host.cron} has the mode 0666, expected 0644"],
    ]
    assert "wa-a-waweb-1" in found["media_volume"]["changes"][0]


def test_a_container_that_cannot_write_the_volume_is_a_drift(host: ObservedHost, look: Look) -> None:
    probes = FakeProbes(Path(host.engine.mountpoint(VOLUME)))
    probes.programs["wa-a-waweb-1"] = lambda command: probes.probe(
        command, wrote="wrote\t\tno\t1000\t0755\tcannot create: Read-only\n"
    )
    host.engine.on_exec = probes
    found = look(probe=True)["concerns"]
    assert found == {**dict.fromkeys(CONCERNS, SYNCED), "media_volume": found["media_volume"]}
    assert found["media_volume"]["state"] == "drifted"
    assert "wa-a-waweb-1" in found["media_volume"]["changes"][0]
    assert look(check=True, probe=True)["concerns"] == found  # check mode reports the same
    assert all(command.argv[-1] == ("" if check else "1") for check, command in zip((0, 0, 1, 1), probes.commands))


# A concern that cannot be inspected


def test_an_unreachable_engine_does_not_hide_other_concerns(host: ObservedHost, look: Look, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/none.sock"
    for options in host.desired.values():
        if "docker_host" in options:
            options["docker_host"] = address
    host.cron.chmod(0o666)
    result = look()
    found = result["concerns"]
    assert result["engine_away"] is True
    assert [one["state"] for one in found.values()] == ["unknown", "unknown", "unknown", "unknown", "drifted"]
    reason = f"Docker Engine at {address}: the socket {tmp_path}/none.sock does not exist"
    assert found["host"]["error"].startswith(f"{reason}; expected an engine that answers. Start the Docker Engine")
    for name in ("media_volume", "db_env", "client"):
        assert found[name]["error"] == "Docker Engine: does not answer."  # the reason is in the finding of `host`
    assert found["log_cleanup"] == changes(f"{host.cron} has the mode 0666, expected 0644")


def test_an_error_of_a_module_helper_affects_its_concern_only(
    host: ObservedHost, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.desired["db_env"]["owner"] = "no-such-user"
    result = look()
    found = result["concerns"]
    assert result["engine_away"] is False
    assert found == {
        **dict.fromkeys(CONCERNS, SYNCED),
        "db_env": {"state": "unknown", "error": "module: chown failed: failed to look up user no-such-user."},
    }


def test_a_record_that_cannot_be_made_affects_the_client_only(
    host: ObservedHost, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(*_arguments: object) -> t.NoReturn:
        raise WaError("docker compose version", "exit status 124")

    monkeypatch.setattr(Project, "next_record", record)
    unknown = {"state": "unknown", "error": "docker compose version: exit status 124."}
    assert look()["concerns"] == {**dict.fromkeys(CONCERNS, SYNCED), "client": unknown}


@pytest.mark.parametrize(
    ("concern", "options", "message"),
    [
        ("host", {"database_engine": "ORACLE"}, "value of database_engine must be one of: MYSQL, PGSQL, got: ORACLE"),
        ("log_cleanup", {"status_file": None}, "missing required arguments: status_file"),
        ("db_env", {"port": "many"}, "argument 'port' is of type str and we were unable to convert to int: "),
        (
            "db_env",
            {"extra_secrets": API_KEY},
            "argument 'extra_secrets' is of type str and we were unable to convert ",
        ),
        ("media_volume", {"on_drift": "x"}, "value of on_drift must be one of: fail, report, got: x"),
        (
            "client",
            {"version": None},
            "missing required arguments: version",
        ),
        (
            "client",
            {"files": [{"path": "/a", "content": SERVICE_KEY}]},
            "missing required arguments: mode found in files",
        ),
        ("log_cleanup", {"files": [{"path": "/a", "mode": "0644", "state": "x"}]}, "value of state must be one of: "),
    ],
)
def test_invalid_options_affect_their_concern_only(
    host: ObservedHost, look: Look, concern: str, options: dict[str, t.Any], message: str
) -> None:
    given = {**host.desired[concern], **options}
    host.desired[concern] = {key: value for key, value in given.items() if value is not None}
    found = look(check=True)["concerns"]
    assert found[concern]["state"] == "unknown"
    assert found[concern]["error"].startswith(message)
    assert {name: one for name, one in found.items() if name != concern} == {
        name: SYNCED for name in CONCERNS if name != concern
    }


def test_a_host_on_which_everything_is_to_be_absent_has_no_concern(host: ObservedHost, look: Look) -> None:
    host.desired.clear()
    assert look()["concerns"] == {}


def test_a_concern_without_desired_state_is_not_compared(host: ObservedHost, look: Look) -> None:
    for name in ("media_volume", "db_env", "client"):
        del host.desired[name]
    assert look()["concerns"] == {"host": SYNCED, "log_cleanup": SYNCED}


# Unmanaged client containers


def test_unmanaged_client_containers_are_reported_without_their_environment(host: ObservedHost, look: Look) -> None:
    host.engine.container("old-core", CORE, project="", environment=host.environment)
    host.engine.container("b-core", CORE, project="wa-b", environment=host.environment)
    host.engine.container("c-core", CORE, project="wa-c", environment=host.environment)
    host.engine.container("proxy", "nginx:1", project="")
    host.desired["client"]["neighbours"] = ["wa-b"]
    done = look()
    assert [(one["name"], one["project"], one["database"]) for one in done["unmanaged"]] == [
        ("c-core", "wa-c", "db:3306/"),
        ("old-core", "", "db:3306/"),
    ]
    assert done["concerns"] == dict.fromkeys(CONCERNS, SYNCED)  # the controller decides whose they are


# Secrets


def test_the_diff_hides_secrets(host: ObservedHost, look: Look) -> None:
    host.compose.write_text(
        f"{compose_document.HEADER}\nservices:\n  waweb:\n    environment:\n      API_TOKEN: {API_KEY}\n"
    )
    write_env(host, WA_DB_PORT="3307", WA_DB_PASSWORD="Older-Pw")
    found = look(diff=True)["concerns"]
    (compose,) = found["client"]["diff"]
    assert compose["before_header"] == str(host.compose)
    assert compose["before"].endswith("      API_TOKEN: <hidden>\n")
    assert compose["after"].endswith("      API_TOKEN: <hidden>\n")
    (db_env,) = found["db_env"]["diff"]
    assert "WA_DB_PORT=3307\n" in db_env["before"]
    assert "WA_DB_PASSWORD=<changed>\n" in db_env["after"]
    assert "Older-Pw" not in json.dumps(found)


def test_the_diff_shows_a_compose_file_without_secrets(host: ObservedHost, look: Look) -> None:
    after = f"{compose_document.HEADER}\nservices:\n  waweb:\n    image: r/web:v2.53.4\n"
    host.desired["client"]["files"][0]["content"] = after
    host.compose.write_text(f"{compose_document.HEADER}\n")
    (shown,) = look(diff=True)["concerns"]["client"]["diff"]
    assert (shown["before"], shown["after"]) == (f"{compose_document.HEADER}\n", after)


def test_the_invocation_and_the_log_contain_no_secret(
    host: ObservedHost, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda _self, text, **more: logged.append(f"{text} {more}"))
    done = look(_ansible_inject_invocation=True)
    assert "invocation" in done
    assert logged
    assert not any(canary in str(logged) for canary in CANARIES)


# The module's own options


def test_without_desired_the_error_names_the_action_plugin(run_module: Run) -> None:
    failed = run_module(MODULE, {})
    assert failed["msg"] == "option desired: not given; expected what the action plugin of this module gives."


def test_desired_and_secrets_are_merged() -> None:
    desired = {"db_env": {"port": 1}, "client": {"files": [{"path": "/a"}, {"path": "/b"}], "project": "wa-a"}}
    secrets = {"db_env": {"password": PASSWORD}, "client": {"files": [{"content": "x"}, {}]}}
    assert wa_drift_info.merged(desired, secrets) == {
        "db_env": {"port": 1, "password": PASSWORD},
        "client": {"files": [{"path": "/a", "content": "x"}, {"path": "/b"}], "project": "wa-a"},
    }
    assert wa_drift_info.merged(desired, {}) == desired
    assert desired["db_env"] == {"port": 1}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
def test_owners_are_compared(host: ObservedHost, look: Look) -> None:
    for options in ("db_env",):
        host.desired[options]["owner"] = "root"
    for one in (*host.desired["client"]["files"], *host.desired["host"]["files"]):
        one["owner"] = "root"
    assert look()["concerns"] == dict.fromkeys(CONCERNS, SYNCED)
    for path in (host.db_env, host.compose, host.project):
        os.chown(path, pwd.getpwnam("daemon").pw_uid, 0)
    assert look()["concerns"] == {
        **dict.fromkeys(CONCERNS, SYNCED),
        "host": changes(f"{host.project} has the owner daemon, expected root"),
        "db_env": changes("changed owner from 1 to 0"),
        "client": changes(f"{host.compose} has the owner daemon, expected root"),
    }


def test_figures_are_read_beside_the_comparison(host: ObservedHost, look: Look) -> None:
    asked = {
        "project": "wa-a",
        "volume": VOLUME,
        "deployment": "a",
        "log_cleanup_status_file": str(host.state / "log-cleanup-a.json"),
    }
    found = look(check=True, status=True, figures=asked)
    assert (found["reached"], found["login_refused"]) == (True, False)
    assert [one["name"] for one in found["figures"]["containers"]["containers"]] == ["wa-a-wacore-1", "wa-a-waweb-1"]
    assert {name for name, part in found["figures"].items() if part.get("error")} == set()
    assert "figures" not in look()
    assert look(status=True, figures={"volume": "v"})["msg"].startswith("option figures: missing required arguments")
