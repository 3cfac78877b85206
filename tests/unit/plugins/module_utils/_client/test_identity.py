# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values identify a client, which differences count, and how a change is confirmed."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._client import identity as client_identity
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment.topology import deployment

ENV = {"WA_DB_ENGINE": "MYSQL", "WA_DB_HOSTNAME": "db.lab", "WA_DB_PORT": "3306", "WA_DB_NAME_PREFIX": "a_"}
DB_ENV = {"engine": "MYSQL", "hostname": "db.lab", "port": 3306, "name_prefix": "a_"}
GROUPS = {"all": ["h1", "h2", "h3"], "support": ["h1", "h2", "h3"]}


def container(name: str = "wa-h1-wacore-1", **changed: t.Any) -> dict[str, t.Any]:
    """A container as wa_info returns it."""
    environment = {**ENV, **changed.pop("environment", {})}
    volume = changed.pop("volume", "wa-h1_whatsappMedia")
    mount = {"kind": "volume", "name": volume, "destination": "/usr/local/wamedia", "writable": True}
    return {
        "name": name,
        "role": "web" if "web" in name else "core",
        "project": "wa-h1",
        "service": name,
        "state": "running",
        "one_shot": False,
        "files": ["/opt/waba/h1/compose.yml"],
        "mounts": [mount] if volume else [],
        "identity": client_identity.of_container(environment),
        **changed,
    }


def facts(**changed: t.Any) -> dict[str, t.Any]:
    """The facts of role wa_host about a single client that matches the inventory."""
    host = changed.pop("host", "h1")
    group = changed.pop("group", None)
    given = [changed.pop(name, None) for name in ("leader", "project", "project_dir", "env_file")]
    there = deployment(host, GROUPS, group, *given)
    result = {
        "containers": changed.pop("containers", [container()]),
        "identity": {
            "db_env": changed.pop("file", {}),
            "recorded": changed.pop("recorded", {}),
            "others": changed.pop("others", []),
        },
    }
    return {
        "host": host,
        "deployment": there,
        "db_env": {**DB_ENV, **changed.pop("db_env", {})},
        "file": result["identity"]["db_env"],
        "media_volume": there["volume"],
        "topology": "single",
        "shards": 1,
        "looks": {host: result},
        "folder": "",
        "confirmed": {},
        "attributes": client_identity.ATTRIBUTES,
        **changed,
    }


def found(known: t.Mapping[str, t.Any]) -> dict[str, tuple[str, str]]:
    """Each differing attribute with its present and its future value."""
    rows = client_identity.compare({**known, "wanted": client_identity.wanted_identity(known)})
    return {one.attribute: (one.found, one.wanted) for one in rows}


def record(**changed: str) -> dict[str, str]:
    """The record of a run over `facts`."""
    return {**client_identity.wanted_identity(facts()), **changed}


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({}, {}),
        # The same identity in another notation.
        ({"db_env": {"port": "3306"}}, {}),
        ({"db_env": {"hostname": "DB.lab."}}, {}),
        ({"db_env": {"port": None}, "file": {"port": "3306", "engine": "MYSQL", "hostname": "db.lab"}}, {}),
        ({"db_env": {"port": None}}, {}),
        ({"project_dir": "/opt/waba/h1/"}, {}),
        # Omitted options keep the values of the file.
        (
            {
                "db_env": dict.fromkeys(DB_ENV),
                "file": {"engine": "MYSQL", "hostname": "db.lab", "port": "3306", "name_prefix": "a_"},
            },
            {},
        ),
        ({"db_env": {"name_prefix": "x_"}}, {"name_prefix": ("a_", "x_")}),
        ({"db_env": {"name_prefix": ""}}, {"name_prefix": ("a_", "")}),
        ({"db_env": {"name_prefix": None}}, {"name_prefix": ("a_", "")}),
        ({"db_env": {"hostname": "other.lab"}}, {"hostname": ("db.lab", "other.lab")}),
        ({"db_env": {"port": "3308"}}, {"port": ("3306", "3308")}),
        ({"db_env": {"engine": "PGSQL"}}, {"engine": ("MYSQL", "PGSQL")}),
        (
            {"db_env": {"engine": "PGSQL", "port": None}},
            {"engine": ("MYSQL", "PGSQL"), "port": ("3306", "5432")},
        ),
        ({"media_volume": "other"}, {"media_volume": ("wa-h1_whatsappMedia", "other")}),
        ({"topology": "high_availability"}, {"topology": ("single", "high_availability")}),
    ],
)
def test_changes_of_a_running_client_by_the_inventory(
    changed: dict[str, t.Any], differs: dict[str, tuple[str, str]]
) -> None:
    assert found(facts(**changed)) == differs


