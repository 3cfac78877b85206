# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of an adoption, as trees before and after: what is there and what is to be written, encrypted or not."""

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.waba.onprem.plugins.module_utils._adopt.inventory import Adoption
from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils._adopt_files import HEAD, Loader, Writer, edited, merge

SECRET = VaultSecret(b"sesame")
VAULT = VaultLib([("default", SECRET)])
VARS, SECRETS = "host_vars/h1/vars.yml", "host_vars/h1/vault.yml"
Values = dict[str, t.Any]


def opened(path: str | Path) -> str:
    raw = Path(path).read_bytes()
    return (VAULT.decrypt(raw) if raw.startswith(b"$ANSIBLE_VAULT") else raw).decode()


def host(deployment: str, variables: Values, **more: t.Any) -> Values:
    own = {"machine": "m", "project": "biz", "services": {}, "connection": {}, "guesses": {}, **more}
    return {**own, "deployment": deployment, "variables": variables}


def writer(folder: Path) -> Writer:
    return Writer(str(folder), opened, VAULT, SECRET)


def write(folder: Path, hosts: dict[str, Values] | Values, secrets: dict[str, Values] | None = None) -> list[str]:
    """Writes an inventory with the variables of `h1`, or with hosts; returns the paths besides the record."""
    if all(not isinstance(one, dict) or "deployment" not in one for one in hosts.values()):
        hosts = {"h1": host("h1", hosts)}
    made = writer(folder)
    made.plan(Adoption(hosts, secrets or {}))
    made.write()
    return sorted(file.path for file in made.files if not file.path.startswith(".adopted"))


def tree(folder: Path) -> dict[str, t.Any]:
    """The documents of the inventory by path; whether they are encrypted is checked."""
    found = {}
    for path in sorted(folder.rglob("*.yml")):
        name = str(path.relative_to(folder))
        if ".adopted" not in path.parts:
            assert path.read_bytes().startswith(b"$ANSIBLE_VAULT") is (path.name == "vault.yml")
            found[name] = yaml.load(opened(path), Loader=Loader)
    return found


def test_what_is_written_is_not_written_again(tmp_path: Path) -> None:
    assert write(tmp_path, {"a": 1}, {"h1": {"p": "Canary-1"}}) == [VARS, SECRETS, "inventory.yml"]
    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"Canary" in path.read_bytes()] == []
    assert tree(tmp_path) == {
        VARS: {"a": 1},
        SECRETS: {"p": "Canary-1"},
        "inventory.yml": {"all": {"hosts": {"h1": {}}}},
    }
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.yml")} == {0o600}
    assert write(tmp_path, {"a": 1}, {"h1": {"p": "Canary-1"}}) == []


def test_a_value_moves_with_its_secrets_and_leaves_its_old_place(tmp_path: Path) -> None:
    """A second host joins; then the two differ; then they agree again."""
    both = {name: host("biz", {"a": 1, "b": 2}) for name in ("h1", "h2")}
    secrets = {name: {"p": "Canary-1"} for name in both}
    group = {"group_vars/biz/vars.yml": {"a": 1, "b": 2}, "group_vars/biz/vault.yml": {"p": "Canary-1"}}
    inventory = {"all": {"hosts": {"h1": {}, "h2": {}}, "children": {"biz": {"hosts": {"h1": {}, "h2": {}}}}}}
    write(tmp_path, {"h1": both["h1"]}, {"h1": secrets["h1"]})
    write(tmp_path, both, secrets)
    assert tree(tmp_path) == {**group, "inventory.yml": inventory}
    differing = {**both, "h2": host("biz", {"a": 1, "b": 3})}
    write(tmp_path, differing, {**secrets, "h2": {"p": "Canary-2"}})
    assert tree(tmp_path) == {
        "group_vars/biz/vars.yml": {"a": 1},
        "host_vars/h1/vars.yml": {"b": 2},
        "host_vars/h1/vault.yml": {"p": "Canary-1"},
        "host_vars/h2/vars.yml": {"b": 3},
        "host_vars/h2/vault.yml": {"p": "Canary-2"},
        "inventory.yml": inventory,
    }
    write(tmp_path, both, secrets)
    assert tree(tmp_path) == {**group, "inventory.yml": inventory}


