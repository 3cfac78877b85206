# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left alone, with the sentence that says what to change in the operator's files, by table."""

from __future__ import annotations

import typing as t

import pytest
from adopt_samples import ENV, MULTI, REGISTRY, adopt, container, survey

FILE = "/srv/biz/docker-compose.yml"
PLAIN = "registry.example.com/whatsapp/coreapp:v2.51.2"
AGAIN = "Then run adopt.yml again"


def client(
    core: dict[str, t.Any] | None = None, web: dict[str, t.Any] | None = None, env: str = ""
) -> dict[str, t.Any]:
    """A host with a client whose services have these keys besides the usual ones, and a file `.env`."""
    found = survey(container("wacore", **(core or {})), container("waweb", **(web or {})))
    found["files"].append({"path": "/srv/biz/.env", "problem": "", "text": env})
    return found


def declared(has: dict[str, str] | None = None, **keys: t.Any) -> dict[str, t.Any]:
    return {"declared": keys, "environment": has or {}}


def two_env_files(second: dict[str, str]) -> dict[str, t.Any]:
    """A host with a client whose Coreapp has a second env file, which is in force."""
    paths = ["/srv/biz/db.env", "/srv/biz/more.env"]
    found = survey(container("wacore", environment=second, env_files=paths), container("waweb"))
    text = "".join(f"{key}={value}\n" for key, value in second.items())
    found["files"].append({"path": paths[1], "problem": "", "text": text})
    return found


UNSET = "which no env file sets: only the shell of whoever started it had the value"
SET = "Set it in /srv/biz/.env as when the client was started, empty if it was not set (for HOME or USER write the value into the file)"

RETAG = "Give the image its version as a tag (docker tag), name that where"
ALONE_MISSING = "If it is in another project or on another host, put both into one Compose project; otherwise start it"
MISSING = "If it is on a host that was not read, run adopt.yml again with that host; otherwise start it"
ALONE: dict[str, t.Any] = {"biz": {"server": {}}}


