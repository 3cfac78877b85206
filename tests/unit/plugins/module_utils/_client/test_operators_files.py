# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_client: the version in an operator's own Compose files, and the file of the one-shot migration."""

from __future__ import annotations

import json
import os
import pwd
import stat
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.basic import AnsibleModule
from fake_compose import FakeCompose

from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER

MODULE = "wa_client"
SECRET = "Canary-86-Pw"
IMAGES = {"wacore": "r/coreapp", "waweb": "r/web"}
UNCHANGED = {"changed": False, "actions": []}
Run = t.Callable[..., "dict[str, t.Any]"]


def compose_text(tag: str, web_tag: str = "") -> str:
    """An operator's Compose file whose client has this tag, with a database beside it."""
    return (
        "# The client of the shop\n"
        "services:\n"
        f"  wacore:\n    image: r/coreapp:{tag}\n    environment: {{API_TOKEN: {SECRET}, COREAPP_HOSTNAME: wacore}}\n"
        f'  waweb:\n    image: "r/web:{web_tag or tag}"\n    depends_on: [wacore]\n    profiles: [site]\n'
        "  db:\n    image: db:2.51.2\n"
    )


def env_text(version: str) -> str:
    """An operator's .env with this version."""
    return f"# Kept by hand\nAPI_TOKEN='{SECRET}'\nWA_API_VERSION={version}\nTZ=UTC\n"


VARIABLE = compose_text("v${WA_API_VERSION}")


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch) -> FakeCompose:
    found = FakeCompose(environment={})
    monkeypatch.setattr(
        AnsibleModule, "run_command", lambda _module, *arguments, **options: found(*arguments, **options)
    )
    return found


def content(folder: Path) -> dict[str, tuple[bytes, int, int, int]]:
    """Content, mode, inode and time of the last change of each file of a folder."""
    found = {}
    for path in folder.iterdir():
        seen = path.stat()
        found[path.name] = (path.read_bytes(), stat.S_IMODE(seen.st_mode), seen.st_ino, seen.st_mtime_ns)
    return found


