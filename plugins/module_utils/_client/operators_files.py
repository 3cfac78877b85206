# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets the version of the client in an operator's own Compose files, and makes the migration from them."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import replace

from ansible_collections.waba.onprem.plugins.module_utils._client.files import LOCK_TIMEOUT
from ansible_collections.waba.onprem.plugins.module_utils._compose import declared, migration
from ansible_collections.waba.onprem.plugins.module_utils._compose import version as compose_version
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import HEADER
from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.files import private_copies
from ansible_collections.waba.onprem.plugins.module_utils._env.store import Store

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result

_MODE = 0o600  # of the migration's file


def _files(params: t.Mapping[str, t.Any]) -> declared.Files:
    """Returns the operator's files, without the collection's."""
    default = os.path.join(params["project_dir"], ".env")
    env_files = params["interpolation_files"] or ([default] if os.path.exists(default) else [])
    return declared.Files(
        params["project"],
        params["project_dir"],
        tuple(path for path in params["compose_files"] if path != "-"),
        tuple(env_files),
    )


def _images_of(document: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Returns the image of each service."""
    return {name: str(one.get("image") or "") for name, one in (document.get("services") or {}).items()}


def _wanted(params: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Returns the image of each service of the client."""
    return {name: f"{image}:v{params['version']}" for name, image in params["images"].items()}


def stage_migration(module: AnsibleModule, result: Result) -> None:
    """Writes the Compose file of the migration."""
    params, run = module.params, module.run_command
    files, wanted = _files(params), _wanted(params)
    made = migration.document(declared.config(run, files), next(iter(wanted)), wanted)
    text = f"{HEADER}; the one-shot migration, removed after the upgrade.\n{json.dumps(made, indent=1)}\n"
    store = Store(params["compose_file"])
    with private_copies({store.path: text}) as copies:
        declared.config(run, replace(files, paths=(*files.paths, store.path)), copies=copies)
    if store.read() == text and os.stat(store.path).st_mode & 0o777 == _MODE:
        return
    result.record_change(f"wrote {store.path}")
    if not module.check_mode:
        _write(store, text, _MODE)


def set_version(module: AnsibleModule, result: Result) -> None:
    """Sets the version after Compose has read the wanted images from the new text. A failure leaves the file as it was."""
    files, wanted = _files(module.params), _wanted(module.params)
    subject = f"version of the client in {', '.join(files.paths)}"
    # Compose follows links, too; the links stay.
    stores = {path: Store(os.path.realpath(path)) for path in (*files.paths, *files.env_files)}
    texts = {path: _read(store) for path, store in stores.items()}
    document = declared.written(module.run_command, files)
    migration.refuse_reserved_service(document)
    images = _images_of(document)
    missing = ", ".join(wanted.keys() - images.keys())
    if missing:
        raise WaError(subject, f"they have no service {missing}", "the client's services", "Run adopt.yml again")
    try:
        found = compose_version.update(
            {images[name] for name in wanted},
            module.params["version"],
            {path: texts[path] for path in files.paths},
            {path: texts[path] for path in files.env_files},
        )
    except WaError as error:
        cure = f"Nothing was changed. {error.cure}" if error.cure else "Nothing was changed"
        raise WaError(subject, f"{error.subject}: {error.found}", error.expected, cure) from None
    with private_copies({found.path: found.text} if found.path else {}) as copies:
        read = _images_of(declared.config(module.run_command, files, copies=copies))
    different = {
        name: read.get(name, "")
        for name, image in wanted.items()
        if image_reference.parse(read.get(name, "")) != image_reference.parse(image)
    }
    if different:
        others = ", ".join(f"{name} with {image or 'no image'}" for name, image in different.items())
        expected = ", ".join(wanted[name] for name in different)
        cure = "Nothing was changed. Set the version there yourself, and run again"
        raise WaError(subject, f"Compose would still read {others}", expected, cure)
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

    with store.lock(LOCK_TIMEOUT):
        store.write(text, set_attributes)
