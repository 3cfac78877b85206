# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting: what ends it, and what each pause leaves in the result."""

from __future__ import annotations

import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._webapp import waiting
from ansible_collections.waba.onprem.plugins.module_utils._webapp.errors import ApiError

PARAMS = {"wait_timeout": "0.3s", "poll_interval": "0.1s", "lease_file": None}


def wait(patient: bool, *answers: tuple[bool, str] | ApiError) -> dict[str, t.Any]:
    left, values = list(answers), dict[str, t.Any]()

    def poll() -> tuple[bool, str]:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, ApiError):
            raise answer
        return answer

    try:
        waiting.wait_for(PARAMS, t.cast("t.Any", SimpleNamespace(values=values)), "API", poll, patient)
    except WaError as error:
        values["error"] = str(error)
    return values


DOWN, REFUSED = ApiError("API", "no answer", "unreachable"), ApiError("API", "refused", "login")


@pytest.mark.parametrize(
    ("patient", "answers", "expected"),
    [
        (True, [(False, "starts"), DOWN, (True, "healthy")], {"reason": "healthy"}),
        (False, [(False, "starts")], {"reason": "starts"}),
        (False, [DOWN], {"reason": str(DOWN)}),
        (True, [DOWN, REFUSED], {"reason": str(DOWN), "error": str(REFUSED)}),
        (
            True,
            [(False, "starts")],
            {
                "reason": "starts",
                "timed_out": True,
                "error": "API: starts; expected it to be well within 0s. Look into the logs of Coreapp and Webapp",
            },
        ),
    ],
)
def test_waiting(patient: bool, answers: list[t.Any], expected: dict[str, t.Any]) -> None:
    assert wait(patient, *answers) == expected
