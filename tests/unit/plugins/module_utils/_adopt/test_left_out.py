# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Compose file of the role leaves out of a container, by table, and that it leaves out nothing of its own."""

from __future__ import annotations

import typing as t

import pytest
from adopt_samples import ENV, REGISTRY, container, render, survey

from ansible_collections.waba.onprem.plugins.module_utils._adopt import clients
from ansible_collections.waba.onprem.plugins.module_utils._adopt.left_out import lines
from ansible_collections.waba.onprem.plugins.module_utils._docker.container_settings import environment, settings

HOST = {
    "wa_project": "biz",
    "wa_registry": REGISTRY,
    "wa_version": "2.51.2",
    "wa_env_file": "/srv/biz/db.env",
    "wa_media_volume_name": "biz_whatsappMedia",
}
MEDIA = "biz_whatsappMedia:/usr/local/wamedia"
BRIDGE = {"network_mode": "bridge", "networks": None}
IMAGE_GONE = "its image is gone from the host, so settings of the image count as the container's own"


def document(*hosts: str, **variables: t.Any) -> dict[str, t.Any]:
    """The Compose file of the role for the first of these hosts, which are one deployment."""
    names = hosts or ("h1",)
    shared = {**HOST, **variables, **({"wa_deployment": "biz"} if len(names) > 1 else {})}
    given = {key: value for key, value in shared.items() if value is not None}
    groups = {"all": names, **({"biz": names} if len(names) > 1 else {})}
    return render(dict.fromkeys(names, given), names[0], groups)[0]


def left_out(one: dict[str, t.Any], made: dict[str, t.Any] | None = None, **changes: t.Any) -> list[str]:
    """The lines about a container that runs beside one of the other role."""
    other = container("waweb" if one["service"] != "waweb" else "wacore", one["project"])
    [client] = clients.clients("h1", survey(one, other, **changes))
    subject = one["service"] if one["name"] == one["service"] else f"{one['service']} ({one['name']})"
    found = lines(client, one, made or document(wa_project=one["project"] or None), one["service"])
    assert [line for line in found if not line.startswith(f"{subject}: ") or "\n" in line] == []
    return [line[len(f"{subject}: ") :] for line in found]


