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
DOT_ENV = {"path": "/srv/biz/.env", "text": "A=1\n"}


@pytest.mark.parametrize(
    ("changes", "files", "expected"),
    [
        ({}, [], {}),
        ({}, [DOT_ENV], {}),
        ({"declared": {"profiles": ["main", "other"]}}, [], {"wa_client_compose_profiles": ["main"]}),
        (
            {"interpolation_files": ["/srv/biz/prod.env"]},
            [{"path": "/srv/biz/prod.env", "text": ""}],
            {"wa_client_compose_env_files": ["/srv/biz/prod.env"]},
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
