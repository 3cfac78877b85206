# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of wa_backup: what is kept, what check mode says, and what is said where the client makes no settings backup."""

from __future__ import annotations

import base64
import json
import time
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.plugins.action import ActionBase
from ansible.template import Templar
from inventory_samples import inventory

from ansible_collections.waba.onprem.plugins.action import wa_backup
from ansible_collections.waba.onprem.plugins.plugin_utils import _backup as backup

PASSWORD, DB_ENV = "Canary-backup-1", b"WA_DB_PASSWORD=Canary-db\n"
DUMP = b"the dump"
CONTENTS = {
    "files": [{"path": "/opt/db.env", "mode": "0600", "owner": "root", "content": base64.b64encode(DB_ENV).decode()}],
    "missing": ["/opt/gone.yml"],
    "images": [{"name": "r/web:v2.53.4", "id": "sha256:1", "bytes": 1024}],
    "version": "2.53.4",
    "registration": {"core": "in the database"},
    "fingerprints": {},
    "media": {"folder": "/m", "marker": "9f", "count": 1, "bytes": 5, "list": base64.b64encode(b"gz").decode()},
}
LINES = [
    "settings backup",
    "1 files of h1 (25 B)",
    "not there: /opt/gone.yml on h1",
    "list of 1 media (5 B); the files in /m are yours to copy",
    "registration: in the database",
]