@pytest.mark.parametrize(
    ("service", "changes", "expected"),
    [
        ("wacore", {}, []),
        ("waweb", {}, []),
        ("wacore", {"environment": {"TZ": "Canary-zone", "WA_API_KEY": "Canary-key"}}, ["environment: TZ, WA_API_KEY"]),
        ("wacore", {"environment": {"WA_CONFIG_ON_DB": "0"}}, ["environment: WA_CONFIG_ON_DB"]),
        ("wacore", {"environment": {"WA_CONFIG_ON_DB": None}}, []),
        ("waweb", {"environment": {"WACORE_HOSTNAME": "192.0.2.1"}}, []),
        ("wacore", {"environment": {"WACORE_HOSTNAME": "192.0.2.1"}}, ["environment: WACORE_HOSTNAME"]),
        ("waweb", {"environment": {"WA_DB_PORT": "3307"}, "own_keys": ["WA_DB_PORT"]}, ["environment: WA_DB_PORT"]),
        ("waweb", {"env_files": []}, []),  # it has the same values as the db.env of the other
        ("waweb", {"env_files": [], "environment": {"WA_DB_PORT": "3307"}}, ["environment: WA_DB_PORT"]),
        ("wacore", {"environment": {"WA_DB_PORT": "3307"}, "own_keys": ["WA_DB_PORT"]}, ["environment: WA_DB_PORT"]),
        ("wacore", {"environment": {"WA_DB_PORT": "3307"}}, []),  # db.env was edited after it was created
        ("wacore", {"environment": {"WA_DB_NAME_PREFIX": "x_"}, "own_keys": ["WA_DB_NAME_PREFIX"]}, []),  # written to db.env
        ("waweb", {"env_files": ["/srv/biz/db.env", "/srv/biz/web.env"]}, ["env_file: /srv/biz/web.env"]),
        ("waweb", {"env_files": ["/a.env", "/srv/biz/db.env", "/b.env"]}, ["env_file: /a.env, /b.env"]),
        ("wacore", {"settings": {"labels": {"team": "Canary-team", "a": "1"}}}, ["labels: a, team"]),
        ("wacore", {"settings": {"labels": {"onprem.waba.deployment": "x"}}}, []),
        ("wacore", {"settings": {"networks": {"biz_default": {}, "shared": {}}}}, ["networks: shared"]),
        ("wacore", {"settings": {"networks": {"biz_backend": {}, "shared": {}}}}, ["networks: biz_backend, shared"]),
        (
            "wacore",
            {"settings": {"networks": {"biz_default": {"aliases": ["core"]}, "shared": {}}}},
            ['networks: biz_default {"aliases": ["core"]}, shared'],
        ),
        (
            "wacore",
            {"settings": {"networks": {"biz_default": {"ipv4_address": "192.0.2.7"}}}},
            ['networks: biz_default {"ipv4_address": "192.0.2.7"}'],
        ),
        ("wacore", {"settings": {"networks": None}}, []),
        ("wacore", {"settings": {"volumes": [MEDIA, "certs:/opt/certs:ro"]}}, ["volumes: certs:/opt/certs:ro"]),
        ("wacore", {"settings": {"volumes": ["/data:/usr/local/wamedia/"]}}, []),
        ("wacore", {"settings": {"volumes": ["/data:/usr/local/wamedia/in"]}}, ["volumes: /data:/usr/local/wamedia/in"]),
        ("wacore", {"settings": {"volumes": None}}, []),
        ("wacore", {"settings": {"tmpfs": ["/run:size=1m", "/tmp"]}}, ["tmpfs: /run:size=1m, /tmp"]),
        ("waweb", {"settings": {"ports": ["9090:443"]}}, []),
        ("waweb", {"settings": {"ports": ["127.0.0.1:9090:443"]}}, ["ports: 127.0.0.1:9090:443"]),
        ("waweb", {"settings": {"ports": ["9090:443", "192.0.2.1:9091:443"]}}, ["ports: 192.0.2.1:9091:443"]),
        ("wacore", {"settings": {"ports": ["6253:6253"]}}, ["ports: 6253:6253"]),
        ("waweb", {"settings": {"external_links": ["biz-wacore-1:wacore", "proxy:px"]}}, ["external_links: proxy:px"]),
        ("waweb", {"settings": {"external_links": ["biz-wacore-1:wacore", "biz-wacore-1:engine"]}}, []),
        ("wacore", {"settings": {"network_mode": "host", "networks": None}}, ["network_mode: host"]),
        ("wacore", {"settings": {"command": ["/opt/mine.sh", "--fast"]}}, ["command"]),
        ("wacore", {"settings": {"command": None}}, []),
        ("wacore", {"settings": {"entrypoint": ["/bin/sh"], "healthcheck": {"test": ["NONE"]}}}, ["entrypoint", "healthcheck"]),
        ("wacore", {"settings": {"mem_limit": 1 << 30, "cpus": 1.5}}, ["mem_limit: 1073741824", "cpus: 1.5"]),
        ("wacore", {"settings": {"init": True}}, ["init: true"]),
        ("wacore", {"settings": {"ulimits": {"nofile": {"soft": 1, "hard": 2}}}}, ['ulimits: {"nofile": {"hard": 2, "soft": 1}}']),
        ("wacore", {"settings": {"cap_drop": ["NET_RAW"], "cap_add": ["SYS_TIME"]}}, ["cap_drop: NET_RAW", "cap_add: SYS_TIME"]),
        ("wacore", {"settings": {"stop_grace_period": "120s"}}, ["stop_grace_period: 120s"]),
        ("wacore", {"settings": {"restart": "always"}}, []),
        ("wacore", {"settings": {"restart": "unless-stopped"}}, []),
        ("wacore", {"settings": {"restart": "no"}}, ["restart: no"]),
        ("wacore", {"settings": {"restart": "on-failure:3"}}, ["restart: on-failure:3"]),
        ("wacore", {"settings": {"logging": {"driver": "json-file", "options": {}}}}, []),
        (
            "wacore",
            {"settings": {"logging": {"driver": "json-file", "options": {"max-size": "1g"}}}},
            ['logging: {"driver": "json-file", "options": {"max-size": "1g"}}'],
        ),
        (
            "wacore",
            {"settings": {"logging": {"driver": "syslog", "options": {}}}},
            ['logging: {"driver": "syslog", "options": {}}'],
        ),
        ("wacore", {"unsupported_settings": ["DeviceRequests", "PublishAllPorts"]}, ["DeviceRequests", "PublishAllPorts"]),
        ("waweb", {"image_gone": True}, [IMAGE_GONE]),
        ("waweb", {"image_gone": True, "settings": {"init": True}, "unsupported_settings": ["DeviceRequests"]}, ["init: true", "DeviceRequests", IMAGE_GONE]),
    ],
)  # fmt: skip
def test_what_a_container_has_beyond_the_role_is_named(
    service: str, changes: dict[str, t.Any], expected: list[str]
) -> None:
    assert left_out(container(service, **changes)) == expected


