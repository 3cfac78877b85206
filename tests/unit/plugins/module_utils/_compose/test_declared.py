# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Compose files declare, read by the real `docker compose config`."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from real_compose import Runner

from ansible_collections.waba.onprem.plugins.module_utils._compose.declared import Files, Reader, complete_limits
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

SECRET = "Canary-22-Pw"


def environment(folder: Path, text: str, service: str = "wacore", **more: str) -> tuple[list[str], list[str]]:
    """The keys and env files of a service in `text`; `more` are files by name, in which `_` stands for a dot."""
    for name, content in {"compose_yml": text, **more}.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    files = Files("biz", str(folder), (str(folder / "compose.yml"),))
    keys, paths = Reader(Runner()).environment(files, service)
    return keys, [str(Path(path).relative_to(folder)) if path.startswith(f"{folder}/") else path for path in paths]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{image: a}", ([], [])),
        ("{image: a, env_file: db.env}", ([], ["db.env"])),
        ("{image: a, env_file: [db.env, {path: b.env, required: false}]}", ([], ["db.env", "b.env"])),
        ("{image: a, environment: {A: 1, B: }}", (["A", "B"], [])),
        ("{image: a, environment: [A=1, B]}", (["A", "B"], [])),
        ("{image: 'a:${V:?not set}', environment: {A: '${A:?}'}, ports: ['${P}:443']}", (["A"], [])),
        ("{image: a, env_file: '/etc/wa.env'}", ([], ["/etc/wa.env"])),
        ("{image: a, env_file: ['${DIR}/db.env', '${X:-own}.env', $SITE.env]}", ([], ["/etc/wa/db.env", "own.env", "n.env"])),
        ("{image: a, env_file: '${UNSET:?}/db.env'}", ([], ["${UNSET:?}/db.env"])),
        ("{image: a, profiles: [old], env_file: db.env}", ([], ["db.env"])),
        ("{extends: {file: base/common.yml, service: b}, env_file: web.env}", (["C"], ["base/b.env", "web.env"])),
    ],
)  # fmt: skip
def test_keys_and_env_files_of_a_service(tmp_path: Path, body: str, expected: tuple[list[str], list[str]]) -> None:
    base = "services: {b: {image: b, env_file: b.env, environment: [C=1]}}"
    more = {"_env": "DIR=/etc/wa\nSITE=n\n", "base__common_yml": base}
    assert environment(tmp_path, f"services: {{wacore: {body}}}", **more) == expected


def test_a_service_of_an_included_file(tmp_path: Path) -> None:
    included = "services: {wacore: {image: a, env_file: a.env}}"
    assert environment(tmp_path, "include: [wa/compose.yml]", wa__compose_yml=included) == ([], ["wa/a.env"])


def test_a_service_that_is_not_in_the_files_declares_nothing(tmp_path: Path) -> None:
    assert environment(tmp_path, "services: {wacore: {image: a}}", "waweb") == ([], [])


def test_later_files_extend_earlier_ones_and_all_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("services: {wacore: {image: a, env_file: db.env, environment: {A: 1}}}")
    (tmp_path / "b.yml").write_text(
        "services: {wacore: {environment: !override {B: 1}}, waweb: {image: w, environment: {C: 1}}}"
    )
    label = "com.docker.compose.project"
    labels = {label: "biz", f"{label}.config_files": f"a.yml,{tmp_path}/b.yml", f"{label}.working_dir": str(tmp_path)}
    run = Runner()
    reader, files = Reader(run), Files.of(labels)
    assert reader.environment(files, "wacore") == (["B"], [f"{tmp_path}/db.env"])
    assert reader.environment(Files.of(labels), "waweb") == (["C"], [])
    assert len(run.commands) == 1


