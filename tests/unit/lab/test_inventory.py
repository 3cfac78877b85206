# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory and the SQL that a lab writes."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.manager import VariableManager
from lab_samples import sample
from simclient.schema import STORES, message_stores, store
from walab import databases, inventory
from walab.model import PROFILES, USER, Host, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A lab that was never started."""
    return sample(tmp_path)


def test_ansible_parses_the_inventory(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = "Od'd\"$HOME#\\{%x"
    monkeypatch.setenv("WALAB_DB_PASSWORD", odd)
    lab.folder.mkdir(parents=True)
    inventory.write(lab)
    loader = DataLoader()
    hosts = InventoryManager(loader=loader, sources=[str(lab.inventory)])
    variables = VariableManager(loader=loader, inventory=hosts)
    assert sorted(host.name for host in hosts.get_hosts("lab")) == ["h1", "h2"]
    one, two = (variables.get_vars(host=hosts.get_host(name)) for name in ("h1", "h2"))
    assert one["ansible_port"] == lab.ports["h1-ssh"]
    assert one["lab_api_url"] == f"https://127.0.0.1:{lab.ports['h1-api']}"
    assert (one["wa_db_env_engine"], one["wa_db_env_port"], one["wa_db_env_name_prefix"]) == ("MYSQL", 3306, "h1_")
    assert (two["wa_db_env_engine"], two["wa_db_env_port"], two["wa_db_env_hostname"]) == (
        "PGSQL",
        5432,
        "postgres.lab",
    )
    assert one["wa_version"] == "2.51.2"
    assert one["wa_db_env_password"] == odd
    assert "wa_deployment" not in one


def test_a_shared_lab_is_one_deployment(lab: Lab) -> None:
    lab.options.shared = True
    tree = inventory.build(lab)
    assert tree["all"]["vars"]["wa_deployment"] in tree["all"]["children"]
    assert {own["wa_db_env_name_prefix"] for own in tree["all"]["children"]["waba"]["hosts"].values()} == {""}


def test_a_shared_lab_has_one_key_one_share_and_a_topology(lab: Lab) -> None:
    lab.options.shared, lab.options.shards, lab.options.registry_auth = True, 2, True
    lab.folder.mkdir(parents=True)
    inventory.write(lab)
    loader = DataLoader()
    hosts = InventoryManager(loader=loader, sources=[str(lab.inventory)])
    variables = VariableManager(loader=loader, inventory=hosts)
    one, two = (variables.get_vars(host=hosts.get_host(name)) for name in ("h1", "h2"))
    assert (one["wa_topology"], one["wa_shards"]) == ("multiconnect", 2)
    assert (one["wa_client_address"], two["wa_client_address"]) == ("h1.lab", "h2.lab")
    assert one["wa_media_volume_driver_options"]["device"] == "/srv/media"
    assert one["wa_db_env_extra_secrets"] == two["wa_db_env_extra_secrets"]
    assert one["wa_db_env_extra_secrets"]["WA_WEB_JWT_CRYPTO_KEY"] == lab.secrets()["jwt_key"]
    assert one["lab_registry_password"] == lab.secrets()["registry_password"]


def test_a_profile_is_passed_to_the_client_with_the_labs_own_settings(lab: Lab) -> None:
    assert "wa_db_env_extra" not in inventory.build(lab)["all"]["vars"]
    lab.options.profile = "hostile"
    assert inventory.build(lab)["all"]["vars"]["wa_db_env_extra"] == inventory.SIMULATION["hostile"]
    lab.options.shared, lab.options.shards = True, 2
    extra = inventory.build(lab)["all"]["vars"]["wa_db_env_extra"]
    assert extra == {"SIM_SHARDS": "2", **inventory.SIMULATION["hostile"]}
    assert tuple(inventory.SIMULATION) == PROFILES


def test_a_hostile_client_is_root_without_a_prefix_and_names_its_databases(lab: Lab) -> None:
    lab.options.hosts.append(Host("h3"))
    lab.options.profile = "hostile"
    lab.choose_ports(up=())
    tree = inventory.build(lab)
    hosts = tree["all"]["children"]["lab"]["hosts"]
    assert tree["all"]["vars"]["wa_db_env_username"] == "root"
    assert {name: own["wa_db_env_name_prefix"] for name, own in hosts.items()} == {"h1": "", "h2": "", "h3": "h3_"}
    stores = {store(name) for name in (*STORES, *message_stores(2))}
    assert {name: set(own.get("wa_message_gc_databases", ())) for name, own in hosts.items()} == {
        "h1": stores,
        "h2": stores,
        "h3": set(),
    }


@pytest.mark.parametrize("engine", ["mariadb", "mysql-9.7", "postgres"])
def test_a_hostile_client_has_every_privilege_and_neighbours(engine: str) -> None:
    words = {"db_password": "one", "dba_password": "two"}
    (right,) = [
        line
        for line in databases.users_sql(engine, words, "root").splitlines()
        if "root" in line and ("GRANT" in line or "ALTER ROLE" in line)
    ]
    assert right == (
        "ALTER ROLE root LOGIN SUPERUSER PASSWORD 'one';"
        if engine == "postgres"
        else "GRANT ALL PRIVILEGES ON *.* TO 'root'@'%';"
    )
    text = databases.neighbours_sql(engine)
    assert "CREATE TABLE IF NOT EXISTS messages " in text
    assert {name for name in ("helpdesk", "bookStore") if name in text} == {"helpdesk", "bookStore"}


def test_passwords_are_only_in_private_files(lab: Lab) -> None:
    lab.folder.mkdir(parents=True)
    inventory.write(lab)
    holders = {path for path in lab.folder.rglob("*") if path.is_file() and b"Canary" in path.read_bytes()}
    assert holders == {lab.folder / "secrets.json", lab.folder / "group_vars/all/secrets.yml"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in holders} == {0o600}


def test_ssh_arguments_quote_a_path_with_a_space(lab: Lab) -> None:
    arguments = shlex.split(inventory.build(lab)["all"]["vars"]["ansible_ssh_common_args"])
    assert f'UserKnownHostsFile="{lab.known_hosts}"' in arguments
    assert " " in str(lab.known_hosts)


def test_the_inventory_file_is_yaml(lab: Lab, tmp_path: Path) -> None:
    lab.folder.mkdir(parents=True)
    inventory.write(lab)
    assert yaml.safe_load(lab.inventory.read_text(encoding="utf-8")) == inventory.build(lab)


@pytest.mark.parametrize(
    ("engine", "text", "expected"),
    [
        ("mariadb", "plain", "'plain'"),
        ("mariadb", "it's", "'it''s'"),
        ("mariadb", "a\\", "'a\\\\'"),
        ("postgres", "it's", "'it''s'"),
        ("postgres", "a\\", "'a\\'"),
    ],
)
def test_sql_literals_are_quoted(engine: str, text: str, expected: str) -> None:
    assert databases.literal(engine, text) == expected


@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_the_clients_user_has_only_the_privileges_that_the_vendor_requires(engine: str) -> None:
    lines = databases.users_sql(engine, {"db_password": "one", "dba_password": "two"}, USER).splitlines()
    ours = [line for line in lines if "whatsapp" in line and ("GRANT" in line or "ALTER ROLE" in line)]
    assert len(ours) == 1
    if engine == "mariadb":
        rights = ours[0].partition("GRANT ")[2].partition(" ON ")[0].split(", ")
        assert sorted(rights) == sorted(["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "INDEX", "DROP"])
    else:
        assert ours == ["ALTER ROLE whatsapp LOGIN CREATEDB PASSWORD 'one';"]
