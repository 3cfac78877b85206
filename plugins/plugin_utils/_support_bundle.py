# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The support bundle of a deployment: one tar archive on the controller, from what its hosts have said, with a list of its contents."""

from __future__ import annotations

import io
import json
import os
import tarfile
import typing as t
from pathlib import Path

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError

LIST = "CONTENTS.txt"
_OF_HOST = ("concerns", "requirements", "database", "hold", "lock", "unmanaged", "problem")
_ABOUT = {
    "deployment.json": "health, versions, drift and figures, as status.yml has them",
    "host.json": "what the host has said: differences, figures, requirements, sessions on its database",
    "docker.json": "versions of the Docker Engine, and `docker inspect` of the client's containers without what may hold a secret",
    ".log": "the newest lines that a container wrote; they may hold phone numbers and texts",
}
Json = t.Mapping[str, t.Any]


def write(folder: str, deployment: Json, hosts: t.Mapping[str, Json], stamp: str) -> Path:
    """Writes `wa-<slug>-<stamp>.tar.gz`, readable by its owner only, and returns its path. Raises WaError.

    `deployment` is one of a report, `hosts` has what its hosts have said.
    """
    slug = next(iter(hosts.values()))["about"]["slug"]
    target = Path(folder).expanduser().absolute() / f"wa-{slug}-{stamp}.tar.gz"
    contents = {"deployment.json": _text(deployment)}
    for host, read in hosts.items():
        contents.update(_of_host(host, read))
    listed = (f"{name}: {next(what for end, what in _ABOUT.items() if name.endswith(end))}\n" for name in contents)
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in {LIST: "".join(listed), **contents}.items():
                content = text.encode(errors="replace")
                entry = tarfile.TarInfo(f"wa-{slug}/{name}")
                entry.size, entry.mode = len(content), 0o600
                archive.addfile(entry, io.BytesIO(content))
    except OSError as error:
        raise WaError(f"wa_status_bundle {target}", error.strerror or str(error)) from None
    return target


def _of_host(host: str, read: Json) -> dict[str, str]:
    """Returns the files of a host by name."""
    figures = dict(read.get("figures") or {})
    engine = dict(figures.pop("bundle", None) or {})
    logs = engine.pop("logs", {})
    said = {key: read[key] for key in _OF_HOST if key in read}
    found = {"host.json": _text({**said, "figures": figures}), "docker.json": _text(engine)}
    found.update({f"{name}.log": text for name, text in logs.items()})
    # A name of the inventory or of a container may have a slash, which would be a folder.
    return {f"{host.replace('/', '_')}/{name.replace('/', '_')}": text for name, text in found.items()}


def _text(value: t.Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
