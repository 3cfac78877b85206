# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts are one client: by the nodes that health names, by one running server, by the operator's word, never by equal names."""

from __future__ import annotations

import copy
import typing as t

import pytest
from adopt_samples import ENV, MULTI, Made, adopt, container, survey

PRIVATE = {**ENV, "WA_DB_HOSTNAME": "10.0.0.5"}
Survey = dict[str, t.Any]


def node(
    env: t.Mapping[str, str] = PRIVATE, roles: t.Sequence[str] = ("wacore", "master", "waweb"), **changes: t.Any
) -> Survey:
    """A host of a multiconnect client, of which nothing but the engine was asked."""
    ours = [container(service, environment={**env, **MULTI}) for service in roles]
    return survey(*ours, **{"env": dict(env), "evidence": {}, **changes})


def server(identity: str, started: int = 100) -> dict[str, t.Any]:
    return {"identity": identity, "started": started, "cluster": False, "origin": ""}


def name_ids(surveys: t.Mapping[str, Survey]) -> None:
    """Gives each container an id of its own, as engines do."""
    for number, (host, one) in enumerate(surveys.items(), start=1):
        for count, each in enumerate(one["containers"], start=1):
            each["id"] = f"{number:06x}{count:06x}" + "f" * 52
            each["host"] = host


def health(surveys: t.Mapping[str, Survey], *clusters: t.Sequence[str]) -> None:
    """Each host of a cluster has read the nodes of all of its hosts."""
    name_ids(surveys)
    for hosts in clusters:
        cores = [each for host in hosts for each in surveys[host]["containers"] if each["role"] != "web"]
        nodes = [f"{each['host']}:{each['id'][:12]}" for each in cores]
        for host in hosts:
            surveys[host]["evidence"] = {"biz": {"nodes": nodes, "problems": []}}


def members(made: Made) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, one in made.adoption.hosts.items():
        found.setdefault(one["deployment"], []).append(name)
    return found


def said(made: Made) -> str:
    return "\n".join(made.report).partition("## What to do first")[0]


@pytest.mark.parametrize("name", ["10.0.0.5", "mysql", "db.example.com"])
def test_two_customers_with_equal_names_are_two_clients(name: str) -> None:
    """Both have a complete client, with a MySQL of its own that has one name, one port, and no prefix."""
    envs = [{**ENV, "WA_DB_HOSTNAME": name, "WA_DB_USERNAME": f"customer{number}"} for number in (1, 2)]
    surveys = {"h1": node(envs[0]), "h2": node(envs[1])}
    health(surveys, ["h1"], ["h2"])
    made = adopt(surveys)
    assert members(made) == {"h1": ["h1"], "h2": ["h2"]}
    assert "Give all of them one key" not in said(made)
    assert "children" not in made.documents["inventory.yml"]["all"]


def test_equal_names_user_and_password_are_a_question_where_nothing_could_be_asked() -> None:
    surveys = {"h1": node(), "h2": node()}
    name_ids(surveys)
    made = adopt(surveys)
    assert (members(made), made.documents) == ({}, {})
    assert (
        said(made).count(
            "a node of a cluster, and no host that was read has its other nodes: not known (nothing was asked)"
        )
        == 2
    )


def test_single_clients_with_equal_names_are_no_accusation() -> None:
    surveys = {f"h{number}": survey(container("wacore"), container("waweb")) for number in range(1, 21)}
    made = adopt(surveys)
    assert len(members(made)) == 20
    assert "shares its database" not in said(made)


def test_twenty_hosts_of_ten_customers_with_equal_private_names() -> None:
    surveys = {f"h{number:02}": node() for number in range(1, 21)}
    pairs = [(f"h{number:02}", f"h{number + 1:02}") for number in range(1, 21, 2)]
    health(surveys, *pairs)
    made = adopt(surveys)
    assert sorted(map(tuple, members(made).values())) == pairs
    assert sorted(made.documents["inventory.yml"]["all"]["children"]) == sorted(
        ["biz", *(f"biz{number}" for number in range(2, 11))]
    )


