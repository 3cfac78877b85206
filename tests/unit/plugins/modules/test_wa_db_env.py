# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_db_env with real files and a fake Docker Engine."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._db_env import login_check

RunModule = t.Callable[..., "dict[str, t.Any]"]
CANARY = "Canary-51-Pw"
OLD_CANARY = "Older-Canary"
BASE: dict[str, t.Any] = {"engine": "MYSQL", "hostname": "db", "username": "wa", "password": CANARY}
WRITTEN = f"WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD={CANARY}\n"
ENVIRONMENT = dict(line.split("=") for line in WRITTEN.split())


class Env:
    """Runs the module on one file."""

    def __init__(self, run: RunModule, path: Path, warnings: list[str]) -> None:
        self._run = run
        self._warnings = warnings
        self.path = path

    def __call__(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        self._warnings.clear()
        # No database listens at these values. The login tests set check_connection themselves.
        given = {"check_connection": False, **options, "path": str(self.path)}
        result = self._run("wa_db_env", given, check=check)
        result["warnings"] = list(self._warnings)
        shown = json.dumps(result)
        assert CANARY not in shown
        assert OLD_CANARY not in shown
        return result

    def fails(self, **options: t.Any) -> str:
        before = self.path.read_bytes() if self.path.is_file() else None
        result = self(**options)
        assert result["failed"]
        assert not result["changed"]
        assert (self.path.read_bytes() if self.path.is_file() else None) == before
        assert "Traceback" not in result["msg"]
        return str(result["msg"])


@pytest.fixture
def env(run_module: RunModule, tmp_path: Path, warned: list[str]) -> Env:
    folder = tmp_path / "project"
    folder.mkdir()
    return Env(run_module, folder / "db.env", warned)


def test_a_new_file_is_predicted_written_and_then_unchanged(env: Env) -> None:
    predicted = env(check=True, **BASE)
    assert not env.path.exists()
    done = env(**BASE)
    assert env.path.read_text() == WRITTEN
    assert stat.S_IMODE(env.path.stat().st_mode) == 0o600
    for key in ("changed", "changed_keys", "removed_keys", "actions", "diff"):
        assert predicted[key] == done[key]
    assert done["changed_keys"] == list(ENVIRONMENT)
    assert done["diff"]["before"] == ""
    assert done["diff"]["after"] == WRITTEN.replace(CANARY, "<changed>")
    assert os.listdir(env.path.parent) == ["db.env"]
    again = env(**BASE)
    assert not again["changed"]
    assert again["actions"] == again["changed_keys"] == []


def test_the_diff_shows_no_old_password_and_no_comment(env: Env) -> None:
    env.path.write_text(WRITTEN.replace(CANARY, OLD_CANARY) + f"# was {OLD_CANARY}\nSMTP_PASS={OLD_CANARY}\nTZ=UTC\n")
    done = env(**BASE)
    assert done["changed_keys"] == ["WA_DB_PASSWORD"]
    assert "WA_DB_PASSWORD=<hidden>\n" in done["diff"]["before"]
    assert "WA_DB_PASSWORD=<changed>\n# ...\nSMTP_PASS=<hidden>\nTZ=<hidden>\n" in done["diff"]["after"]


def test_a_secret_in_extra_is_hidden_and_a_warning(env: Env) -> None:
    done = env(**BASE, extra={"WA_API_KEY": OLD_CANARY, "WA_CONFIG_ON_DB": "1"})
    assert done["warnings"] == ["option extra: WA_API_KEY is a secret by its name; extra_secrets keeps it out of logs"]
    assert "WA_API_KEY=<changed>\nWA_CONFIG_ON_DB=1\n" in done["diff"]["after"]


def test_a_url_with_credentials_is_a_secret_under_any_key(env: Env) -> None:
    proxies = {"HTTPS_PROXY": f"http://u:{OLD_CANARY}@proxy:3128", "NO_PROXY": "localhost"}
    done = env(**BASE, extra=proxies)
    assert OLD_CANARY not in str(done)
    assert done["warnings"] == [
        "option extra: HTTPS_PROXY is a secret by its value; extra_secrets keeps it out of logs"
    ]
    assert "HTTPS_PROXY=<changed>\nNO_PROXY=localhost\n" in done["diff"]["after"]
    assert "HTTPS_PROXY=<hidden>\n" in env(**BASE, extra={**proxies, "NO_PROXY": ""})["diff"]["before"]


def test_a_line_of_a_private_key_is_not_shown(env: Env) -> None:
    line = f"{OLD_CANARY.replace('-', '')}AAAA"
    env.path.write_text(WRITTEN + f'KEY="MII\n{line}==\nEnd"\n')
    done = env(hostname="other")
    assert line not in json.dumps(done)
    assert any("line 7 is not read the same by every reader" in warning for warning in done["warnings"])


def test_the_module_imports_only_the_standard_library(env: Env, engine: FakeDocker) -> None:
    """A run that changes nothing loads no third-party library, and the host needs none."""
    env(**BASE)
    engine.container("biz-wacore-1", environment={**ENVIRONMENT, "WA_DB_PERSISTENT": "1"})
    given = {**BASE, "path": str(env.path), "docker_host": engine.host, "containers": True}
    script = (
        "import sys, runpy\n"
        "try:\n"
        "    runpy.run_module('ansible_collections.waba.onprem.plugins.modules.wa_db_env', run_name='__main__')\n"
        "finally:\n"
        "    names = {name.partition('.')[0] for name in sys.modules}\n"
        "    print(sorted(names & {'docker', 'requests', 'urllib3', 'yaml', 'pymysql', 'psycopg2'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.environ["ANSIBLE_COLLECTIONS_PATH"], "_ANSIBLE_PROFILE": "legacy"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result, loaded = done.stdout.split("\n[")
    assert json.loads(result)["stale_containers"]
    assert loaded == "]\n"


def test_a_refused_value_is_not_shown(env: Env) -> None:
    text = env.fails(**{**BASE, "password": f"{CANARY}$x"})
    assert "a dollar sign ($)" in text
    assert "WA_DB_PASSWORD" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hostname": ""}, "option hostname"),
        ({"port": 70000}, "a port from 1 to 65535"),
        ({"engine": "PGSQL", "extra": {"WA_DB_CONNECTION_IDLE_TIMEOUT": "180000"}}, "no such key with PGSQL"),
        ({"extra": {"WA_DB_CONNECTION_IDLE_TIMEOUT": "180"}}, "surely meant as seconds"),
        ({"name_prefix": "a/b"}, "WA_DB_NAME_PREFIX"),
        ({"password": f"{CANARY}!"}, "contains !"),
        ({"password": f"{CANARY}\n"}, "a line feed"),
        ({"extra": {"WA_DB_UPGRADE": "1"}}, "one-shot"),
        ({"extra": {"WA_DB_PORT": "1"}}, "option port"),
        ({"extra": {"A": 511}}, "A:"),
        ({"extra_secrets": {"A": f"{CANARY} #"}}, "a hash"),
    ],
)
def test_invalid_values_fail_before_anything_is_written(env: Env, options: dict[str, t.Any], message: str) -> None:
    assert message in env.fails(**{**BASE, **options})


def test_a_missing_required_key_fails(env: Env) -> None:
    assert "WA_DB_PASSWORD: missing or empty" in env.fails(engine="MYSQL", hostname="db", username="wa")


def test_keys_of_omitted_options_are_unchanged(env: Env) -> None:
    env.path.write_text("# mine\n" + WRITTEN + "TZ=UTC\n")
    os.chmod(env.path, 0o600)
    assert not env()["changed"]
    done = env(name_prefix="shop_", extra={"WA_CONFIG_ON_DB": "1"})
    assert env.path.read_text() == "# mine\n" + WRITTEN + "TZ=UTC\nWA_DB_NAME_PREFIX=shop_\nWA_CONFIG_ON_DB=1\n"
    assert done["changed_keys"] == ["WA_DB_NAME_PREFIX", "WA_CONFIG_ON_DB"]
    done = env(name_prefix="")
    assert done["removed_keys"] == ["WA_DB_NAME_PREFIX"]


def test_a_wrong_mode_alone_is_a_change(env: Env) -> None:
    env.path.write_text(WRITTEN)
    os.chmod(env.path, 0o644)
    predicted = env(check=True)
    assert stat.S_IMODE(env.path.stat().st_mode) == 0o644
    done = env()
    assert stat.S_IMODE(env.path.stat().st_mode) == 0o600
    assert predicted["actions"] == done["actions"] == ["changed mode from 0644 to 0600"]
    assert predicted["diff"] == done["diff"]
    assert done["diff"]["before"].startswith("(mode: 0644)\n")
    assert done["changed_keys"] == []


def test_new_secrets_are_never_written_with_the_old_mode(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    env.path.write_text(WRITTEN)
    os.chmod(env.path, 0o644)
    seen = []
    fchmod = os.fchmod

    def spy(number: int, mode: int) -> None:
        seen.append((stat.S_IMODE(mode), os.fstat(number).st_size))
        fchmod(number, mode)

    monkeypatch.setattr(os, "fchmod", spy)
    done = env(hostname="other")
    assert seen[0] == (0o644, 0)  # the temporary file starts with the old mode, while it is empty
    assert all(mode == 0o600 or size == 0 for mode, size in seen)
    assert done["actions"] == ["set WA_DB_HOSTNAME", "changed mode from 0644 to 0600"]
    assert stat.S_IMODE(env.path.stat().st_mode) == 0o600


def test_a_mode_that_cannot_be_set_fails_with_a_fix(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    env.path.write_text(WRITTEN)
    os.chmod(env.path, 0o644)

    def refuse(*_arguments: t.Any, **_rest: t.Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    assert "chattr -i" in env.fails()


@pytest.mark.parametrize(("mode", "set_to"), [("u=rw,g=r,o=", 0o640), ("g+r", 0o640), (0o640, 0o640), ("0640", 0o640)])
def test_mode_accepts_octal_and_symbolic_values(env: Env, mode: t.Any, set_to: int) -> None:
    env.path.write_text(WRITTEN)
    os.chmod(env.path, 0o600)
    assert env(mode=mode)["actions"] == ["changed mode from 0600 to 0640"]
    assert stat.S_IMODE(env.path.stat().st_mode) == set_to
    assert not env(mode=mode)["changed"]
    env.path.write_text(WRITTEN)
    assert env(mode=mode, hostname="other")["changed"]
    assert stat.S_IMODE(env.path.stat().st_mode) == set_to


def test_an_unknown_owner_leaves_no_file(env: Env) -> None:
    result = env(**BASE, owner="nobody-of-that-name")
    assert result["failed"]
    assert "nobody-of-that-name" in json.dumps(result)
    assert os.listdir(env.path.parent) == []


def test_a_new_file_has_its_mode_before_it_is_visible(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    replace = os.replace

    def spy(source: t.Any, target: t.Any) -> None:
        seen.append(stat.S_IMODE(os.stat(source).st_mode))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    env(**BASE, mode="0640")
    assert seen == [0o640]
    assert not env(**BASE, mode="0640")["changed"]


def test_a_new_file_is_never_readable_by_others(env: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    chmod = os.chmod

    def spy(path: t.Any, mode: int, **rest: t.Any) -> None:
        seen.append(stat.S_IMODE(mode))
        chmod(path, mode, **rest)

    monkeypatch.setattr(os, "chmod", spy)
    env(**BASE)
    assert all(mode & 0o077 == 0 for mode in seen)


def test_state_absent_removes_the_file(env: Env) -> None:
    env(**BASE)
    predicted = env(check=True, state="absent")
    assert env.path.exists()
    done = env(state="absent")
    assert not env.path.exists()
    assert done["changed"]
    assert predicted["actions"] == done["actions"] == [f"removed {env.path}"]
    assert predicted["diff"] == done["diff"]
    assert done["removed_keys"] == list(ENVIRONMENT)
    assert not env(state="absent")["changed"]


def test_a_missing_directory_fails_and_is_predicted_in_check_mode(env: Env) -> None:
    env.path = env.path.parent / "no" / "db.env"
    assert "role wa_host" in env.fails(**BASE)
    predicted = env(check=True, **BASE)
    assert predicted["changed"]
    assert predicted["actions"][0] == f"folder {env.path.parent} has to be made first"
    assert not env(state="absent")["changed"]


def test_a_symbolic_link_is_refused(env: Env, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text(WRITTEN)
    env.path.symlink_to(target)
    result = env(**BASE)
    assert result["failed"]
    assert str(target) in result["msg"]
    assert target.read_text() == WRITTEN


def test_a_value_that_readers_parse_differently_is_reported(env: Env) -> None:
    env.path.write_text(WRITTEN + 'TZ="UTC"\n')
    assert any("TZ is not read the same" in warning for warning in env()["warnings"])
    env.path.write_text(WRITTEN.replace("=db\n", "='db'\n"))
    assert "WA_DB_HOSTNAME: not read the same by every reader" in env.fails()
    assert env(hostname="db")["changed_keys"] == ["WA_DB_HOSTNAME"]
    assert env.path.read_text() == WRITTEN


@pytest.mark.parametrize("env_format", ["compose", "docker"])
def test_a_format_with_one_reader_accepts_any_value(env: Env, env_format: str) -> None:
    done = env(**{**BASE, "password": f"{CANARY} $x 'y' #"}, format=env_format)
    assert not done.get("failed")
    assert not env(**{**BASE, "password": f"{CANARY} $x 'y' #"}, format=env_format)["changed"]


# Containers


def compose_file(folder: Path, services: dict[str, t.Any]) -> dict[str, str]:
    """Write a Compose file and return the labels of the containers created from it."""
    path = folder / "compose.yml"
    path.write_text(yaml.safe_dump({"services": {name: {"image": "a", **body} for name, body in services.items()}}))
    return {
        "com.docker.compose.project.config_files": str(path),
        "com.docker.compose.project.working_dir": str(folder),
    }


def test_containers_with_the_current_values_are_in_sync(env: Env, engine: FakeDocker) -> None:
    env(**BASE)
    for name in ("biz-wacore-1", "biz-waweb-1"):
        engine.container(name, environment={**ENVIRONMENT, "WA_CONFIG_ON_DB": "1", "PATH": "/bin"}, labels={})
    engine.images["registry.lab:5000/whatsapp/coreapp:v2.53.4"] = {"WA_CONFIG_ON_DB": "1"}
    done = env(containers=True, docker_host=engine.host)
    assert done["stale_containers"] == done["overridden_containers"] == []
    # One list, an inspection of each container, one image inspection that explains WA_CONFIG_ON_DB.
    assert engine.count == 4


@pytest.mark.parametrize("form", ["compose", "docker"])
def test_lines_of_a_private_key_are_named_by_their_numbers(env: Env, engine: FakeDocker, form: str) -> None:
    env(**BASE)
    lines = ["SITE_KEY=-----BEGIN PRIVATE KEY-----", "CanaryMIIEvQIBADANBg", "CanaryLastLine=", "CanaryPadded=="]
    env.path.write_text(env.path.read_text() + "\n".join(lines) + "\n")
    engine.container("biz-wacore-1", service="wacore", environment={**ENVIRONMENT, "WA_DB_PASSWORD": OLD_CANARY})
    done = env(**BASE, containers=True, docker_host=engine.host, format=form)
    assert "Canary" not in json.dumps({key: value for key, value in done.items() if key != "invocation"})
    assert done["undeclared_keys"] == ["WA_DB_PORT", "SITE_KEY", "line 8", "line 9"]


def test_stale_containers_are_reported_with_their_keys(env: Env, engine: FakeDocker) -> None:
    env(**BASE)
    engine.container("biz-wacore-1", service="wacore", environment={**ENVIRONMENT, "WA_DB_PASSWORD": OLD_CANARY})
    engine.container("biz-waweb-1", image="x/web:v1", service="waweb", environment=ENVIRONMENT)
    engine.container("biz-dead-1", environment={}, state="exited")
    engine.container("other", image="x/postgres:1", environment={})
    renamed = {"hostname": "new", "confirm_identity": {"hostname": "new"}}
    done = env(check=True, containers=True, docker_host=engine.host, **renamed)
    names = {entry["name"]: entry["stale_keys"] for entry in done["stale_containers"]}
    assert names == {"biz-wacore-1": ["WA_DB_HOSTNAME"], "biz-waweb-1": ["WA_DB_HOSTNAME"]}
    # An undeclared key is reported, and is no reason to recreate the container.
    assert [(one["name"], one["undeclared_keys"]) for one in done["undeclared_containers"]] == [
        ("biz-wacore-1", ["WA_DB_PASSWORD"])
    ]
    core, web = done["stale_containers"]
    assert not core["keeps_configuration"]
    assert core["role"] == "core"
    assert web["keeps_configuration"]
    assert sum("must not be recreated" in warning for warning in done["warnings"]) == 1


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("state", ["running", "exited"])
def test_a_change_to_another_clients_database_is_refused(env: Env, engine: FakeDocker, state: str, check: bool) -> None:
    env(**BASE)
    before = env.path.read_text()
    engine.container("biz-wacore-1", service="wacore", environment=ENVIRONMENT, state=state)
    other = {"containers": True, "docker_host": engine.host, "name_prefix": "x_"}
    failed = env.fails(check=check, **other)
    assert "name_prefix (empty) (biz-wacore-1) would become x_" in failed
    assert 'confirm_identity: {"name_prefix": "x_"}' in failed
    assert env.path.read_text() == before
    assert "another client" in env.fails(check=check, **other, confirm_identity={"name_prefix": "y_"})
    assert env(check=check, **other, confirm_identity={"name_prefix": "x_"})["changed"]


def test_a_manual_change_of_the_file_is_corrected(env: Env, engine: FakeDocker) -> None:
    engine.container("biz-wacore-1", service="wacore", environment=ENVIRONMENT)
    engine.container(
        "biz-waweb-1", image="x/web:v1", service="waweb", environment={**ENVIRONMENT, "WA_DB_PORT": "3307"}
    )
    env.path.write_text(WRITTEN.replace("3306", "3307"))
    assert env(**BASE, port=3306, containers=True, docker_host=engine.host)["changed_keys"] == ["WA_DB_PORT"]
    assert env.path.read_text() == WRITTEN


def test_a_server_that_a_compose_file_sets_counts_as_the_clients(env: Env, engine: FakeDocker) -> None:
    env(**BASE)
    service = {"image": "x/coreapp:v1", "env_file": [str(env.path)], "environment": {"WA_DB_HOSTNAME": "proxy"}}
    labels = compose_file(env.path.parent, {"wacore": service})
    environment = {**ENVIRONMENT, "WA_DB_HOSTNAME": "proxy"}
    engine.container("biz-wacore-1", service="wacore", environment=environment, labels=labels)
    given: dict[str, t.Any] = {"containers": True, "docker_host": engine.host, "username": "u"}
    assert "hostname proxy (biz-wacore-1) would become new" in env.fails(**given, hostname="new")
    assert env(**given, hostname="proxy")["changed"]


@pytest.mark.parametrize("environment", [{"WA_DB_HOSTNAME": "proxy"}, ["WA_DB_HOSTNAME=proxy"]])
def test_a_key_set_in_the_compose_file_is_reported_as_overridden(
    env: Env, engine: FakeDocker, environment: t.Any
) -> None:
    env(**BASE)
    labels = compose_file(env.path.parent, {"wacore": {"env_file": ["db.env"], "environment": environment}})
    own = {**ENVIRONMENT, "WA_DB_HOSTNAME": "proxy", "WA_CONFIG_ON_DB": "1"}
    engine.container("biz-wacore-1", service="wacore", environment=own, labels=labels)
    engine.images["registry.lab:5000/whatsapp/coreapp:v2.53.4"] = {"WA_CONFIG_ON_DB": "1"}
    done = env(containers=True, docker_host=engine.host)
    assert done["stale_containers"] == []
    assert [entry["overridden_keys"] for entry in done["overridden_containers"]] == [["WA_DB_HOSTNAME"]]
    done = env(containers=True, docker_host=engine.host, username="new")
    assert [(entry["stale_keys"], entry["overridden_keys"]) for entry in done["stale_containers"]] == [
        (["WA_DB_USERNAME"], ["WA_DB_HOSTNAME"])
    ]


def test_overrides_from_extends_and_several_env_files_are_reported(env: Env, engine: FakeDocker) -> None:
    env(**BASE)
    folder = env.path.parent
    (folder / "more.env").write_text("WA_DB_PORT=3307\n")
    (folder / "base.yml").write_text(yaml.safe_dump({"services": {"core": {"environment": {"WA_DB_HOSTNAME": "x"}}}}))
    services = {"wacore": {"extends": {"file": "base.yml", "service": "core"}, "env_file": ["db.env", "more.env"]}}
    labels = compose_file(folder, services)
    own = {**ENVIRONMENT, "WA_DB_HOSTNAME": "x", "WA_DB_PORT": "3307"}
    engine.container("biz-wacore-1", service="wacore", environment=own, labels=labels)
    done = env(containers=True, docker_host=engine.host)
    assert done["stale_containers"] == []
    assert done["overridden_containers"][0]["overridden_keys"] == ["WA_DB_HOSTNAME", "WA_DB_PORT"]


def test_a_service_that_does_not_read_the_file_is_a_warning(env: Env, engine: FakeDocker) -> None:
    env(**BASE)
    labels = compose_file(env.path.parent, {"wacore": {"env_file": "other.env"}})
    (env.path.parent / "other.env").write_text("WA_DB_HOSTNAME=x\n")
    engine.container("biz-wacore-1", service="wacore", environment={}, labels=labels)
    done = env(containers=True, docker_host=engine.host)
    assert any("will not put the file in force" in warning for warning in done["warnings"])


def test_a_missing_or_invalid_compose_file_is_a_warning(env: Env, engine: FakeDocker) -> None:
    env(**BASE)
    labels = compose_file(env.path.parent, {})
    path = Path(labels["com.docker.compose.project.config_files"])
    engine.container("biz-wacore-1", service="wacore", environment={}, labels=labels)
    path.write_text(f"services: [{OLD_CANARY}: {{")
    unread = f"{path}: docker compose config: "
    done = env(containers=True, docker_host=engine.host)
    assert [text.startswith(f"{unread}yaml: ") for text in done["warnings"] if unread in text] == [True]
    path.unlink()
    done = env(containers=True, docker_host=engine.host)
    gone = f"{unread}open {path}: no such file or directory"
    assert [text.startswith(gone) for text in done["warnings"] if unread in text] == [True]
    assert done["stale_containers"][0]["stale_keys"] == list(ENVIRONMENT)


def test_a_removed_key_makes_containers_stale(env: Env, engine: FakeDocker) -> None:
    env(**BASE, extra={"WA_API_THING": "1"})
    engine.container("biz-wacore-1", environment={**ENVIRONMENT, "WA_API_THING": "1"})
    done = env(containers=True, docker_host=engine.host, extra={"WA_API_THING": ""})
    assert done["removed_keys"] == ["WA_API_THING"]
    assert done["stale_containers"][0]["stale_keys"] == ["WA_API_THING"]


def test_containers_of_two_projects_fail_before_anything_is_written(env: Env, engine: FakeDocker) -> None:
    engine.container("a-wacore-1", project="a")
    engine.container("b-wacore-1", project="b")
    assert "more than one project" in env.fails(**BASE, containers=True, docker_host=engine.host)
    done = env(**BASE, containers=True, docker_host=engine.host, project="a")
    assert [entry["name"] for entry in done["stale_containers"]] == ["a-wacore-1"]


def test_an_unreachable_engine_fails_before_anything_is_written(env: Env, tmp_path: Path) -> None:
    assert "does not exist" in env.fails(**BASE, containers=True, docker_host=f"unix://{tmp_path}/none")


def test_a_value_as_either_reader_parses_it_is_in_force(env: Env, engine: FakeDocker) -> None:
    env.path.write_text(WRITTEN + 'TZ="UTC"\nHOME_=$HOME\n')
    engine.container("biz-wacore-1", environment={**ENVIRONMENT, "TZ": "UTC", "HOME_": "/root"})
    engine.container("biz-waweb-1", image="x/web:v1", environment={**ENVIRONMENT, "TZ": '"UTC"', "HOME_": "$HOME"})
    done = env(containers=True, docker_host=engine.host, format="compose")
    assert [entry["name"] for entry in done["stale_containers"]] == ["biz-waweb-1"]
    done = env(containers=True, docker_host=engine.host)
    assert done["stale_containers"] == []


# The login


class Login:
    """Replaces LoginCheck: records the values of each check, and fails if `refusal` is set."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.refusal = ""
        self.found: dict[str, t.Any] = {"product": "MySQL"}

    def create(self, _params: t.Any, _warn: t.Any) -> Login:
        return self

    def __call__(self, values: dict[str, str]) -> None:
        self.asked.append(values)
        if self.refusal:
            raise WaError("login", self.refusal)


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Login:
    found = Login()
    monkeypatch.setattr(login_check, "LoginCheck", found.create)
    return found


@pytest.mark.parametrize("asked", [{}, {"check_connection": True}, {"check_connection": "true"}])
def test_the_login_is_checked_only_when_the_connection_changes(env: Env, login: Login, asked: dict[str, t.Any]) -> None:
    given = {"check_connection": "true", **asked}
    assert env(**BASE, **given)["server"] == {"product": "MySQL"}
    assert login.asked.pop() == ENVIRONMENT
    assert env(**BASE, **given)["server"] == {}
    for more in (
        {"extra": {"WA_DB_PERSISTENT": "1"}},
        {"extra": {"WA_DB_CONNECTION_IDLE_TIMEOUT": "180000"}},
        {"extra": {"TZ": "UTC"}},
        {"mode": "0640"},
    ):
        assert env(**{**BASE, **given, **more})["changed"]
    assert login.asked == []
    env.path.write_text("# by hand\n" + env.path.read_text())
    env(**BASE, **given)
    assert login.asked == []
    others: list[dict[str, t.Any]] = [
        {"password": f"{CANARY}2"},
        {"hostname": "other"},
        {"port": 3307},
        {"username": "other"},
        {"name_prefix": "shop_"},
        {"extra": {"WA_DB_SSL_CA": "/ca.pem"}},
        {"engine": "PGSQL", "extra": {"WA_DB_CONNECTION_IDLE_TIMEOUT": ""}},
    ]
    for number, other in enumerate(others, start=1):
        assert env(**{**BASE, **given, **other}, check=True)["changed"]
        assert len(login.asked) == number


@pytest.mark.parametrize("check", [False, True])
def test_a_refused_login_leaves_the_file_unchanged(env: Env, login: Login, check: bool) -> None:
    env(**BASE)
    before = os.stat(env.path)
    login.refusal = f"Access denied with {CANARY}2"
    result = env(check=check, **{**BASE, "password": f"{CANARY}2"}, check_connection=True)
    assert result["failed"]
    assert result["actions"] == result["changed_keys"] == []
    after = os.stat(env.path)  # every attribute but the access time
    assert (after.st_ino, after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_ino,
        before.st_mode,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )
    assert os.listdir(env.path.parent) == ["db.env"]
    assert env.fails(**{**BASE, "hostname": "other"}, check_connection=True)
    # With the check skipped, the file is written.
    assert env(**{**BASE, "hostname": "other"}, check_connection=False)["changed_keys"] == ["WA_DB_HOSTNAME"]


def test_a_refused_login_creates_no_file(env: Env, login: Login) -> None:
    login.refusal = "no"
    assert env(**BASE, check_connection=True)["failed"]
    assert os.listdir(env.path.parent) == []


def test_check_connection_always_checks_at_every_run(env: Env, login: Login) -> None:
    for _run in range(2):
        env(**BASE, check_connection="always")
    env(state="absent", check_connection="always")
    assert login.asked == [ENVIRONMENT, ENVIRONMENT]


def test_a_login_that_is_not_in_force_is_checked_without_a_change(env: Env, engine: FakeDocker, login: Login) -> None:
    env(**BASE)
    given: dict[str, t.Any] = {**BASE, "check_connection": True, "containers": True, "docker_host": engine.host}
    one = engine.container("biz-wacore-1", environment={**ENVIRONMENT, "WA_CONFIG_ON_DB": "1"})
    engine.images["registry.lab:5000/whatsapp/coreapp:v2.53.4"] = {"WA_CONFIG_ON_DB": "1"}
    env(**given)
    assert login.asked == []
    one["Config"]["Env"].append("WA_DB_CONNECTION_IDLE_TIMEOUT=1")
    assert env(**given)["stale_containers"]
    assert login.asked == []
    one["Config"]["Env"].append(f"WA_DB_PASSWORD={OLD_CANARY}")
    env(**given)
    assert login.asked == [ENVIRONMENT]
    login.refusal = f"no {OLD_CANARY}"
    env.fails(**given)


def test_the_login_check_uses_the_overrides_of_the_compose_file(env: Env, engine: FakeDocker, login: Login) -> None:
    env(**BASE)
    labels = compose_file(
        env.path.parent,
        {"wacore": {"env_file": ["db.env"], "environment": {"WA_DB_HOSTNAME": "x"}}, "waweb": {"env_file": ["db.env"]}},
    )
    own = {**ENVIRONMENT, "WA_DB_HOSTNAME": "proxy"}
    engine.container("biz-wacore-1", service="wacore", environment=own, labels=labels)
    engine.container("biz-waweb-1", image="x/web:v1", service="waweb", environment=ENVIRONMENT, labels=labels)
    env(**{**BASE, "password": f"{CANARY}2"}, check_connection=True, containers=True, docker_host=engine.host)
    assert [(one["WA_DB_HOSTNAME"], one["WA_DB_PASSWORD"]) for one in login.asked] == [
        ("proxy", f"{CANARY}2"),
        ("db", f"{CANARY}2"),
    ]


def test_check_connection_refuses_other_values(env: Env) -> None:
    assert "check_connection must be one of: false, true, always" in env(**BASE, check_connection="sometimes")["msg"]
