# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the tables that stand in documents.

The variables of each role, and all of them in docs/variables.md, come from the argument_specs; what an upgrade checks, in the README of
wa_upgrade, from its rules; the versions that were tested together, in tests/README.md, from the results of the matrix. What is where on a
host comes from the list that retire.yml uses.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
import typing as t

import yaml
from ansible.plugins.loader import init_plugin_loader

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROLES, ALL = ROOT / "roles", ROOT / "docs" / "variables.md"
EXAMPLES = ROOT / "docs" / "variables.yml"
# Its parts, by who sets the variables.
SET_BY = {"inventory": "you", "command_line": "you, on the command line", "adopt": "`adopt.yml`"}
BEGIN, END = "<!-- table: script/docs -->", "<!-- end of table -->"
CHECKS_BEGIN, CHECKS_END = "<!-- checks: script/docs -->", "<!-- end of checks -->"
RESULTS = ROOT / "tests" / "matrix" / "results.json"

sys.path.insert(0, str(RESULTS.parent))
init_plugin_loader([str(ROOT / ".lab" / "collections")])

from cells import STEPS  # noqa: E402 - needs the path above

from ansible_collections.waba.onprem.plugins.module_utils._deployment import host_objects, topology  # noqa: E402 - needs the loader
from ansible_collections.waba.onprem.plugins.module_utils._upgrade import preflight  # noqa: E402 - needs the loader


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


def options(role: pathlib.Path) -> dict[str, dict[str, t.Any]]:
    """The variables of all entry points of a role, each once, in the order of the file."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    found: dict[str, dict[str, t.Any]] = {}
    for spec in specs.values():
        found.update(spec.get("options", {}))
    return found


def table(role: pathlib.Path) -> str:
    """The table of a role's README."""
    head = ["| Variable | Type | Default | Meaning |", "|---|---|---|---|"]
    return "\n".join(head + [row(name, option) for name, option in options(role).items()])


def all_variables(roles: list[pathlib.Path]) -> str:
    """The table of all variables by who sets them, then by what follows the role's name, so that the same things stand together."""
    named = {name: (role.name, one) for role in roles for name, one in options(role).items()}
    lines = ["| Variable | Set by | Type | Default | Example |", "|---|---|---|---|---|"]
    for part, examples in yaml.safe_load(EXAMPLES.read_text()).items():
        for name in sorted(examples, key=lambda name: name.removeprefix(f"{named.get(name, ('wa', {}))[0]}_")):
            # What roles share is described in a table of its own.
            _name, kind, default = row(name, named[name][1]).split(" | ")[:3] if name in named else ("", "", "above")
            example = json.dumps(examples[name], ensure_ascii=False).replace("|", "\\|")
            lines.append(f"| `{name}` | {SET_BY[part]} | {kind} | {default} | `{example}` |")
    return "\n".join(lines)


def marks(cell: dict[str, t.Any]) -> str:
    """What a cell's entry says beside its versions."""
    steps = cell.get("steps", {})
    no_dump = steps.get("upgrade with a dump", "").startswith("left out")
    return " (failed)" * bool(cell["failed"]) + " (no dump)" * no_dump + " (other steps)" * (tuple(steps) != STEPS)


def tested_versions(results: list[dict[str, t.Any]]) -> str:
    """A row for each database server, a column for each ansible-core: the host's release and its Compose, and how it ended."""
    cores = sorted({row["core"] for row in results})
    cells = {(row["database"], row["core"]): row for row in results}
    lines = [
        f"| Database server | {' | '.join(f'ansible-core {core}' for core in cores)} |",
        "|---" * (len(cores) + 1) + "|",
    ]
    for database in sorted({row["database"] for row in results}):
        found = [cells.get((database, core)) for core in cores]
        shown = [f"{one['release']}, {one['compose']}{marks(one)}" if one else "" for one in found]
        lines.append(f"| {database} | {' | '.join(shown)} |")
    return "\n".join(lines)


def checks() -> str:
    """The checks of an upgrade as a table."""
    head = ["| Check | Expected | Made at | Skipped |", "|---|---|---|---|"]
    lines = []
    for check in preflight.CHECKS:
        skipped = [skip.reason for skip in check.skip] + ["only reported without `wa_upgrade_version`"] * check.reported
        lines.append(
            f"| {check.name} | {check.expected} | {'the leader' if check.leader else 'each host'} | {'; '.join(skipped)} |"
        )
    return "\n".join(head + lines)


def what_is_where() -> str:
    """What the collection makes on a host as a table, with the default names of a deployment."""
    names = {**host_objects.FIXED, **topology.names("deployment"), "metrics_file": "wa_log_cleanup_metrics_file"}
    head = ["| What | Where | Made by | `retire.yml` |", "|---|---|---|---|"]
    found = {(one.kind, place or one.what): (one, place) for one, place in host_objects.placed(names)}  # a folder once
    rows = [
        f"| {one.what} | {f'`{place}`' if place else ''} | {one.maker} | {one.retire}{f', {one.rule}' if one.rule else ''} |"
        for one, place in found.values()
    ]
    return "\n".join([*head, *rows])


def rendered(text: str, content: str, begin: str = BEGIN, end: str = END) -> str:
    """A document with its table as it has to be."""
    before, rest = text.split(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.split(end)[1]}"


def main() -> int:
    stale = []
    roles = sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml"))
    tables = {role / "README.md": table(role) for role in roles if options(role)} | {ALL: all_variables(roles)}
    tables[ROOT / "docs" / "what-is-where.md"] = what_is_where()
    tables[ROOT / "tests" / "README.md"] = tested_versions(json.loads(RESULTS.read_text()))
    for file, content in tables.items():
        text = file.read_text()
        wanted = rendered(text, content)
        if file.parent.name == "wa_upgrade":
            wanted = rendered(wanted, checks(), CHECKS_BEGIN, CHECKS_END)
        if text != wanted:
            stale.append(str(file.relative_to(ROOT)))
            if "--check" not in sys.argv:
                file.write_text(wanted)
    if "--check" in sys.argv and stale:
        print(
            "tables out of step with what they are made from: " + ", ".join(stale) + ". Run script/docs.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
