# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The exception of the collection for failures that an operator can act on."""

from __future__ import annotations


class WaError(Exception):
    """A failure that an operator can act on.

    The message is one line: object, what was found, what was expected, what to do (`cure`). The parts are attributes.
    They never contain a secret; a module also passes the text through its redactor.
    """

    def __init__(self, subject: str, found: str, expected: str = "", cure: str = "") -> None:
        self.subject = subject
        self.found = found
        self.expected = expected
        self.cure = cure
        text = f"{subject}: {found}"
        if expected:
            text += f"; expected {expected}"
        super().__init__(f"{text}. {cure}" if cure else f"{text}.")

    @classmethod
    def of(cls, text: str) -> WaError:
        """Returns the failure whose message is `text`, which another process or a pure rule has made."""
        subject, _colon, rest = text.rstrip(".").partition(": ")
        return cls(subject, rest) if rest else cls("failure", subject)