def test_without_a_recorded_folder_paths_are_relative_to_the_first_file(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("services: {wacore: {image: a, env_file: db.env}}")
    files = Files.of({"com.docker.compose.project.config_files": f"{tmp_path}/a.yml"})
    assert Reader(Runner()).environment(files, "wacore") == ([], [f"{tmp_path}/db.env"])


def test_a_container_outside_compose_has_no_files() -> None:
    assert Files.of({}).paths == ()


def test_a_mount_with_a_default_or_an_error_is_not_divided_at_its_colon(tmp_path: Path) -> None:
    """Without interpolation Compose itself refuses it, or takes the default for the target."""
    path = tmp_path / "compose.yml"
    path.write_text(
        "# was ${OLD:-\nservices: {wacore: {image: 'a:${TAG:-1}', env_file: ['${E:-db}.env'], "
        "volumes: ['${A:-./a}:/a:ro', '${B:-/b}:/b', '${C:?set: C}/c:/c:ro', './d:/d']}}"
    )
    reader, files = Reader(Runner()), Files("biz", str(tmp_path), (str(path),))
    body = reader.document(files, interpolated=False)["services"]["wacore"]
    assert body["image"] == "a:${TAG:-1}"
    assert [(one["source"], one["target"]) for one in body["volumes"]] == [
        ("${A:-./a}", "/a"),
        ("${B:-/b}", "/b"),
        ("${C:?set: C}/c", "/c"),
        (f"{tmp_path}/d", "/d"),
    ]
    assert reader.environment(files, "wacore") == ([], [f"{tmp_path}/db.env"])


def test_words_of_compose_name_the_file_and_not_its_copy(tmp_path: Path) -> None:
    path = tmp_path / "compose.yml"
    path.write_text("services: {wacore: {image: '${A:-1}'}")
    with pytest.raises(WaError) as error:
        Reader(Runner()).document(Files("biz", str(tmp_path), (str(path),)), interpolated=False)
    assert "tmp/tmp" not in str(error.value)


def test_a_missing_plugin_is_named_without_the_usage_of_docker() -> None:
    def run(*_command: t.Any, **_options: t.Any) -> tuple[int, str, str]:
        return 125, "", "unknown flag: --project-name\nSee 'docker --help'.\nUsage: docker\n"

    with pytest.raises(
        WaError,
        match=r"the Compose plugin does not work: docker does not know the command compose\. Install it again, and run again; expected",
    ):
        Reader(run).document(Files("biz", "/srv", ("/srv/a.yml",)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file or directory"),
        (f"services: [{SECRET}: {{", "yaml: "),
        ("services: {wacore: {extends: gone}}", "gone"),
        ("no mapping", ""),
    ],
)
def test_files_that_compose_cannot_read_are_an_error_in_its_words(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "compose.yml"
    if text is not None:
        path.write_text(text)
    run = Runner()
    reader = Reader(run)
    for _again in range(2):
        with pytest.raises(WaError, match="docker compose config: ") as caught:
            reader.environment(Files("biz", str(tmp_path), (str(path),)), "wacore")
        assert words in caught.value.found
        assert (str(path) in str(caught.value), SECRET in str(caught.value)) == (True, False)
    assert len(run.commands) == 1


def test_a_command_that_cannot_run_is_an_error() -> None:
    def run(*_command: t.Any, **_options: t.Any) -> tuple[int, str, str]:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(WaError, match="FileNotFoundError of docker compose"):
        Reader(run).document(Files("biz", "/srv", ("/srv/a.yml",)))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"core": {}, "nproc": 5}, {"core": {"soft": 0, "hard": 0}, "nproc": 5}),
        ({"nofile": {"hard": 9}}, {"nofile": {"soft": 0, "hard": 9}}),
        ({"nofile": {"soft": 1, "hard": 9}}, {"nofile": {"soft": 1, "hard": 9}}),
        ({"nofile": {"single": 7}}, {"nofile": {"single": 7}}),
    ],
)
def test_limits_of_zero_that_compose_leaves_out(limits: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    services = {"a": {"ulimits": limits}, "b": {}}
    complete_limits(services)
    assert services == {"a": {"ulimits": expected}, "b": {}}
