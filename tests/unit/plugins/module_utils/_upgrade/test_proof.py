# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When an upgrade is proven, by table, and what the next steps get of it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._upgrade.proof import proof

NEW = "2.53.4"
CORE = {
    "id": "c1",
    "name": "wa-h1-wacore-1",
    "image": f"reg/coreapp:v{NEW}",
    "project": "wa-h1",
    "service": "wacore",
    "role": "core",
    "version": NEW,
    "state": "running",
    "one_shot": False,
}
WEB = {**CORE, "id": "w1", "name": "wa-h1-waweb-1", "service": "waweb", "role": "web"}
MASTER = {**CORE, "id": "m1", "name": "wa-h1-wamaster-1", "service": "wamaster", "role": "master"}
ENDED = {**CORE, "id": "d1", "service": "dbupgrade", "state": "exited", "one_shot": True}
LOOK = {**CORE, "id": "l1", "name": "look", "version": "2.51.2", "one_shot": True}
LOST: dict[str, t.Any] = {"reached": False, "msg": "h2 cannot be reached any more"}


def read(host: str, *containers: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"item": {"host": host}, "containers": list(containers)}


@pytest.mark.parametrize(
    ("reads", "problem"),
    [
        ([read("h1", CORE, WEB), read("h2", CORE)], ""),
        ([read("h2", CORE), read("h1", CORE)], ""),
        ([read("h1", CORE, ENDED, LOOK), read("h2", CORE)], ""),
        (
            [read("h1", {**CORE, "state": "exited"}), read("h2", CORE)],
            f"wa-h1-wacore-1 (reg/coreapp:v{NEW}, project wa-h1, exited)",
        ),
        (
            [read("h1", {**CORE, "state": "restarting", "project": ""}), read("h2", CORE)],
            f"wa-h1-wacore-1 (reg/coreapp:v{NEW}, outside Compose, restarting)",
        ),
        (
            [read("h1", CORE), read("h2", {**WEB, "version": "2.51.2"})],
            f"wa-h1-waweb-1 (reg/coreapp:v{NEW}, project wa-h1, running)",
        ),
        ([read("h1"), read("h2", CORE)], "h1: no container of the client"),
        ([read("h1", ENDED), read("h2", CORE)], "h1: no container of the client"),
        ([{"item": {"host": "h1"}, **LOST}, read("h2", CORE)], "h1: was not read"),
        ([read("h1", CORE)], "h2: was not read"),
        ([], "h1: was not read; h2: was not read"),
    ],
)
def test_an_upgrade_is_proven_when_all_containers_of_all_members_run_in_the_version(
    reads: list[dict[str, t.Any]], problem: str
) -> None:
    found = proof(["h1", "h2"], reads, NEW)["refusal"]
    assert found == (f"not running version {NEW}: {problem}" if problem else "")


def test_what_the_next_steps_need() -> None:
    found = proof(["h1", "h2"], [read("h1", MASTER, WEB, ENDED), read("h2", {**CORE, "id": "c2"})], NEW)
    assert found == {
        "refusal": "",
        "versions": [NEW],
        "nodes": ["m1", "c2"],
    }