@pytest.mark.parametrize(
    ("service", "changes", "expected"),
    [
        ("wacore", {}, []),
        ("waweb", {"settings": {**BRIDGE, "external_links": ["wacore:wacore"]}}, []),
        ("waweb", {"settings": {**BRIDGE, "external_links": ["proxy:proxy"]}}, ["external_links: proxy:proxy"]),
        ("wacore", {"settings": {"networks": {"bridge": {}, "wa-net": {}}}}, ["networks: wa-net"]),
        ("wacore", {"environment": {"TZ": "Canary-zone"}}, ["environment: TZ"]),
        ("waweb", {"environment": {"WACORE_HOSTNAME": "192.0.2.1"}}, []),
        ("wacore", {"environment": {"WA_DB_PORT": "3307"}}, []),  # in the db.env that is written
    ],
)
def test_of_docker_run_the_default_bridge_is_none(service: str, changes: dict[str, t.Any], expected: list[str]) -> None:
    assert left_out(container(service, "", **{"settings": BRIDGE, **changes}), files=[]) == expected


@pytest.mark.parametrize(
    ("hostname", "links"),
    [("whatsapp-core", []), ("engine", ["whatsapp-core:engine"]), ("wacore", ["whatsapp-core:wacore"])],
)
def test_the_name_of_the_coreapp_in_its_webapp_is_the_roles_own(hostname: str, links: list[str]) -> None:
    core = container("wacore", "", name="whatsapp-core", settings=BRIDGE)
    settings = {**BRIDGE, "external_links": links}
    web = container("waweb", "", name="web", environment={"WACORE_HOSTNAME": hostname}, settings=settings)
    [client] = clients.clients("h1", survey(core, web, files=[]))
    assert lines(client, web, document(wa_project=None), "waweb") == []


@pytest.mark.parametrize(
    ("names", "texts", "expected"),
    [
        ([], [], []),
        (["/srv/biz/web.env"], ["TZ=UTC\n"], ["env_file: /srv/biz/web.env"]),
        (["/a.env", "/b.env"], ["TZ=UTC\n", "A=1\n"], ["env_file: /a.env, /b.env"]),
        (["/srv/biz/db.env"], [None], ["env_file: /srv/biz/db.env"]),
    ],
)
def test_without_a_db_env_every_env_file_is_named(
    names: list[str], texts: list[str | None], expected: list[str]
) -> None:
    files = [{"path": path, "problem": "", "text": text} for path, text in zip(names, texts)]
    given = {"TZ": "UTC" if "TZ=UTC\n" in texts else None, "A": "1" if "A=1\n" in texts else None}
    assert left_out(container("waweb", env_files=names, environment=given), files=files) == expected