@pytest.mark.parametrize(
    ("found", "fact", "cure"),
    [
        (
            client({"files_gone": [FILE]}),
            f"it was started from {FILE}, which is not on h1 any more",
            "Put the file back as it was",
        ),
        (
            client({"compose_problem": "include needs a value"}),
            f"`docker compose` cannot read {FILE}: include needs a value",
            "Correct that",
        ),
        (
            client({"operators_files": ["/srv/biz/compose.json"]}),
            "/srv/biz/compose.json is JSON, in which no version can be set",
            "Write it as YAML",
        ),
        (
            client({"operators_files": ["/srv/biz/compose.json", FILE]}),
            f"/srv/biz/compose.json, {FILE} is JSON, in which no version can be set",
            "Write it as YAML",
        ),
        (
            client({"files": []}),
            "the engine does not know from which Compose files biz-wacore-1 was started, as with old versions of docker-compose",
            "Start it once by docker compose v2",
        ),
        (client({**declared(image="r/coreapp:v${V}"), "next_image": "r/coreapp:v"}, declared(image="r/web:v${V}")), f"its Compose files use V, {UNSET}", SET),
        (client(declared(labels={"at": "${HOME}/x"})), f"its Compose files use HOME, {UNSET}", SET),
        (
            client(declared({"TZ": "UTC"}, environment=["TZ", "NEVER_SET"])),
            f"its Compose files use TZ, {UNSET}",
            SET,
        ),
        (
            client({"document": {"volumes": {"media": {"name": "${MEDIA:?}"}}}}),
            f"its Compose files use MEDIA, {UNSET}",
            SET,
        ),
        (
            client(declared(image="r/coreapp:v${A}"), declared(image="r/web:v${B}"), "A=2.51.2\nB=2.51.2\n"),
            "its version is in more than one place: r/coreapp:v${A}, r/web:v${B}",
            "Use one variable of .env, or tags alone in one Compose file, for all images of the client",
        ),
        (
            client(declared(image="r/coreapp:v${A}"), declared(image="r/web:v2.51.2"), "A=2.51.2\n"),
            "its version is in more than one place: r/coreapp:v${A}, r/web:v2.51.2",
            "Use one variable of .env, or tags alone in one Compose file, for all images of the client",
        ),
        (
            client(declared(image="r/coreapp:v${V:-2.51.2}"), declared(image="r/web:v${V:-2.51.2}")),
            "its version is the default of V, which no env file sets",
            "Set it in /srv/biz/.env as when the client was started",
        ),
        (
            client({"image_files": ["/srv/biz/core.yml"]}, {"image_files": [FILE]}),
            f"its version is in more than one Compose file: /srv/biz/core.yml, {FILE}",
            "Use one variable of .env, or tags alone in one Compose file, for all images of the client",
        ),
        (
            client({"image": "r/coreapp:latest"}, {"image": "r/web:v2.51.2"}),
            "the image of biz-wacore-1 is r/coreapp:latest, and the collection looks for r/coreapp:vVERSION",
            f"{RETAG} biz-wacore-1 is defined, and recreate it when that suits you",
        ),
        (
            client({"image": "r/coreapp:v2.51.2@sha256:1"}),
            "the image of biz-wacore-1 is r/coreapp:v2.51.2@sha256:1, and the collection looks for r/coreapp:vVERSION",
            f"{RETAG} biz-wacore-1 is defined, and recreate it when that suits you",
        ),
        (
            client({"image": "r/coreapp:2.51.2"}),
            "the image of biz-wacore-1 is r/coreapp:2.51.2, and the collection looks for r/coreapp:vVERSION",
            f"{RETAG} biz-wacore-1 is defined, and recreate it when that suits you",
        ),
        (
            client({"next_image": f"{REGISTRY}/coreapp:v2.53.4"}),
            f"`docker compose up` in /srv/biz would start {REGISTRY}/coreapp:v2.53.4, and biz-wacore-1 runs {REGISTRY}/coreapp:v2.51.2",
            "Set there what runs; upgrade.yml is the way to another version",
        ),
        (
            client({"image": "r/coreapp:v2.53.4"}, {"image": "r/web:v2.51.2"}),
            "more than one version runs: biz-wacore-1 on h1 r/coreapp:v2.53.4, biz-waweb-1 on h1 r/web:v2.51.2",
            "Bring all containers to one version",
        ),
        (
            client({"mounts": [["volume", "other", "/usr/local/wamedia/"]]}),
            "not every container has the same media at /usr/local/wamedia: biz-waweb-1: volume biz_whatsappMedia; biz-wacore-1: volume other",
            "Mount one volume at /usr/local/wamedia in all of them",
        ),
        (
            client({"mounts": []}, {"mounts": []}),
            "not every container has the same media at /usr/local/wamedia: biz-wacore-1, biz-waweb-1: nothing",
            "Mount one volume at /usr/local/wamedia in all of them",
        ),
        (
            survey(
                container("wacore"),
                container("waweb", environment={"WA_DB_PORT": "3308", "WA_DB_PASSWORD": "Canary-new"}, own_keys=["WA_DB_PORT"]),
                env={**ENV, "WA_DB_PORT": "3308", "WA_DB_PASSWORD": "Canary-new", "OTHER": "1"},
            ),
            "/srv/biz/db.env: WA_DB_PORT, WA_DB_PASSWORD was edited after biz-wacore-1 was created",
            "Put back the values that run, or recreate the containers when that suits you",
        ),
        (
            survey(container("wacore", environment={"WA_DB_PORT": "3307"}, own_keys=["WA_DB_PORT"]), container("waweb")),
            "biz-wacore-1 does not run with WA_DB_PORT of /srv/biz/db.env: its Compose files or another env file set it, too",
            "Set it in one file",
        ),
        (
            two_env_files({"WA_DB_PORT": "3307"}),
            "biz-wacore-1 does not run with WA_DB_PORT of /srv/biz/db.env: its Compose files or another env file set it, too",
            "Set it in one file",
        ),
        (
            survey(
                container("wacore", environment=MULTI, image="a/coreapp:v2.51.2"),
                container("master", environment=MULTI, image="b/coreapp:v2.51.2"),
                container("waweb", environment=MULTI),
            ),
            "its Coreapps are of different repositories: biz-wacore-1 a/coreapp:v2.51.2, biz-master-1 b/coreapp:v2.51.2",
            "Give all of them the image of one repository",
        ),
        (survey(container("wacore")), "no container is its Webapp", ALONE_MISSING),
        (survey(container("waweb")), "no container is its Coreapp", ALONE_MISSING),
        (
            survey(*(container(one, environment=MULTI) for one in ("wacore", "waweb")), evidence=ALONE),
            "no container is its master",
            MISSING,
        ),
        (
            survey(container("wacore"), container("core-old", state="exited"), container("waweb")),
            "it has more than one Coreapp and one Webapp without WA_APP_MULTICONNECT=1: biz-wacore-1 (running), biz-core-old-1 (exited), "
            "biz-waweb-1 (running)",
            "Give each of several clients a Compose project of its own, and remove the containers that belong to none (docker rm)",
        ),
        (
            survey(container("wacore", ""), container("master", ""), container("waweb", "")),
            "it has more than one Coreapp and one Webapp without WA_APP_MULTICONNECT=1: wacore (running), master (running), waweb (running)",
            "Give each of several clients a Compose project of its own, and remove the containers that belong to none (docker rm)",
        ),
        (
            client({"labels": {"com.docker.swarm.service.name": "wa_core"}}),
            "Docker Swarm runs biz-wacore-1, and starts what is stopped again, on any of its hosts",
            "Start the client by docker compose in place of docker stack",
        ),
        (
            {**client(), "autostart": [{"kind": "template", "path": "/etc/wa@biz.service", "line": "/srv/biz\nx"}]},
            "/etc/wa@biz.service is a unit of a template, and which containers it starts is not read",
            "Write a unit of its own with the names in place of %i, enable that, and disable the template's",
        ),
    ],
)  # fmt: skip
def test_what_is_beyond_is_left_alone_with_what_to_change(found: dict[str, t.Any], fact: str, cure: str) -> None:
    made = adopt({"h1": found}, answers={"h1": "h1"})
    left = [one for host in made.adoption.report["hosts"].values() for one in host["actions"]]
    [action] = left
    assert (action["facts"], action["steps"]) == ([fact, "it was left alone"], [f"{cure}. {AGAIN}"])
    assert (made.documents, made.secrets, made.deployments) == ({}, {}, [])
    assert made.report[-1] == "Nothing was adopted yet."


