# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers with logs and a cleanup script for the tests of wa_log_cleanup: the module and the cron job's script."""

from __future__ import annotations

import typing as t
from pathlib import Path

from commands import docker
from engine import Engine

LOGS = "/var/log/whatsapp"
CORE = "/usr/local/waent/logs"
ARCHIVE = f"{LOGS}/archive"
SCRIPT = "/opt/whatsapp/bin/cleanup.sh"

# What the vendor's script does, by role. Compressed files keep their modification time.
CORE_CLEANUP = rf"""#!/bin/sh
mkdir -p {ARCHIVE}
cd {CORE} || exit 1
newest=$(ls -t wa-service*.log 2>/dev/null | head -n 1)
for f in wa-service*.log; do
  [ -f "$f" ] || continue
  if [ "$f" = "$newest" ] && [ "$(stat -c %s "$f")" -le 15728640 ]; then continue; fi
  gzip -c "$f" >"{ARCHIVE}/$f.gz" && touch -r "$f" "{ARCHIVE}/$f.gz" && rm "$f"
done
find {ARCHIVE} -type f -printf '%T@ %p\0' | sort -zrn | tail -zn +31 | cut -zd' ' -f2- | xargs -0r rm -f
echo "core cleaned"
"""
WEB_CLEANUP = rf"""#!/bin/sh
mkdir -p {ARCHIVE}
cd {LOGS} || exit 1
for n in web access error; do
  if [ -f $n.log ] && [ "$(stat -c %s $n.log)" -gt 20971520 ]; then
    mv $n.log $n.log-$$ && gzip -c $n.log-$$ >{ARCHIVE}/$n.log-$$.gz && touch -r $n.log-$$ {ARCHIVE}/$n.log-$$.gz && rm $n.log-$$
  fi
  find {ARCHIVE} -type f -name "$n*" -printf '%T@ %p\0' | sort -zrn | tail -zn +31 | cut -zd' ' -f2- | xargs -0r rm -f
done
echo "web cleaned"
"""


def install(clients: t.Any, container: str, script: str) -> None:
    """Write a cleanup script into a container, and create empty log folders."""
    folders = f"{ARCHIVE} {CORE} {SCRIPT.rpartition('/')[0]}"
    clients.run(container, f"mkdir -p {folders}; cat > {SCRIPT} <<'END'\n{script}\nEND\nchmod 755 {SCRIPT}")


def core(clients: t.Any, service: str = "wacore", script: str = CORE_CLEANUP, **options: t.Any) -> str:
    """Start a Coreapp container with a cleanup script."""
    name = str(clients.add(service, "coreapp", *options.pop("docker", ()), **options))
    install(clients, name, script)
    return name


def web(clients: t.Any, service: str = "waweb", script: str = WEB_CLEANUP, **options: t.Any) -> str:
    """Start a Webapp container with a cleanup script."""
    name = str(clients.add(service, "web", *options.pop("docker", ()), **options))
    install(clients, name, script)
    return name


def archives(container: str, count: int, name: str = "wa-service", size: int = 5000) -> None:
    """Fill the archive with old files; number 1 is the oldest."""
    lines = (
        "import os, sys",
        "for i in range(1, int(sys.argv[2]) + 1):",
        "    path = f'{sys.argv[1]}-{i}.log.gz'",
        "    open(path, 'wb').write(os.urandom(int(sys.argv[3])))",
        "    os.utime(path, (1577836800 + 60 * i,) * 2)",
    )
    program = "\n".join(lines)
    docker("exec", "--workdir", ARCHIVE, container, "python3", "-c", program, name, str(count), str(size))


def files(clients: t.Any, container: str, folder: str = ARCHIVE) -> list[str]:
    """The file names in a folder, sorted."""
    listed = clients.run(container, f"cd {folder} && find . -type f -printf '%P\\0'")
    return sorted(name for name in listed.split("\0") if name)


def processes(container: str, text: str) -> list[str]:
    """The processes of a running container whose command line contains a text."""
    return [line for line in Engine().processes(container) if text in line]


def remove_locks(project: str) -> None:
    """Remove the lock files of all projects of a test. Their names share a prefix."""
    for lock in Path("/run").glob(f"wa-log-cleanup-{project}*.lock"):
        lock.unlink()
