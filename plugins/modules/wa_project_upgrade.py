#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_project_upgrade
short_description: Sets the version of the client in an operator's own Compose files
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description: V(set_version) changes the operator's file that has the version, so that the files give O(images) in O(version).
    type: str
    choices: [set_version, stage]
    default: set_version
  project: {description: The Compose project., type: str, required: true}
  project_dir: {description: The project directory., type: path, required: true}
  compose_files: {description: 'The operator''s Compose files, in their order.', type: list, elements: path, required: true}
  interpolation_files:
    description: The files with the variables of the Compose files, as C(docker compose --env-file) takes them.
    type: list
    elements: path
    default: []
  images: {description: The repository of the image of each service of the client., type: dict, required: true}
  version: {description: The new version., type: str, required: true}
  service: {description: The Coreapp from which the migration is made., type: str}
  path: {description: The Compose file of the migration., type: path}
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the roles do
  waba.onprem.wa_project_upgrade:
"""

import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._compose import call, messages, migration
from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._compose.declared import (
    as_written,
    complete_limits,
    uninterpolated,
)
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.files import private_copies
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

_TIMEOUT = "60"  # seconds, for a local command
_LOCK_TIMEOUT = 60.0  # seconds
_MODE = 0o600  # of the migration's file


class Project:
    """The operator's Compose project."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        params = module.params
        self.wanted = {name: f"{image}:v{params['version']}" for name, image in params["images"].items()}
        default = os.path.join(params["project_dir"], ".env")
        self.env_files = params["interpolation_files"] or ([default] if os.path.exists(default) else [])

    def declared(self) -> dict[str, t.Any]:
        """Returns the project's document with its variables as they are written. Raises WaError with Compose's words."""
        with uninterpolated(self._module.params["compose_files"]) as copies:
            return self.config("--no-interpolate", copies=copies)

    def config(
        self, *options: str, copies: t.Mapping[str, str] | None = None, more: t.Sequence[str] = ()
    ) -> dict[str, t.Any]:
        """Returns the project's document, with `copies` in the place of files, and `more` after them. Raises WaError with Compose's words."""
        params, there = self._module.params, copies or {}
        files = [there.get(one, one) for one in (*params["compose_files"], *more)]
        env_files = [there.get(one, one) for one in self.env_files]
        where = call.options(params["project"], params["project_dir"], files, env_files, ["*"])
        code, output, complaint = self._module.run_command(
            ["timeout", _TIMEOUT, "docker", "compose", *where, "config", "--format=json", *options],
            environ_update=call.directory(params["project_dir"]),
            handle_exceptions=False,
        )
        if code != 0:
            found = messages.one_line(as_written(complaint, there)) or f"exit status {code}"
            raise WaError(
                ", ".join(params["compose_files"]), f"docker compose config: {found}", "files that it can read"
            )
        document = t.cast("dict[str, t.Any]", json.loads(as_written(output, there)))
        complete_limits(document.get("services") or {})
        return document