@pytest.mark.parametrize(
    ("containers", "prefix", "differs"),
    [
        # A Coreapp counts before a Webapp, a running container before a stopped one.
        ([("wacore", "running", "a_"), ("waweb", "running", "x_")], "a_", False),
        ([("wacore", "running", "a_"), ("waweb", "running", "x_")], "x_", True),
        ([("wacore", "exited", "a_"), ("waweb", "running", "x_")], "x_", False),
        ([("wacore", "exited", "a_"), ("waweb", "exited", "x_")], "x_", True),
        ([("wacore", "running", "a_"), ("wacore-old", "exited", "x_")], "x_", True),
        # If half of the members were changed, both values are accepted.
        ([("wacore1", "running", "a_"), ("wacore2", "running", "x_")], "x_", False),
        ([("wacore1", "running", "a_"), ("wacore2", "running", "x_")], "a_", False),
        ([("wacore", "exited", "a_")], "x_", True),
    ],
)
def test_the_container_that_decides_the_identity(
    containers: list[tuple[str, str, str]], prefix: str, differs: bool
) -> None:
    there = [
        container(name, state=state, environment={"WA_DB_NAME_PREFIX": value}) for name, state, value in containers
    ]
    assert bool(found(facts(containers=there, db_env={"name_prefix": prefix}))) is differs


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"topology": "ring"}, "deployment h1: wa_topology: 'ring' is unknown; expected one of: single, high_"),
        ({"topology": None}, "deployment h1: wa_topology: None is unknown"),
        ({"topology": ["single"]}, "deployment h1: wa_topology: ['single'] is unknown"),
        ({"shards": 2}, "deployment h1: wa_shards: 2 with single; expected 1; more shards are wa_topology: multic"),
        ({"shards": "two", "topology": "multiconnect"}, "wa_shards: 'two' with multiconnect; expected 1 or more"),
        ({"shards": -1, "topology": "multiconnect"}, "wa_shards: -1 with multiconnect; expected 1 or more"),
        ({"shards": True}, "wa_shards: True with single; expected 1"),
        ({"shards": 1.5}, "wa_shards: 1.5 with single; expected 1"),
        ({"media_volume": "my media"}, "wa_media_volume_name: 'my media' is no name of a volume"),
        ({"media_volume": ""}, "wa_media_volume_name: '' is no name of a volume"),
        ({"media_volume": "/srv/media"}, "wa_media_volume_name: '/srv/media' is no name of a volume"),
        ({"db_env": {"engine": "ORACLE"}}, "expected MYSQL or PGSQL"),
        ({"db_env": {"port": "70000"}}, "70000"),
        ({"db_env": {"name_prefix": "a b"}}, "db.env: WA_DB_NAME_PREFIX: contains"),
        ({"db_env": {"hostname": "db lab"}}, "db.env: WA_DB_HOSTNAME: no host name"),
    ],
)
def test_an_invalid_value_is_refused_without_offering_a_confirmation(changed: dict[str, t.Any], refusal: str) -> None:
    with pytest.raises(WaError) as error:
        client_identity.refusal(facts(**changed))
    assert refusal in str(error.value)
    assert "wa_confirm_identity" not in str(error.value)


def test_a_manually_changed_db_env_is_corrected_and_not_applied() -> None:
    broken = {**client_identity.database(ENV), "port": "3307"}
    assert found(facts(file=broken)) == {}
    assert found(facts(file=broken, db_env={"port": None})) == {"port": ("3306", "3307")}


@pytest.mark.parametrize("prefix", ["a_", "x_"])
def test_without_containers_db_env_decides(prefix: str) -> None:
    known = facts(containers=[], file=client_identity.database(ENV), db_env={"name_prefix": prefix})
    assert found(known) == ({} if prefix == "a_" else {"name_prefix": ("a_", "x_")})