class Folder:
    """The operator's folder, and the module on its project."""

    def __init__(self, path: Path, run_module: Run) -> None:
        self.path, self.run_module = path, run_module
        self.file, self.env = path / "docker-compose.yml", path / ".env"
        path.mkdir()

    def write(self, **texts: str) -> None:
        """Write files; `_` in a name stands for a dot."""
        for name, text in texts.items():
            (self.path / name.replace("_", ".")).write_bytes(text.encode())

    def paths(self, *names: str) -> list[str]:
        return [str(self.path / name) for name in names]

    def run(self, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        """One run; options set to None are omitted. Its result has no secret, and check mode changes nothing."""
        given = {
            "state": "versioned",
            "project": "biz",
            "project_dir": str(self.path),
            "compose_files": [str(self.file)],
            "images": IMAGES,
            "version": "2.53.4",
            **options,
        }
        before = content(self.path)
        found = self.run_module(MODULE, {name: value for name, value in given.items() if value is not None}, check)
        assert SECRET not in json.dumps(found)
        assert not check or content(self.path) == before
        return found

    def converge(self, **options: t.Any) -> dict[str, t.Any]:
        """Check, run, run, check: the first two results are equal, the last two are unchanged."""
        names = sorted(content(self.path))
        predicted, done = self.run(True, **options), self.run(**options)
        assert predicted == done
        assert sorted(content(self.path)) == names  # neither a draft nor a lock is left
        after = content(self.path)
        assert [self.run(**options), self.run(True, **options)] == [UNCHANGED, UNCHANGED]
        assert content(self.path) == after
        return done


Observed = t.Callable[[t.Callable[["list[str]"], None]], None]


@pytest.fixture
def observed(compose: FakeCompose, monkeypatch: pytest.MonkeyPatch) -> Observed:
    """Call a function with the command line before each call of Compose."""

    def call(look: t.Callable[[list[str]], None]) -> None:
        def run_command(_module: t.Any, command: list[str], **options: t.Any) -> tuple[int, str, str]:
            look(command)
            return compose(command, **options)

        monkeypatch.setattr(AnsibleModule, "run_command", run_command)

    return call


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for private copies."""
    found = tmp_path / "tmp"
    found.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    return found


@pytest.fixture
def folder(compose: FakeCompose, run_module: Run, tmp_path: Path) -> Folder:
    return Folder(tmp_path / "biz", run_module)


# The version


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (
            {"docker-compose_yml": VARIABLE, "_env": env_text("2.51.2")},
            {"_env": env_text("2.53.4")},
            [("_env", "WA_API_VERSION=2.51.2", "WA_API_VERSION=2.53.4")],
        ),
        (
            {"docker-compose_yml": compose_text("v${WA_API_VERSION:-2.51.2}"), "_env": env_text("2.51.2")},
            {"_env": env_text("2.53.4")},
            [("_env", "WA_API_VERSION=2.51.2", "WA_API_VERSION=2.53.4")],
        ),
        (
            {"docker-compose_yml": compose_text("v2.51.2")},
            {"docker-compose_yml": compose_text("v2.53.4")},
            [
                ("docker-compose_yml", "r/coreapp:v2.51.2", "r/coreapp:v2.53.4"),
                ("docker-compose_yml", "r/web:v2.51.2", "r/web:v2.53.4"),
            ],
        ),
        (
            {"docker-compose_yml": compose_text("v2.51.2", "v2.53.4")},
            {"docker-compose_yml": compose_text("v2.53.4")},
            [("docker-compose_yml", "r/coreapp:v2.51.2", "r/coreapp:v2.53.4")],
        ),
    ],
)
def test_the_version_is_set_where_the_files_have_it(
    folder: Folder, before: dict[str, str], after: dict[str, str], changes: list[tuple[str, str, str]]
) -> None:
    folder.write(**before)
    done = folder.converge()
    lines = [f"{folder.path / name.replace('_', '.')}: {old} becomes {new}" for name, old, new in changes]
    assert done == {
        "changed": True,
        "actions": lines,
        # No other line of the files, which may have a secret.
        "diff": {
            "before": "".join(f"{old}\n" for _name, old, _new in changes),
            "after": "".join(f"{new}\n" for _name, _old, new in changes),
            "before_header": str(folder.path),
            "after_header": str(folder.path),
        },
    }
    expected = {name.replace("_", "."): text.encode() for name, text in {**before, **after}.items()}
    assert {name: data for name, (data, *_rest) in content(folder.path).items()} == expected


def test_files_with_the_version_are_left_as_they_are(folder: Folder) -> None:
    folder.write(**{"docker-compose_yml": VARIABLE, "_env": env_text("2.53.4")})
    before = content(folder.path)
    assert folder.run() == UNCHANGED
    assert content(folder.path) == before


def test_the_command_lines(folder: Folder, compose: FakeCompose) -> None:
    folder.write(
        **{"docker-compose_yml": VARIABLE, "over_yml": "services: {}\n", "_env": "A=1\n", "b_env": env_text("1")}
    )
    files, variables = folder.paths("docker-compose.yml", "over.yml"), folder.paths(".env", "b.env")
    start = ["timeout", "30", "docker", "compose", "--project-name=biz", f"--project-directory={folder.path}"]
    end = ["--profile=*", *(f"--file={path}" for path in files), "config", "--format=json"]
    given = [f"--env-file={path}" for path in variables]
    folder.run(compose_files=files, interpolation_files=variables)
    # What is changed is given as a copy.
    (copy,) = (path for path, text in compose.interpolation if text == env_text("2.53.4"))
    assert compose.commands == [
        [*start, *given, *end, "--no-interpolate"],
        [*start, given[0], f"--env-file={copy}", *end],
    ]
    compose.commands.clear()
    folder.write(_env=env_text("2.53.4"))
    folder.run(compose_files=files)
    folder.env.unlink()
    folder.run(compose_files=files)
    dot_env = [f"--env-file={folder.env}"]
    assert compose.commands == [
        [*start, *dot_env, *end, "--no-interpolate"],
        [*start, *dot_env, *end],
        [*start, *end, "--no-interpolate"],
    ]


@pytest.mark.parametrize("check", [True, False])
def test_compose_reads_the_new_texts_from_private_copies(
    folder: Folder, observed: Observed, temporary: Path, check: bool
) -> None:
    folder.write(**{"docker-compose_yml": VARIABLE, "_env": env_text("2.51.2")})
    seen: list[tuple[int, list[str], str]] = []

    def look(command: list[str]) -> None:
        if "--no-interpolate" in command:
            assert {stat.S_IMODE(private.stat().st_mode) for private in temporary.iterdir()} <= {0o700}
            return
        (private,) = temporary.iterdir()
        texts = [path.read_text() for path in sorted(private.iterdir())]
        seen.append((stat.S_IMODE(private.stat().st_mode), texts, folder.env.read_text()))
        given = [word.partition("=")[2] for word in command if word.startswith("--env-file=")]
        assert sorted(given) == [str(path) for path in sorted(private.iterdir())]

    observed(look)
    assert folder.run(check)["changed"] is True
    assert seen == [(0o700, [env_text("2.53.4")], env_text("2.51.2"))]
    assert list(temporary.iterdir()) == []


def test_the_last_of_the_given_files_of_variables_is_edited(folder: Folder) -> None:
    folder.write(**{"docker-compose_yml": VARIABLE, "_env": env_text("2.50.0"), "site_env": "WA_API_VERSION=2.51.2\n"})
    given = folder.paths(".env", "site.env")
    assert folder.converge(interpolation_files=given)["actions"] == [
        f"{given[1]}: WA_API_VERSION=2.51.2 becomes WA_API_VERSION=2.53.4"
    ]
    assert (folder.env.read_text(), Path(given[1]).read_text()) == (env_text("2.50.0"), "WA_API_VERSION=2.53.4\n")


def test_what_compose_would_read_otherwise_is_not_written(folder: Folder, temporary: Path) -> None:
    """A variable makes the image that of another repository than the inventory has."""
    text = VARIABLE.replace("r/coreapp", "${R}/coreapp")
    folder.write(**{"docker-compose_yml": text, "_env": "R=mirror\nWA_API_VERSION=2.51.2\n"})
    before = content(folder.path)
    for check in (True, False):
        failed = folder.run(check)
        assert (failed["msg"], failed["changed"], failed["actions"]) == (
            f"version of the client in {folder.file}: Compose would still read wacore with mirror/coreapp:v2.53.4; expected "
            "r/coreapp:v2.53.4. Nothing was changed. Set the version there yourself, and run again",
            False,
            [],
        )
        assert (content(folder.path), list(temporary.iterdir())) == (before, [])


def test_a_text_that_compose_refuses_is_not_written(
    folder: Folder, compose: FakeCompose, observed: Observed, temporary: Path
) -> None:
    folder.write(**{"docker-compose_yml": VARIABLE, "_env": env_text("2.51.2")})
    before = content(folder.path)

    def refuse(command: list[str]) -> None:
        compose.complaint = "" if "--no-interpolate" in command else "invalid image\n"

    observed(refuse)
    for check in (True, False):
        failed = folder.run(check)
        assert (failed["msg"], failed["changed"], failed["actions"]) == (
            f"{folder.file}: docker compose config: invalid image; expected files that Compose can read.",
            False,
            [],
        )
        assert (content(folder.path), list(temporary.iterdir())) == (before, [])


PLACES = {
    "docker-compose.yml": {"docker-compose_yml": compose_text("v2.51.2")},
    ".env": {"docker-compose_yml": VARIABLE, "_env": env_text("2.51.2")},
}


@pytest.mark.parametrize("name", PLACES)
def test_another_writers_change_is_kept(folder: Folder, observed: Observed, name: str) -> None:
    folder.write(**PLACES[name])
    path = folder.path / name
    expected = {one: data for one, (data, *_rest) in content(folder.path).items()}
    expected[name] += b"# By somebody else\n"

    def write(command: list[str]) -> None:
        if "--no-interpolate" not in command:
            path.write_bytes(expected[name])

    observed(write)
    failed = folder.run()
    assert (failed["msg"], failed["changed"], failed["actions"]) == (
        f"{path}: was changed by another program in the meantime; expected no other writer. "
        "Run again; it works on what stands there then",
        False,
        [],
    )
    assert {one: data for one, (data, *_rest) in content(folder.path).items()} == expected


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
@pytest.mark.parametrize("name", PLACES)
def test_the_mode_of_an_edited_file_is_kept(folder: Folder, name: str, mode: int) -> None:
    folder.write(**PLACES[name])
    path = folder.path / name
    path.chmod(mode)
    assert folder.run()["changed"] is True
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
def test_the_owner_of_an_edited_file_is_kept(folder: Folder) -> None:
    folder.write(**{"docker-compose_yml": VARIABLE, "_env": env_text("2.51.2")})
    user = pwd.getpwnam("daemon")
    os.chown(folder.env, user.pw_uid, user.pw_gid)
    assert folder.run()["changed"] is True
    seen = folder.env.stat()
    assert (seen.st_uid, seen.st_gid) == (user.pw_uid, user.pw_gid)


ONE_PLACE = (
    "Nothing was changed. Use one variable of .env, or tags alone in one Compose file, for all images of the client"
)


@pytest.mark.parametrize(
    ("text", "images", "problem"),
    [
        (
            compose_text("v2.51.2@sha256:1"),
            IMAGES,
            f"its version: in more than one place: r/coreapp:v2.51.2@sha256:1, r/web:v2.51.2@sha256:1. {ONE_PLACE}",
        ),
        (
            compose_text("v2.51.2", "v${WA_API_VERSION}"),
            IMAGES,
            f"its version: in more than one place: r/coreapp:v2.51.2, r/web:v${{WA_API_VERSION}}. {ONE_PLACE}",
        ),
        (
            compose_text("v2.51.2"),
            {"gone": "r/web"},
            "they have no service gone; expected the client's services. Run adopt.yml again",
        ),
        (
            compose_text("v${WA_API_VERSION:-2.51.2}"),
            IMAGES,
            "variable WA_API_VERSION: set in no env file; expected WA_API_VERSION=2.53.4 in the file .env. Nothing was changed",
        ),
    ],
)
def test_a_version_that_cannot_be_set_is_an_error(
    folder: Folder, text: str, images: dict[str, str], problem: str
) -> None:
    folder.write(**{"docker-compose_yml": text, "_env": "TZ=UTC\n"})
    before = content(folder.path)
    for check in (True, False):
        failed = folder.run(check, images=images)
        assert (failed["msg"], failed["changed"]) == (f"version of the client in {folder.file}: {problem}", False)
        assert content(folder.path) == before


@pytest.mark.parametrize("options", [{}, {"state": "migratable"}])
@pytest.mark.parametrize(
    ("complaint", "found"),
    [
        ("level=warning msg=x\nservices.db.ports is invalid\n", "services.db.ports is invalid"),
        ("level=warning msg=x\n", "exit status 15"),
    ],
)
def test_a_refusal_of_compose_is_reported_in_its_words(
    folder: Folder, compose: FakeCompose, options: dict[str, t.Any], complaint: str, found: str
) -> None:
    folder.write(**{"docker-compose_yml": VARIABLE, "over_yml": "services: {}\n"})
    compose.complaint = complaint
    files = folder.paths("docker-compose.yml", "over.yml")
    failed = folder.run(compose_files=files, compose_file=str(folder.path / "migration.yml"), **options)
    assert failed["msg"] == (
        f"{files[0]}, {files[1]}: docker compose config: {found}; expected files that Compose can read."
    )
    assert sorted(content(folder.path)) == ["docker-compose.yml", "over.yml"]


def test_a_link_is_followed_as_compose_does(folder: Folder) -> None:
    folder.write(**{"docker-compose_yml": VARIABLE, "real_env": env_text("2.51.2")})
    folder.env.symlink_to("real.env")
    assert folder.run()["actions"]
    assert folder.env.is_symlink()
    assert (folder.path / "real.env").read_text() == env_text("2.53.4")
    assert not folder.run()["changed"]


@pytest.mark.parametrize("check", [True, False])
def test_a_file_that_may_not_change_is_known_before(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    """An immutable file answers so, also to root."""
    folder.write(**{"docker-compose_yml": VARIABLE, "_env": env_text("2.51.2")})
    monkeypatch.setattr(os, "access", lambda path, _mode: path != os.path.realpath(folder.env))
    failed = folder.run(check)
    assert failed["msg"].startswith(f"{os.path.realpath(folder.env)}: cannot be changed by this user; expected a file")
    assert folder.env.read_text() == env_text("2.51.2")


def test_a_service_with_the_name_of_the_migration_is_known_before(folder: Folder) -> None:
    folder.write(**{"docker-compose_yml": VARIABLE.replace("waweb:", "dbupgrade:"), "_env": env_text("2.51.2")})
    assert folder.run(True)["msg"] == (
        "service dbupgrade: in the Compose files; expected no service of that name, which the migration has. Give yours another name"
    )


# The migration


MIGRATION = {
    "services": {
        "dbupgrade": {
            "environment": {"API_TOKEN": SECRET, "WA_DB_UPGRADE": "1"},
            "image": "r/coreapp:v2.53.4",
            "profiles": ["dbupgrade"],
            "restart": "no",
            "stop_signal": "SIGKILL",
        }
    }
}


@pytest.fixture
def staged(folder: Folder) -> Path:
    """The path of the migration's file, with the operator's files in their folder."""
    folder.write(**{"docker-compose_yml": VARIABLE, "_env": env_text("2.51.2")})
    return folder.path / "migration-2.53.4.yml"


def stage(folder: Folder, staged: Path, check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """Write the migration of the service wacore."""
    return folder.run(check, **{"state": "migratable", "compose_file": str(staged), **options})


def test_the_migration_is_written_for_root_alone(folder: Folder, staged: Path, compose: FakeCompose) -> None:
    before = content(folder.path)
    expected = {"changed": True, "actions": [f"wrote {staged}"]}
    assert stage(folder, staged, check=True) == expected
    assert stage(folder, staged) == expected
    header, _newline, text = staged.read_text().partition("\n")
    assert header == f"{HEADER}; the one-shot migration, removed after the upgrade."
    assert json.loads(text) == MIGRATION
    assert stat.S_IMODE(staged.stat().st_mode) == 0o600
    after = content(folder.path)
    assert {name: found for name, found in after.items() if name != staged.name} == before
    assert [stage(folder, staged), stage(folder, staged, check=True)] == [UNCHANGED, UNCHANGED]
    assert content(folder.path) == after
    start = ["timeout", "30", "docker", "compose", "--project-name=biz", f"--project-directory={folder.path}"]
    end = [f"--env-file={folder.env}", "--profile=*", f"--file={folder.file}", "config", "--format=json"]
    assert compose.commands[0::2] == [[*start, *end]] * 4
    # The second reads the migration from a private copy.
    copies = [[word for word in one if word not in (*start, *end)] for one in compose.commands[1::2]]
    assert [[word.startswith("--file=/tmp/") for word in one] for one in copies] == [[True]] * 4


@pytest.mark.parametrize("text", ["", "services: {}\n"])
def test_another_migration_is_replaced(folder: Folder, staged: Path, text: str) -> None:
    staged.write_text(text)
    staged.chmod(0o644)
    assert stage(folder, staged)["actions"] == [f"wrote {staged}"]
    assert stat.S_IMODE(staged.stat().st_mode) == 0o600
    assert json.loads(staged.read_text().partition("\n")[2]) == MIGRATION


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o400])
def test_a_migration_that_others_may_read_is_written_again(folder: Folder, staged: Path, mode: int) -> None:
    stage(folder, staged)
    text = staged.read_text()
    staged.chmod(mode)
    expected = {"changed": True, "actions": [f"wrote {staged}"]}
    assert [stage(folder, staged, check=True), stage(folder, staged)] == [expected, expected]
    assert (stat.S_IMODE(staged.stat().st_mode), staged.read_text()) == (0o600, text)
    assert stage(folder, staged) == UNCHANGED


def test_another_version_is_another_migration(folder: Folder, staged: Path) -> None:
    for version in ("2.53.4", "2.55.1"):
        assert stage(folder, staged, version=version)["changed"] is True
        made = json.loads(staged.read_text().partition("\n")[2])
        assert made["services"]["dbupgrade"]["image"] == f"r/coreapp:v{version}"


def test_a_coreapp_that_the_files_do_not_have_is_an_error(folder: Folder, staged: Path) -> None:
    failed = stage(folder, staged, images={"gone": "r/coreapp"})
    assert failed["msg"] == "service gone: not in the Compose files; expected the client's Coreapp. Run adopt.yml again"
    assert not staged.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "migratable"}, "state is migratable but all of the following are missing: compose_file"),
        ({"images": None}, "state is versioned but all of the following are missing: images"),
        ({"version": None}, "state is versioned but all of the following are missing: version"),
        ({"compose_files": None}, "state is versioned but all of the following are missing: compose_files"),
    ],
)
def test_wrong_options_are_refused(folder: Folder, options: dict[str, t.Any], message: str) -> None:
    assert folder.run(**options)["msg"] == message