def test_one_cluster_whose_hosts_name_the_server_differently_is_one_deployment() -> None:
    names = ("10.0.0.5", "db.example.com", "mysql")
    surveys = {f"h{number}": node({**ENV, "WA_DB_HOSTNAME": name}) for number, name in enumerate(names, start=1)}
    health(surveys, ["h1", "h2", "h3"])
    made = adopt(surveys)
    assert members(made) == {"biz": ["h1", "h2", "h3"]}
    assert [made.documents[f"host_vars/{host}/vars.yml"]["wa_db_env_hostname"] for host in ("h1", "h2", "h3")] == [
        *names
    ]


def test_hosts_without_a_webapp_are_named_by_the_health_of_another() -> None:
    surveys = {"h1": node(), "h2": node(roles=("wacore",)), "h3": node(roles=("master",))}
    health(surveys, ["h1", "h2", "h3"])
    for host in ("h2", "h3"):
        surveys[host]["evidence"] = {}
    assert members(adopt(surveys)) == {"biz": ["h1", "h2", "h3"]}


@pytest.mark.parametrize(
    ("servers", "one"),
    [
        ((server("a"), server("a", 101)), True),
        ((server("a"), server("a", 200)), False),  # a copy of the server's data
        ((server("a"), server("b")), False),
        ((server("a"), {}), False),
        (({}, {}), False),
        ((server(""), server("")), False),
    ],
)
def test_without_health_one_running_server_is_one_client(servers: tuple[dict[str, t.Any], ...], one: bool) -> None:
    surveys = {f"h{number}": node(evidence={"biz": {"server": each}}) for number, each in enumerate(servers, start=1)}
    name_ids(surveys)
    made = adopt(surveys)
    assert members(made) == ({"biz": ["h1", "h2"]} if one else {})
    assert ("that these are all of its hosts is not known: nothing was asked" in said(made)) == one


def test_another_prefix_on_one_server_is_another_client() -> None:
    surveys = {
        f"h{number}": node({**ENV, "WA_DB_NAME_PREFIX": prefix}, evidence={"biz": {"server": server("a")}})
        for number, prefix in enumerate(("a_", "b_"), start=1)
    }
    name_ids(surveys)
    assert members(adopt(surveys)) == {}


def test_two_clusters_of_one_running_server_are_left_alone() -> None:
    surveys = {"h1": node(), "h2": node()}
    health(surveys, ["h1"], ["h2"])
    for one in surveys.values():
        one["evidence"]["biz"]["server"] = server("a")
    made = adopt(surveys)
    assert members(made) == {}
    assert "h1: shares its database with h2: one running server, and the same prefix" in said(made)


def test_a_cluster_with_a_node_on_no_host_that_was_read_is_not_written() -> None:
    surveys = {"h1": node(), "h2": node()}
    health(surveys, ["h1", "h2"])
    made = adopt({"h2": surveys["h2"]}, {"h1": "unreachable"})
    assert (members(made), made.documents) == ({}, {})
    assert (
        "h2: a node of a cluster, and no host that was read has its other nodes: h1:000001000001, h1:000001000002"
        in said(made)
    )
    assert members(adopt(surveys)) == {"biz": ["h1", "h2"]}


def test_health_that_does_not_name_the_hosts_own_node_counts_for_nothing() -> None:
    surveys = {"h1": node()}
    name_ids(surveys)
    surveys["h1"]["evidence"] = {"biz": {"nodes": ["other:aaaaaaaaaaaa"], "problems": ["x: not asked"]}}
    made = adopt(surveys)
    assert (members(made), "its other nodes: not known (x: not asked)" in said(made)) == ({}, True)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"h1": "wa", "h2": "wa"}, {"wa": ["h1", "h2"]}),
        ({"h1": "h1", "h2": "h2"}, {"h1": ["h1"], "h2": ["h2"]}),
        ({"h1": "wa", "h2": "wa", "h3": "wa"}, {}),  # h3 was not read
        ({"h1": "wa"}, {"wa": ["h1"]}),
    ],
)
def test_the_operators_word_answers_the_question(answers: dict[str, str], expected: dict[str, list[str]]) -> None:
    surveys = {"h1": node(), "h2": node()}
    name_ids(surveys)
    assert members(adopt(surveys, answers=answers)) == expected


