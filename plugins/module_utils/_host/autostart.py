# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host starts by itself and that concerns the client: cron lines, systemd units, boot scripts."""

from __future__ import annotations

import glob
import os
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files

_CRON = ("/etc/crontab", "/etc/cron.*/*", "/var/spool/cron/*", "/var/spool/cron/crontabs/*")
# Where systemd reads units; an administrator's additions to one lie in a folder beside it.
_UNITS = tuple(
    f"{folder}/systemd/system/{name}"
    for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
    for name in ("*.service", "*.service.d/*.conf")
)
_BOOT = ("/etc/rc.local", "/etc/init.d/*", "/etc/local.d/*")
_DOCKER = re.compile(r"\bdocker(?:-compose)?\b")
_MAX_LINE = 4096  # a line of docker run may be long, and what it names is needed whole
# Scripts that such lines call are read as well; those of the system, and the collection's own, are none.
_SCRIPT = re.compile(r"(?<![\w./-])/[\w.+@/-]+")
_SYSTEM = re.compile(r"/(?:usr/)?s?bin/|/(?:usr/)?lib|/proc/|/dev/|/sys/|/etc/init\.d/|.*/wa-log-cleanup$")


def read(terms: t.Collection[str], root: str = "/") -> tuple[list[dict[str, str]], list[str]]:
    """The lines that name one of `words` (containers, projects' folders, images, `cleanup.sh`), and what was not readable.

    Each line as `kind` (cron, unit, boot), `path`, `line`. Lines that were commented out start nothing.
    """
    found: list[dict[str, str]] = []
    unreadable: list[str] = []
    seen = set()
    for kind, patterns in (("cron", _CRON), ("unit", _UNITS), ("boot", _BOOT)):
        for pattern in patterns:
            folder = os.path.join(root, pattern.lstrip("/"))
            if kind == "cron" and not os.access(os.path.dirname(folder).replace("*", ""), os.R_OK | os.X_OK):
                parent = os.path.dirname(folder)
                unreadable += [parent] if os.path.isdir(parent) else []
            for path in sorted(glob.glob(folder)):
                real = os.path.realpath(path)
                if real in seen or not os.path.isfile(real):
                    continue
                seen.add(real)
                try:
                    text = files.read_bytes(real).decode("utf-8", "replace")
                except OSError:
                    unreadable.append(path)
                    continue
                found += [{"kind": kind, "path": path, "line": line} for line in _lines(text, terms)]
                for script in _scripts(text):
                    source = os.path.realpath(os.path.join(root, script.lstrip("/")))
                    if source not in seen:
                        seen.add(source)
                        lines = _lines(_script(source), terms)
                        found += [{"kind": kind, "path": f"{path}, by {script}", "line": line} for line in lines]
    return found, unreadable


def _scripts(text: str) -> list[str]:
    """The programs that a file calls by their whole path and that may be somebody's own scripts."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    return [path for line in lines for path in _SCRIPT.findall(line) if not _SYSTEM.match(path)]


def _script(path: str) -> str:
    """The text of a script; nothing for what is none, such as a FIFO or a program, or cannot be read."""
    try:
        with files.open_regular(path) as file:
            text = file.read(files.LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""
    return text if text.startswith("#!") else ""


def _lines(text: str, terms: t.Collection[str]) -> list[str]:
    """The lines that concern the client, those of a script that goes on in the next line as one."""
    joined = re.sub(r"\\\n\s*", " ", text)
    if not _DOCKER.search(joined):
        # A unit may call a script: then only the project's folder tells.
        terms = [term for term in terms if term.startswith("/")]
    return [
        " ".join(line.split())[:_MAX_LINE]
        for line in joined.splitlines()
        if not line.lstrip().startswith(("#", ";"))
        and any(re.search(rf"(?<![\w.-]){re.escape(term)}(?![\w.-])", line) for term in terms)
    ]
