# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The address of a host name in the client's containers."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._docker import host_names as names
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

Record = dict[str, t.Any]


def container(name: str, networks: dict[str, Record] | None = None, **host: t.Any) -> Record:
    return {
        "Id": f"{name:0<64}",
        "Name": f"/{name}",
        "HostConfig": {"NetworkMode": "biz_default", **host},
        "NetworkSettings": {"Networks": networks or {}},
    }


def endpoint(address: str, *aliases: str, **more: t.Any) -> Record:
    return {"IPAddress": address, "Aliases": list(aliases), **more}


class Engine:
    def __init__(self, *records: Record) -> None:
        self.records = {record["Id"]: record for record in records}

    def rows(self, _subject: str, stopped: bool = True) -> list[Record]:
        return [{"Id": one["Id"], "NetworkSettings": one["NetworkSettings"]} for one in self.records.values()]

    def inspect_id(self, identifier: str) -> Record | None:
        return self.records.get(identifier)

    def request(self, _subject: str, _method: str, path: str) -> Record:
        if path != "/networks/bridge":
            raise NotFound("network", "none")
        return {"IPAM": {"Config": [{"Gateway": "172.17.0.1"}]}}


DATABASE = container("biz-db-1", {"biz_default": endpoint("172.18.0.5", "db", "primary")})
OTHER = container("shop-db-1", {"shop_default": endpoint("172.19.0.9", "db")})
PLAIN = container("old-db", {"bridge": endpoint("172.17.0.4")})
CORE = container("biz-wacore-1", {"biz_default": endpoint("172.18.0.2", "wacore")})
LINKED = container("wacore", {"bridge": endpoint("172.17.0.2")}, NetworkMode="bridge", Links=["/old-db:/wacore/mysql"])
LATER = container("wacore", {"biz_default": endpoint("172.18.0.2", Links=["biz-db-1:maria"])})


@pytest.mark.parametrize(
    ("clients", "name", "address"),
    [
        ([CORE], "db", "172.18.0.5"),
        ([CORE], "DB", "172.18.0.5"),
        ([CORE], "primary", "172.18.0.5"),
        ([CORE], "biz-db-1", "172.18.0.5"),
        ([CORE], "db.biz_default", "172.18.0.5"),
        ([CORE], DATABASE["Id"][:12], "172.18.0.5"),
        ([CORE], "shop-db-1", ""),  # on a network that the client is not on
        ([CORE], "old-db", ""),
        ([CORE], "db.example.com", ""),
        ([LINKED], "mysql", "172.17.0.4"),
        ([LINKED], "old-db", ""),  # Docker's default bridge has links, but no names
        ([LATER], "maria", "172.18.0.5"),
        ([container("wacore", ExtraHosts=["sql.example.com:192.0.2.7"])], "sql.example.com", "192.0.2.7"),
        ([container("wacore", ExtraHosts=["sql:2001:db8::7"])], "sql", "2001:db8::7"),
        ([container("wacore", ExtraHosts=["host.docker.internal:host-gateway"])], "host.docker.internal", "172.17.0.1"),
        (
            [container("wacore", ExtraHosts=["db:192.0.2.7"], networks=CORE["NetworkSettings"]["Networks"])],
            "db",
            "192.0.2.7",
        ),
        ([], "biz-db-1", "172.18.0.5"),  # before the first start, any network may become the client's
        ([], "shop-db-1", "172.19.0.9"),
        ([], "old-db", ""),
        ([], "nobody", ""),
    ],
)
def test_the_address_of_a_host_name(clients: list[Record], name: str, address: str) -> None:
    engine = Engine(DATABASE, OTHER, PLAIN, *clients)
    found, via = names.address(t.cast("t.Any", engine), clients, name)
    assert found == address
    assert bool(via) == bool(address)


def test_a_container_that_was_just_removed_is_skipped() -> None:
    engine = Engine(DATABASE)
    engine.inspect_id = lambda _identifier: None  # type: ignore[assignment]  # it was there when it was listed
    assert names.address(t.cast("t.Any", engine), [CORE], "db") == ("", "")


def test_the_host_network_is_recognised() -> None:
    assert names.on_host_network(container("wacore", NetworkMode="host"))
    assert not names.on_host_network(CORE)