def test_without_containers_and_files_the_record_decides() -> None:
    known = facts(containers=[], recorded=record(), db_env={"name_prefix": "x_"}, project="other")
    assert found(known) == {
        "name_prefix": ("a_", "x_"),
        "project": ("wa-h1", "other"),
        "media_volume": ("wa-h1_whatsappMedia", "other_whatsappMedia"),
    }
    assert found(facts(containers=[], recorded=record())) == {}
    assert found(facts(containers=[], recorded=record(), project_dir="/srv/h1")) == {
        "project_dir": ("/opt/waba/h1", "/srv/h1")
    }
    assert found(facts(recorded=record(), env_file="/etc/db.env")) == {
        "env_file": ("/opt/waba/h1/db.env", "/etc/db.env")
    }


def test_another_project_name_differs_from_the_recorded_one() -> None:
    assert found(facts(recorded=record(), project="other"))["project"] == ("wa-h1", "other")
    assert "project" not in found(facts(project="other")), "wa_client refuses containers that nobody has recorded"
    for there in ([], [container(project="")]):
        moved = facts(recorded=record(project=""), containers=there)
        assert found(moved) == {}, "a client outside Compose may move into a project; wa_client refuses its containers"


def test_containers_outside_the_project_do_not_count() -> None:
    others = [container("wacore", project="biz", volume="biz_media", files=["/srv/biz/compose.yml"])]
    assert found(facts(containers=others)) == {}, "wa_client refuses them"


def test_containers_that_are_no_service_do_not_count() -> None:
    others = [
        container("dbupgrade-1", service="dbupgrade", environment={"WA_DB_NAME_PREFIX": "x_"}),
        container("run-1", one_shot=True, environment={"WA_DB_NAME_PREFIX": "y_"}),
        container("web", environment={"WA_DB_HOSTNAME": ""}),
    ]
    assert found(facts(containers=others)) == {}


@pytest.mark.parametrize(
    ("mounts", "folder", "differs"),
    [
        ([], "", False),  # no container, so nothing can be lost
        ([("bind", "/srv/media", "/usr/local/wamedia/")], "/srv/media", False),
        ([("bind", "/srv/media", "/usr/local/wamedia")], "/srv/media/", False),
        ([("bind", "/srv/media", "/usr/local/wamedia")], "/srv/other", True),
        ([("bind", "/srv/media", "/usr/local/wamedia")], "", True),
        ([("volume", "other", "/usr/local/wamedia")], "", True),
        ([("volume", "other", "/var/log")], "", False),
    ],
)
def test_the_media_are_where_the_containers_mount_them(
    mounts: list[tuple[str, str, str]], folder: str, differs: bool
) -> None:
    rows = [{"kind": kind, "name": name, "destination": path, "writable": True} for kind, name, path in mounts]
    known = facts(containers=[container(mounts=rows)], folder=folder)
    assert ("media_volume" in found(known)) is differs


@pytest.mark.parametrize(
    ("before", "shards", "topology", "now", "differs"),
    [
        ("high_availability", "1", "multiconnect", 2, set()),
        ("multiconnect", "2", "multiconnect", 4, set()),
        ("multiconnect", "2", "high_availability", 1, {"shards"}),
        ("multiconnect", "4", "multiconnect", "2", {"shards"}),
        ("multiconnect", "2", "single", 1, {"topology", "shards"}),
        ("single", "1", "multiconnect", 2, {"topology"}),
    ],
)
def test_only_growth_of_a_cluster_needs_no_confirmation(
    before: str, shards: str, topology: str, now: t.Any, differs: set[str]
) -> None:
    known = facts(containers=[], recorded=record(topology=before, shards=shards), topology=topology, shards=now)
    assert set(found(known)) == differs
    clustered = {"WA_APP_MULTICONNECT": "1"} if before != "single" else {}
    known["looks"]["h1"]["containers"] = [container(environment=clustered)]
    assert set(found(known)) == differs


def cluster(records: dict[str, dict[str, str]], leader: str | None = None, **changed: t.Any) -> dict[str, t.Any]:
    """The facts on h1, one of three members. Members with a record are in the run."""
    looks = {
        host: {"containers": [], "identity": {"db_env": {}, "recorded": recorded}} for host, recorded in records.items()
    }
    return facts(group="support", leader=leader, containers=[], looks=looks, topology="high_availability", **changed)


