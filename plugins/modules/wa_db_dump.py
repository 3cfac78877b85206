#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_db_dump
short_description: Dump the databases of a WhatsApp Business API client into a checked, compressed file
version_added: 0.1.0
description:
  - Streams the client's own databases with the server's own tool (C(mariadb-dump), C(mysqldump), C(pg_dump)) through
    C(zstd), or with gzip where that is missing, into one file, which gets its name only when it is complete.
  - Each program's exit code counts, and the tool's own mark at the end. C(restore.yml) puts it back.
  - A dump is worth something only when taken after the client was stopped, and restored before a newer version was
    ever connected.
options:
  dest:
    description: The folder on the managed host for the dump. It is made when it is missing, for its owner only.
    type: path
    required: true
  name:
    description:
      - The file's name without its ending C(.sql.zst) or C(.sql.gz), best of the deployment, the version and the time.
      - A finished dump of that name is left as it is.
    type: str
    required: true
  timeout:
    description: How long the dump may take, in seconds or as text.
    type: str
    default: 2h
  facts:
    description: What the manifest is to say besides, such as the deployment, the client's version and when it was stopped.
    type: dict
    default: {}
  preflight:
    description:
      - Whether nothing is dumped, and all is looked at that would stop the dump, or a restore of it, while the client serves.
      - The tool is run without rows, a file is written that leaves nothing behind, and on MySQL and MariaDB the rights to load a copy
        beside the databases are tried. Of larger databases a sample of a few seconds is dumped into that file, from which RV(estimate)
        is made. The folder needs room for 1.5 times that size.
    type: bool
    default: false
  restore_login_user:
    description: The user whose rights O(preflight) tries, if a restore on MySQL or MariaDB is not made by the client's.
    type: str
  restore_login_password:
    description: The password of O(restore_login_user).
    type: str
  run_id:
    description: The run that has the lock O(lease_file). Nothing is dumped where another one has it by now.
    type: str
    default: ''
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.database
  - waba.onprem.env
  - waba.onprem.lease
attributes:
  idempotent:
    description: A finished dump of this name is kept and returned; another O(name) is another dump.
requirements:
  - the tool for the database's server on the managed host, for PostgreSQL not older than the server
notes:
  - O(env_file) is needed.
  - One file holds all databases, since they belong together. On MySQL and MariaDB it is one consistent snapshot of tables
    of InnoDB; on PostgreSQL one for each database.
  - The password reaches the tool in a file that exists in memory only, and is in no argument and no environment.
  - Events, routines and triggers that the client's user may not read are left out, with a warning where they are seen; it
    has not made them either. A table that it may not read is an error, in check mode, too.
  - On PostgreSQL what belongs to the client's user is dumped, without owners and privileges, so that it needs no more rights for a
    restore than it has. Where C(pg_dump) is newer than the server, the statements that the server does not know are left out.
  - A manifest beside the dump has the rows of each table, a digest of the definitions and the dump's SHA-256. C(restore.yml) compares
    with it before it replaces anything. The rows are those that the tool has read, also where the client goes on writing.
author:
  - waba.onprem contributors (@waba)
"""

EXAMPLES = r"""
- name: Keep what the stopped client has
  waba.onprem.wa_db_dump:
    env_file: /opt/waba/support/db.env
    dest: /var/backups/waba
    name: support-2.51.2-20260301T0210
    facts: {deployment: support, version: 2.51.2, stopped_at: 1772330400}
  register: dump
"""

RETURN = r"""
actions:
  description: Actions that were made, or predicted in check mode.
  type: list
  elements: str
  returned: always
  sample: ["dump waba1, waba_messages with mariadb-dump 11.8.3 to /var/backups/waba/support-2.51.2.sql.gz"]
dest:
  description: The dump's file; V(null) when there are no databases.
  type: str
  returned: always
  sample: /var/backups/waba/support-2.51.2.sql.gz
bytes:
  description: Its size; V(null) in check mode before there is one.
  type: int
  returned: always
  sample: 19084083
sha256:
  description: Its SHA-256; V(null) in check mode before there is one.
  type: str
  returned: always
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
seconds:
  description: How long the dump took; 0 when there was nothing to do.
  type: float
  returned: always
  sample: 42.1
databases:
  description: The databases in it.
  type: list
  elements: str
  returned: always
  sample: [waba1, waba_messages]
source_bytes:
  description: What the server says that the databases hold; V(null) when it was not asked.
  type: int
  returned: always
  sample: 268435456
tool:
  description: The tool with its version.
  type: str
  returned: always
  sample: mariadb-dump 11.8.3
left:
  description: What is in these databases, and belongs to another user. It is not copied, and a restore leaves it where it is.
  type: list
  elements: str
  returned: always
  sample: ["schema reports in waba1 is postgres's: it is not copied, and a restore leaves it as it is"]
