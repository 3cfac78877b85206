# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Schema creation, migrations, interrupted migrations, and incompatible versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from simclient.database import DatabaseError
from simclient.schema import STORES, MigrationFailed, Schema, SchemaNewer, last_rewrite, store
from simclient.seed import numbers, selection
from simclient_db import FakeDatabase, FakeServer
from simclient_deployment import API_KEY, Deployment
from waiting import until


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    """The schema of an empty server."""
    return Schema(FakeDatabase(FakeServer(tmp_path / "db")), lambda text: None)


def test_names_are_prefix_and_store_without_a_separator(schema: Schema) -> None:
    assert schema.bring_to(51)
    assert isinstance(schema.db, FakeDatabase)
    assert schema.db.server.names() == {f"wa1{store(name)}" for name in STORES}
    with schema.db.session(store("message")) as session:
        assert {"attr_51", "message_id", "status"} <= schema.columns(session, "messages")


@pytest.mark.parametrize(("version", "column"), [(51, 51), (52, 51), (53, 53), (54, 53)])
def test_a_migrated_schema_equals_a_created_one(tmp_path: Path, version: int, column: int) -> None:
    assert last_rewrite(version) == column
    columns = []
    for name, steps in (("created", [version]), ("migrated", [45, 50, version])):
        found = Schema(FakeDatabase(FakeServer(tmp_path / name)), lambda text: None)
        for step in steps:
            found.bring_to(step)
        assert found.state(version) == "current"
        with found.db.session(store("message")) as session:
            columns.append(set(found.columns(session, "messages")))
    assert columns[0] == columns[1]


def test_an_interrupted_migration_is_continued(schema: Schema) -> None:
    schema.bring_to(51)

    def stop(step: str) -> None:
        if step != "start":
            raise MigrationFailed("stopped")

    with pytest.raises(MigrationFailed):
        schema.bring_to(53, stop)
    found = schema.versions()
    assert (found["config"], found["message"]) == (53, 52)
    assert schema.state(53) == "older"
    assert schema.state(51) == "newer"
    schema.bring_to(53)
    assert set(schema.versions().values()) == {53}


def test_a_completed_statement_is_not_repeated_after_a_kill(schema: Schema) -> None:
    schema.bring_to(52)
    with schema.db.session(store("message")) as session:
        session.execute("ALTER TABLE messages ADD COLUMN attr_53 BIGINT NOT NULL DEFAULT 0, DROP COLUMN attr_51")
    schema.bring_to(53)
    assert schema.state(53) == "current"


def test_partly_created_databases_are_completed(schema: Schema) -> None:
    session = schema.db.connect(None)
    session.execute(f"CREATE DATABASE {schema.db.quote('wa1clusterStore')}")
    assert schema.state(51) == "fresh"
    assert schema.bring_to(51)
    assert schema.state(51) == "current"


def test_an_older_build_refuses_a_newer_schema(deploy: Callable[..., Deployment]) -> None:
    d = deploy()
    Schema(d.database(), lambda text: None).bring_to(53)
    node = d.core()
    until(node.stop.is_set)
    assert "is newer than this build's 51" in node.fatal
    with pytest.raises(SchemaNewer):
        node.schema.bring_to(51)


def test_the_one_shot_migration_reports_its_result_as_exit_code(deploy: Callable[..., Deployment]) -> None:
    d = deploy()
    Schema(d.database(), lambda text: None).bring_to(51)
    node = d.core(version="2.53.4", start=False)
    d.fault("migration_fails")
    assert node.upgrade() == 1
    d.fault("migration_fails", on=False)
    assert node.upgrade() == 0
    assert node.upgrade() == 0
    d.server.down = True
    assert node.upgrade() == 1


def test_health_is_uninitialized_while_the_single_coreapp_migrates(deploy: Callable[..., Deployment]) -> None:
    d = deploy("2.53.4")
    Schema(d.database(), lambda text: None).bring_to(51)
    d.knobs["fixed_faults"] = ("migration_hangs",)
    d.core()
    d.start_web()
    until(lambda: d.health() == {"gateway_status": "uninitialized"})
    d.fault("migration_hangs", on=False)
    assert until(lambda: d.health() in ({"gateway_status": "unregistered"}, {"gateway_status": "connected"}))


def test_a_start_waits_for_the_database(deploy: Callable[..., Deployment]) -> None:
    d = deploy()
    d.server.down = True
    d.core()
    d.start_web()
    assert d.health() == {"gateway_status": "uninitialized"}
    status, answer = d.login("secret", "Aa-11111")
    assert (status, answer["errors"][0]["code"]) == (500, 1014)
    d.server.down = False
    until(lambda: d.health() == {"gateway_status": "connected"})


def test_a_fresh_server_is_not_ready_before_the_coreapp_creates_the_databases(
    deploy: Callable[..., Deployment],
) -> None:
    d = deploy()
    d.start_web()
    status, answer = d.login("secret", "Aa-11111")
    assert (status, answer["errors"][0]["code"]) == (503, 1011)
    status, answer = d.call("GET", "/v1/health", auth=f"Apikey {API_KEY}")
    assert (status, answer["errors"][0]["code"]) == (500, 1014)


def test_without_config_on_db_a_recreated_container_loses_the_registration(deploy: Callable[..., Deployment]) -> None:
    d = deploy(config_on_db=False)
    node = d.core()
    d.start_web()
    until(lambda: d.health() == {"gateway_status": "connected"})
    node.close_all()  # type: ignore[attr-defined]  # set by the fixture
    d.core(data_dir=str(d.folder / "another-container"))
    assert until(lambda: d.health() == {"gateway_status": "unregistered"})


def test_the_seeder_inserts_85_percent_deletable_messages() -> None:
    text = selection("MYSQL", "seq", 1000000)
    assert "MOD(seq, 20)" in text
    assert numbers("MYSQL", "11.8.9-MariaDB", 5, 9) == ("seq_5_to_9", "seq")
    assert numbers("PGSQL", "PostgreSQL 17", 5, 9) == ("generate_series(5::bigint, 9::bigint) AS s(n)", "n")
    source, name = numbers("MYSQL", "8.0.40", 5, 9)
    assert (name, source.count("UNION ALL")) == ("n", 45)


def test_errors_contain_no_password(deploy: Callable[..., Deployment]) -> None:
    d = deploy()
    d.server.down = True
    node = d.core(start=False)
    with pytest.raises(DatabaseError) as caught:
        node.schema.versions()
    assert "Canary" not in str(caught.value)
    assert "Canary" not in repr(node.settings)
