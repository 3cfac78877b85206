# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Converts the engine's inspection of a container into options of a Compose service. Pure rules.

It works for containers created by any version of Compose or by `docker run`, also if the file no longer exists. Values set
by the image are left out: they change with the image.
"""

from __future__ import annotations

import re
import typing as t

Record = t.Mapping[str, t.Any]

# Keys of the engine -> options of Compose, for values that are equal and can be omitted when empty.
_SAME = {
    "CapAdd": "cap_add",
    "CapDrop": "cap_drop",
    "Privileged": "privileged",
    "ReadonlyRootfs": "read_only",
    "SecurityOpt": "security_opt",
    "Dns": "dns",
    "DnsSearch": "dns_search",
    "DnsOptions": "dns_opt",
    "ExtraHosts": "extra_hosts",
    "GroupAdd": "group_add",
    "PidMode": "pid",
    "UTSMode": "uts",
    "UsernsMode": "userns_mode",
    "CgroupParent": "cgroup_parent",
    "Memory": "mem_limit",
    "MemoryReservation": "mem_reservation",
    "MemorySwappiness": "mem_swappiness",
    "OomKillDisable": "oom_kill_disable",
    "OomScoreAdj": "oom_score_adj",
    "CpuShares": "cpu_shares",
    "CpuQuota": "cpu_quota",
    "CpuPeriod": "cpu_period",
    "CpusetCpus": "cpuset",
    "Sysctls": "sysctls",
    "Init": "init",
}
# Covered by another key, or internal to the engine.
_OTHERWISE = {
    *("Binds", "Mounts", "Tmpfs", "LogConfig", "NetworkMode", "PortBindings", "RestartPolicy", "Links", "Devices"),
    *("Ulimits", "NanoCpus", "PidsLimit", "ShmSize", "IpcMode", "Runtime", "MemorySwap", "CgroupnsMode"),
    *("ConsoleSize", "MaskedPaths", "ReadonlyPaths", "ContainerIDFile", "Isolation", "Cgroup", "Annotations"),
}
_COMPOSE_LABEL = "com.docker.compose."
_DEFAULT_SHM = 64 * 1024 * 1024


def environment(record: Record, image: Record) -> dict[str, str]:
    """Returns the container's environment without equal values of its image."""
    own = _pairs(image.get("Env"))
    return {key: value for key, value in _pairs(record["Config"].get("Env")).items() if own.get(key) != value}


def settings(record: Record, image: Record) -> tuple[dict[str, t.Any], list[str]]:
    """Returns all options but image and environment, and the engine's keys without a Compose option.

    `image` is the `Config` of its image, empty if the image is gone.
    """
    host, config = record["HostConfig"], record["Config"]
    found: dict[str, t.Any] = {option: host[key] for key, option in _SAME.items() if host.get(key)}
    for option in {"cap_add", "cap_drop"} & {*found}:  # newer engines write CAP_MKNOD for MKNOD
        found[option] = [name.removeprefix("CAP_") for name in found[option]]
    found["restart"] = _restart(host.get("RestartPolicy") or {})
    log = host.get("LogConfig") or {}
    found["logging"] = {"driver": log.get("Type", ""), "options": log.get("Config") or {}}
    found.update(_limits(host))
    found.update(_program(record, image))
    labels = {key: value for key, value in (config.get("Labels") or {}).items() if not key.startswith(_COMPOSE_LABEL)}
    found["labels"] = {key: value for key, value in labels.items() if (image.get("Labels") or {}).get(key) != value}
    found["ports"] = ports(host.get("PortBindings") or {})
    mode = host.get("NetworkMode", "")
    shared = mode in ("host", "none", "bridge", "default") or mode.startswith("container:")
    found["network_mode"] = ("bridge" if mode == "default" else mode) if shared else ""
    found["external_links"] = sorted({_link(one) for one in _links(record)})
    found["networks"] = {} if shared else _networks(record)
    # The engine lists mounts in a different order each time.
    mounts = sorted(record.get("Mounts") or [], key=lambda mount: str(mount["Destination"]))
    found["volumes"] = [one for one in (_volume(mount, image) for mount in mounts) if one]
    found["tmpfs"] = [f"{path}:{how}".rstrip(":") for path, how in (host.get("Tmpfs") or {}).items()]
    found["tmpfs"] += [_tmpfs(one) for one in host.get("Mounts") or [] if one.get("Type") == "tmpfs"]
    left = sorted(key for key, value in host.items() if value and key not in _SAME and key not in _OTHERWISE)
    return {option: value for option, value in found.items() if value not in (None, "", [], {})}, left


def ports(bindings: t.Mapping[str, t.Any]) -> list[str]:
    """Returns published ports in Compose's syntax: `9090:443`, `127.0.0.1:9090:443`, `53:53/udp`."""
    found = []
    for inside, outsides in sorted(bindings.items()):
        target = inside[: -len("/tcp")] if inside.endswith("/tcp") else inside
        for outside in outsides or []:
            address, port = outside.get("HostIp") or "", outside.get("HostPort") or ""
            address = f"[{address}]" if ":" in address else address
            found.append(":".join(part for part in (address, port, target) if part))
    return found


def seconds(nanoseconds: int) -> str:
    """Returns a duration in Compose's syntax."""
    full_seconds, rest = divmod(nanoseconds, 10**9)
    return f"{full_seconds}s" if not rest else f"{nanoseconds // 10**6}ms"