@pytest.mark.parametrize(
    ("records", "leader", "differs"),
    [
        ({}, None, {}),
        ({"h1": {}, "h2": {}}, None, {}),  # never recorded
        ({"h1": {"host": "h1", "leader": "h1"}, "h2": {"host": "h2", "leader": "h1"}}, None, {}),
        # h1 was put first in the group and has no record.
        ({"h1": {}, "h2": {"host": "h2", "leader": "h2"}}, None, {"leader": ("h2", "h1")}),
        ({"h1": {}, "h2": {"host": "h2", "leader": "h2"}}, "h2", {}),
        # Only one member is in the run.
        ({"h1": {"host": "h1", "leader": "h2"}}, None, {"leader": ("h2", "h1")}),
        # One member was confirmed, another was not in that run.
        (
            {"h1": {"host": "h1", "leader": "h1"}, "h2": {"host": "h2", "leader": "h2"}},
            None,
            {"leader": ("h2", "h1")},
        ),
        # The leader was renamed in the inventory.
        ({"h1": {"host": "old", "leader": "old"}, "h2": {"host": "h2", "leader": "old"}}, None, {}),
        # The leader was removed from the inventory.
        ({"h1": {"host": "h1", "leader": "old"}}, None, {"leader": ("old", "h1")}),
    ],
)
def test_a_change_of_the_leader_is_a_difference(
    records: dict[str, dict[str, str]], leader: str | None, differs: dict[str, tuple[str, str]]
) -> None:
    assert found(cluster(records, leader)) == differs


def test_the_refusal_of_a_leader_change_names_the_fix() -> None:
    with pytest.raises(WaError) as error:
        client_identity.refusal(cluster({"h2": {"host": "h2", "leader": "h2"}}))
    message = "h1: another leader than the one that is there: leader h2 (as recorded on h2) would become h1"
    assert str(error.value).startswith(message)
    assert "wa_leader: h2" in error.value.cure
    assert 'wa_confirm_identity: {"leader": "h1"}' in error.value.cure


def test_a_new_member_must_match_the_other_members() -> None:
    known = cluster({"h1": {}, "h2": {"host": "h2", "leader": "h1"}}, db_env={"name_prefix": "x_"})
    known["looks"]["h2"]["containers"] = [
        container("c2", project="wa-support", environment={"WA_APP_MULTICONNECT": "1"})
    ]
    assert found(known) == {"name_prefix": ("a_", "x_")}


@pytest.mark.parametrize(
    ("confirmed", "left"),
    [
        ({"name_prefix": "x_"}, {"port"}),
        ({"name_prefix": "x_", "port": 3308}, set()),
        ({"name_prefix": "x_", "port": "3308"}, set()),
        ({"name_prefix": "y_"}, {"name_prefix", "port"}),
        ({"port": "3306"}, {"name_prefix", "port"}),
        ({}, {"name_prefix", "port"}),
        (None, {"name_prefix", "port"}),
    ],
)
def test_a_difference_is_confirmed_by_its_new_value(confirmed: t.Any, left: set[str]) -> None:
    known = facts(db_env={"name_prefix": "x_", "port": 3308}, confirmed=confirmed)
    assert set(found(known)) == left


def test_an_empty_prefix_can_be_confirmed() -> None:
    assert found(facts(db_env={"name_prefix": ""}, confirmed={"name_prefix": ""})) == {}
    assert found(facts(db_env={"name_prefix": ""}, confirmed={"name_prefix": None})) == {}
    assert found(facts(confirmed={"name_prefix": "a_"})) == {}, "harmless afterwards"


@pytest.mark.parametrize("confirmed", ["name_prefix=x_", ["name_prefix"], {"prefix": "x_"}])
def test_an_invalid_confirmation_is_refused(confirmed: t.Any) -> None:
    with pytest.raises(WaError, match="wa_confirm_identity"):
        found(facts(confirmed=confirmed))


def test_the_refusal_names_present_and_future_values_and_what_is_lost() -> None:
    with pytest.raises(WaError) as error:
        client_identity.refusal(facts(db_env={"name_prefix": "x_"}, media_volume="other"))
    assert str(error.value) == (
        "h1: another client than the one that is there: name_prefix a_ (wa-h1-wacore-1) would become x_, media_volume "
        "wa-h1_whatsappMedia (wa-h1-wacore-1) would become other. This would start an empty client; the present registration, settings and messages in "
        "the databases with the prefix 'a_' on MYSQL db.lab:3306, and all media in wa-h1_whatsappMedia would not be used; expected the values of "
        "the client that is there. Nothing was changed. Name the values that are there; or, if the change is intended, "
        'confirm the new ones with wa_confirm_identity: {"name_prefix": "x_", "media_volume": "other"}'
    )


