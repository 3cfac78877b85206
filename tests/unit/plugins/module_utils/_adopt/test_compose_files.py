# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which env files a client has, and which variables the operator's Compose files were read with, by table."""

from __future__ import annotations

import typing as t

import pytest
from adopt_samples import container, single, survey

from ansible_collections.waba.onprem.plugins.module_utils._adopt import compose_files

IMAGE = "registry.example.com/whatsapp/coreapp:v2.51.2"  # of the sample


def read(*containers: dict[str, t.Any], env: str = "") -> compose_files.Interpolation:
    return compose_files.interpolation(containers, {"/srv/biz/.env": env})


def test_variables_outside_of_services_count_and_elsewhere_those_that_must_be_set() -> None:
    document = {
        "services": {"wacore": {}, "tool": {"image": "${TOOL:?}", "labels": {"a": "$LABEL"}}},
        "volumes": {"media": {"name": "${MEDIA}"}},
        "networks": {"default": {"name": "biz_${NET:-default}"}},
        "secrets": {"key": {"environment": "KEY"}, "file": {"file": "./x"}},
    }
    declared = {"volumes": [{"source": "media", "target": "/usr/local/wamedia"}], "networks": {"default": None}}
    found = read(container("wacore", declared=declared, document=document))
    assert (found.values, found.unknown) == ({"MEDIA": "biz_whatsappMedia"}, ["TOOL", "KEY"])


def test_a_default_may_be_a_path_below_the_folder() -> None:
    sources = {"/a": "${A:-./a}", "/b": "${B:-b}", "/c": "${C:-~/c}"}
    mounts = [{"source": source, "target": target} for target, source in sources.items()]
    where = [["bind", "/srv/biz/a", "/a"], ["bind", "/data/b", "/b"], ["bind", "/root/c", "/c"]]
    found = read(container("wacore", declared={"volumes": mounts}, mounts=where))
    assert (found.values, found.differ) == ({"B": "/data/b"}, ["B"])


@pytest.mark.parametrize("env", ["ZONE=UTC", "ZONE=CET", "ZONE=UTC\nZONE=CET", "ZONE=$OTHER"])
def test_a_variable_of_an_env_file_is_left_to_it(env: str) -> None:
    found = read(core({"environment": {"TZ": "${ZONE:-UTC}"}}, TZ="UTC"), env=env)
    assert (found.values, found.differ, found.unknown) == ({}, [], [])


def test_a_port_in_the_long_form() -> None:
    ports = [{"host_ip": "127.0.0.1", "published": "${PORT:-80}", "target": 443}, "${MORE}:90/tcp"]
    published = ["127.0.0.1:9090:443", "9100:90"]
    found = read(container("waweb", declared={"ports": ports}, settings={"ports": published}))
    assert (found.values, found.differ) == ({"PORT": "9090", "MORE": "9100"}, ["PORT"])


@pytest.mark.parametrize(("source", "values"), [("${MEDIA:-media}", {}), ("${MEDIA}", {"MEDIA": "media"})])
def test_a_variable_in_a_mount_has_the_key_of_the_volume(source: str, values: dict[str, str]) -> None:
    document = {"volumes": {"media": {"name": "biz_whatsappMedia"}}}
    declared = {"volumes": [{"source": source, "target": "/usr/local/wamedia"}]}
    found = read(container("wacore", declared=declared, document=document))
    assert (found.values, found.differ) == (values, [])


def test_where_two_containers_show_different_values_the_last_one_counts() -> None:
    declared = {"environment": {"TZ": "$ZONE"}}
    older, newer = (core(declared, TZ=zone) for zone in ("CET", "UTC"))
    assert read(older, newer).values == {"ZONE": "UTC"}


@pytest.mark.parametrize(
    ("declared", "mounted", "of_user"),
    [
        ("/root/data", "/home/ops/data", {"HOME": "/home/ops"}),
        ("${HOME}/data", "/home/ops/data", {"HOME": "/home/ops"}),
        ("${HOME}/data", "/root/data", {}),
        ("/root/data", "/root/data", {}),
        ("/root/data", "/opt/old/data", {}),  # the file was edited
    ],
)
def test_paths_of_another_users_home(declared: str, mounted: str, of_user: dict[str, str]) -> None:
    mount = {"type": "bind", "source": declared, "target": "/data"}
    found = read(container("wacore", declared={"volumes": [mount]}, mounts=[["bind", mounted, "/data"]]))
    assert (found.of_user, found.values, found.unknown) == (of_user, {}, [])


