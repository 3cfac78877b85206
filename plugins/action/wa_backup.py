# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a host's part of a backup, and at the leader writes the backup of the deployment on the controller."""

from __future__ import annotations

import base64
import time
import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.units import format_size
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology
from ansible_collections.waba.onprem.plugins.plugin_utils import _backup as backup
from ansible_collections.waba.onprem.plugins.plugin_utils import _desired as desired
from ansible_collections.waba.onprem.plugins.plugin_utils._inventory import Inventory
from ansible_collections.waba.onprem.plugins.plugin_utils._no_log import censored

Result = dict[str, t.Any]
_PASSWORD = 12  # characters, as the client wants it
_SETTINGS = "settings backup"
_EARLIER = 3600.0  # seconds for which a settings backup counts for a client that does not answer any more


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """`part` is `host`, whose result the leader takes from `__wa_backup_part` of the other members, or `deployment`.

    Of a deployment the result has `dest`, the folder of the backup, and `settings`, the file of the settings backup, empty for none. It is
    a failure without one, with `accept_earlier` only where none was made within the last hour.
    """

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> Result:
        """Returns what was kept, or in check mode what would be, with `lines` for people."""
        variables = task_vars or {}
        super().run(tmp, variables)
        _valid, args = self.validate_argument_spec(
            {
                "part": {"type": "str", "choices": ["host", "deployment"], "default": "deployment"},
                "include": {"type": "list", "elements": "str", "choices": ["images", "database"], "default": []},
                "list_media": {"type": "bool", "default": False},
                "accept_earlier": {"type": "bool", "default": False},
                "cure": {"type": "str", "default": ""},
            }
        )
        self._variables, self._ours = variables, Inventory(variables, self._templar.template)
        try:
            self._place = desired.deployment(self._ours)
            self._root, self._password = self._given()
            if args["part"] == "host":
                return {"changed": False, "contents": self._read(list_media=False)}
            return self._deployment(args)
        except WaError as error:
            found = error
        except OSError as error:
            cure = "Make room in it, or set it to a folder of the controller that you may write"
            why = ": ".join(str(one) for one in (error.strerror or error, error.filename) if one)
            found = WaError(f"wa_backup_dir {self._root}", why, cure=cure)
        return {"failed": True, "msg": f"{self._ours.host}: {str(found).rstrip('.')}."}

    def _given(self) -> tuple[str, str]:
        """Returns folder and password of backups. Raises WaError where one is not set."""
        root, password = (str(self._ours.given(f"wa_backup_{name}") or "") for name in ("dir", "password"))
        if not root:
            raise WaError("wa_backup_dir", "not set", "a folder of the controller", "Nothing was kept. Set it")
        if len(password) < _PASSWORD:
            found, expected = "shorter" if password else "not set", f"{_PASSWORD} characters or more"
            raise WaError("wa_backup_password", found, expected, "Nothing was kept. Set it, from a vault")
        return root, password

    def _module(self, name: str, /, **options: t.Any) -> Result:
        """Returns the result of a module on the host. Raises WaError where it fails."""
        with censored(self):
            found: Result = self._execute_module(
                module_name=f"waba.onprem.{name}", module_args=options, task_vars=self._variables
            )
        if found.get("failed"):
            raise WaError.of(str(found.get("msg") or f"{name} failed"))
        return found

    def _backup(self, operation: str, /, **options: t.Any) -> Result:
        return self._module("wa_backup", operation=operation, **desired.docker(self._ours), **options)

    def _read(self, list_media: bool) -> Result:
        """Returns what the host has; contents of files are encrypted, or left out in check mode."""
        found: Result = self._backup("read", desired=desired.backup(self._ours), list_media=list_media)["contents"]
        for one in found["files"]:
            data = base64.b64decode(one.pop("content"))
            one["bytes"] = len(data)
            if not self._task.check_mode:
                one["text"] = backup.encrypted(data, self._password).decode()
        return {**found, "host": self._ours.host}

    def _others(self) -> list[Result]:
        """Returns the parts of the other members that this run has read."""
        hostvars = self._variables["hostvars"]
        those = [
            hostvars[one].get("__wa_backup_part") or {} for one in self._place["members"] if one != self._ours.host
        ]
        return [one["contents"] for one in those if one.get("contents")]

    def _settings(self) -> tuple[str, str]:
        """Returns the settings backup of the client, or why there is none. In check mode it only logs in."""
        try:
            options = {**desired.asked_api(self._ours), "api_timeout": "60s"}
            found = self._module("wa_webapp", operation="settings_backup", backup_password=self._password, **options)
        except WaError as error:
            return "", str(error).rstrip(".")
        return str(found.get("settings") or ""), ""

    def _earlier(self, server: str) -> list[backup.Backup]:
        return backup.of_database(backup.earlier(self._root, self._place["slug"]), server)

    def _deployment(self, args: Result) -> Result:
        keep = backup.kept_count(self._ours.given("wa_backup_keep"))
        own = self._read(args["list_media"])
        parts = [own, *self._others()]
        settings, problem = self._settings()
        server = desired.database(self._ours)
        if problem and args["accept_earlier"]:
            last = backup.newest(self._earlier(server), "settings")
            if last and time.time() - last.made_at < _EARLIER:
                return self._result(last.folder, last.folder / backup.SETTINGS, [], changed=False)
        problems = {_SETTINGS: problem} if problem else {}
        if self._task.check_mode:
            predicted = self._brought(None, own, args["include"], problems)
            lines = [f"would keep: {one}" for one in self._lines(parts, problems, predicted)]
            return self._failing(problems, args["cure"], self._result("", "", lines))
        with backup.Writer(self._root, self._place["slug"], time.time()) as writer:
            brought = self._brought(writer, own, args["include"], problems)
            manifest = {
                "deployment": self._place["name"],
                "leader": self._ours.host,
                "database_server": server,
                "version": own["version"],
                "hosts": {one["host"]: self._write_host(writer, one) for one in parts},
                "missing": sorted(set(self._place["members"]) - {one["host"] for one in parts}),
                "settings": writer.write(backup.SETTINGS, settings.encode()) if settings else None,
                "problems": problems,
                "media": self._write_media(writer, own["media"]),
                **brought,
            }
            folder = writer.finish(manifest)
            removed = backup.superfluous(self._earlier(server), keep)
            for one in removed:
                backup.remove(one)
        lines = [
            f"{self._place['name']}: {folder} ({format_size(writer.size)})",
            *self._lines(parts, problems, brought),
        ]
        lines += [f"removed {one.folder}" for one in removed]
        return self._failing(
            problems, args["cure"], self._result(folder, folder / backup.SETTINGS if settings else "", lines)
        )

    @staticmethod
    def _result(dest: t.Any, settings: t.Any, lines: list[str], changed: bool = True) -> Result:
        return {"changed": changed, "dest": str(dest), "settings": str(settings), "lines": lines}

    def _failing(self, problems: t.Mapping[str, str], cure: str, result: Result) -> Result:
        """Returns the result, as a failure where there are `problems`, by what was not made because of them."""
        if not problems:
            return result
        found = "; ".join(f"no {what} was made: {why}" for what, why in problems.items())
        rest = f"The other parts are in {result['dest']}." if result["dest"] else "Nothing was changed."
        message = f"{self._ours.host}: {found}. {rest} {cure}"
        return {**result, "failed": True, "msg": message.strip()}

    def _lines(
        self, parts: t.Sequence[Result], problems: t.Mapping[str, str], brought: t.Mapping[str, Result | None]
    ) -> list[str]:
        media, images, database = parts[0]["media"], parts[0]["images"], brought["database"]
        listed = (
            f"list of {media['count']} media ({format_size(media['bytes'])}); the files in {media['folder']} are yours to copy"
            if "count" in media
            else ""
        )
        registered = sorted({where for one in parts for where in one["registration"].values()})
        return [
            *([] if _SETTINGS in problems else [_SETTINGS]),
            *(f"no {what}: {why}" for what, why in problems.items()),
            *(backup.line(one) for one in parts),
            *(f"not there: {path} on {one['host']}" for one in parts for path in one["missing"]),
            *([listed or f"no list of media: {media['problem']}"] if media else []),
            *([f"registration: {', '.join(registered)}"] if registered else []),
            *(
                [f"{len(images)} images ({format_size(sum(one['bytes'] for one in images))} on the host)"]
                if brought["images"] is not None
                else []
            ),
            *(
                [f"copy of the database, made while the client runs ({format_size(database['source_bytes'])} there)"]
                if database is not None
                else []
            ),
        ]

    def _write_host(self, writer: backup.Writer, part: Result) -> Result:
        """Writes a host's files below a folder of its name, each at its path."""
        entries = [
            {
                **writer.write(f"{part['host']}{one['path']}", one["text"].encode()),
                **{key: one[key] for key in ("path", "mode", "owner")},
            }
            for one in part["files"]
        ]
        return {**{key: part[key] for key in ("version", "registration", "fingerprints", "images")}, "files": entries}

    @staticmethod
    def _write_media(writer: backup.Writer, media: Result) -> Result:
        if "list" not in media:
            return media
        about = {
            "folder": media["folder"],
            "marker": media["marker"],
            "count": media["count"],
            "of_bytes": media["bytes"],
        }
        return {**writer.write(backup.MEDIA, base64.b64decode(media["list"])), **about}

    def _brought(
        self, writer: backup.Writer | None, own: Result, include: t.Sequence[str], problems: dict[str, str]
    ) -> dict[str, Result | None]:
        """Returns the entries of images and of a copy of the database, which are made on the host and brought to the controller.

        One that fails is added to `problems`: the settings backup is kept without it. Without a `writer` the modules say what would fail.
        """
        found: dict[str, Result | None] = {"images": None, "database": None}
        if not include:
            return found
        name = f"{self._place['slug']}.backup-"
        base = f"{topology.DUMP_DIR}/{name}{writer.name if writer else 'check'}"
        makes: dict[str, tuple[str, tuple[str, ...], t.Callable[[], Result]]] = {
            "images": ("file of images", (".tar",), lambda: self._save_images(writer, base, own)),
            "database": ("copy of the database", (".json", ".sql.*"), lambda: self._copy_database(writer, base, own)),
        }
        for part in dict.fromkeys(include):
            what, endings, make = makes[part]
            try:
                # Also what a run that was killed has left. No other deployment has a name with a dot.
                self._backup("remove", paths=[f"{topology.DUMP_DIR}/{name}*"])
                try:
                    found[part] = make()
                finally:
                    self._backup("remove", paths=[f"{topology.DUMP_DIR}/{name}*"])
            except (WaError, OSError) as error:
                found[part], problems[what] = None, str(error).rstrip(".")
                if writer:
                    for ending in endings:
                        writer.forget(f"{name}*{ending}")
        return found

    def _save_images(self, writer: backup.Writer | None, base: str, own: Result) -> Result:
        path, names = f"{base}.tar", [one["name"] for one in own["images"]]
        made = self._backup("save_images", paths=[path], images=names)
        return self._fetch(writer, path, made["bytes"]) if writer else {}

    def _copy_database(self, writer: backup.Writer | None, base: str, own: Result) -> Result:
        facts = {"deployment": self._place["name"], "version": own["version"], "running": True}
        folder, _slash, name = base.rpartition("/")
        made = self._module("wa_db_dump", **desired.dump(self._ours), dest=folder, name=name, facts=facts)
        if not made["dest"]:
            raise WaError("database", "nothing that belongs to the client", "its databases")
        about = {"source_bytes": made["source_bytes"]}
        if writer is None:
            return about
        self._fetch(writer, made["manifest"], None)
        entry = self._fetch(writer, made["dest"], made["bytes"])
        if entry["sha256"] != made["sha256"]:
            raise WaError(
                f"copy {made['dest']}", f"SHA-256 {entry['sha256']} on the controller", made["sha256"], "Run again"
            )
        return {**entry, **about, "manifest": made["manifest"].rpartition("/")[2], "running": True}

    def _fetch(self, writer: backup.Writer, path: str, size: int | None) -> Result:
        """Brings a file of the host into the backup, in parts; `size` in bytes is None for a file of one part."""
        name = path.rpartition("/")[2]
        with writer.open(name) as file:
            while True:
                file.write(base64.b64decode(self._backup("part", paths=[path], offset=file.tell())["part"]))
                if size is None or file.tell() >= size:
                    break
        return writer.entry(name)