def test_what_all_hosts_share_is_in_one_place_and_what_only_looks_alike_is_not(tmp_path: Path) -> None:
    def one(name: str, user: str) -> Values:
        variables = {"wa_registry": "r", "wa_db_env_hostname": "10.0.0.5"}
        return host(name, variables, connection={"ansible_user": user, "ansible_host": "192.0.2.1"})

    write(tmp_path, {name: one(name, "ops") for name in ("h1", "h2")})
    found = tree(tmp_path)
    assert found["group_vars/all/vars.yml"] == {"ansible_user": "ops", "wa_registry": "r"}
    assert found["host_vars/h1/vars.yml"] == {"wa_db_env_hostname": "10.0.0.5"}
    assert found["inventory.yml"]["all"]["hosts"]["h1"] == {"ansible_host": "192.0.2.1"}
    # The next ten are reached by another user.
    write(tmp_path, {"h1": one("h1", "ops"), "h2": one("h2", "ops"), "h3": one("h3", "admin")})
    found = tree(tmp_path)
    assert found["group_vars/all/vars.yml"] == {"wa_registry": "r"}
    assert [one["ansible_user"] for one in found["inventory.yml"]["all"]["hosts"].values()] == ["ops", "ops", "admin"]


def test_a_host_that_the_operator_has_removed_is_forgotten_and_its_files_stay(tmp_path: Path) -> None:
    hosts = {name: host("biz", {"a": 1, "b": name}) for name in ("h1", "h2")}
    write(tmp_path, hosts, {"h2": {"p": "Canary-1"}})
    (tmp_path / "inventory.yml").write_text("all:\n  hosts:\n    h1: {}\n  children:\n    biz: {hosts: {h1: {}}}\n")
    known = writer(tmp_path).recorded()
    assert (list(known.hosts), known.secrets) == (["h1"], {})
    before = tree(tmp_path)
    assert write(tmp_path, {"h1": hosts["h1"]}) == []
    assert tree(tmp_path) == before


def test_what_was_added_and_edited_stays(tmp_path: Path) -> None:
    first = {"h1": {"p": "Canary-1"}}
    write(tmp_path, {"a": {"x": 1}}, first)
    (tmp_path / VARS).write_text("a: {x: 1, y: 2}\nb: 3\n")
    (tmp_path / SECRETS).write_bytes(VAULT.encrypt("p: Canary-1\nwa_api_password: Canary-2\n", SECRET))
    assert write(tmp_path, {"a": {"x": 1}}, first) == []
    (tmp_path / VARS).write_text("a: {x: 3, y: 2}\nb: 3\n")
    assert write(tmp_path, {"a": {"x": 5}}, {"h1": {"p": "Canary-3"}}) == [SECRETS]
    assert yaml.safe_load(opened(tmp_path / VARS)) == {"a": {"x": 3, "y": 2}, "b": 3}
    assert yaml.safe_load(opened(tmp_path / SECRETS)) == {"p": "Canary-3", "wa_api_password": "Canary-2"}


@pytest.mark.parametrize(
    ("folder", "key", "others"),
    [
        ("group_vars/biz", "a", {}),
        ("group_vars/all", "ansible_user", {}),
        ("group_vars/all", "wa_registry", {"h3": "x"}),
    ],
)
def test_a_value_that_was_edited_stays_where_it_is_when_others_move(
    tmp_path: Path, folder: str, key: str, others: dict[str, str]
) -> None:
    """No narrower file overrides it; a host that joins has its own value."""

    def one(value: str) -> Values:
        connection, variables = ({key: value}, {}) if key == "ansible_user" else ({}, {key: value})
        return host("biz", {**variables, "b": 1}, connection=connection)

    path = f"{folder}/vars.yml"
    both = {name: one("old") for name in ("h1", "h2")}
    write(tmp_path, both)
    (tmp_path / path).write_text(opened(tmp_path / path).replace("old", "edited"))
    now = {**both, **{name: one(value) for name, value in (others or {"h2": "new"}).items()}}
    made = writer(tmp_path)
    made.plan(Adoption(now))
    made.write()
    assert made.kept == [f"{path}: {key}"]
    found = tree(tmp_path)
    inventory = found.pop("inventory.yml")["all"]["hosts"]
    assert [inventory[name] for name in ("h1", "h2")] == [{}, {}]
    everything = {name: one[key] for name, one in found.items() if key in one}
    assert everything == {path: "edited", **{f"host_vars/{name}/vars.yml": value for name, value in others.items()}}
    assert write(tmp_path, now) == []