@pytest.mark.parametrize("answer", ["h1", "h3", "Customer A", "eu-prod", "a/b", "known"])
def test_a_word_that_is_no_name_of_a_group_or_taken_is_refused(answer: str) -> None:
    other, surveys = {"h4": node(), "h5": node()}, {"h1": node(), "h2": node()}
    health({**other, **surveys}, ["h4", "h5"], ["h1", "h2"])
    earlier = adopt(other, answers=dict.fromkeys(other, "known"))
    made = adopt(surveys, answers={"h1": answer, "h2": answer, "h3": ""}, earlier=earlier)
    assert members(made) == {"known": ["h4", "h5"]}
    assert f"wa_deployment {answer!r} is the name of a host or of another client, or none of a group" in said(made)


def test_a_word_is_the_name_of_the_client_that_it_was_given_for() -> None:
    """Another one whose project is called so gets a number."""
    surveys = {f"h{number}": node() for number in range(1, 5)}
    health(surveys, ["h1", "h2"], ["h3", "h4"])
    made = adopt(surveys, answers={"h3": "biz", "h4": "biz"})
    assert members(made) == {"biz2": ["h1", "h2"], "biz": ["h3", "h4"]}


def test_the_operators_word_counts_where_a_node_is_gone_and_not_against_health() -> None:
    surveys = {"h1": node(), "h2": node()}
    health(surveys, ["h1", "h2"])
    for one in surveys.values():
        one["evidence"]["biz"]["nodes"] = [*one["evidence"]["biz"]["nodes"], "gone:aaaaaaaaaaaa"]
    assert members(adopt(copy.deepcopy(surveys))) == {}
    assert members(adopt(copy.deepcopy(surveys), answers={"h1": "wa", "h2": "wa"})) == {"wa": ["h1", "h2"]}
    health(surveys, ["h1"], ["h2"])
    made = adopt(surveys, answers={"h1": "wa", "h2": "wa"})
    assert members(made) == {}
    for host, other in (("h1", "h2"), ("h2", "h1")):
        assert f"{host}: member of wa (wa_deployment), of which {other} was not read, or has another client" in said(
            made
        )


def test_a_group_of_the_inventory_may_have_hosts_with_other_clients() -> None:
    surveys = {"h1": node(), "h2": node(), "h3": survey(container("wacore"), container("waweb"))}
    health(surveys, ["h1", "h2"])
    assert members(adopt(surveys, answers=dict.fromkeys(surveys, "wa"))) == {"h3": ["h3"], "wa": ["h1", "h2"]}


def test_clients_of_one_running_server_are_left_alone() -> None:
    evidence = {"biz": {"server": server("a")}}
    both = {host: survey(container("wacore"), container("waweb"), evidence=evidence) for host in ("h1", "h2")}
    made = adopt(both)
    assert members(made) == {}
    assert "h2: shares its database with h1: one running server, and the same prefix" in said(made)
    assert (
        "To do: Remove one of them (docker rm). If one is the Webapp and the other the Coreapp of one client, put both into one Compose project"
        in said(made)
    )


@pytest.mark.parametrize("one", [survey(container("wacore"), container("waweb")), node()])
def test_a_machine_that_was_read_under_two_names_is_left_alone(one: Survey) -> None:
    health({"h1": one}, ["h1"])
    made = adopt({"h1": one, "h1-by-address": copy.deepcopy(one)})
    assert members(made) == {}
    assert ": h1 and h1-by-address are one machine" in said(made)


ONE_PROJECT = "on one host a client is one project with at most one Webapp; this one has "


def test_two_projects_of_one_host_are_no_two_hosts_of_a_client() -> None:
    """Both would be members of one deployment, whose files on the host have one name."""
    ours = {
        project: [container(one, project, environment=MULTI, files=[f"/srv/{project}.yml"]) for one in services]
        for project, services in {"eu": ("wacore", "waweb"), "eu-master": ("master",)}.items()
    }
    surveys = {"h1": survey(*ours["eu"], *ours["eu-master"])}
    name_ids(surveys)
    nodes = [f"h1:{one['id'][:12]}" for one in surveys["h1"]["containers"] if one["role"] != "web"]
    surveys["h1"]["evidence"] = {"eu": {"nodes": nodes}}
    made = adopt(surveys)
    assert (members(made), f": {ONE_PROJECT}eu-wacore-1 on h1" in said(made)) == ({}, True)


