# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds cron lines, systemd units and boot scripts of a host that concern the client."""

from __future__ import annotations

import glob
import os
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import files

_CRON = ("/etc/crontab", "/etc/cron.*/*", "/var/spool/cron/*", "/var/spool/cron/crontabs/*")
# systemd's unit folders; drop-ins are in a folder next to the unit.
_UNITS = tuple(
    f"{folder}/systemd/system/{name}"
    for folder in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
    for name in ("*.service", "*.service.d/*.conf", "*.wants/*@?*.service")
)
_INSTANCE = re.compile(r".*@(.+)\.service")  # of a template, by the link that enables it
_BOOT = ("/etc/rc.local", "/etc/init.d/*", "/etc/local.d/*")
_DOCKER = re.compile(r"\bdocker(?:-compose)?\b")
_MAX_LINE = 4096  # characters; a line of docker run may be long, and its names must be complete
# Scripts called by such lines are read, too, except those of the system and of this collection.
_SCRIPT = re.compile(r"(?<![\w./-])/[\w.+@/-]+")
_SYSTEM = re.compile(r"/(?:usr/)?s?bin/|/(?:usr/)?lib|/proc/|/dev/|/sys/|/etc/init\.d/|.*/wa-log-cleanup$")


def read(terms: t.Collection[str], root: str = "/") -> list[dict[str, str]]:
    """Returns the lines that contain one of `terms` (containers, folders, images, `cleanup.sh`), of files that can be read.

    Each line has `kind` (cron, unit, boot), `path`, `line`. Comments are ignored. A unit of a template that calls Docker, and
    whose name is a word of some terms, has the kind `template` and these terms as its lines: what it starts is not read.
    """
    found: list[dict[str, str]] = []
    seen = set()
    for kind, patterns in (("cron", _CRON), ("unit", _UNITS), ("boot", _BOOT)):
        for pattern in patterns:
            folder = os.path.join(root, pattern.lstrip("/"))
            for path in sorted(glob.glob(folder)):
                real = os.path.realpath(path)
                instance = _INSTANCE.fullmatch(os.path.basename(path)) if os.path.islink(path) else None
                key = os.path.join(os.path.realpath(os.path.dirname(path)), instance[0]) if instance else real
                if key in seen or not os.path.isfile(real):
                    continue
                seen.add(key)
                try:
                    text = files.read_bytes(real).decode("utf-8", "replace")
                except OSError:
                    continue
                if instance:
                    names = "|".join(map(re.escape, (instance[1], instance[1].replace("-", "/"))))
                    word = re.compile(rf"(?<![A-Za-z0-9])(?:{names})(?![A-Za-z0-9])")
                    matching = sorted(term for term in terms if word.search(term))
                    if _DOCKER.search(text) and matching:
                        found.append({"kind": "template", "path": path, "line": "\n".join(matching)})
                    continue
                found += [{"kind": kind, "path": path, "line": line} for line in _lines(text, terms)]
                for script in _scripts(text):
                    source = os.path.realpath(os.path.join(root, script.lstrip("/")))
                    if source not in seen:
                        seen.add(source)
                        lines = _lines(_script(source), terms)
                        found += [{"kind": kind, "path": f"{path}, by {script}", "line": line} for line in lines]
    return found


def _scripts(text: str) -> list[str]:
    """Returns the programs called with an absolute path that may be an administrator's scripts."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", ";"))]
    return [path for line in lines for path in _SCRIPT.findall(line) if not _SYSTEM.match(path)]


def _script(path: str) -> str:
    """Returns the text of a script; empty if it is not one (such as a FIFO or a binary), or cannot be read."""
    try:
        with files.open_regular(path) as file:
            text = file.read(files.LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""
    return text if text.startswith("#!") else ""


def _lines(text: str, terms: t.Collection[str]) -> list[str]:
    """Returns the lines that concern the client, with continuation lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    if not _DOCKER.search(joined):
        # A script called by a unit is matched by the project's folder only.
        terms = [term for term in terms if term.startswith("/")]
    return [
        " ".join(line.split())[:_MAX_LINE]
        for line in joined.splitlines()
        if not line.lstrip().startswith(("#", ";"))
        and any(re.search(rf"(?<![\w.-]){re.escape(term)}(?![\w.-])", line) for term in terms)
    ]
