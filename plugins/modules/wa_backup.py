#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_backup
short_description: Reads what a deployment needs to be made again
description: [Internal to the roles and playbooks of the collection.]
options:
  operation:
    description: V(read) reads the files of the host, V(save_images) writes images to a file, V(part) reads a part of it, V(remove) removes files.
    type: str
    choices: [read, save_images, part, remove]
    default: read
  desired: {description: What the inventory says of the deployment on the host., type: dict}
  list_media: {description: Whether V(read) lists the media., type: bool, default: false}
  images: {description: 'The images of V(save_images).', type: list, elements: str, default: []}
  paths: {description: 'The file of V(save_images) and V(part), and the patterns of the files of V(remove).', type: list, elements: path, default: []}
  offset: {description: 'Where V(part) begins, in bytes.', type: int, default: 0}
extends_documentation_fragment: [waba.onprem.docker]
author: [waba.onprem contributors (@waba)]
"""

EXAMPLES = r"""
- name: Call it as the playbooks do
  waba.onprem.wa_backup:
"""

import base64
import contextlib
import glob
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._backup import contents
from ansible_collections.waba.onprem.plugins.module_utils._core import files
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC

# Bytes of a part: what a connection and the controller hold in memory at a time, some times over.
PART = 16 << 20


def read(module: AnsibleModule, result: Result) -> None:
    params = module.params
    result.values["contents"] = contents.read(Docker(params), params["desired"], params["list_media"])


def save_images(module: AnsibleModule, result: Result) -> None:
    engine, path = Docker(module.params), module.params["paths"][0]
    folder = os.path.dirname(path)
    images = {name: engine.image(name) for name in module.params["images"]}
    missing = [name for name, record in images.items() if record is None]
    if missing:
        raise WaError(f"docker save of {', '.join(missing)}", "no such image on this host", "the client's images")
    files.check_room(folder, sum((record or {}).get("Size", 0) for record in images.values()))
    if module.check_mode:
        return
    files.make_folder(folder)
    argv = ["docker", "--host", engine.transport.host, "save", "--output", path, *module.params["images"]]
    code, _out, error = module.run_command(argv)  # a file that only its owner can read
    if code:
        raise WaError(f"docker save of {', '.join(module.params['images'])}", error.strip(), "the images in a file")
    result.values["bytes"] = os.path.getsize(path)


def part(module: AnsibleModule, result: Result) -> None:
    path = module.params["paths"][0]
    try:
        with files.open_regular(path, follow=False) as file:
            file.seek(module.params["offset"])
            result.values["part"] = base64.b64encode(file.read(PART)).decode()
    except OSError as error:
        raise WaError(f"file {path}", f"cannot be read: {error.strerror}", "what was just written") from None


def remove(module: AnsibleModule, _result: Result) -> None:
    for pattern in [] if module.check_mode else module.params["paths"]:
        for path in glob.glob(pattern):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


OPERATIONS: dict[str, t.Callable[[AnsibleModule, Result], None]] = {
    "read": read,
    "save_images": save_images,
    "part": part,
    "remove": remove,
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **ARGUMENT_SPEC,
            "operation": {"type": "str", "choices": list(OPERATIONS), "default": "read"},
            "desired": {"type": "dict"},
            "list_media": {"type": "bool", "default": False},
            "images": {"type": "list", "elements": "str", "default": []},
            "paths": {"type": "list", "elements": "path", "default": []},
            "offset": {"type": "int", "default": 0},
        },
        required_if=[("operation", "read", ["desired"])],
        supports_check_mode=True,
    )
    with Result(module) as result:
        OPERATIONS[module.params["operation"]](module, result)


if __name__ == "__main__":
    main()
