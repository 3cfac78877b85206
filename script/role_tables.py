# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes each role's table of variables, between two markers of its README, from its argument_specs."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import typing as t

import yaml

ROLES = pathlib.Path(__file__).resolve().parent.parent / "roles"
BEGIN, END = "<!-- variables: script/docs -->", "<!-- end of variables -->"


def plain(text: str | list[str]) -> str:
    """A description of an option as Markdown for a table cell."""
    joined = " ".join(text) if isinstance(text, list) else text
    return re.sub(r"\b[CVOE]\(([^)]*)\)", r"`\1`", joined).replace("|", "\\|")


def row(name: str, option: dict[str, t.Any]) -> str:
    """One option as a row of the table."""
    default = option.get("default")
    shown = "required" if option.get("required") else "" if default is None else f"`{json.dumps(default)}`"
    kind = option.get("type", "str")
    choices = ", ".join(f"`{choice}`" for choice in option.get("choices", []))
    text = plain(option["description"]) + (f" One of {choices}." if choices else "")
    return f"| `{name}` | {kind} | {shown.replace('|', chr(92) + '|')} | {text} |"


def table(role: pathlib.Path) -> str:
    """The variables of all entry points of a role, each once, in the order of the file."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    options: dict[str, t.Any] = {}
    for spec in specs.values():
        options.update(spec.get("options", {}))
    head = ["| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
    return "\n".join(head + [row(name, option) for name, option in options.items()])


def rendered(role: pathlib.Path) -> str:
    """The README of a role with its table as it has to be."""
    text = (role / "README.md").read_text()
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table(role)}\n{END}{rest.split(END)[1]}"


def main() -> int:
    stale = []
    for role in sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml")):
        readme = role / "README.md"
        wanted = rendered(role)
        if readme.read_text() != wanted:
            stale.append(role.name)
            if "--check" not in sys.argv:
                readme.write_text(wanted)
    if "--check" in sys.argv and stale:
        print(
            "README tables out of step with argument_specs: " + ", ".join(stale) + ". Run script/docs.", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