def test_a_renamed_deployment_is_recognised_by_its_project() -> None:
    old = record(deployment="old", project="wa-h1")
    assert found(facts(others=[old])) == {"deployment": ("old", "h1")}
    assert found(facts(others=[old], recorded=record())) == {}, "its own record tells more"
    assert found(facts(others=[record(deployment="b", project="wa-b", leader="b")])) == {}


def body(media: t.Any = "media", **environment: t.Any) -> dict[str, t.Any]:
    """A service of a resolved Compose file."""
    mounts = [{"type": "volume", "source": media, "target": "/usr/local/wamedia/"}] if media else []
    return {"environment": environment, "volumes": mounts}


VOLUMES = {"media": {"name": "wa-h1_whatsappMedia"}, "other": {"name": "wa-h1_other"}}


@pytest.mark.parametrize(
    ("service", "differs"),
    [
        (body(), {}),
        (body(**ENV), {}),
        (body(WA_DB_NAME_PREFIX="x_"), {"name_prefix": ("a_", "x_")}),
        (body(WA_DB_NAME_PREFIX=""), {"name_prefix": ("a_", "")}),
        (body(WA_DB_NAME_PREFIX=None, WA_DB_PORT=""), {}),
        (body(WA_DB_HOSTNAME="DB.lab"), {}),
        (body(WA_DB_HOSTNAME="proxy"), {"hostname": ("db.lab", "proxy")}),
        (body("other"), {"media_volume": ("wa-h1_whatsappMedia", "wa-h1_other")}),
        (body("/srv/media"), {"media_volume": ("wa-h1_whatsappMedia", "/srv/media")}),
        (body(None), {"media_volume": ("wa-h1_whatsappMedia", "")}),
        (None, {}),
    ],
)
def test_differences_between_compose_file_and_db_env_are_found(
    service: dict[str, t.Any] | None, differs: dict[str, tuple[str, str]]
) -> None:
    document = {"services": {"wacore": service}, "volumes": VOLUMES}
    found_now = _client_differences(document)
    assert found_now == differs
    confirmed = {name: wanted for name, (_there, wanted) in differs.items()}
    assert _client_differences(document, confirmed) == {}


def _client_differences(document: dict[str, t.Any], confirmed: t.Any = None) -> dict[str, tuple[str, str]]:
    rows = client_identity.rendered(document, [container(service="wacore")], confirmed)
    return {one.attribute: (one.found, one.wanted) for one in rows}


def test_a_webapp_with_other_values_than_the_coreapps_does_not_count() -> None:
    web = container("wa-h1-waweb-1", service="waweb", environment={"WA_DB_PORT": "3307"}, volume="")
    document = {"services": {name: {"environment": ENV} for name in ("wacore", "waweb")}}
    assert client_identity.rendered(document, [container(service="wacore", volume=""), web]) == []
    assert [one.attribute for one in client_identity.rendered(document, [web])] == ["port"], "nobody else tells"
    mixed = {"services": {"wacore": {"environment": ENV}, "waweb": {"environment": {**ENV, "WA_DB_PORT": "3307"}}}}
    assert [one.wanted for one in client_identity.rendered(mixed, [container(service="wacore", volume=""), web])] == [
        "3307"
    ]


@pytest.mark.parametrize("identity", [{}, {"database": {}, "clustered": False}])
def test_a_container_without_a_database_tells_nothing(identity: dict[str, t.Any]) -> None:
    bare = container("wa-h1-waweb-1", service="waweb", identity=identity)
    document = {"services": {name: {"environment": {**ENV, "WA_DB_PORT": "3307"}} for name in ("wacore", "waweb")}}
    mount = {"source": "other", "target": "/usr/local/wamedia"}
    assert client_identity.rendered(document, [{**bare, "mounts": []}]) == []
    with_media = {"services": {"waweb": {"volumes": [mount]}}}
    assert [(one.attribute, one.wanted) for one in client_identity.rendered(with_media, [bare])] == [
        ("media_volume", "other")
    ]
    # With another container beside it, that one counts.
    core = container(service="wacore", volume="")
    assert [one.wanted for one in client_identity.rendered(document, [core, {**bare, "mounts": []}])] == ["3307"]


def test_only_the_given_attributes_are_compared() -> None:
    known = facts(recorded=record(leader="h2"), db_env={"name_prefix": "x_"}, attributes=["leader"])
    assert found(known) == {"leader": ("h2", "h1")}
