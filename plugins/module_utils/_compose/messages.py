# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compose's error output without the values that it quotes from Compose files and env files. Pure rules."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import redact

# After these phrases Compose quotes the value that it cannot parse; a warning may quote a part of it as a variable.
_QUOTES = re.compile(
    r"(unterminated quoted value|[Ii]nvalid template:|missing a value|in variable name(?! near)|unknown anchor"
    r"|escape any \$ with another \$\.?|\bnear\b).*",
    re.DOTALL,
)
_CURES = (
    (
        re.compile(r"no basic auth credentials|unauthorized|denied:|\b401\b"),
        "Log in to the registry on the host as root, such as with docker login",
    ),
    (
        re.compile(r"manifest unknown|manifest for \S+ not found|failed to resolve reference"),
        "See that the registry has this version (wa_registry, wa_images, wa_version)",
    ),
)
# What `docker` says without a plugin `compose` that it can run, followed by its whole manual.
_NO_PLUGIN = re.compile(r"unknown flag: --project-name|is not a docker command")
_BROKEN_PLUGIN = re.compile(r"failed to fetch metadata: .*")
_WARNING = re.compile(r"^time=\S+ level=warning |^WARN\[|^level=warning ")


def one_line(text: str, secrets: t.Any = ()) -> str:
    """Returns Compose's error output in one line, with a solution for registry errors; values in `secrets` are hidden."""
    if _NO_PLUGIN.search(text):
        broken = _BROKEN_PLUGIN.search(text)
        reason = broken[0].strip() if broken else "docker does not know the command compose"
        return f"the Compose plugin does not work: {reason}. Install it again, and run again"
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _WARNING.match(line.strip())]
    output = str(redact.redact(quoteless("; ".join(dict.fromkeys(lines))), secrets))
    cure = next((cure for refused, cure in _CURES if refused.search(output)), "")
    return f"{output.rstrip('.')}. {cure}" if cure else output


def quoteless(text: str) -> str:
    """Returns `text` without the values that Compose quotes from an env file or a template."""
    return _QUOTES.sub(r"\1 " + redact.HIDDEN, text)