@pytest.mark.parametrize("path", ["/srv/biz/db.env", ""])
@pytest.mark.parametrize(("port", "expected"), [("3306", []), ("3307", ["waweb: environment: WA_DB_PORT"])])
def test_outside_compose_a_setting_that_differs_from_those_of_the_coreapp_is_left_out(
    path: str, port: str, expected: list[str]
) -> None:
    core = container("wacore", "", settings=BRIDGE, env_files=[path] if path else [])
    web = container("waweb", "", settings=BRIDGE, environment={"WA_DB_PORT": port})
    [client] = clients.clients("h1", survey(core, web, env={"WA_DB_PORT": "3306"}))
    found = lines(client, web, document(wa_project=None), "waweb")
    assert [line for line in found if "environment" in line] == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([], ["environment: TZ, WA_API_KEY"]),
        (["WA_API_KEY"], ["environment: TZ"]),
        ({"WA_API_KEY": "Canary-key", "TZ": "UTC"}, []),
    ],
)
def test_what_is_written_into_db_env_is_not_left_out(written: t.Iterable[str], expected: list[str]) -> None:
    web = container("waweb", environment={"WA_API_KEY": "Canary-key", "TZ": "UTC"})
    [client] = clients.clients("h1", survey(container("wacore"), web))
    assert lines(client, web, document(), "waweb", written) == [f"waweb (biz-waweb-1): {line}" for line in expected]


@pytest.mark.parametrize(
    ("name", "subject"), [("biz-proxy-1", "proxy (biz-proxy-1)"), ("proxy", "proxy"), ("waweb", "proxy (waweb)")]
)
def test_a_service_that_the_file_lacks_is_left_out_as_a_whole(name: str, subject: str) -> None:
    one = container("proxy", name=name, settings={"init": True}, image_gone=True)
    [client] = clients.clients("h1", survey(container("wacore"), container("waweb"), one))
    assert lines(client, one, document(), "proxy") == [
        f"{subject}: the whole container: the file has no service for it"
    ]


@pytest.mark.parametrize("setting", ["command", "entrypoint", "healthcheck"])
@pytest.mark.parametrize(
    "value",
    [
        ["run", "--password=Canary-1"],
        ["sh", "-c", "run Canary-1\n## Next\ntwo"],
        "run Canary-1",
        {"test": ["CMD", "curl", "-u", "wa:Canary-1", "https://127.0.0.1/"]},
        {"test": ["CMD-SHELL", "curl -u wa:Canary-1 https://127.0.0.1/"], "interval": "30s"},
    ],
)
def test_settings_whose_words_may_be_secrets_are_named_without_a_value(setting: str, value: t.Any) -> None:
    assert left_out(container("wacore", settings={setting: value})) == [setting]


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("logging", {"driver": "splunk", "options": {"splunk-token": "Canary-1"}}, '{"driver": "splunk", "options": {"splunk-token": <hidden>}}'),
        ("extra_hosts", ["db:192.0.2.1", "https://wa:Canary-1@example.com/"], "db:192.0.2.1, https://wa:<hidden>@example.com/"),
        ("user", "--password=Canary-1", "--password=<hidden>"),
        ("sysctls", {"kernel.domainname": "one\ntwo"}, '{"kernel.domainname": "one\\ntwo"}'),
        ("hostname", "one\n## Next\ntwo", "one ## Next two"),
        ("security_opt", ["a\n\nb", "c"], "a b, c"),
    ],
)  # fmt: skip
def test_values_are_masked_and_on_one_line(setting: str, value: t.Any, expected: str) -> None:
    assert left_out(container("wacore", settings={setting: value})) == [f"{setting}: {expected}"]


