# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Compose says of a file, without the values that it quotes from there and from env files. Pure rules."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core import redact

# Behind these words Compose repeats the value that it cannot read; a warning may name a piece of one as a variable.
_QUOTES = re.compile(
    r"(unterminated quoted value|[Ii]nvalid template:|missing a value|escape any \$ with another \$\.?|\bnear\b).*",
    re.DOTALL,
)
_WARNING = re.compile(r"^time=\S+ level=warning |^WARN\[|^level=warning ")


def one_line(words: str, secrets: t.Any = ()) -> str:
    """Compose's complaint in one line; `secrets` hold values known to be in what it read."""
    lines = [line.strip() for line in words.splitlines() if line.strip() and not _WARNING.match(line.strip())]
    return str(redact.redact(quoteless("; ".join(dict.fromkeys(lines))), secrets))


def quoteless(words: str) -> str:
    """`words` without what Compose quotes from an env file or a template."""
    return _QUOTES.sub(r"\1 " + redact.HIDDEN, words)
