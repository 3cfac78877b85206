# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds where an operator's own Compose files name the version of the client, and sets it there. Pure rules.

Otherwise `docker compose up` in their folder would start the old version on a migrated database.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.waba.onprem.plugins.module_utils._core import image_reference
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file

# A variable of Compose: ${NAME}, ${NAME:-default}, ${NAME:?error}, $NAME.
VARIABLE = re.compile(r"(?<!\$)\$(?:\{(?P<name>[A-Za-z_]\w*)(?P<rest>[^}]*)\}|(?P<plain>[A-Za-z_]\w*))")
DEFAULT = re.compile(r"(?P<sign>:?-)(?P<value>.*)")
# Before an image in YAML: its key, or that of an extension, with an anchor or without.
_BEFORE_IMAGE = r"(?:(?<![\w.-])image:\s*(?:&[\w.-]+\s+)?|^\s*x-[\w.-]+:\s*&[\w.-]+\s+)[\"']?"
_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
Texts = t.Mapping[str, str]  # by path


@dataclass
class Update:
    """The new texts of files by path, a line for each change, and why a service's version cannot be set."""

    texts: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def update(declared: Texts, wanted: Texts, compose_files: Texts, env_files: Texts) -> Update:
    """Returns how the files come to name the `wanted` images, by service.

    `declared` are the images as the Compose files have them, with variables; `env_files` are those with the variables' values,
    of which the last one that sets a variable is in force. What Compose makes of the new texts has to be read from Compose.
    """
    found = Update()
    for service, image in wanted.items():
        raw = declared.get(service, "")
        variables = list(VARIABLE.finditer(raw))
        if not raw:
            found.problems.append(f"service {service} has no image in the Compose files")
        elif variables:
            _set_variable(found, service, raw, image, variables[-1], compose_files, env_files)
        elif image_reference.parse(raw).digest:
            found.problems.append(f"service {service} has its image by digest, {raw}: give it the image {image}")
        else:
            name = raw[: -len(image_reference.parse(raw).tag)] if image_reference.has_tag(raw) else f"{raw}:"
            new = name + image_reference.parse(image).tag
            if new == raw:
                continue
            _replace(found, service, raw, new, compose_files, _BEFORE_IMAGE)
    found.problems = list(dict.fromkeys(found.problems))
    return found


def values(raw: str, text: str) -> dict[str, str]:
    """Returns the value of the last variable of `raw` with which it becomes `text`; none if no value does, or any."""
    found = [*VARIABLE.finditer(raw)]
    parts, end = "", 0
    for one in found:
        literal = raw[end : one.start()]
        if end and not literal:
            return {}  # where one variable ends and the next one begins is not known
        parts += re.escape(literal.replace("$$", "$")) + ("(.*)" if one is found[-1] else ".*")
        end = one.end()
    value = re.fullmatch(parts + re.escape(raw[end:].replace("$$", "$")), text)
    return {found[-1]["name"] or found[-1]["plain"]: value[1]} if found and value else {}


def _set_variable(
    found: Update,
    service: str,
    raw: str,
    image: str,
    variable: re.Match[str],
    compose_files: Texts,
    env_files: Texts,
) -> None:
    """Gives a variable of an image, its last one, the value with which the image is the wanted one."""
    name = variable["name"] or variable["plain"]
    reference = image_reference.parse(image)
    # A file may have another spelling of the image than the inventory.
    value = values(raw, image).get(name) or values(raw, f"{reference.repository}:{reference.tag}").get(name)
    if not value:
        found.problems.append(
            f"service {service} has the image {raw}, and no value of {name} is found with which it is {image} (a default with another variable "
            "is not read)"
        )
        return
    for path in reversed([*env_files]):
        text = found.texts.get(path, env_files[path])
        entries = env_file.read_compose(text)
        own = [number for number, entry in enumerate(entries) if entry.key == name]
        if not own:
            continue
        before = entries[own[-1]]
        line = _LINE.fullmatch(before.raw)
        if before.value == value:
            return
        if before.value is None or line is None:
            found.problems.append(f"{path} makes {name} of something else: set {name}={value} there")
        else:
            raws = [entry.raw for entry in entries]
            raws[own[-1]] = f"{line['before']}{line['quote']}{value}{line['quote']}{line['after']}"
            found.texts[path] = "".join(raws)
            found.changes.append(f"{path}: {name}={before.value} becomes {name}={value}")
        return
    default = DEFAULT.fullmatch(variable["rest"] or "")
    if default is None:
        found.problems.append(
            f"service {service} has the image {raw}, and no env file sets {name}: it comes from the environment of whoever runs "
            "docker compose. Put it into the file .env beside the Compose files, take it out of that environment, which comes first, and run "
            "adopt.yml again"
        )
        return
    if default["value"] == value:
        return
    _replace(found, service, variable[0], f"${{{name}{default['sign']}{value}}}", compose_files)


# A line of an env file: what stands before the value, its quotes, the value, a comment and the end of the line.
_LINE = re.compile(
    r"(?P<before>[^=:]*[=:][ \t]*)(?P<quote>[\"']?)(?P<value>[^\"'\n#]*?)(?P=quote)(?P<after>(?:[ \t]+#[^\n]*)?[ \t]*\r?\n?)"
)


def _replace(found: Update, service: str, old: str, new: str, compose_files: Texts, before: str = "") -> None:
    """Replaces a text behind the pattern `before` in all Compose files, except in comments."""
    end = r"(?![\w.@:/-])" if before else ""
    pattern = re.compile(f"({before}){re.escape(old)}{end}")
    there = re.compile(f"({before}){re.escape(new)}{end}")
    hit = False
    for path in compose_files:
        lines = found.texts.get(path, compose_files[path]).splitlines(keepends=True)
        made = []
        for one in lines:
            comment = _COMMENT.search(one)
            code = one[: comment.start()] if comment else one
            code = pattern.sub(lambda match: match[1] + new, code)
            hit = hit or bool(there.search(code))
            made.append(code + (comment[0] if comment else ""))
        if made != lines:
            found.texts[path] = "".join(made)
            found.changes.append(f"{path}: {old} becomes {new}")
    if not hit:
        found.problems.append(
            f"service {service} has {old}, which is in none of {', '.join(compose_files)}: set {new} where it stands"
        )