estimate:
  description: >-
    With O(preflight), about how many C(bytes) the dump will have, how many C(seconds) it will take, and the O(timeout) as C(limit). Without
    it, V(null).
  type: dict
  returned: always
  sample: {bytes: 12884901888, seconds: 3300, limit: 3600}
manifest:
  description: The file beside the dump that says what is in it; V(null) before there is a dump.
  type: str
  returned: always
  sample: /var/backups/waba/support-2.51.2.json
"""

import contextlib
import dataclasses
import os
import re
import secrets
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._core.units import parse_duration
from ansible_collections.waba.onprem.plugins.module_utils._database import connection as database
from ansible_collections.waba.onprem.plugins.module_utils._database import options as database_options
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import LEASE_SPEC, Lease
from ansible_collections.waba.onprem.plugins.module_utils._dump import commands as dump_commands
from ansible_collections.waba.onprem.plugins.module_utils._dump import folder as dump_folder
from ansible_collections.waba.onprem.plugins.module_utils._dump import load as dump_load
from ansible_collections.waba.onprem.plugins.module_utils._dump import manifest as manifests
from ansible_collections.waba.onprem.plugins.module_utils._dump import rehearsal, restore
from ansible_collections.waba.onprem.plugins.module_utils._dump import rows as dump_rows
from ansible_collections.waba.onprem.plugins.module_utils._dump import stream as dump_stream
from ansible_collections.waba.onprem.plugins.module_utils._dump import tools as dump_tools
from ansible_collections.waba.onprem.plugins.module_utils._env import options as env_options


class Dump:
    """One dump: observes, plans and applies."""

    def __init__(self, params: dict[str, t.Any], result: Result) -> None:
        self.params, self.result = params, result
        self.timeout = parse_duration("timeout", params["timeout"])
        self.base = os.path.join(os.path.abspath(params["dest"]), params["name"])
        self.manifest = f"{self.base}.json"
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", params["name"]):
            raise WaError("option name", f"{params['name']!r} is no name", "letters, digits and . _ + -")
        if not params["env_file"]:
            raise WaError("option env_file", "not given", "the client's db.env")
        env = env_options.read_env(params["env_file"], params["env_format"])
        result.redact.add([env.get("WA_DB_PASSWORD"), params["restore_login_password"]])
        self.prefix = env.get("WA_DB_NAME_PREFIX", "")
        self.config = database.settings(params, env)
        result.values.update(dict.fromkeys(("dest", "bytes", "sha256", "source_bytes", "tool")))
        result.values.update(seconds=0.0, databases=[], left=[], manifest=None, estimate=None)

    def exists(self) -> bool:
        """Returns whether a finished dump of the name exists, and sets the result from it."""
        found = manifests.load(self.manifest)
        if found is not None:
            with contextlib.suppress(WaError):  # another file, or none
                manifests.verify(self.manifest, found)
                self.report(found)
                return True
        for kind in dump_commands.COMPRESSORS:
            if os.path.lexists(f"{self.base}.sql.{kind}"):
                subject, cure = f"dump {self.base}.sql.{kind}", "Move it away, or give another name"
                raise WaError(subject, f"not the one of {self.manifest}", "a free name", cure)
        return False

    def report(self, found: manifests.Manifest) -> None:
        """Sets the result of a complete dump."""
        self.result.values.update(
            dest=manifests.dump_path(self.manifest, found),
            manifest=self.manifest,
            bytes=found["bytes"],
            sha256=found["sha256"],
            databases=list(found["databases"]),
            tool=found["tool"],
            left=found["left"],
        )

    def run(self, module: AnsibleModule) -> None:
        """Observes, checks, and unless in check mode dumps."""
        result, check_mode = self.result, module.check_mode
        source = dump_tools.inspect(self.config, self.prefix, self.params["databases"])
        folder = os.path.dirname(self.base)
        for path in [] if self.params["preflight"] else dump_stream.left_over(folder, remove=not check_mode):
            result.record_change(f"remove the half dump {path}")
        result.values.update(databases=source.databases, source_bytes=source.size)
        if not source.databases:
            result.warn(f"{self.config.subject}: no database that begins with {self.prefix!r}, so nothing to dump")
            return
        tool, _client = (
            find(source.version, lambda command: str(module.run_command(command)[1]))
            for find in (dump_tools.find, dump_tools.find_client)  # which a restore needs
        )
        for doubt in (*dump_commands.check(tool, source.version), *source.doubts):
            result.warn(doubt)
        result.values["left"] = list(source.named)
        path = f"{self.base}.sql.{dump_tools.compressor()}"
        result.values.update(dest=path, tool=tool.text)
        if self.params["preflight"]:
            self.check_restore(source)
            self.result.values["estimate"] = {**self.estimate(tool, source), "limit": round(self.timeout)}
            rehearsal.check_room(folder, self.result.values["estimate"])
            return
        self.check_room(tool, source)
        result.record_change(f"dump {', '.join(source.databases)} with {tool.text} to {path}")
        result.diff({"dump": None}, {"dump": path}, self.config.subject)
        if not check_mode:
            files.make_folder(folder)
            self.write(path, tool, source)

    def check_restore(self, source: dump_commands.Source) -> None:
        """Raises WaError if the user who restores may not load a copy of the source."""
        config = self.config
        if self.params["restore_login_user"]:
            login = {"user": self.params["restore_login_user"], "password": self.params["restore_login_password"]}
            config = dataclasses.replace(config, **login)
        with database.connect(config, read_only=False) as session:
            restore.check_rights(session, source.databases)

    def estimate(self, tool: dump_commands.Tool, source: dump_commands.Source) -> dict[str, t.Any]:
        """Looks for what would stop the dump, and returns what it takes, by a sample of it in the folder. Raises WaError."""
        sections = dump_commands.sections(tool, self.config, source, dump_tools.address(self.config))
        subject = f"dump of {', '.join(source.databases)}"

        def secret() -> t.ContextManager[tuple[list[str], dict[str, t.Any]]]:
            return dump_tools.secret(tool, self.config, source.tls)

        with dump_folder.draft(os.path.dirname(self.base)) as draft:
            calls = [dump_commands.without_rows(tool, one) for one in sections]
            rehearsal.run_without_rows(subject, calls, tool.mark, secret)
            sample = None
            if sum(one.bytes for one in source.tables) > rehearsal.SMALL:
                call = dump_commands.rows_of(tool, sections, rehearsal.largest(source.tables))
                kind = dump_tools.compressor()
                sample = rehearsal.take_sample(subject, call, kind, draft, secret, tool.separators)
        return rehearsal.estimate(source.tables, sample)

    def check_room(self, tool: dump_commands.Tool, source: dump_commands.Source) -> None:
        """Raises WaError if the folder has no room for the dump. Only where it has less than the source takes is that estimated."""
        folder = os.path.dirname(self.base)
        try:
            files.check_room(folder, source.size)
        except WaError:
            files.check_room(folder, self.estimate(tool, source)["bytes"])

    def write(self, path: str, tool: dump_commands.Tool, source: dump_commands.Source) -> None:
        """Writes the dump, and its manifest with the rows that it has."""
        start = time.monotonic()
        mark = secrets.token_hex(8)
        sections = dump_commands.sections(tool, self.config, source, dump_tools.address(self.config))
        counting = dump_rows.Counting(self.config, source.databases, self.timeout)
        # A run that has slept may have lost the lock. One that takes it over from now on waits for the end of this dump.
        lease = Lease(self.params["lease_file"], self.params["run_id"])
        lease.renew()
        with lease.kept(), counting, dump_stream.Stream(path, self.timeout) as stream:
            stream.write(
                [counting.part(dump_load.line(mark, number), one) for number, one in enumerate(sections)],
                tool.mark,
                dump_commands.substitutions(tool, source.version),
                lambda: dump_tools.secret(tool, self.config, source.tls),
            )
            found = {
                "format": manifests.FORMAT,
                "file": os.path.basename(path),
                "bytes": stream.size,
                "raw_bytes": stream.raw_size,
                "sha256": stream.sha256,
                "mark": mark,
                "sections": [[one.database, one.part] for one in sections],
                "databases": counting.result(),
                "longest": counting.longest,
                "engine": self.config.engine,
                "product": source.version.product,
                "server": source.version.text,
                "tool": tool.text,
                "seconds": round(time.monotonic() - start, 1),
                "source_bytes": source.size,
                "left": list(source.named),
                "prefix": self.prefix,
                "facts": self.params["facts"],
            }
            with database.connect(self.config) as session:
                restore.check_longest(session, found)
            files.write_json(self.manifest, found)
            stream.finish()
        self.report(found)
        self.result.values["seconds"] = found["seconds"]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **database_options.ARGUMENT_SPEC,
            **env_options.ARGUMENT_SPEC,
            **LEASE_SPEC,
            "dest": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "timeout": {"type": "str", "default": "2h"},
            "facts": {"type": "dict", "default": {}},
            "preflight": {"type": "bool", "default": False},
            "restore_login_user": {"type": "str"},
            "restore_login_password": {"type": "str", "no_log": True},
            "run_id": {"type": "str", "default": ""},
        },
        required_together=[["restore_login_user", "restore_login_password"]],
        supports_check_mode=True,
    )
    with Result(module) as result:
        dump = Dump(module.params, result)
        if not dump.exists():
            dump.run(module)


if __name__ == "__main__":
    main()
