# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets the client's version where one variable of an env file, or the image lines of one Compose file, have it. Pure rules.

Otherwise `docker compose up` in the operator's folder would start the old version on a migrated database.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

# A variable of Compose: ${NAME}, ${NAME:-default}, ${NAME:?error}, $NAME.
VARIABLE = re.compile(r"(?<!\$)\$(?:\{(?P<name>[A-Za-z_]\w*)(?P<rest>[^}]*)\}|(?P<plain>[A-Za-z_]\w*))")
ONE_PLACE = "Use one variable of .env, or tags alone in one Compose file, for all images of the client"
# Before an image in YAML outside comments: its key or an anchor, or both.
_BEFORE = r"^([^#\n]*?(?:(?<![\w.-])image:[ \t]*|&[\w.-]+[ \t]+)+[\"']?)"
Texts = t.Mapping[str, str]  # by path


@dataclass(frozen=True)
class Update:
    """The file that is changed, its new text, and a line for each change; nothing if the version is there."""

    path: str = ""
    text: str = field(default="", repr=False)
    changes: tuple[str, ...] = ()


def variable(images: t.Collection[str]) -> tuple[str, str] | None:
    """Returns the one variable that has the tag of all images, and the `v` if it is before it; empty texts if they have tags.

    `images` are as the Compose files have them. None if they have their version in more than one place.
    """
    found = {_variable(image) for image in images}
    return found.pop() if len(found) == 1 else None


def _variable(image: str) -> tuple[str, str] | None:
    """Returns the variable of one image, and what is before it; None for an image of which it is not the tag, or by digest."""
    variables = [*VARIABLE.finditer(image)]
    if not variables or ":" in image[variables[-1].end() :]:
        return None if "@" in image else ("", "")
    last = variables[-1]
    before = re.fullmatch(r".*:(v?)", image[: last.start()])
    return (last["name"] or last["plain"], before[1]) if before and last.end() == len(image) else None


def update(images: t.Collection[str], version: str, compose_files: Texts, env_files: Texts) -> Update:
    """Returns how `images`, as the Compose files have them with variables, come to be those of a version.

    Of `env_files` the last one that sets a variable is in force. Whether Compose then reads the wanted images has to be asked of it.
    Raises WaError if no single file decides it.
    """
    place = variable(images)
    if place is None:
        raise WaError("its version", f"in more than one place: {', '.join(sorted(images))}", cure=ONE_PLACE)
    name, before = place
    if name:
        return _set_variable(name, version if before else f"v{version}", env_files)
    return _set_tags(images, version, compose_files)


def _set_variable(name: str, value: str, env_files: Texts) -> Update:
    for path in reversed([*env_files]):
        entries = env_file.read_compose(env_files[path])
        own = [number for number, entry in enumerate(entries) if entry.key == name]
        if not own:
            continue
        old, raws = entries[own[-1]].value, [entry.raw for entry in entries]
        if old == value:
            return Update()
        start, equals, rest = raws[own[-1]].partition("=")
        if not old or old not in rest:
            raise WaError(path, f"makes {name} of something else", f"{name}={value}")
        raws[own[-1]] = start + equals + rest.replace(old, value, 1)
        return Update(path, "".join(raws), (f"{path}: {name}={old} becomes {name}={value}",))
    raise WaError(f"variable {name}", "set in no env file", f"{name}={value} in the file .env")


def places(image: str, compose_files: Texts) -> list[str]:
    """Returns the Compose files with the line of an image."""
    return [path for path, text in compose_files.items() if _line(image).search(text)]


def _line(image: str) -> re.Pattern[str]:
    return re.compile(_BEFORE + re.escape(image) + r"(?![^\"'\s,}])", re.MULTILINE)


def _set_tags(images: t.Iterable[str], version: str, compose_files: Texts) -> Update:
    old = {image: f"{image.rpartition(':')[0]}:v{version}" for image in sorted(images)}
    found = []
    for path, text in compose_files.items():
        made, changes = text, []
        for image, new in old.items():
            made, count = _line(image).subn(rf"\g<1>{new}", made)
            changes += [f"{path}: {image} becomes {new}"] if count and image != new else []
        found += [Update(path, made, tuple(changes))] if made != text else []
    if {*old} == {*old.values()}:
        return Update()
    if len(found) == 1:
        return found[0]
    where = ", ".join(compose_files)
    raise WaError(
        ", ".join(old),
        f"in {'more than one' if found else 'none'} of {where}",
        f"{', '.join(old.values())} in one file",
        ONE_PLACE,
    )