def test_a_secret_that_was_edited_is_not_overridden_by_hosts_that_differ(tmp_path: Path) -> None:
    hosts = {name: host("biz", {"a": 1}) for name in ("h1", "h2")}
    write(tmp_path, hosts, {name: {"p": "Canary-1"} for name in hosts})
    (tmp_path / "group_vars/biz/vault.yml").write_bytes(VAULT.encrypt("p: Canary-9\n", SECRET))
    write(tmp_path, hosts, {"h1": {"p": "Canary-1"}, "h2": {"p": "Canary-2"}})
    assert {path: one["p"] for path, one in tree(tmp_path).items() if "p" in one} == {
        "group_vars/biz/vault.yml": "Canary-9"
    }


def test_a_clear_file_of_secrets_is_encrypted(tmp_path: Path) -> None:
    (tmp_path / SECRETS).parent.mkdir(parents=True)
    (tmp_path / SECRETS).write_text("p: Canary-1\n")
    assert SECRETS in write(tmp_path, {"a": 1}, {"h1": {"p": "Canary-1"}})
    assert b"Canary" not in (tmp_path / SECRETS).read_bytes()


def test_values_that_are_encrypted_by_themselves_stay_closed(tmp_path: Path) -> None:
    write(tmp_path, {"a": 1})
    with (tmp_path / VARS).open("a") as file:
        file.write("p: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n")
    write(tmp_path, {"a": 2})
    text = (tmp_path / VARS).read_text()
    assert "p: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\n" in text


def test_what_looks_like_a_template_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"label": "{{ lookup('pipe', 'id') }}"})
    assert 'label: !unsafe "{{ lookup(' in (tmp_path / VARS).read_text()
    assert yaml.load((tmp_path / VARS).read_text(), Loader=Loader) == {"label": "{{ lookup('pipe', 'id') }}"}


@pytest.mark.parametrize("text", ["{{ v }}", "{% if v %}w{% endif %}", "x # {# y #}"])
def test_a_template_of_the_operators_stays_one_when_a_host_is_added(tmp_path: Path, text: str) -> None:
    hosts = {name: host("biz", {"a": 1}, connection={"ansible_host": f"{{{{ {name} }}}}"}) for name in ("h1", "h2")}
    write(tmp_path, {"h1": hosts["h1"]})
    with (tmp_path / "inventory.yml").open("a") as file:
        file.write(f"  vars:\n    p: ['{text}']\n")
    write(tmp_path, hosts)
    written = (tmp_path / "inventory.yml").read_text()
    assert [line.strip() for line in written.splitlines() if "!unsafe" in line] == [
        'ansible_host: !unsafe "{{ h1 }}"',
        'ansible_host: !unsafe "{{ h2 }}"',
    ]
    assert yaml.load(written, Loader=Loader)["all"]["vars"] == {"p": [text]}


@pytest.mark.parametrize("text", ["p: [Canary-1\n", "h1 ansible_password=Canary-1\n", "[Canary-1]\n"])
def test_a_file_that_cannot_be_parsed_is_reported_without_its_text(tmp_path: Path, text: str) -> None:
    (tmp_path / VARS).parent.mkdir(parents=True)
    (tmp_path / VARS).write_text(text)
    with pytest.raises(WaError, match="no mapping in YAML") as error:
        write(tmp_path, {"a": 1})
    assert "Canary" not in str(error.value)