class Driver:
    """The action plugin at the leader of two hosts, with modules that return given results."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: dict[str, t.Any] = {
            "wa_backup_dir": str(root),
            "wa_backup_password": PASSWORD,
            "wa_media_volume_driver": "netshare",
            "wa_db_env_extra_secrets": {"WA_WEB_JWT_CRYPTO_KEY": "Canary-key"},
        }
        self.part: dict[str, t.Any] = {}
        self.check_mode = False
        self.settings: dict[str, t.Any] = {"settings": "{}"}
        self.dump: dict[str, t.Any] = {}
        self.calls: list[tuple[str, dict[str, t.Any]]] = []
        monkeypatch.setattr(ActionBase, "run", lambda *_arguments: {})

    def __call__(self, host: str = "h1", **arguments: t.Any) -> dict[str, t.Any]:
        variables = inventory(host, ["h1", "h2"], **self.given).variables
        variables["hostvars"]["h2"]["__wa_backup_part"] = self.part
        action = object.__new__(wa_backup.ActionModule)
        action._task = SimpleNamespace(args=arguments, check_mode=self.check_mode, no_log=False)
        action._connection = SimpleNamespace(_play_context=SimpleNamespace(no_log=False))
        action._templar = Templar(loader=DataLoader(), variables=variables)
        action._execute_module = self.execute
        found: dict[str, t.Any] = action.run(None, dict(variables))
        return found

    def execute(self, module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        name, operation = module_name.rpartition(".")[2], module_args.get("operation", "")
        self.calls.append((operation or name, module_args))
        if name == "wa_webapp":
            assert module_args["backup_password"] == PASSWORD
            return dict(self.settings)
        if name == "wa_db_dump":
            base = f"{module_args['dest']}/{module_args['name']}"
            digest = "75ee7c5eb53fcec62bbf2fb893f12e0bc15eee8f0b1d7bd3f78e4d2f0e1d3a3c"
            written = {"bytes": len(DUMP), "sha256": digest, "source_bytes": 4096}
            return {**written, "dest": f"{base}.sql.zst", "manifest": f"{base}.json", **self.dump}
        return {
            "read": {"contents": json.loads(json.dumps(CONTENTS))},
            "part": {"part": base64.b64encode(DUMP[module_args.get("offset", 0) :][:3]).decode()},
            "save_images": {"bytes": len(DUMP)},
            "remove": {},
        }[operation]


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    return Driver(tmp_path, monkeypatch)


def manifest(found: dict[str, t.Any]) -> dict[str, t.Any]:
    loaded: dict[str, t.Any] = json.loads((Path(found["dest"]) / "manifest.json").read_text())
    return loaded


def test_files_are_kept_encrypted_and_the_settings_as_the_client_made_them(driver: Driver) -> None:
    found = driver(list_media=True)
    folder = Path(found["dest"])
    assert found["lines"][1:] == LINES
    assert found["lines"][0].startswith(f"support: {folder} (")
    assert (found["changed"], found["settings"]) == (True, str(folder / "settings.json"))
    assert (folder / "settings.json").read_text() == "{}"
    secret = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
    assert secret.decrypt((folder / "h1/opt/db.env").read_text()) == DB_ENV
    kept = manifest(found)
    assert (kept["missing"], kept["deployment"], kept["database_server"]) == (["h2"], "support", "db.example.com:3306/")
    assert (kept["media"]["marker"], (folder / kept["media"]["file"]).read_bytes()) == ("9f", b"gz")
    everything = str(found) + "".join(
        one.read_bytes().decode(errors="replace") for one in folder.rglob("*") if one.is_file()
    )
    assert [secret for secret in (PASSWORD, "Canary-db") if secret in everything] == []


def test_the_other_members_parts_are_taken(driver: Driver) -> None:
    driver.part = driver("h2", part="host")
    assert driver.part["contents"]["host"] == "h2"
    assert driver.part["contents"]["files"][0]["text"].startswith("$ANSIBLE_VAULT")
    found = driver()
    assert (sorted(manifest(found)["hosts"]), manifest(found)["missing"]) == (["h1", "h2"], [])
    assert (Path(found["dest"]) / "h2/opt/db.env").is_file()


def test_check_mode_says_what_would_be_kept_and_writes_nothing(driver: Driver, tmp_path: Path) -> None:
    driver.check_mode = True
    found = driver(list_media=True, include=["images", "database"])
    assert found["lines"] == [
        *(f"would keep: {line}" for line in LINES),
        "would keep: 1 images (1.0 KiB on the host)",
        "would keep: copy of the database, made while the client runs (4.0 KiB there)",
    ]
    assert (found["changed"], found["dest"], list(tmp_path.iterdir())) == (True, "", [])
    makes = [name for name, _options in driver.calls if name not in ("read", "settings_backup", "remove")]
    assert makes == ["save_images", "wa_db_dump"]


def test_check_mode_fails_for_a_copy_that_could_not_be_made(driver: Driver, tmp_path: Path) -> None:
    driver.dump = {"failed": True, "msg": "database dump: pg_dump is not on this host."}
    fails = "no copy of the database was made: database dump: pg_dump is not on this host."
    for check_mode, rest in ((True, "Nothing was changed."), (False, "The other parts are in ")):
        driver.check_mode = check_mode
        found = driver(include=["images", "database"])
        assert found["msg"].startswith(f"h1: {fails} {rest}")
        lines = [one.removeprefix("would keep: ") for one in found["lines"]]
        assert "no copy of the database: database dump: pg_dump is not on this host" in lines
        assert "1 images (1.0 KiB on the host)" in lines
        assert (list(tmp_path.iterdir()) == []) is check_mode


def test_a_full_disk_of_the_controller_costs_the_copy_alone(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wa_backup.ActionModule, "_fetch", full)
    found = driver(include=["database"])
    assert "no copy of the database was made: [Errno 28] No space left on device. The other parts" in found["msg"]
    assert manifest(found)["settings"]["file"] == "settings.json"


def test_a_client_that_does_not_answer_fails_the_run_and_the_rest_is_kept(driver: Driver, tmp_path: Path) -> None:
    driver.settings = {"failed": True, "msg": "API https://w: no answer."}
    found = driver(cure="Try again.")
    assert found["msg"] == (
        f"h1: no settings backup was made: API https://w: no answer. The other parts are in {found['dest']}. Try again."
    )
    assert (found["failed"], found["settings"], manifest(found)["settings"]) == (True, "", None)
    assert manifest(found)["problems"] == {"settings backup": "API https://w: no answer"}


def test_the_backup_of_a_run_that_was_cut_off_counts_for_an_hour(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = driver()
    driver.settings = {"failed": True, "msg": "gone"}
    again = driver(accept_earlier=True)
    assert (again["changed"], again["settings"]) == (False, first["settings"])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    assert driver(accept_earlier=True)["failed"]


CURE = "Make room in it, or set it to a folder of the controller that you may write"


@pytest.mark.parametrize("step", ["open", "finish"])
def test_a_folder_that_is_full_is_named_and_nothing_is_left_in_it(
    driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_arguments: t.Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup.Writer, step, fail)
    root = driver.given["wa_backup_dir"]
    assert driver() == {"failed": True, "msg": f"h1: wa_backup_dir {root}: No space left on device. {CURE}."}
    assert [one for one in Path(root).rglob("*") if one.name != "support"] == []


def test_a_folder_that_cannot_be_made_is_named(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def fail(path: Path, *arguments: t.Any, **options: t.Any) -> None:
        if path.name.endswith(".part"):
            raise OSError(13, "Permission denied", str(path))
        make(path, *arguments, **options)

    root = driver.given["wa_backup_dir"]
    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", fail)
        assert driver()["msg"].startswith(f"h1: wa_backup_dir {root}: Permission denied: {root}/support/")
    driver.given["wa_backup_dir"] = str(tmp_path / "file")
    (tmp_path / "file").touch()
    assert driver()["msg"] == f"h1: wa_backup_dir {tmp_path}/file: File exists: {tmp_path}/file. {CURE}."


def test_images_and_a_copy_of_the_database_are_brought_in_parts(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = driver(include=["images"])
    kept = manifest(found)["images"]
    assert (Path(found["dest"]) / kept["file"]).read_bytes() == DUMP
    names = [name for name, _options in driver.calls]
    assert names == ["read", "settings_backup", "remove", "save_images", "part", "part", "part", "remove"]
    removed = driver.calls[-1][1]["paths"]
    assert removed == ["/var/lib/waba/dumps/support.backup-*"]


def test_a_copy_that_arrives_otherwise_than_it_was_written_is_none_and_the_rest_is_kept(driver: Driver) -> None:
    found = driver(include=["images", "database"])
    folder, kept = Path(found["dest"]), manifest(found)
    assert found["msg"].startswith("h1: no copy of the database was made: copy /var/lib/waba/dumps/support.backup-")
    assert "SHA-256" in found["msg"]
    assert (kept["database"], list(kept["problems"])) == (None, ["copy of the database"])
    assert kept["settings"]["file"] == "settings.json"
    assert [one.name for one in folder.glob("support.backup-*")] == [kept["images"]["file"]]
    assert driver.calls[-1][0] == "remove"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"wa_backup_dir": None}, "h1: wa_backup_dir: not set; expected a folder of the controller."),
        ({"wa_backup_password": None}, "h1: wa_backup_password: not set; expected 12 characters or more."),
        ({"wa_backup_password": "short"}, "h1: wa_backup_password: shorter; expected 12 characters or more."),
        ({"wa_backup_keep": 0}, "h1: wa_backup_keep: "),
    ],
)
def test_values_are_refused_before_anything_is_written(
    driver: Driver, tmp_path: Path, given: dict[str, t.Any], message: str
) -> None:
    driver.given.update(given)
    assert driver()["msg"].startswith(message)
    assert list(tmp_path.iterdir()) == []