GONE = "No such file or directory"


@pytest.mark.parametrize(
    ("key", "project", "problem", "left"),
    [
        ("interpolation_files", "biz", "not UTF-8", True),
        ("interpolation_files", "biz", GONE, True),
        ("env_files", "biz", "Permission denied", True),
        ("env_files", "", "Permission denied", True),
        ("env_files", "biz", GONE, False),
    ],
)
def test_a_file_with_variables_that_cannot_be_read(key: str, project: str, problem: str, left: bool) -> None:
    path = "/srv/biz/prod.env"
    found = survey(container("wacore", project, **{key: [path]}), container("waweb", project))
    found["files"].append({"path": path, "text": None, "problem": problem})
    made = adopt({"h1": found})
    line = f"the variables of the client are in {path}, which cannot be read ({problem})"
    assert (f"2. h1: {line}" in made.report, made.deployments == []) == (left, left)


@pytest.mark.parametrize(
    "found",
    [
        client(declared(image="r/coreapp:v${V}"), declared(image="r/web:v${V}"), "V=2.51.2\n"),
        client(declared(image="r/coreapp:v${V:-2.50.0}"), declared(image="r/web:v${V:-2.50.0}"), "V=2.51.2\n"),
        client(
            declared(image=PLAIN, ports=["${PORT:-9090}:443"], labels={"x": "${SET:+1}", "y": "$${NOT}", "z": "${PWD}"})
        ),
        client(declared({"TZ": "UTC"}, environment=["TZ"]), env="TZ=UTC\n"),
        client({"document": {"services": {"tool": {"image": "${TOOL}"}}}}),
        client({"project": "", "files": [], "operators_files": [], "files_gone": ["/x"]}, {"project": ""}),
        # Another password is the same client.
        survey(
            container("wacore", environment={"WA_DB_PASSWORD": "Canary-9"}, own_keys=["WA_DB_PASSWORD"]),
            container("waweb"),
        ),
    ],
)
def test_what_is_usual_is_adopted(found: dict[str, t.Any]) -> None:
    assert len(adopt({"h1": found}).deployments) >= 1


def two_projects(files: t.Mapping[str, list[str]], env_files: t.Mapping[str, list[str]]) -> dict[str, t.Any]:
    """Two clients of one host."""
    ours = [
        container(one, project, files=files[project], interpolation_files=env_files[project])
        for project in files
        for one in ("wacore", "waweb")
    ]
    texts = [{"path": path, "problem": "", "text": "V=1\n"} for path in ("/srv/biz/eu.env", "/srv/biz/us.env")]
    found = survey(*ours)
    found["files"] += texts
    return found


@pytest.mark.parametrize(
    ("files", "env_files", "shared"),
    [
        ({"eu": [FILE], "us": [FILE]}, {"eu": ["/srv/biz/eu.env"], "us": ["/srv/biz/us.env"]}, FILE),
        (
            {"eu": ["/a.yml"], "us": ["/b.yml"]},
            {"eu": ["/srv/biz/eu.env"], "us": ["/srv/biz/eu.env"]},
            "/srv/biz/eu.env",
        ),
        ({"eu": ["/a.yml"], "us": ["/b.yml"]}, {"eu": ["/srv/biz/eu.env"], "us": ["/srv/biz/us.env"]}, ""),
        ({"eu": ["/a.yml"], "us": ["/b.yml"]}, {"eu": [], "us": []}, ""),  # there is no .env
    ],
)
def test_two_clients_with_a_file_in_common(files: t.Any, env_files: t.Any, shared: str) -> None:
    made = adopt({"h1": two_projects(files, env_files)})
    assert made.deployments == ([] if shared else ["h1-eu", "h1-us"])
    for ours, theirs in (("eu", "us"), ("us", "eu")):
        assert (
            f"h1-{ours}: {shared} is also a file of project {theirs}, another client" in "\n".join(made.report)
        ) == bool(shared)


def test_a_second_coreapp_of_compose_run_is_stopped_before_anything_else() -> None:
    run = container("wacore", name="biz-wacore-run-1", one_shot=True)
    for ours in ([container("waweb")], [container("wacore"), container("waweb")]):
        made = adopt({"h1": survey(run, *ours)})
        assert "2. h1: biz-wacore-run-1 is a second Coreapp of the number, run by `docker compose run`" in made.report
        assert made.deployments == []
    ended = container("wacore", name="biz-wacore-run-1", one_shot=True, state="exited")
    assert adopt({"h1": survey(ended, container("wacore"), container("waweb"))}).deployments == ["h1"]


def test_one_host_that_is_left_alone_leaves_the_others() -> None:
    made = adopt({"h1": client({"files_gone": [FILE]}), "h2": client()})
    assert (made.deployments, list(made.adoption.hosts)) == (["h2"], ["h2"])