def inspected(made: dict[str, t.Any], service: str, number: int = 1) -> dict[str, t.Any]:
    """The engine's record of a container that Compose makes of a service of the document."""
    body, project = made["services"][service], made["name"]
    network, name = made["networks"]["default"]["name"], f"{project}-{service}-{number}"
    bindings: dict[str, t.Any] = {}
    for port in body.get("ports", []):
        address, outside, inside = port.split(":")
        bindings[f"{inside}/tcp"] = [{"HostIp": address, "HostPort": outside}]
    check = {key: int(body["healthcheck"][key].rstrip("s")) * 10**9 for key in ("interval", "timeout", "start_period")}
    return {
        "Id": "0123456789abcdef" * 4,
        "Name": f"/{name}",
        "HostConfig": {
            "RestartPolicy": {"Name": body["restart"], "MaximumRetryCount": 0},
            "LogConfig": {"Type": body["logging"]["driver"], "Config": body["logging"]["options"]},
            "NetworkMode": network,
            "PortBindings": bindings,
            "CapDrop": body["cap_drop"],
            "IpcMode": "private",
            "ShmSize": 64 * 1024 * 1024,
            "Runtime": "runc",
        },
        "Config": {
            "Hostname": "0123456789ab",
            "Env": [f"{key}={value}" for key, value in {**ENV, **body["environment"]}.items()],
            "Cmd": body["command"],
            "Labels": {**body["labels"], "com.docker.compose.service": service},
            "StopTimeout": int(body["stop_grace_period"].rstrip("s")),
            "Healthcheck": {
                "Test": body["healthcheck"]["test"],
                "Interval": check["interval"],
                "Timeout": check["timeout"],
                "StartPeriod": check["start_period"],
                "Retries": body["healthcheck"]["retries"],
            },
        },
        "NetworkSettings": {"Networks": {network: {"Aliases": [name, service, "0123456789ab"], "IPAMConfig": None}}},
        "Mounts": [
            {
                "Type": "volume",
                "Name": made["volumes"]["media"]["name"],
                "Destination": body["volumes"][0].partition(":")[2],
                "Mode": "z",
                "RW": True,
            }
        ],
    }


def running(made: dict[str, t.Any], service: str, record: dict[str, t.Any], number: int = 1) -> dict[str, t.Any]:
    """A container as it is read of the engine."""
    found, unsupported = settings(record, {})
    return {
        **container(service, made["name"], name=record["Name"].lstrip("/"), number=number),
        "role": "web" if record["HostConfig"]["PortBindings"].get("443/tcp") else "core",
        "settings": found,
        "unsupported_settings": unsupported,
        "environment": environment(record, {}),
        "env_files": made["services"][service]["env_file"],
        "own_keys": list(made["services"][service]["environment"]),
    }


HIGH = {"wa_topology": "high_availability"}


@pytest.mark.parametrize(
    "made",
    [
        document(),
        document(wa_project=None),
        document(wa_db_env_engine="PGSQL"),
        document(wa_client_service_names={"wacore": "core", "waweb": "api"}),
        document(wa_client_web_bind_address="127.0.0.1", wa_client_web_port=9190, wa_client_log_max_size="10m"),
        document(**HIGH),
        document(wa_client_service_names={"wacore1": "core", "wacore2": "core", "master1": "master"}, **HIGH),
        document("h1", "h2", wa_client_skip=["shared_media", "common_key"], **HIGH),
    ],
)
def test_of_containers_as_the_role_makes_them_nothing_is_left_out(made: dict[str, t.Any]) -> None:
    ours = {name: body for name, body in made["services"].items() if not body.get("profiles")}
    containers = [
        running(made, name, inspected(made, name, number), number)
        for name, body in ours.items()
        for number in range(1, body.get("scale", 1) + 1)
    ]
    [client] = clients.clients("h1", survey(*containers))
    assert {one["service"] for one in containers} == {*ours}
    assert [line for one in containers for line in lines(client, one, made, one["service"])] == []


ANONYMOUS = "0" * 64
ADDRESS = {"Aliases": None, "IPAMConfig": {"IPv6Address": "2001:db8::7"}}


def ports(inside: str, address: str, outside: str) -> dict[str, t.Any]:
    return {"HostConfig": {"PortBindings": {inside: [{"HostIp": address, "HostPort": outside}]}}}


