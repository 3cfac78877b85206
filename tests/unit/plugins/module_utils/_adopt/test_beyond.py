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


MISSING = "docker compose config: required variable PROXY_TAG is missing a value"
UNSET = "which no env file sets: only the shell of whoever started it had the value"
SET = "Set it in /srv/biz/.env as when the client was started, empty if it was not set (for HOME or USER write the value into the file)"

TAG = "Tag them so (docker tag), name these where the containers are defined, and recreate them when that suits you"
IMAGES = "a client has one image for Webapps and one for Coreapps, with one version as their tag, such as v2.53.4; this one has "
PLACE = "Use one variable of .env, or tags alone in one Compose file, for all images of the client"
TWO = (
    "Start what is missing, remove what belongs to none (docker rm), and put the two containers of a client, and no others, into one "
    "Compose project"
)
PAIR = "without WA_APP_MULTICONNECT=1 a client has one Webapp and one Coreapp; this one has "
BACK = "Put back what runs or recreate the containers, and set each value in one file"
WEB = f"biz-waweb-1 on h1 (running, {REGISTRY}/web:v2.51.2)"
CORE = f"biz-wacore-1 on h1 (running, {REGISTRY}/coreapp:v2.51.2)"
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
            f"Compose cannot read {FILE} with --no-interpolate: include needs a value",
            "Correct that; where Compose reads them otherwise, write values in place of variables there, as in include",
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
            "its version is not in one place: r/coreapp:v${A}, r/web:v${B}",
            PLACE,
        ),
        (
            client(declared(image="r/coreapp:v${A}"), declared(image="r/web:v2.51.2"), "A=2.51.2\n"),
            "its version is not in one place: r/coreapp:v${A}, r/web:v2.51.2",
            PLACE,
        ),
        (
            client(declared(image="r/coreapp:v${V:-2.51.2}"), declared(image="r/web:v${V:-2.51.2}")),
            "its version is not in one place: r/coreapp:v${V:-2.51.2}, r/web:v${V:-2.51.2}",
            PLACE,
        ),
        (
            client({"image_files": ["/srv/biz/core.yml"]}, {"image_files": [FILE]}),
            f"its version is not in one place: {REGISTRY}/coreapp:v2.51.2, {REGISTRY}/web:v2.51.2, in /srv/biz/core.yml, {FILE}",
            PLACE,
        ),
        *(
            (client({"image": image}), f"{IMAGES}biz-wacore-1 on h1 (running, {image}), {WEB}", TAG)
            for image in ("r/coreapp:latest", "r/coreapp:2.51.2", "r/coreapp:v2.53.4")
        ),
        (
            survey(container("wacore", "", image="r/coreapp:v2.51.2@sha256:1"), container("waweb", "")),
            f"{IMAGES}wacore on h1 (running, r/coreapp:v2.51.2@sha256:1), waweb on h1 (running, {REGISTRY}/web:v2.51.2)",
            TAG,
        ),
        (
            client({"variables_problem": MISSING}, {"variables_problem": MISSING}),
            f"Compose cannot read {FILE}: {MISSING}",
            "Correct that: a variable that is missing a value, also of another service, is set in /srv/biz/.env",
        ),
        (
            client({"next_image": f"{REGISTRY}/coreapp:v2.53.4"}),
            f"`docker compose up` in /srv/biz would start {REGISTRY}/coreapp:v2.53.4, and biz-wacore-1 runs {REGISTRY}/coreapp:v2.51.2",
            "Set there what runs; upgrade.yml is the way to another version",
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
            "biz-wacore-1 does not run with WA_DB_PORT, WA_DB_PASSWORD of /srv/biz/db.env: it was edited since, or is set elsewhere, too",
            BACK,
        ),
        (
            survey(container("wacore", environment={"WA_DB_PORT": "3307"}, own_keys=["WA_DB_PORT"]), container("waweb")),
            "biz-wacore-1 does not run with WA_DB_PORT of /srv/biz/db.env: it was edited since, or is set elsewhere, too",
            BACK,
        ),
        (
            two_env_files({"WA_DB_PORT": "3307"}),
            "biz-wacore-1 does not run with WA_DB_PORT of /srv/biz/db.env: it was edited since, or is set elsewhere, too",
            BACK,
        ),
        (
            survey(
                container("wacore", environment=MULTI, image="a/coreapp:v2.51.2"),
                container("master", environment=MULTI, image="b/coreapp:v2.51.2"),
                container("waweb", environment=MULTI),
            ),
            f"{IMAGES}biz-wacore-1 on h1 (running, a/coreapp:v2.51.2), biz-master-1 on h1 (running, b/coreapp:v2.51.2), {WEB}",
            TAG,
        ),
        (survey(container("wacore")), f"{PAIR}{CORE}", TWO),
        (survey(container("waweb")), f"{PAIR}{WEB}", TWO),
        (
            survey(*(container(one, environment=MULTI) for one in ("wacore", "waweb")), evidence=ALONE),
            f"with WA_APP_MULTICONNECT=1 a client has a Webapp, a Coreapp and a master; this one has {CORE}, {WEB}",
            "Start what is missing, or run adopt.yml for the host that has it",
        ),
        (
            survey(container("wacore"), container("core-old", state="exited"), container("waweb")),
            f"{PAIR}{CORE}, biz-core-old-1 on h1 (exited, {REGISTRY}/coreapp:v2.51.2), {WEB}",
            TWO,
        ),
        (
            survey(container("wacore", ""), container("master", ""), container("waweb", "")),
            f"{PAIR}{CORE}, biz-master-1 on h1 (running, {REGISTRY}/coreapp:v2.51.2), {WEB}".replace("biz-", "").replace("-1 ", " "),
            TWO,
        ),
        (
            client({"labels": {"com.docker.swarm.service.name": "wa_core"}}),
            "Docker Swarm runs biz-wacore-1",
            "Start the client by docker compose in place of docker stack",
        ),
        (
            client(web={"operators_files": [], "files": ["/opt/waba/h1/compose.yml"]}),
            f"biz-wacore-1 was started from {FILE}, and others from the role's file",
            "Start all of them from the same files",
        ),
        (
            {**client(), "autostart": [{"kind": "template", "path": "/etc/wa@biz.service", "line": f"{FILE}\nx"}]},
            "/etc/wa@biz.service is a unit of a template, and which containers it starts is not read",
            "Write a unit of its own with the names in place of %i, enable that, and disable the template's",
        ),
    ],
)  # fmt: skip
def test_what_is_beyond_is_left_alone_with_what_to_change(found: dict[str, t.Any], fact: str, cure: str) -> None:
    made = adopt({"h1": found}, answers={"h1": "h1"})
    [action] = [one for actions in made.adoption.report["hosts"].values() for one in actions]
    assert (action["facts"], action["cure"]) == ([fact, "nothing of it was written"], f"{cure}. {AGAIN}")
    assert (made.documents, made.secrets, made.deployments) == ({}, {}, [])
    assert made.report[-1] == "Nothing was adopted yet."


GONE = "No such file or directory"


@pytest.mark.parametrize(
    ("key", "project", "problem", "left"),
    [
        ("interpolation_files", "biz", "not UTF-8", True),
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
    line = f"{path} cannot be read ({problem})"
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
        client({"project": "", "files": [], "operators_files": []}, {"project": ""}),
        {**client(), "autostart": [{"kind": "template", "path": "/etc/wa@us.service", "line": "/srv/us\nus-wacore-1"}]},
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
