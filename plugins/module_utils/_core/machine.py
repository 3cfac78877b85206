# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads which machine this is, and its own addresses and names on the network."""

from __future__ import annotations

import ipaddress
import re
import socket

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_IPV4, _IPV6 = "/proc/net/fib_trie", "/proc/net/if_inet6"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def is_address(host: str) -> bool:
    """Returns whether a host is named by its address, also one in brackets."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def boot_id() -> str:
    """Returns what the kernel has drawn at its start: clones of a machine, which have one machine id, differ in it."""
    return _read(_BOOT_ID).strip()


def origins() -> list[str]:
    """Returns this machine's addresses and host names, by which a server may show its sessions."""
    ipv4 = re.findall(r"\|-- (\S+)\s+/32 host LOCAL", _read(_IPV4))
    ipv6 = [str(ipaddress.ip_address(int(line.split()[0], 16))) for line in _read(_IPV6).splitlines()]
    return sorted({*ipv4, *ipv6, socket.gethostname()})