def test_what_stands_beside_the_client_counts_where_the_same_files_define_it() -> None:
    ours = single()["containers"]
    beside = [container("db", declared={"labels": {"a": "$A"}}), container("mon", declared={"labels": {"b": "$B"}})]
    beside[1]["operators_files"] = ["/srv/biz/monitoring.yml"]
    _variables, given = compose_files.variables(ours, beside, [])
    assert given.unknown == ["A"]


def core(declared: dict[str, t.Any], **environment: str) -> dict[str, t.Any]:
    return container("wacore", declared=declared, environment=environment)


@pytest.mark.parametrize(
    ("declared", "environment", "env", "values", "unknown"),
    [
        ({}, {}, "", {}, []),
        ({"image": IMAGE}, {}, "", {}, []),
        ({"image": "registry.example.com/whatsapp/coreapp:v${WA_API_VERSION}"}, {}, "WA_API_VERSION=2.51.2", {}, []),
        ({"image": "registry.example.com/whatsapp/coreapp:v${V:?}"}, {}, "", {"V": "2.51.2"}, []),
        ({"image": "registry.example.com/whatsapp/coreapp:v${V:-2.51.2}"}, {}, "", {}, []),
        ({"image": "registry.example.com/whatsapp/coreapp:v${V:-2.50.0}"}, {}, "", {"V": "2.51.2"}, []),
        ({"image": "$IMAGE"}, {}, "OTHER=1", {"IMAGE": IMAGE}, []),
        ({"image": "${REGISTRY}/coreapp:v${V}"}, {}, "REGISTRY=registry.example.com/whatsapp", {"V": "2.51.2"}, []),
        ({"image": "${REGISTRY}/coreapp:v${V}"}, {}, "", {"V": "2.51.2"}, ["REGISTRY"]),
        ({"environment": {"TZ": "${ZONE}"}}, {"TZ": "UTC"}, "", {"ZONE": "UTC"}, []),
        ({"environment": {"TZ": "${ZONE:-UTC}"}}, {"TZ": "UTC"}, "", {}, []),
        ({"environment": {"A": '${X:-a$$b"ü}'}}, {"A": 'a$b"ü'}, "", {}, []),
        ({"environment": {"TZ": "${ZONE}/x"}}, {"TZ": "UTC/x"}, "", {"ZONE": "UTC"}, []),
        ({"environment": {"TZ": "${ZONE}"}}, {"TZ": ""}, "", {}, []),
        ({"environment": {"TZ": "${ZONE}${MORE}"}}, {"TZ": "UTC"}, "", {}, ["ZONE", "MORE"]),
        ({"environment": {"BY": "$USER"}}, {"BY": "root"}, "", {}, []),
        ({"container_name": "biz-${CORE}-1"}, {}, "", {"CORE": "wacore"}, []),
        ({"networks": {"default": None}, "ports": ["$PORT:443"]}, {}, "", {}, ["PORT"]),
        ({"labels": {"to": "${URL}"}}, {}, "", {}, ["URL"]),
        ({"environment": {"A": "${X}-${Y}", "B": "$Y"}}, {"A": "a-b-c", "B": "b-c"}, "", {"Y": "b-c"}, ["X"]),
        ({"environment": {"A": "${X:+on}"}}, {"A": "on"}, "", {}, []),
        ({"environment": {"USER": None, "LANG": None}}, {"USER": "ops", "LANG": "C"}, "", {"LANG": "C"}, []),
        ({"environment": {"TZ": "${ZONE:-UTC}/x"}}, {"TZ": "UTC/x"}, "", {}, []),
        ({"environment": {"TZ": "$${ZONE}"}}, {"TZ": "${ZONE}"}, "", {}, []),
        ({"ports": ["${PORT}:443"]}, {}, "", {}, ["PORT"]),
        ({"ports": ["${PORT:-9090}:443"], "labels": {"x": "${SET:+1}"}}, {}, "", {}, []),
    ],
)  # fmt: skip
def test_variables_that_no_file_sets_are_found_in_the_containers(
    declared: dict[str, t.Any], environment: dict[str, str], env: str, values: dict[str, str], unknown: list[str]
) -> None:
    found = compose_files.interpolation([core(declared, **environment)], {"/srv/biz/.env": env})
    assert (found.values, found.unknown) == (values, unknown)


