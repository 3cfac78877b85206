# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the script of the nightly log cleanup: the job and all that it imports, in one file for a Python without Ansible."""

from __future__ import annotations

import functools
import re
from pathlib import Path

_PACKAGE = "ansible_collections.waba.onprem.plugins.module_utils"
_ROOT = Path(__file__).resolve().parents[1] / "module_utils"
_IMPORT = re.compile(rf"^ *from {re.escape(_PACKAGE)}\.([\w.]+) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
# Both for a shell, which looks for a Python, and for this Python, to which the shell's lines are a text.
_HEAD = """#!/bin/sh
''':'
# Runs the vendor's log cleanup in every client container of a Compose project. Option -h shows the usage.
# Placed here by Ansible (role waba.onprem.wa_log_cleanup); changes are overwritten.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
for python in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && exec "$python" -I "$0" "$@"
done
logger -s -t wa-log-cleanup -p daemon.err "no Python 3.9 or newer in $PATH: nothing was cleaned"
exit 3
'''
import importlib.abc
import importlib.util
import sys

SOURCES = {
"""
_TAIL = """}


class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def find_spec(self, name, path=None, target=None):
        known = name in SOURCES or self.is_package(name)
        return importlib.util.spec_from_loader(name, self) if known else None

    def is_package(self, name):
        return any(one.startswith(name + ".") for one in SOURCES)

    def get_source(self, name):
        return SOURCES.get(name, "")


sys.meta_path.insert(0, Sources())
"""


@functools.cache
def script() -> str:
    """Returns the text of the script."""
    sources = "".join(
        f"{f'{_PACKAGE}.{name}'!r}: r'''{text}''',\n" for name, text in sorted(_closure("_logs.job").items())
    )
    return f"{_HEAD}{sources}{_TAIL}from {_PACKAGE}._logs.job import main\n\nsys.exit(main())\n"


def _closure(entry: str) -> dict[str, str]:
    """Returns the texts of a module and of all that it imports, by their names below `module_utils`."""
    found: dict[str, str] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = _path(name).read_text(encoding="utf-8")
        for package, names in _IMPORT.findall(found[name]):
            parts = [one.split()[0] for one in names.strip("()").split(",") if one.strip()]
            waiting += [package] if _path(package).exists() else [f"{package}.{one}" for one in parts]
    return found


def _path(name: str) -> Path:
    return _ROOT.joinpath(*name.split(".")).with_suffix(".py")