def mount(kind: str, source: str, destination: str) -> dict[str, t.Any]:
    """A mount instead of the media volume."""
    named = {"Name": source, "Source": "/var/lib/docker/x"} if kind == "volume" else {"Source": source}
    return {"Mounts": [{"Type": kind, "Destination": destination, "Mode": "", "RW": True, **named}]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (ports("443/tcp", "::", "9090"), ["ports: [::]:9090:443"]),
        (ports("443/tcp", "::1", "9090"), ["ports: [::1]:9090:443"]),
        (ports("443/tcp", "fe80::1%eth0", "9090"), ["ports: [fe80::1%eth0]:9090:443"]),
        (ports("53/udp", "", "53"), ["ports: 53:53/udp"]),
        (ports("53/udp", "::1", "53"), ["ports: [::1]:53:53/udp"]),
        (ports("443/tcp", "", ""), ["ports: 443"]),
        (ports("443/tcp", "127.0.0.1", ""), ["ports: 127.0.0.1:443"]),
        (ports("443/tcp", "", "9090-9099"), ["ports: 9090-9099:443"]),
        ({"HostConfig": {"PortBindings": {"443/tcp": None}}}, []),
        ({"HostConfig": {"PortBindings": {"443/tcp": []}}}, []),
        (mount("volume", ANONYMOUS, "/cache"), [f"volumes: {ANONYMOUS}:/cache"]),
        (mount("volume", ANONYMOUS, "/usr/local/wamedia"), []),
        (mount("bind", "/srv/a:b", "/usr/local/wamedia"), []),
        (mount("bind", "/srv/a:b", "/opt/certs"), ["volumes: /srv/a:b:/opt/certs"]),
        (mount("bind", "/srv/a b", "/opt/c d"), ["volumes: /srv/a b:/opt/c d"]),
        (mount("tmpfs", "", "/run"), []),
        (mount("cluster", "x", "/run"), []),
        ({"Mounts": None}, []),
        ({"NetworkSettings": {"Networks": None}}, []),
        ({"NetworkSettings": {"Networks": {"biz_default": ADDRESS}}}, ['networks: biz_default {"ipv6_address": "2001:db8::7"}']),
        ({"HostConfig": {"NetworkMode": "host"}, "NetworkSettings": {"Networks": {"host": {}}}}, ["network_mode: host"]),
        ({"HostConfig": {"NetworkMode": "none"}, "NetworkSettings": {"Networks": {"none": {}}}}, ["network_mode: none"]),
        ({"HostConfig": {"NetworkMode": "container:f00d"}, "NetworkSettings": {"Networks": {}}}, ["network_mode: container:f00d"]),
        ({"HostConfig": {"Links": ["/odd.name:/biz-waweb-1/odd"]}}, ["external_links: odd.name:odd"]),
        ({"HostConfig": {"Links": ["/biz-wacore-1:/biz-waweb-1/wacore"]}}, []),
        ({"HostConfig": {"LogConfig": None}}, ['logging: {"driver": "", "options": {}}']),
        ({"HostConfig": {"RestartPolicy": None}}, ["restart: no"]),
        ({"Config": {"Labels": None}}, ['networks: biz_default {"aliases": ["waweb"]}']),
        ({"Config": {"Env": None}}, []),
        ({"Config": {"Env": ["ODD", "TZ=a=b"]}}, ["environment: TZ"]),
        ({"Config": {"Cmd": None, "Entrypoint": []}}, []),
        ({"Config": {"Healthcheck": {"Test": ["NONE"]}}}, ["healthcheck"]),
        ({"HostConfig": {"CapDrop": ["CAP_MKNOD"]}}, []),
        ({"HostConfig": {"CapDrop": ["CAP_MKNOD", "CAP_NET_RAW"], "CapAdd": ["CAP_SYS_TIME"]}}, ["cap_add: SYS_TIME", "cap_drop: MKNOD, NET_RAW"]),
        ({"Config": {"Hostname": "web.example.com", "Tty": True}}, ["hostname: web.example.com", "tty: true"]),
    ],
)  # fmt: skip
def test_odd_settings_of_the_engine_are_shown_as_they_are(changes: dict[str, t.Any], expected: list[str]) -> None:
    made = document()
    record = inspected(made, "waweb")
    for key, value in changes.items():
        record[key] = {**record[key], **value} if key in ("HostConfig", "Config") else value
    one = {**running(made, "waweb", record), "role": "web"}
    assert left_out(one, made) == expected