def test_two_webapps_of_one_host_have_no_two_names() -> None:
    surveys = {"h1": node(roles=("wacore", "master", "waweb"))}
    surveys["h1"]["containers"].append(container("waweb2", role="web", environment={**PRIVATE, **MULTI}))
    health(surveys, ["h1"])
    surveys["h1"]["containers"][-1]["image"] = surveys["h1"]["containers"][-2]["image"]
    made = adopt(surveys)
    assert (members(made), f"h1: {ONE_PROJECT}" in said(made)) == ({}, True)


def test_two_clients_of_one_name_are_left_alone() -> None:
    """A host is called as a client of another host would be."""
    other = [
        container(one, "x", environment={"WA_DB_NAME_PREFIX": "x_"}, files=["/x.yml"]) for one in ("wacore", "waweb")
    ]
    surveys = {
        "h1": survey(container("wacore"), container("waweb"), *other),
        "h1-biz": survey(container("wacore"), container("waweb")),
    }
    made = adopt(surveys)
    assert members(made) == {"h1-x": ["h1-x"]}
    assert "h1-biz: h1-biz is the name of two clients: on h1 of project biz, and on h1-biz" in said(made)


# A second run


def cluster() -> dict[str, Survey]:
    surveys = {"h1": node(), "h2": node(), "h3": node()}
    health(surveys, ["h1", "h2"])
    return surveys


def numbers(made: Made) -> dict[str, dict[str, str]]:
    return {name: one["services"] for name, one in made.adoption.hosts.items()}


@pytest.mark.parametrize("failed", [{"h1": "unreachable"}, {}])
def test_a_second_run_without_a_member_changes_nothing_of_the_deployment_and_says_so(failed: dict[str, str]) -> None:
    surveys = cluster()
    first = adopt({host: surveys[host] for host in ("h1", "h2")})
    for one in surveys["h2"]["containers"]:
        one["environment"]["TZ"] = "UTC"
    second = adopt({"h2": surveys["h2"]}, failed, earlier=first)
    assert (second.adoption.hosts, second.adoption.secrets) == (first.adoption.hosts, first.adoption.secrets)
    assert (second.documents, second.secrets) == (first.documents, first.secrets)
    fact = "h2: read on h2; the inventory has biz on h1, h2"
    assert f"{fact}\n   - nothing of it was changed in the inventory" in said(second)


def test_a_host_that_joins_gets_the_next_numbers() -> None:
    surveys = cluster()
    first = adopt({host: surveys[host] for host in ("h1", "h2")})
    surveys["h0"] = surveys.pop("h3")
    health(surveys, ["h0", "h1", "h2"])
    second = adopt(surveys, earlier=first)
    assert members(second) == {"biz": ["h1", "h2", "h0"]}
    assert {name: one for name, one in numbers(second).items() if name != "h0"} == numbers(first)
    assert numbers(second)["h0"] == {"wacore/1": "core3", "master/1": "master3", "waweb/1": "web"}


def test_a_recreated_container_keeps_its_number() -> None:
    surveys = cluster()
    first = adopt({host: surveys[host] for host in ("h1", "h2")})
    health(surveys, ["h1", "h2"])
    for one in surveys["h1"]["containers"]:
        one.update(name=f"{one['name']}-new", created="2026-09-01T00:00:00Z")
    assert numbers(adopt({host: surveys[host] for host in ("h1", "h2")}, earlier=first)) == numbers(first)


def test_a_client_of_one_host_that_has_grown_is_a_question() -> None:
    surveys = cluster()
    health(surveys, ["h1"], ["h2"])
    first = adopt({"h1": surveys["h1"]})
    health(surveys, ["h1", "h2"])
    second = adopt({host: surveys[host] for host in ("h1", "h2")}, earlier=first)
    assert members(second) == {"h1": ["h1"]}
    assert "h1, h2: read on h1, h2; the inventory has h1 on h1" in said(second)


