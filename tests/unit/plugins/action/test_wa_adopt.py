# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_adopt: what it displays, what it writes and when, and that neither contains a secret."""

from __future__ import annotations

import json
import tempfile
import typing as t
import zlib
from pathlib import Path

import pytest
import yaml
from adopt_samples import ENV, container, render, single, survey
from ansible import constants, context
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.plugins.action import ActionBase
from ansible.template import Templar

from ansible_collections.waba.onprem.plugins.action import wa_adopt

CANARY = ENV["WA_DB_PASSWORD"]
SECRET = VaultSecret(b"sesame")
VAULT = VaultLib([("default", SECRET)])


def loader() -> DataLoader:
    """A loader with the vault password of a run."""
    made = DataLoader()
    made.set_vault_secrets([("default", SECRET)])
    return made


class Driver:
    """The action plugin with results of `read`, and the lines that it displays."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.dest = folder / "inventory"
        self.lines: list[str] = []
        self.connection: dict[str, t.Any] = {}  # how each host is reached
        self.readings: dict[str, dict[str, t.Any]] = {}
        self.backups: dict[str, dict[str, t.Any]] = {}  # results of the operation `backup`
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
        monkeypatch.setattr(wa_adopt.display, "display", self.lines.append)
        monkeypatch.setattr(context, "CLIARGS", ImmutableDict(vault_password_files=["/v w"]))

    def read(self, **surveys: dict[str, t.Any]) -> None:
        for host, found in surveys.items():
            for number, one in enumerate(found["containers"]):  # as on real hosts no two have one id
                one["id"] = one["id"].replace("0" * 40, f"{number:08x}{zlib.crc32(host.encode()):032x}")
            path = self.folder / f"{host}.vault"
            path.write_bytes(VAULT.encrypt(json.dumps(found), SECRET))
            self.readings[host] = {"survey": str(path)}

    def __call__(self, check_mode: bool = False, **arguments: t.Any) -> dict[str, t.Any]:
        """Writes the inventory and the report, as the playbook does; returns both results in one."""
        self.lines.clear()
        given = {"operation": "write", "readings": "reading", "dest": str(self.dest)}
        found = self.run({**given, **arguments}, check_mode)
        if found.get("failed"):
            return found
        report = {**given, **arguments, "operation": "report", "readings": "backup", "written": found}
        shown = self.run(report, check_mode)
        lists = {key: [*found[key], *shown[key]] for key in ("actions", "diff")}
        return {**found, **shown, **lists, "changed": found["changed"] or shown["changed"]}

    def run(self, arguments: dict[str, t.Any], check_mode: bool = False) -> dict[str, t.Any]:
        action = object.__new__(wa_adopt.ActionModule)
        action._task = type("Task", (), {"args": arguments, "check_mode": check_mode, "diff": True})
        action._loader = loader()
        action._templar = Templar(loader=action._loader, variables={})
        hostvars = {
            host: {"reading": reading, "backup": self.backups.get(host, {}), "ansible_port": 22, **self.connection}
            for host, reading in self.readings.items()
        }
        found: dict[str, t.Any] = action.run(None, {"ansible_play_hosts_all": list(hostvars), "hostvars": hostvars})
        return found

    def files(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.dest))
            for path in self.dest.rglob("*")
            if path.is_file() and ".adopted" not in path.parts
        )


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Driver:
    made = Driver(monkeypatch, tmp_path)
    made.read(h1=single())
    return made


WRITTEN = ["host_vars/h1/vars.yml", "host_vars/h1/vault.yml", "inventory.yml", "report.md"]


def test_the_report_is_displayed_as_lines_and_written_as_they_are(driver: Driver) -> None:
    found = driver()
    assert (found["changed"], found["deployments"], driver.files()) == (True, ["h1"], WRITTEN)
    report = (driver.dest / "report.md").read_text().splitlines()
    assert report[:3] == ["# Adoption report", "", "No host was changed. No container was restarted."]
    assert driver.lines[: len(report)] == found["report"] == report
    assert driver.lines[len(report) :] == [
        "",
        *(f"Written: {driver.dest}/{name}" for name in ("inventory.yml", *WRITTEN[:2], "report.md")),
    ]
    assert [line for line in driver.lines if "\n" in line] == []
    modes = {name: (driver.dest / name).stat().st_mode & 0o777 for name in WRITTEN}
    assert modes == {**dict.fromkeys(WRITTEN, 0o600), "report.md": 0o640}


def test_the_compose_files_are_at_the_end_of_the_file_and_not_displayed(driver: Driver) -> None:
    driver.read(h1=single(""))
    found = driver()
    lines = (driver.dest / "report.md").read_text().splitlines()
    written = {**yaml.safe_load((driver.dest / "host_vars/h1/vars.yml").read_text()), "ansible_port": 22}
    variables = {key: value for key, value in written.items() if value}
    text = render({"h1": variables}, "h1", {"all": ["h1"]})
    title = "## The role's Compose file for h1"
    assert lines == [*found["report"], "", title, "", "```yaml", *text.splitlines(), "```"]
    assert driver.lines[: len(found["report"]) + 2] == [
        *found["report"],
        "",
        f"Written: {driver.dest}/inventory.yml",
    ]


def test_what_a_host_calls_its_things_is_no_template(driver: Driver) -> None:
    driver.read(
        h1=survey(container("wacore", image="{{ 7 * 7 }}/coreapp:v2.51.2"), container("waweb", image="x/web:v2.51.2"))
    )
    driver()
    variables = (driver.dest / "host_vars/h1/vars.yml").read_text()
    assert ('coreapp: !unsafe "{{ 7 * 7 }}/coreapp"' in variables, "49" in variables) == (True, False)


def test_commands_have_the_options_of_this_run(driver: Driver) -> None:
    driver()
    end = driver.lines[driver.lines.index("Next:") + 2]
    assert end == f"    ansible-playbook -i {driver.dest}/inventory.yml --vault-password-file '/v w' waba.onprem.backup"
    driver.backups["h1"] = {"settings": {"h1": {"file": "/b/settings.json", "problem": ""}}}
    driver()
    end = driver.lines[driver.lines.index("Next:") + 2]
    assert end.endswith("--vault-password-file '/v w' waba.onprem.provision --check --diff")


def test_a_second_adoption_writes_nothing_and_says_so(driver: Driver) -> None:
    driver()
    before = {path: path.stat().st_mtime_ns for path in driver.dest.rglob("*")}
    found = driver()
    assert (found["changed"], found["actions"], found["diff"]) == (False, [], [])
    assert driver.lines[0] == "# Adoption report"
    assert driver.lines[-1] == f"Nothing was written: {driver.dest} is up to date."
    assert {path: path.stat().st_mtime_ns for path in driver.dest.rglob("*")} == before


def test_check_mode_writes_nothing_and_displays_the_report(driver: Driver) -> None:
    found = driver(check_mode=True)
    assert (found["changed"], driver.dest.exists()) == (True, False)
    assert driver.lines[0] == "# Adoption report"
    assert driver.lines[-1] == f"Check mode: would write: {driver.dest}/report.md"


def test_a_changed_host_is_refreshed_with_a_diff_and_edits_are_kept(driver: Driver) -> None:
    driver()
    file = driver.dest / "host_vars/h1/vars.yml"
    file.write_text(file.read_text().replace("wa_db_env_username: wa", "wa_db_env_username: mine") + "wa_own: 1\n")
    driver.read(h1=single(env={**ENV, "WA_DB_PORT": "3307"}))
    found = driver()
    text = file.read_text()
    assert ("wa_db_env_port: 3307" in text, "wa_db_env_username: mine" in text, "wa_own: 1" in text) == (True,) * 3
    assert "Kept as edited: host_vars/h1/vars.yml: wa_db_env_username" in driver.lines
    [difference] = [one for one in found["diff"] if one["before_header"] == "host_vars/h1/vars.yml"]
    lines = [line for line in difference["after"].splitlines() if line not in difference["before"].splitlines()]
    assert lines == ["wa_db_env_port: 3307"]


def test_without_a_vault_password_nothing_is_read(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wa_adopt.ActionModule, "_vault", VaultLib())
    found = driver.run({"operation": "read"})
    assert (found["failed"], found["msg"]) == (
        True,
        "secrets of the clients: there is no vault password to encrypt them with. Nothing was read. Run adopt.yml again with "
        "--vault-password-file",
    )


def test_no_secret_is_in_lines_result_or_clear_files(driver: Driver) -> None:
    files = [f"/srv/{CANARY}/db.env"]
    own = container(
        "waweb",
        "",
        mounts=[["volume", "media", "/usr/local/wamedia"]],
        environment={
            "WA_API_KEY": "Canary-api-key",
            "HOOK": "https://u:Canary-url@example.com",
            "WA_DB_USERNAME": CANARY,
        },
        env_files=files,
    )
    core = container(
        "wacore",
        "",
        env_files=files,
        environment={"WA_CONFIG_ON_DB": None, "NOTE": f"x{CANARY}x", "WA_DB_USERNAME": CANARY},
        labels={"key": CANARY},
        mounts=[["volume", "media", "/usr/local/wamedia"], ["bind", "/x", f"/{CANARY}"]],
    )
    found = survey(core, own, env={**ENV, "WA_DB_USERNAME": CANARY})
    found["files"][0].update(path=files[0], target=files[0])
    driver.read(h1=found)
    result = driver()
    assert driver.lines[8] == "2. h1: the registration of the number exists only inside the container wacore"
    clear = [path.read_text() for path in driver.dest.rglob("*") if path.is_file()]
    assert "Canary" not in "".join([*driver.lines, json.dumps(result), *clear])
    assert "    - /srv/<hidden>/db.env" in (driver.dest / "report.md").read_text().splitlines()


@pytest.mark.parametrize("name", ["whatsapp", "whatsapp-1"])
def test_a_host_that_is_called_as_the_password_is_adopted(driver: Driver, name: str) -> None:
    driver.readings.clear()
    found = single("whatsapp", env={**ENV, "WA_DB_PASSWORD": "whatsapp"}, autostart=[UNIT])
    driver.read(**{name: found})
    for changed in (True, False):
        made = driver()
        assert (made["deployments"], made["leaders"], made["changed"]) == ([name], {name: [name]}, changed)
        assert f"1. {name}: no settings backup is known" in driver.lines[6]
        assert "   - /u: docker start <hidden>-wacore-1" in driver.lines


UNIT = {"kind": "unit", "path": "/u", "line": "docker start whatsapp-wacore-1"}


def test_how_a_host_is_reached_is_carried_over_and_passwords_are_encrypted(driver: Driver) -> None:
    driver.connection = {
        "ansible_ssh_host": "192.0.2.1",  # the old name
        "ansible_ssh_port": 2222,
        "ansible_become_pass": "Canary-become",
        "ansible_ssh_common_args": "-o ProxyCommand='sshpass -p Canary-jump ssh -W %h:%p jump'",
        "ansible_ssh_private_key_file": "~/.ssh/id",
        "ansible_ssh_host_key_rsa_public": "a fact",
        "ansible_check_mode": False,
        "wa_own": 1,
    }
    found = driver()
    inventory = yaml.safe_load((driver.dest / "inventory.yml").read_text())
    reached = {"ansible_host": "192.0.2.1", "ansible_port": 2222, "ansible_ssh_private_key_file": "~/.ssh/id"}
    assert inventory["all"]["hosts"] == {"h1": reached}
    vault = yaml.safe_load(VAULT.decrypt((driver.dest / "host_vars/h1/vault.yml").read_bytes()))
    names = ["ansible_become_pass", "ansible_ssh_common_args"]
    assert {key: vault[key] for key in names} == {key: driver.connection[key] for key in names}
    clear = [path.read_text() for path in driver.dest.rglob("*") if path.is_file()]
    assert "Canary" not in "".join([*driver.lines, json.dumps(found), *clear])
    assert driver()["changed"] is False


def test_a_run_that_was_cut_off_is_completed_but_not_in_check_mode(driver: Driver) -> None:
    unfinished = driver.dest / ".adopted/unfinished.json"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_text(json.dumps([["host_vars/h9/vars.yml", "a: 1\n", 0o600]]))
    driver(check_mode=True)
    assert (unfinished.exists(), (driver.dest / "host_vars").exists()) == (True, False)
    driver()
    assert (unfinished.exists(), (driver.dest / "host_vars/h9/vars.yml").read_text()) == (False, "a: 1\n")


def test_a_host_that_was_not_read_is_an_action(driver: Driver) -> None:
    driver.readings["h2"] = {"failed": True, "msg": "no\n permission"}
    driver()
    assert driver.lines[8:10] == ["2. h2: it was not read", "   - no permission"]


def test_hosts_without_a_client_write_no_file(driver: Driver) -> None:
    driver.read(h1=survey())
    found = driver()
    assert (found["changed"], driver.dest.exists()) == (False, False)
    assert "There is nothing to adopt. provision.yml sets up a new client." in driver.lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dest": ""}, "wa_adopt_dir: not set"),
        ({"operation": "x"}, "option operation: 'x'; expected one of read, write, backup"),
    ],
)
def test_wrong_options_are_refused(driver: Driver, arguments: dict[str, t.Any], message: str) -> None:
    found = driver(**arguments)
    assert (found["failed"], found["msg"].startswith(message), driver.lines) == (True, True, [])


class Reader(wa_adopt.ActionModule):
    """The action plugin without a host."""

    def __init__(self) -> None:
        self._connection = type("Connection", (), {"_play_context": type("Context", (), {"no_log": False})()})()


def test_what_was_read_is_on_disk_encrypted_from_the_first_byte(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The folder of temporary files outlives a controller that is killed."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(wa_adopt, "keep_alive", lambda *_arguments: None)
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    reader, found, written = Reader(), single(), list[bytes]()
    monkeypatch.setattr(reader, "_execute_module", lambda **_options: {"survey": found}, raising=False)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", watched(written))
    reader._loader = loader()
    reader._task = type("Task", (), {"no_log": False, "args": {"operation": "read"}})()
    result = reader.run(None, {})
    assert result == {"changed": False, "actions": [], "survey": str(tmp_path / Path(result["survey"]).name)}
    [path] = tmp_path.iterdir()
    assert (path.stat().st_mode & 0o777, path.read_bytes()[:14]) == (0o600, b"$ANSIBLE_VAULT")
    assert [data[:14] for data in written] == [b"$ANSIBLE_VAULT"]
    assert json.loads(VAULT.decrypt(path.read_bytes()))["containers"] == found["containers"]


@pytest.mark.parametrize("right", [True, False])
def test_a_password_that_a_client_has_refused_is_tried_at_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: bool
) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(wa_adopt, "keep_alive", lambda *_arguments: None)
    monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})
    passwords: list[str | None] = []

    def read(module_args: dict[str, t.Any], **_options: t.Any) -> dict[str, t.Any]:
        passwords.append(module_args.get("api_password"))
        evidence = {} if passwords[-1] and right else {"login": "login" if passwords[-1] else "no_login"}
        return {"survey": {**single(), "evidence": {"biz": {"problems": ["why"] if evidence else [], **evidence}}}}

    found = []
    for host in ("h1", "h2"):
        reader = Reader()
        monkeypatch.setattr(reader, "_execute_module", read, raising=False)
        reader._loader = loader()
        reader._task = type("Task", (), {"no_log": False, "args": {"operation": "read", "api_password": CANARY}})()
        survey = Path(reader.run(None, {"inventory_hostname": host})["survey"])
        found.append(json.loads(VAULT.decrypt(survey.read_bytes()))["evidence"]["biz"]["problems"])
    refused = "nodes: not asked, since wa_api_password was refused on h1"
    assert found == ([[], []] if right else [["why"], [refused]])
    assert passwords == [None, CANARY, None, *([CANARY] if right else [])]
    assert all(path.read_bytes().startswith(b"$ANSIBLE_VAULT") for path in tmp_path.iterdir())


def watched(written: list[bytes]) -> t.Callable[..., t.Any]:
    """Temporary files of which each write is listed."""
    real = tempfile.NamedTemporaryFile

    def make(*arguments: t.Any, **options: t.Any) -> t.Any:
        file: t.Any = real(*arguments, **options)
        write = file.write

        def list_and_write(data: bytes) -> t.Any:
            written.append(data)
            return write(data)

        file.write = list_and_write
        return file

    return make


def test_batches_add_up(driver: Driver) -> None:
    driver()
    driver.readings.clear()
    driver.read(h2=single(env={**ENV, "WA_DB_NAME_PREFIX": "x_"}))
    for each in ("first", "again"):
        found = driver()
        assert (found["deployments"], found["changed"]) == (["h2"], each == "first")
        assert "Read in this run: h2. Of earlier runs: h1." in driver.lines
        assert [line for line in driver.lines if line.startswith("## h")] == [
            "## h1: single, version 2.51.2",
            "## h2: single, version 2.51.2",
        ]
    inventory = yaml.safe_load((driver.dest / "inventory.yml").read_text())
    assert list(inventory["all"]["hosts"]) == ["h1", "h2"]
    report = (driver.dest / "report.md").read_text()
    assert report.splitlines()[: len(driver.lines) - 2] == driver.lines[:-2]


def test_an_adopted_inventory_with_a_host_for_each_client_of_a_machine_is_read_again(driver: Driver) -> None:
    ours = [
        container(name, project, environment=env, files=[f"/srv/{project}/docker-compose.yml"])
        for project, env in (("biz", {}), ("biz2", {"WA_DB_NAME_PREFIX": "two_"}))
        for name in ("wacore", "waweb")
    ]
    for number, one in enumerate(ours):
        one["id"] = f"{number:064x}"
    driver.read(h1=survey(*ours))
    first = driver()
    assert (first["deployments"], first["leaders"]) == (["h1-biz", "h1-biz2"], {"h1": ["h1-biz", "h1-biz2"]})
    for failed in ({}, {"h1-biz2": {"msg": "no permission"}}):
        driver.readings.clear()
        driver.read(**{"h1-biz": survey(*ours), "h1-biz2": survey(*ours)})
        driver.readings.update(failed)
        found = driver()
        reader = "h1-biz" if failed else "h1-biz2"
        assert (found["deployments"], found["leaders"]) == (first["deployments"], {reader: first["deployments"]})
        assert (found["changed"], driver.lines[6]) == (
            False,
            "1. h1-biz, h1-biz2: no settings backup is known: if the registration is lost, the number must be registered again",
        )
        assert "Nothing was written" in driver.lines[-1]


def test_a_client_without_a_settings_backup_is_the_first_entry(driver: Driver) -> None:
    driver.backups["h1"] = {
        "settings": {"h1": {"file": "", "problem": "h1: no settings backup was made: it does not answer"}}
    }
    driver()
    assert driver.lines[6:9] == [
        "1. h1: no settings backup is known: if the registration is lost, the number must be registered again",
        "   - h1: no settings backup was made: it does not answer",
        "   - To do: Set wa_api_password, wa_backup_password and wa_backup_dir, and run adopt.yml again without --check, or backup.yml",
    ]
    driver.backups["h1"] = {"settings": {"h1": {"file": "/backups/h1/settings.json"}}}
    driver()
    assert driver.lines[6] == "Nothing."
    driver.backups.clear()
    driver()  # it is known from now on
    assert driver.lines[6] == "Nothing."


class Backups:
    """The action `wa_backup`: how it was called, and what it returns."""

    def __init__(self, *results: dict[str, t.Any]) -> None:
        self.results = list(results)
        self.calls: list[tuple[bool, dict[str, t.Any]]] = []
        self.action_loader = self

    def has_plugin(self, name: str) -> bool:
        return name == "waba.onprem.wa_backup"

    def get(self, name: str, task: t.Any, **_others: t.Any) -> t.Any:
        assert (name, task.args) == ("waba.onprem.wa_backup", {"part": "deployment"})

        def run(task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
            self.calls.append((task.check_mode, task_vars))
            return self.results.pop(0)

        return type("Action", (), {"run": staticmethod(run), "cleanup": staticmethod(lambda: None)})


class Copied:
    """A task that can be copied."""

    def __init__(self, args: dict[str, t.Any]) -> None:
        self.args, self.check_mode = args, False

    def copy(self) -> Copied:
        return Copied(self.args)


@pytest.mark.parametrize(
    ("results", "checks", "changed", "expected"),
    [
        (({}, {"settings": "/b/settings.json"}), [True, False], True, {"file": "/b/settings.json", "problem": ""}),
        (({"failed": True, "msg": "no login"},), [True], False, {"file": "", "problem": "no login"}),
    ],
)
def test_a_settings_backup_is_made_as_backup_yml_makes_it_and_nothing_is_kept_without_a_login(
    driver: Driver, results: t.Any, checks: list[bool], changed: bool, expected: dict[str, str]
) -> None:
    driver()
    action, backups = object.__new__(wa_adopt.ActionModule), Backups(*results)
    action._task = Copied({"operation": "backup", "dest": str(driver.dest), "names": ["h1"]})
    action._loader = loader()
    action._templar = Templar(loader=action._loader, variables={})
    action._shared_loader_obj, action._connection, action._play_context = backups, None, None
    given = {
        "wa_backup_dir": str(driver.folder / "backups"),
        "wa_backup_password": "Canary-backup",
        "inventory_hostname": "x",
        "wa_deployment": "of the inventory that is read",
    }
    found = action.run(None, given)
    assert found == {"changed": changed, "settings": {"h1": expected}}
    assert [check for check, _variables in backups.calls] == checks
    variables = backups.calls[-1][1]
    assert (variables["inventory_hostname"], "wa_deployment" in variables) == ("h1", False)
    assert (variables["wa_env_file"], variables["wa_db_env_password"]) == ("/srv/biz/db.env", CANARY)
    assert (variables["groups"], list(variables["hostvars"])) == ({"all": ["h1"]}, ["h1"])


def test_no_backup_is_tried_with_a_password_that_was_refused(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    driver()
    action, backups = object.__new__(wa_adopt.ActionModule), Backups()
    action._task = Copied({"operation": "backup", "dest": str(driver.dest), "names": ["h1"]})
    action._loader = loader()
    action._templar = Templar(loader=action._loader, variables={})
    with action._tried_passwords() as tried:
        tried[CANARY] = "h9"
    given = {"wa_backup_dir": "/b", "wa_backup_password": "Canary-backup", "wa_api_password": CANARY}
    problem = "wa_api_password was refused on h9"
    assert action.run(None, given) == {"changed": False, "settings": {"h1": {"file": "", "problem": problem}}}
    assert backups.calls == []


def test_a_client_with_a_settings_backup_gets_no_other(driver: Driver) -> None:
    driver()
    folder = driver.folder / "backups" / "h1" / "20260301T021000Z"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    manifest = {
        "format": 1,
        "made_at": 1.0,
        "database_server": "db.example.com:3306/",
        "settings": {"file": "settings.json"},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    action, backups = object.__new__(wa_adopt.ActionModule), Backups()
    action._task = Copied({"operation": "backup", "dest": str(driver.dest), "names": ["h1"]})
    action._loader = loader()
    action._templar = Templar(loader=action._loader, variables={})
    found = action.run(None, {"wa_backup_dir": str(driver.folder / "backups"), "wa_backup_password": "Canary-backup"})
    assert found == {"changed": False, "settings": {"h1": {"file": str(folder / "settings.json"), "problem": ""}}}
    assert backups.calls == []