def test_the_report_is_readable_by_the_group(tmp_path: Path) -> None:
    for text, written in (("one\n", ["report.md"]), ("one\n", []), ("two\n", ["report.md"])):
        made = writer(tmp_path)
        made.text("report.md", text)
        made.write()
        assert [file.path for file in made.files] == written
        assert (tmp_path / "report.md").read_text() == text
        assert (tmp_path / "report.md").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    ("there", "before", "wanted", "merged", "kept"),
    [
        ({"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}, []),  # changed on the host
        ({"a": 9}, {"a": 1}, {"a": 1}, {"a": 9}, ["a"]),  # edited
        ({"a": 9}, {"a": 1}, {"a": 2}, {"a": 9}, ["a"]),  # both
        ({"a": 2}, {"a": 1}, {"a": 2}, {"a": 2}, []),  # both, to the same
        ({"a": 9}, None, {"a": 2}, {"a": 9}, ["a"]),  # without a record
        ({}, {"a": 1}, {"a": 1}, {}, ["a"]),  # removed by the operator
        ({}, {"a": 1}, {"a": 2}, {"a": 2}, []),
        ({}, {}, {"a": 2}, {"a": 2}, []),
        ({"a": 1, "own": 5}, {"a": 1}, {}, {"own": 5}, []),  # gone from the host, or in another file now
        ({"a": 9}, {"a": 1}, {}, {"a": 9}, ["a"]),
        ({"m": 9}, {}, {}, {"m": 9}, []),  # the operator's own
        ({"a": {"x": 9, "y": 2}}, {"a": {"x": 1, "z": 3}}, {"a": {"x": 1, "z": 4}}, {"a": {"x": 9, "y": 2, "z": 4}}, ["a.x"]),
    ],
)  # fmt: skip
def test_edited_values_are_kept_and_others_follow_the_host(
    there: t.Any, before: t.Any, wanted: t.Any, merged: t.Any, kept: list[str]
) -> None:
    found: list[str] = []
    assert merge(there, before, wanted, "f: ", found) == merged
    assert found == [f"f: {key}" for key in kept]


def test_a_file_that_was_edited_is_kept_and_named(tmp_path: Path) -> None:
    write(tmp_path, {"a": 1, "b": 1})
    (tmp_path / VARS).write_text("a: 9\nb: 1\n")
    made = writer(tmp_path)
    made.plan(Adoption({"h1": host("h1", {"a": 1, "b": 2})}))
    made.write()
    assert made.kept == [f"{VARS}: a"]
    assert yaml.safe_load((tmp_path / VARS).read_text()) == {"a": 9, "b": 2}
    assert writer(tmp_path).recorded().hosts["h1"]["variables"] == {"a": 1, "b": 2}


def test_a_guess_has_a_comment_and_the_operators_lines_stay(tmp_path: Path) -> None:
    hosts = {"h1": host("h1", {"a": 1, "b": [1, 2]}, guesses={"b": "Two were seen."})}
    write(tmp_path, hosts)
    assert (tmp_path / VARS).read_text() == f"{HEAD}a: 1\n# Two were seen.\nb: [1, 2]\n"
    own = "---\n# ours\n\n# said Ann\na:   1 # not one\n\n# two\nb: [1, 2]\nc: |\n  x\n\n  # y\n"
    (tmp_path / VARS).write_text(own)
    write(tmp_path, {"h1": host("h1", {"a": 1, "b": [1], "d": 4})})
    assert (tmp_path / VARS).read_text() == own.replace("b: [1, 2]\n", "b: [1]\n") + "d: 4\n"


def test_the_last_line_may_end_without_a_line_break() -> None:
    assert edited("# ours\na: 1\nb: 2", {"a": 1, "b": 2, "c": 3}, {}) == "# ours\na: 1\nb: 2\nc: 3\n"


@pytest.mark.parametrize("text", ["", "{a: 1}\n", "a: 1\na: 2\n", "? a\n: 1\n"])
def test_a_file_of_another_form_is_written_anew(text: str) -> None:
    assert edited(text, {"a": 1}, {}) == f"{HEAD}a: 1\n"


@pytest.mark.parametrize("path", [VARS, "inventory.yml"])
def test_a_file_that_the_operator_has_encrypted_stays_so(tmp_path: Path, path: str) -> None:
    write(tmp_path, {"a": 1})
    (tmp_path / path).write_bytes(VAULT.encrypt(f"{opened(tmp_path / path)}own: Canary-1\n", SECRET))
    made = writer(tmp_path)
    made.plan(Adoption({"h1": host("h1", {"a": 2}, connection={"ansible_host": "x"})}))
    made.write()
    assert b"Canary" not in (tmp_path / path).read_bytes()
    assert yaml.safe_load(opened(tmp_path / path))["own"] == "Canary-1"
    assert "Canary" not in str([(file.before, file.after) for file in made.files])
    assert writer(tmp_path).recorded().hosts["h1"]["variables"] == {"a": 2}


def test_a_host_that_the_operator_has_moved_into_groups_is_known(tmp_path: Path) -> None:
    hosts = {name: host("biz", {"a": 1}) for name in ("h1", "h2")}
    write(tmp_path, hosts)
    text = "all:\n  children:\n    biz: {hosts: {h1: {}}}\neast:\n  children:\n    east1: {hosts: {h2: }}\n"
    (tmp_path / "inventory.yml").write_text(text)
    assert [*writer(tmp_path).recorded().hosts] == ["h1", "h2"]
    write(tmp_path, hosts)
    assert (tmp_path / "inventory.yml").read_text() == text


def test_what_cannot_be_written_is_completed_when_that_is_corrected(tmp_path: Path) -> None:
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/h1").write_text("wa_own: 1\n")  # a file, as Ansible takes it, too
    with pytest.raises(
        WaError, match=r"host_vars/h1: File exists; expected a path that can be written[.] Correct that"
    ):
        write(tmp_path, {"a": 1})
    (tmp_path / "host_vars/h1").rename(tmp_path / "host_vars/h1.yml")
    writer(tmp_path).complete()
    assert write(tmp_path, {"a": 1}) == []
    assert yaml.safe_load((tmp_path / VARS).read_text()) == {"a": 1}


class Killed(BaseException):
    """The end of a run between two writes."""


@pytest.mark.parametrize("writes", range(9))
def test_a_run_that_is_killed_between_two_writes_is_completed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    """Else values of its clients would be taken for the operator's, and come to those of the next batch."""
    first = {name: host("biz", {"wa_registry": "r1", "b": name}) for name in ("h1", "h2")}
    second = {name: host("biz2", {"wa_registry": "r2", "b": name}) for name in ("h3", "h4")}
    secrets = {name: {"p": f"Canary-{one['deployment']}"} for name, one in {**first, **second}.items()}
    write(tmp_path, {"h1": host("h1", {"b": 0})}, {"h1": {"p": "Canary-biz"}})
    made, left, replace, unlink = writer(tmp_path), [writes], files.replace, os.unlink

    def count(real: t.Callable[..., None]) -> t.Callable[..., None]:
        def call(*arguments: t.Any) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            real(*arguments)

        return call

    made.plan(Adoption(first, {name: secrets[name] for name in first}))
    monkeypatch.setattr(files, "replace", count(replace))
    monkeypatch.setattr(os, "unlink", count(unlink))
    with contextlib.suppress(Killed):
        made.write()
    monkeypatch.undo()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and b"Canary" in path.read_bytes()] == []
    batch = writer(tmp_path)
    batch.complete()
    known = batch.recorded()
    assert [*known.hosts] == (["h1"] if writes == 0 else ["h1", "h2"])  # none of it, or all
    assert not (tmp_path / ".adopted/unfinished.json").exists()
    write(tmp_path, {**known.hosts, **second}, {**known.secrets, **{name: secrets[name] for name in second}})
    write(tmp_path, {**first, **second}, secrets)
    expected = tmp_path / "expected"
    write(expected, {**first, **second}, secrets)
    assert {name: one for name, one in tree(tmp_path).items() if not name.startswith("expected/")} == tree(expected)
