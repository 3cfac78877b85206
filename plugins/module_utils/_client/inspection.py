# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the identity of a host's client: db.env, the record of the last run, and Compose files."""

from __future__ import annotations

import glob
import json
import os
import time
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import identity
from ansible_collections.waba.onprem.plugins.module_utils._compose import definitions
from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store


def database(text: str, env_format: str) -> dict[str, str]:
    """Returns the database in the text of a db.env, without secrets; empty for none."""
    entries = env_file.read(text, env_format)
    return identity.database({entry.key: entry.value for entry in entries if entry.key})


def db_env(path: str, env_format: str) -> dict[str, str]:
    """Returns the database in a db.env on this host; empty without a file."""
    return database(Store(path).read() or "", env_format)


def record(path: str) -> dict[str, str]:
    """Returns the identity written by the last complete run; empty for none. Raises WaError for an invalid file."""
    try:
        found = json.loads(files.read_text(path))
        if isinstance(found, dict):
            return {str(name): str(value) for name, value in found.items()}
        reason = "no mapping"
    except FileNotFoundError:
        return {}
    except OSError as error:
        reason = error.strerror or "not readable"
    except ValueError:
        reason = "no JSON"
    raise WaError(
        f"record {path}",
        reason,
        "the record of which client is on this host",
        "See that the inventory describes the client that is here; then remove the file: provision.yml writes it again",
    )


# Keys of the record that tell of the last healthy end of a run, beside the identity and the services (`definitions.KEYS`): the client's
# version at that moment, when it was written, and a digest of the tables' definitions by version.
VERSION, RECORDED, SCHEMAS = "version", "recorded", "schemas"
_SCHEMAS_KEPT = 4
_FORMER = ("hashes", "state_dir")  # of records before these went, which must not differ from the inventory
NOT_COMPARED = (RECORDED, SCHEMAS, *definitions.KEYS, *_FORMER)


def next_record(
    recorded: t.Mapping[str, str], wanted: t.Mapping[str, str], project: t.Mapping[str, str], schema: str
) -> dict[str, str]:
    """Returns the record of a run that has ended well; `wanted` is the identity with the version.

    What of the `project` and of the tables' `schema` is not known stays as it is recorded.
    """
    known = schemas(recorded)
    version = wanted.get(VERSION, "")
    digest = schema or known.get(version)
    if version and digest:
        known = {**{name: one for name, one in known.items() if name != version}, version: digest}
    kept = list(known.items())[-_SCHEMAS_KEPT:]  # those that ran last
    more = {
        **{name: project.get(name) or recorded.get(name, "") for name in definitions.KEYS},
        SCHEMAS: " ".join(f"{version}={digest}" for version, digest in kept),
    }
    found = {**wanted, **{name: text for name, text in more.items() if text}}
    if found == {name: value for name, value in recorded.items() if name != RECORDED}:
        return dict(recorded)
    return {**found, RECORDED: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def shown(recorded: t.Mapping[str, str]) -> dict[str, str]:
    """Returns a record without the digests of a project's definitions, which only their comparison reads."""
    return {name: value for name, value in recorded.items() if name not in definitions.KEYS}


def compared(recorded: t.Mapping[str, str]) -> dict[str, str]:
    """Returns what of a record is compared with the inventory."""
    return {name: value for name, value in recorded.items() if name not in NOT_COMPARED}


def dated(records: t.Iterable[t.Mapping[str, str]]) -> list[t.Mapping[str, str]]:
    """Returns the records that have a version, the newest last."""
    return sorted((one for one in records if one.get(VERSION)), key=lambda one: one.get(RECORDED, ""))


def schemas(*records: t.Mapping[str, str]) -> dict[str, str]:
    """Returns the digests of definitions by version in records, of which later ones count."""
    return {
        version: digest
        for one in records
        for version, digest in (pair.split("=", 1) for pair in one.get(SCHEMAS, "").split() if "=" in pair)
    }


def record_text(recorded: t.Mapping[str, str]) -> str:
    """Returns the record as the role `wa_host` writes it."""
    return json.dumps(recorded, indent=4, sort_keys=True) + "\n"


def others(path: str) -> list[dict[str, str]]:
    """Returns the records of the other deployments on this host, next to `path`. Raises WaError as `record` does."""
    beside = os.path.join(glob.escape(os.path.dirname(path)), "client-*.json")
    return [record(one) for one in sorted(glob.glob(beside)) if one != path]
