# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of Compose about invalid files, without values from these files."""

from __future__ import annotations

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._compose.messages import one_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("env file /c/e.env not found: stat /c/e.env: no such file or directory\n",) * 2,
        ('service "a" refers to undefined volume nope: invalid compose project',) * 2,
        ("yaml: line 3: did not find expected ',' or ']'",) * 2,
        ('line 4: unterminated quoted value "Canary unclosed\n', "line 4: unterminated quoted value <hidden>"),
        ('Invalid template: "${Canary bad"', "Invalid template: <hidden>"),
        ("required variable A is missing a value: Canary", "required variable A is missing a value <hidden>"),
        (
            "invalid interpolation format for services.a.environment.P.\n"
            "You may need to escape any $ with another $.\nCanary${bad-\n",
            "invalid interpolation format for services.a.environment.P.; "
            "You may need to escape any $ with another $. <hidden>",
        ),
        (
            'failed to read /c/db.env: line 2: unexpected character "-" in variable name near "Canary\\nB=Canary"',
            'failed to read /c/db.env: line 2: unexpected character "-" in variable name near <hidden>',
        ),
        (
            'failed to read /c/.env: line 1: unexpected character "!" in variable name "WA_DB_PASSWORD Canary!pass"',
            'failed to read /c/.env: line 1: unexpected character "!" in variable name <hidden>',
        ),
        ("yaml: unknown anchor 'Canary' referenced", "yaml: unknown anchor <hidden>"),
        ('time="2026" level=warning msg="The \\"Canary\\" variable is not set."\nno', "no"),
        (
            "Head https://r/v2/a: no basic auth credentials",
            "Head https://r/v2/a: no basic auth credentials. Log in to the registry on the host as root, such as with docker login",
        ),
        (
            "manifest for r/a:v2 not found: manifest unknown.",
            "manifest for r/a:v2 not found: manifest unknown. See that the registry has this version (wa_registry, wa_images, wa_version)",
        ),
        ("Invalid containerPort: known-one", "Invalid containerPort: <hidden>"),
    ],
)
def test_messages_of_compose_are_shown_without_values(text: str, expected: str) -> None:
    assert one_line(text, ["known-one", "", None]) == expected.strip()