def test_two_known_deployments_that_are_one_client_are_a_question() -> None:
    surveys = cluster()
    health(surveys, ["h1"], ["h2"])
    first = adopt({host: surveys[host] for host in ("h1", "h2")})
    health(surveys, ["h1", "h2"])
    second = adopt({host: surveys[host] for host in ("h1", "h2")}, earlier=first)
    assert members(second) == members(first)
    assert "h1, h2: read on h1, h2; the inventory has h1 and h2 on h1, h2" in said(second)


def test_members_whose_health_names_other_nodes_by_now_are_a_question() -> None:
    surveys = cluster()
    first = adopt({host: surveys[host] for host in ("h1", "h2")})
    health(surveys, ["h1"], ["h2"])
    second = adopt({host: surveys[host] for host in ("h1", "h2")}, earlier=first)
    assert second.documents == first.documents
    assert "h1: read on h1; the inventory has biz on h1, h2" in said(second)


def test_a_client_that_has_gone_from_a_host_that_was_read_stays_and_is_named() -> None:
    first = adopt({"h1": survey(container("wacore"), container("waweb"))})
    second = adopt({"h1": survey()}, earlier=first)
    assert second.documents == first.documents
    assert "h1: the inventory has a client there (project biz), and no container of it was found" in said(second)


def test_a_known_client_of_a_host_that_has_another_name_by_now_is_not_written_twice() -> None:
    one = survey(container("wacore"), container("waweb"))
    first = adopt({"h1": one})
    second = adopt({"192.0.2.1": one}, earlier=first)
    assert second.documents == first.documents
    assert "192.0.2.1: the inventory has its containers at h1" in said(second)
    assert "Have the host read under that name, or remove h1 from inventory.yml" in said(second)


@pytest.mark.parametrize("project", ["", "biz"])
def test_a_machines_only_client_keeps_its_name_when_its_project_changes(project: str) -> None:
    """As after the guide's move of a client of `docker run` into a project."""

    def surveys(project: str) -> dict[str, Survey]:
        ours = {f"h{number}": node() for number in (1, 2)}
        health(ours, ["h1", "h2"])
        for one in ours.values():
            for each in one["containers"]:
                each["project"] = project
            one["evidence"] = {project: one["evidence"]["biz"]}
        return ours

    first = adopt(surveys(project))
    second = adopt(surveys("wa-new"), earlier=first)
    assert members(second) == members(first)
    assert [sorted(one.values()) for one in numbers(second).values()] == [
        ["core1", "master1", "web"],
        ["core2", "master2", "web"],
    ]
    assert "no container of it was found" not in said(second)


def test_another_client_in_the_place_of_a_known_one_is_not_taken_for_it() -> None:
    first = adopt({"h1": survey(container("wacore"), container("waweb"))})
    env = {**ENV, "WA_DB_HOSTNAME": "db.other.example"}
    other = [container(name, "other", environment=env, files=["/srv/other.yml"]) for name in ("wacore", "waweb")]
    second = adopt({"h1": survey(*other, env=env)}, earlier=first)
    assert second.adoption.hosts["h1"] == first.adoption.hosts["h1"]
    assert "h1: the inventory has a client there (project biz), and no container of it was found" in said(second)


def test_a_known_client_keeps_its_name_where_another_project_is_started() -> None:
    first = adopt({"h1": survey(container("wacore"), container("waweb"))})
    env, files = {"WA_DB_NAME_PREFIX": "o_"}, ["/srv/other/docker-compose.yml"]
    other = [container(name, "other", environment=env, files=files) for name in ("wacore", "waweb")]
    second = adopt({"h1": survey(container("wacore"), container("waweb"), *other)}, earlier=first)
    assert members(second) == {"h1": ["h1"], "h1-other": ["h1-other"]}
    assert second.documents["inventory.yml"]["all"]["hosts"]["h1-other"] == {"ansible_host": "h1"}
