# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's record of a container as settings of a Compose file."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._docker.container_settings import environment, ports, settings

IMAGE = {"Env": ["PATH=/bin", "TZ=UTC"], "Cmd": ["/launch"], "Labels": {"VERSION": "1"}, "Volumes": {"/cache": {}}}
PLAIN = {"restart": "no", "logging": {"driver": "json-file", "options": {}}, "network_mode": "bridge"}


def record(config: dict[str, t.Any] | None = None, **host: t.Any) -> dict[str, t.Any]:
    """A container as created by `docker run IMAGE`, with the given changes."""
    return {
        "Id": "0123456789abcdef",
        "Name": "/wacore",
        "HostConfig": {
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "LogConfig": {"Type": "json-file", "Config": {}},
            "NetworkMode": "default",
            "IpcMode": "private",
            "ShmSize": 67108864,
            "Runtime": "runc",
            "CgroupnsMode": "host",
            "ConsoleSize": [0, 0],
            "OomScoreAdj": 0,
            "MaskedPaths": ["/proc/kcore"],
            **host,
        },
        "Config": {"Hostname": "0123456789ab", "Cmd": ["/launch"], "Labels": {"VERSION": "1"}, **(config or {})},
        "NetworkSettings": {"Networks": {}},
        "Mounts": [],
    }


def test_a_container_without_options_has_only_defaults() -> None:
    assert settings(record(), IMAGE) == (PLAIN, [])


def test_the_environment_of_the_image_is_left_out() -> None:
    own = {"Env": ["PATH=/bin", "TZ=Asia/Kolkata", "A=b=c", "ODD", "EMPTY="]}
    assert environment(record(own), IMAGE) == {"TZ": "Asia/Kolkata", "A": "b=c", "EMPTY": ""}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}, {"restart": "on-failure:3"}),
        ({"RestartPolicy": {"Name": "always"}}, {"restart": "always"}),
        ({"Memory": 1 << 30, "MemorySwap": 2 << 30}, {"mem_limit": 1 << 30}),
        ({"Memory": 1 << 30, "MemorySwap": 1 << 30}, {"mem_limit": 1 << 30, "memswap_limit": 1 << 30}),
        ({"NanoCpus": 1500000000, "PidsLimit": 100}, {"cpus": 1.5, "pids_limit": 100}),
        ({"NetworkMode": "host"}, {"network_mode": "host"}),
        ({"CapDrop": ["MKNOD"], "Dns": ["192.0.2.1"]}, {"cap_drop": ["MKNOD"], "dns": ["192.0.2.1"]}),
        ({"CapDrop": ["CAP_MKNOD", "NET_RAW"]}, {"cap_drop": ["MKNOD", "NET_RAW"]}),
        ({"CapAdd": ["CAP_SYS_TIME", "ALL"]}, {"cap_add": ["SYS_TIME", "ALL"]}),
        ({"CapAdd": None, "CapDrop": []}, {}),
        ({"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}]}, {"ulimits": {"nofile": {"soft": 1, "hard": 2}}}),
        ({"Tmpfs": {"/run": "size=1m", "/tmp": ""}}, {"tmpfs": ["/run:size=1m", "/tmp"]}),
        ({"Devices": [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"}]},
         {"devices": ["/dev/a:/dev/b:r"]}),
    ],
)  # fmt: skip
def test_settings_of_the_host_configuration(host: dict[str, t.Any], expected: dict[str, t.Any]) -> None:
    assert settings(record(**host), IMAGE) == ({**PLAIN, **expected}, [])


def test_settings_of_the_container_configuration() -> None:
    check = {"Test": ["CMD", "true"], "Interval": 30 * 10**9, "Timeout": 1500 * 10**6, "Retries": 3}
    own = {"Cmd": ["/wait", "/launch"], "Hostname": "core-1", "StopTimeout": 60, "User": "wa", "Healthcheck": check}
    found, left = settings(
        record({**own, "Labels": {"VERSION": "1", "team": "x", "com.docker.compose.service": "s"}}), IMAGE
    )
    assert left == []
    assert found == {
        **PLAIN,
        "command": ["/wait", "/launch"],
        "hostname": "core-1",
        "stop_grace_period": "60s",
        "user": "wa",
        "labels": {"team": "x"},
        "healthcheck": {"test": ["CMD", "true"], "interval": "30s", "timeout": "1500ms", "retries": 3},
    }


def test_settings_without_a_compose_equivalent_are_listed() -> None:
    assert settings(record(PublishAllPorts=True, DeviceRequests=[{"Count": 1}]), IMAGE)[1] == [
        "DeviceRequests",
        "PublishAllPorts",
    ]


def test_ports() -> None:
    bindings = {
        "443/tcp": [{"HostIp": "", "HostPort": "9090"}, {"HostIp": "127.0.0.1", "HostPort": "9091"}],
        "53/udp": [{"HostIp": "::1", "HostPort": "53"}],
        "80/tcp": [{"HostIp": "", "HostPort": ""}],
    }
    assert ports(bindings) == ["9090:443", "127.0.0.1:9091:443", "[::1]:53:53/udp", "80"]


def test_mounts() -> None:
    one = record()
    one["Mounts"] = [
        {"Type": "volume", "Name": "media", "Source": "/v", "Destination": "/usr/local/wamedia", "Mode": "z", "RW": True},
        {"Type": "volume", "Name": "0" * 64, "Source": "/v", "Destination": "/cache", "Mode": "", "RW": True},
        {"Type": "volume", "Name": "1" * 64, "Source": "/v", "Destination": "/kept", "Mode": "", "RW": True},
        {"Type": "bind", "Source": "/srv/certs", "Destination": "/opt/certs", "Mode": "ro,Z", "RW": False, "Propagation": "rslave"},
        {"Type": "tmpfs", "Source": "", "Destination": "/run", "Mode": "", "RW": True},
    ]  # fmt: skip
    assert settings(one, IMAGE)[0]["volumes"] == [
        f"{'1' * 64}:/kept",
        "/srv/certs:/opt/certs:ro,Z,rslave",
        "media:/usr/local/wamedia",
    ]


def test_networks_keep_the_chosen_aliases() -> None:
    one = record({"Labels": {"com.docker.compose.service": "wacore"}}, NetworkMode="biz_default")
    one["NetworkSettings"]["Networks"] = {
        "biz_default": {
            "Aliases": ["wacore", "0123456789ab", "whatsapp-core"],
            "IPAMConfig": {"IPv4Address": "10.0.0.5"},
        },
        "backend": {"Aliases": None, "IPAMConfig": None},
    }
    assert settings(one, IMAGE)[0]["networks"] == {
        "backend": {},
        "biz_default": {"aliases": ["whatsapp-core"], "ipv4_address": "10.0.0.5"},
    }


def test_tmpfs_mounts_links_and_a_shared_network() -> None:
    one = record(Mounts=[{"Type": "tmpfs", "Target": "/scratch", "TmpfsOptions": {"SizeBytes": 1024, "Mode": 0o700}}])
    one["NetworkSettings"]["Networks"] = {"biz_default": {"Links": ["biz-core-1:engine"]}}
    found = settings(one, IMAGE)[0]
    assert (found["tmpfs"], found["external_links"]) == (["/scratch:size=1024,mode=700"], ["biz-core-1:engine"])
    found = settings(record({"Hostname": "fedcba987654"}, NetworkMode="container:fedcba98765432"), IMAGE)[0]
    assert found["network_mode"] == "container:fedcba98765432"
    assert "hostname" not in found
