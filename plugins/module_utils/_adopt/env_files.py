# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the env files of containers whose Compose files do not name them. Pure rules."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._adopt.compose_files import interpolation_files

_ENV_FILE_OPTION = re.compile(r"--env-file[= ]+(\S+)")


def complete(survey: t.Mapping[str, t.Any]) -> list[str]:
    """Completes the `env_files` of a survey's containers, and returns all of them.

    Outside Compose the engine does not know the file; the unit or script that runs the container may name it.
    """
    everything = [*survey["containers"], *survey["sidecars"]]
    for one in everything:
        if not one["project"]:
            name = re.compile(rf"\b{re.escape(one['name'])}\b")
            lines = [line["line"] for line in survey["autostart"] if name.search(line["line"])]
            found = [match[1].strip("'\"") for line in lines for match in _ENV_FILE_OPTION.finditer(line)]
            one["env_files"] = list(dict.fromkeys(found))
        elif one["compose_problem"] and one["folder"]:
            one["env_files"] = [os.path.join(one["folder"], "db.env")]  # what the vendor calls it; there may be none
    paths = {path for one in everything for path in one["env_files"]}
    paths |= {path for one in survey["containers"] if one["operators_files"] for path in interpolation_files(one)}
    return sorted(paths)