@pytest.mark.parametrize(
    ("changes", "applies"),
    [
        ({}, True),
        ({"files_gone": ["/srv/biz/docker-compose.yml"]}, False),
        ({"files_gone": ["/srv/biz/docker-compose.override.yml"]}, True),
        ({"files_gone": ["/srv/biz/wa.yml"], "compose_problem": "no such service: wacore"}, False),
        ({"operators_files": []}, False),
        ({"project": ""}, False),
    ],
)
def test_files_that_are_there_stay_in_use(changes: dict[str, t.Any], applies: bool) -> None:
    assert compose_files.applies([container("wacore"), container("waweb", **changes)]) is applies


KEPT = {
    "wa_client_compose_dir": "/srv/biz",
    "wa_client_compose_files": ["/srv/biz/docker-compose.yml"],
    "wa_client_restart": "report",
    "wa_upgrade_update_compose_files": False,
}
DOT_ENV = {"path": "/srv/biz/.env", "text": "A=1\n", "problem": ""}


@pytest.mark.parametrize(
    ("changes", "files", "expected"),
    [
        ({}, [], {}),
        ({}, [DOT_ENV], {}),
        ({"declared": {"profiles": ["main", "other"]}}, [], {"wa_client_compose_profiles": ["main"]}),
        (
            {"interpolation_files": ["/srv/biz/prod.env"]},
            [{"path": "/srv/biz/prod.env", "text": "", "problem": ""}],
            {"wa_client_compose_env_files": ["/srv/biz/prod.env"]},
        ),
        # It is reported, and Compose refuses to read without it.
        (
            {"interpolation_files": ["/srv/biz/prod.env"]},
            [{"path": "/srv/biz/prod.env", "text": None, "problem": "No such file or directory"}],
            {"wa_client_compose_env_files": ["/srv/biz/prod.env"]},
        ),
        (
            {"declared": {"image": "$IMAGE"}},
            [{**DOT_ENV, "text": None, "problem": "not UTF-8"}],
            {"wa_client_compose_env_files": ["/srv/biz/.env"]},
        ),
        (
            {"declared": {"image": "$IMAGE"}},
            [{**DOT_ENV, "text": None, "problem": "No such file or directory"}],
            {},
        ),
        ({"declared": {"image": "$IMAGE"}}, [DOT_ENV], {"wa_client_compose_env_files": ["/srv/biz/.env"]}),
        ({"declared": {"image": "$IMAGE"}}, [], {}),
    ],
)
def test_the_variables_of_the_role(
    changes: dict[str, t.Any], files: list[dict[str, t.Any]], expected: dict[str, t.Any]
) -> None:
    found = survey(container("wacore", **changes), container("waweb", **changes))
    found["files"] += files
    variables, _given = compose_files.variables(found["containers"], [], found["files"])
    assert variables == {**KEPT, **expected}


def test_the_file_with_the_variables_is_that_of_the_project_or_the_one_that_was_given() -> None:
    one = single()["containers"][0]
    assert compose_files.interpolation_files(one) == ["/srv/biz/.env"]
    assert compose_files.interpolation_files({**one, "folder": ""}) == []
    assert compose_files.interpolation_files({**one, "interpolation_files": ["/x"]}) == ["/x"]


RUN = "docker run --name wacore --env-file=/etc/wa.env --env-file '/etc/more.env' image"


@pytest.mark.parametrize(
    ("project", "changes", "line", "expected"),
    [
        ("biz", {"env_files": ["/srv/biz/a.env"]}, RUN, ["/srv/biz/a.env"]),
        ("biz", {"env_files": [], "compose_problem": "no such file"}, RUN, ["/srv/biz/db.env"]),
        ("biz", {"env_files": [], "compose_problem": "no such file", "folder": ""}, RUN, []),
        ("biz", {"env_files": []}, RUN, []),
        ("", {"env_files": []}, RUN, ["/etc/more.env", "/etc/wa.env"]),
        ("", {"env_files": []}, RUN.replace("wacore", "wacore2"), []),
    ],
)
def test_env_files_of_the_compose_file_the_vendors_name_or_the_unit(
    project: str, changes: dict[str, t.Any], line: str, expected: list[str]
) -> None:
    one = container("wacore", project, **changes)
    found = survey(one, autostart=[{"kind": "unit", "path": "/u", "line": line}])
    interpolation = ["/srv/biz/.env"] if project and one["folder"] else []
    assert (compose_files.complete_env_files(found), sorted(one["env_files"])) == (
        [*interpolation, *expected],
        expected,
    )