def _pairs(lines: t.Any) -> dict[str, str]:
    # Without an equals sign a variable is not set.
    return {key: value for key, equals, value in (line.partition("=") for line in lines or []) if equals}


def _links(record: Record) -> list[str]:
    """Returns the configured links: of the default bridge, and of networks, where Compose sets them."""
    networks = (record["NetworkSettings"].get("Networks") or {}).values()
    return [*(record["HostConfig"].get("Links") or []), *(link for one in networks for link in one.get("Links") or [])]


def _tmpfs(mount: Record) -> str:
    options = mount.get("TmpfsOptions") or {}
    how = [f"size={options['SizeBytes']}"] if options.get("SizeBytes") else []
    how += [f"mode={options['Mode']:o}"] if options.get("Mode") else []
    how += ["ro"] if mount.get("ReadOnly") else []
    return ":".join([mount["Target"], *([",".join(how)] if how else [])])


def _link(text: str) -> str:
    """`/biz_wacore_1:/biz_waweb_1/wacore` -> `biz_wacore_1:wacore`."""
    target, _colon, alias = text.partition(":")
    return f"{target.lstrip('/')}:{alias.rpartition('/')[2]}"


def _restart(policy: Record) -> str:
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    return f"{name}:{count}" if name == "on-failure" and count else str(name)


def _limits(host: Record) -> dict[str, t.Any]:
    memory, swap, pids = host.get("Memory") or 0, host.get("MemorySwap") or 0, host.get("PidsLimit") or 0
    return {
        "cpus": host["NanoCpus"] / 10**9 if host.get("NanoCpus") else None,
        "memswap_limit": swap if swap and swap != 2 * memory else None,  # the engine's default is twice the memory
        "pids_limit": pids if pids > 0 else None,
        "shm_size": host["ShmSize"] if host.get("ShmSize") not in (None, 0, _DEFAULT_SHM) else None,
        "ipc": host["IpcMode"] if host.get("IpcMode") not in (None, "", "private", "shareable") else None,
        "runtime": host["Runtime"] if host.get("Runtime") not in (None, "", "runc") else None,
        "ulimits": {one["Name"]: {"soft": one["Soft"], "hard": one["Hard"]} for one in host.get("Ulimits") or []},
        "devices": [
            ":".join(one[key] for key in ("PathOnHost", "PathInContainer", "CgroupPermissions") if one.get(key))
            for one in host.get("Devices") or []
        ],
    }


def _program(record: Record, image: Record) -> dict[str, t.Any]:
    config = record["Config"]
    options = {"Cmd": "command", "Entrypoint": "entrypoint", "User": "user", "WorkingDir": "working_dir"}
    options["StopSignal"] = "stop_signal"
    found: dict[str, t.Any] = {
        option: config.get(key)
        for key, option in options.items()
        if (config.get(key) or None) != (image.get(key) or None)
    }
    name = config.get("Hostname") or ""
    # A container in another one's network namespace has that one's hostname, and must not set one.
    shared = str(record["HostConfig"].get("NetworkMode")).startswith("container:")
    found["hostname"] = name if name and not record["Id"].startswith(name) and not shared else None
    found["domainname"] = config.get("Domainname")
    found["tty"] = config.get("Tty")
    found["stdin_open"] = config.get("OpenStdin")
    found["stop_grace_period"] = f"{config['StopTimeout']}s" if config.get("StopTimeout") is not None else None
    check = config.get("Healthcheck")
    if check and check != image.get("Healthcheck"):
        times = {"Interval": "interval", "Timeout": "timeout", "StartPeriod": "start_period"}
        times["StartInterval"] = "start_interval"
        found["healthcheck"] = {
            "test": check.get("Test"),
            **{option: seconds(check[key]) for key, option in times.items() if check.get(key)},
            **({"retries": check["Retries"]} if check.get("Retries") else {}),
        }
    return {option: value for option, value in found.items() if value}


def _networks(record: Record) -> dict[str, t.Any]:
    """Returns each network by its real name, with configured aliases and fixed addresses."""
    labels = record["Config"].get("Labels") or {}
    usual = {record["Name"].lstrip("/"), labels.get(_COMPOSE_LABEL + "service", ""), record["Id"][:12]}
    found = {}
    for name, one in sorted((record["NetworkSettings"].get("Networks") or {}).items()):
        fixed = one.get("IPAMConfig") or {}
        how = {
            "aliases": sorted(set(one.get("Aliases") or []) - usual),
            "ipv4_address": fixed.get("IPv4Address"),
            "ipv6_address": fixed.get("IPv6Address"),
        }
        found[name] = {option: value for option, value in how.items() if value}
    return found


def _volume(mount: Record, image: Record) -> str:
    """Returns a mount in Compose's short syntax; empty for an anonymous volume declared by the image."""
    kind, destination = mount.get("Type"), mount["Destination"]
    nameless = kind == "volume" and re.fullmatch(r"[0-9a-f]{64}", mount.get("Name") or "")
    if kind not in ("volume", "bind") or (nameless and destination in (image.get("Volumes") or {})):
        return ""
    how = [] if mount.get("RW") else ["ro"]
    how += [option for option in str(mount.get("Mode") or "").split(",") if option in ("z", "Z") and kind == "bind"]
    how += [mount["Propagation"]] if mount.get("Propagation") not in (None, "", "rprivate") else []
    source = mount["Name"] if kind == "volume" else mount["Source"]
    return ":".join([source, destination, *([",".join(how)] if how else [])])
