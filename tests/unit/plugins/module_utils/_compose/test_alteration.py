# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was changed in a container after Compose made it: its names on networks, its limits, its restart policy."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose import alteration
from ansible_collections.waba.onprem.plugins.module_utils._compose.plan import Network

MIB64 = 64 << 20


def record(aliases: t.Sequence[str] | None = ("waweb",), network: str = "n1", **host: t.Any) -> dict[str, t.Any]:
    endpoint = {"NetworkID": network, "Aliases": aliases}
    return {"HostConfig": host, "NetworkSettings": {"Networks": {"wa-a_default": endpoint}}}


@pytest.mark.parametrize(
    ("body", "there", "expected"),
    [
        ({}, record(), []),
        ({}, record(["wa-a-waweb-1", "waweb"], Memory=0, NanoCpus=0, CpuQuota=0), []),
        ({}, record([]), ["is on the network wa-a_default without its name waweb"]),
        ({}, record(None), ["is on the network wa-a_default without its name waweb"]),
        ({}, record(["web"]), ["is on the network wa-a_default without its name waweb"]),
        (
            {"networks": {"default": {"aliases": ["wacore"]}}},
            record(["waweb"]),
            ["is on the network wa-a_default without its name wacore"],
        ),
        ({"networks": {"default": {"aliases": ["wacore"]}}}, record(["waweb", "wacore"]), []),
        ({"networks": {"default": None}}, record(), []),
        ({}, record([], "n2"), []),  # none of the service's networks
        ({}, {"HostConfig": {}}, []),
        ({}, record(Memory=MIB64), ["has the memory limit 64.0 MiB, expected none"]),
        ({"mem_limit": str(MIB64)}, record(Memory=MIB64), []),
        ({"mem_limit": str(MIB64)}, record(), ["has the memory limit none, expected 64.0 MiB"]),
        ({"deploy": {"resources": {"limits": {"memory": str(MIB64)}}}}, record(Memory=MIB64), []),
        ({}, record(NanoCpus=500_000_000), ["has the CPU limit 0.5, expected none"]),
        ({"cpus": 0.5}, record(NanoCpus=500_000_000), []),
        ({"deploy": {"resources": {"limits": {"cpus": "1.50"}}}}, record(NanoCpus=1_500_000_000), []),
        # Compose computes with 32 bits: 2.26 gives 1.05 CPUs so, and 2.1 and 4.5 accordingly.
        ({"cpus": 1.05}, record(NanoCpus=1_049_999_936), []),
        ({"cpus": 2.1}, record(NanoCpus=2_099_999_872), []),
        ({"cpus": 4.5}, record(NanoCpus=4_499_999_744), []),
        ({"deploy": {"resources": {"limits": {"cpus": 64.3}}}}, record(NanoCpus=64_300_003_328), []),
        ({"cpus": 2.11}, record(NanoCpus=2_099_999_872), ["has the CPU limit 2.1, expected 2.11"]),
        ({}, record(CpuQuota=20000), ["has the CPU quota 20000, expected none"]),
        ({"cpu_quota": "20000"}, record(CpuQuota=20000), []),
        ({"cpu_quota": -1}, record(CpuQuota=-1), []),
        ({}, record(PidsLimit=100), ["has the limit of processes 100, expected none"]),
        ({}, record(PidsLimit=-1), []),
        ({"pids_limit": -1}, record(PidsLimit=None), []),
        ({"pids_limit": 100}, record(PidsLimit=100), []),
        ({"deploy": {"resources": {"limits": {"pids": 100}}}}, record(PidsLimit=100), []),
        ({}, record(MemoryReservation=MIB64), ["has the memory reservation 64.0 MiB, expected none"]),
        ({"mem_reservation": str(MIB64)}, record(MemoryReservation=MIB64), []),
        ({"deploy": {"resources": {"reservations": {"memory": str(MIB64)}}}}, record(MemoryReservation=MIB64), []),
        ({"cpu_shares": 512}, record(CpuShares=1024), ["has the CPU shares 1024, expected 512"]),
    ],
)
def test_what_only_a_recreation_puts_right(
    body: dict[str, t.Any], there: dict[str, t.Any], expected: list[str]
) -> None:
    assert alteration.alterations("waweb", body, {"n1": Network("default", "wa-a_default")}, there) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, ("", 0)),
        ({"restart": None}, ("", 0)),
        ({"restart": "unless-stopped"}, ("unless-stopped", 0)),
        ({"restart": "on-failure:5"}, ("on-failure", 5)),
        ({"restart": "always", "deploy": {"restart_policy": {"condition": "none"}}}, ("no", 0)),
        ({"deploy": {"restart_policy": {"condition": "on-failure", "max_attempts": 3}}}, ("on-failure", 3)),
        ({"deploy": {"restart_policy": {"condition": "any"}}}, ("always", 0)),
    ],
)
def test_the_restart_policy_of_a_service(body: dict[str, t.Any], expected: tuple[str, int]) -> None:
    assert alteration.restart_policy(body) == expected


@pytest.mark.parametrize(
    ("declared", "actual", "expected"),
    [
        ({}, {}, []),
        ({}, {"CpusetCpus": ""}, []),
        ({"cpuset": "0,1"}, {"CpusetCpus": "0,1"}, []),
        ({"cpuset": "0,1"}, {"CpusetCpus": "0"}, ["has the CPUs 0, expected 0,1"]),
        ({}, {"CpusetCpus": "0"}, ["has the CPUs 0, expected any"]),
        ({"cpuset": "0,1"}, {}, ["has the CPUs any, expected 0,1"]),
    ],
)
def test_the_cpus_that_docker_update_has_changed(
    declared: dict[str, str], actual: dict[str, str], expected: list[str]
) -> None:
    assert alteration.alterations("waweb", declared, {}, {"HostConfig": actual}) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({}, "no"),
        ({"Name": "always", "MaximumRetryCount": 0}, "always"),
        ({"Name": "on-failure", "MaximumRetryCount": 0}, "on-failure"),
        ({"Name": "on-failure", "MaximumRetryCount": 3}, "on-failure:3"),
    ],
)
def test_the_restart_policy_of_a_container(policy: dict[str, t.Any], expected: str) -> None:
    record = {"HostConfig": {"RestartPolicy": policy}}
    assert alteration.shown_policy(*alteration.actual_policy(record)) == expected
    assert alteration.shown_policy("always", 3) == "always"