def images_of(document: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Returns the image of each service."""
    return {name: str(one.get("image") or "") for name, one in (document.get("services") or {}).items()}


def stage(module: AnsibleModule, result: Result, project: Project) -> None:
    """Writes the Compose file of the migration."""
    params, service = module.params, module.params["service"]
    if service not in project.wanted:
        raise WaError("option service", f"{service!r} is not in images", "one of: " + ", ".join(project.wanted))
    made = migration.document(project.declared(), project.config(), service, project.wanted, params["project_dir"])
    text = f"{HEADER}; the one-shot migration, removed after the upgrade.\n{json.dumps(made, indent=1)}\n"
    store = Store(params["path"])
    # A file that is included may have variables of its own, which the migration's file does not get.
    with private_copies({store.path: text}) as copies:
        others = migration.other_database(project.config(more=[copies[store.path]]), service)
    if others:
        raise WaError(
            f"migration made from service {service}",
            f"has another {', '.join(others)} than the service itself",
            "the same database",
            "Set them in db.env, or in the Compose file itself",
        )
    if store.read() == text and os.stat(store.path).st_mode & 0o777 == _MODE:
        return
    result.record_change(f"wrote {store.path}")
    if not module.check_mode:
        _write(store, text, _MODE)


def set_version(module: AnsibleModule, result: Result, project: Project) -> None:
    """Sets the version after Compose has read the wanted images from the new text. A failure leaves the file as it was."""
    compose_files = module.params["compose_files"]
    subject = f"version of the client in {', '.join(compose_files)}"
    # Compose follows links, too; the links stay.
    stores = {path: Store(os.path.realpath(path)) for path in (*compose_files, *project.env_files)}
    texts = {path: _read(store) for path, store in stores.items()}
    declared = project.declared()
    migration.refuse_reserved_service(declared)
    images = images_of(declared)
    missing = ", ".join(project.wanted.keys() - images.keys())
    if missing:
        raise WaError(subject, f"they have no service {missing}", "the client's services", "Run adopt.yml again")
    try:
        found = compose_version.update(
            {images[name] for name in project.wanted},
            module.params["version"],
            {path: texts[path] for path in compose_files},
            {path: texts[path] for path in project.env_files},
        )
    except WaError as error:
        cure = f"Nothing was changed. {error.cure}" if error.cure else "Nothing was changed"
        raise WaError(subject, f"{error.subject}: {error.found}", error.expected, cure) from None
    with private_copies({found.path: found.text} if found.path else {}) as copies:
        read = images_of(project.config(copies=copies))
    different = {
        name: read.get(name, "")
        for name, image in project.wanted.items()
        if image_reference.parse(read.get(name, "")) != image_reference.parse(image)
    }
    if different:
        others = ", ".join(f"{name} with {image or 'no image'}" for name, image in different.items())
        wanted = ", ".join(project.wanted[name] for name in different)
        cure = "Nothing was changed. Set the version there yourself, and run again"
        raise WaError(subject, f"Compose would still read {others}", wanted, cure)
    if not found.path:
        return
    stores[found.path].assert_writable()
    if not module.check_mode:
        _write(stores[found.path], found.text)
    for line in found.changes:
        result.record_change(line)
    result.diff(_side(found.changes, 0), _side(found.changes, 1), module.params["project_dir"])


def _side(changes: t.Iterable[str], side: int) -> str:
    """Returns the lines of one side of the diff: the file's other lines may hold secrets."""
    return "".join(line.partition(": ")[2].split(" becomes ")[side] + "\n" for line in changes)


def _read(store: Store) -> str:
    text = store.read()
    if text is None:
        raise WaError(store.path, "does not exist", "a file of the operator's Compose project")
    return text


def _write(store: Store, text: str, mode: int | None = None) -> None:
    """Writes a file as it was last read: another writer's change since is an error."""

    def set_attributes(draft: int) -> None:
        if mode is not None:
            os.fchmod(draft, mode)

    with store.lock(_LOCK_TIMEOUT):
        store.write(text, set_attributes)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "operation": {"type": "str", "choices": ["set_version", "stage"], "default": "set_version"},
            "project": {"type": "str", "required": True},
            "project_dir": {"type": "path", "required": True},
            "compose_files": {"type": "list", "elements": "path", "required": True},
            "interpolation_files": {"type": "list", "elements": "path", "default": []},
            "images": {"type": "dict", "required": True},
            "version": {"type": "str", "required": True},
            "service": {"type": "str"},
            "path": {"type": "path"},
        },
        required_if=[("operation", "stage", ["path", "service"])],
        supports_check_mode=True,
    )
    with Result(module) as result:
        {"set_version": set_version, "stage": stage}[module.params["operation"]](module, result, Project(module))


if __name__ == "__main__":
    main()
