# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How each check of `image_checks` fails."""

from __future__ import annotations

import typing as t

import pytest
from preflight_samples import FOUND, GOOD, IMAGES, JOURNAL, LEFT, assert_failed, names
from upgrade_journals import at

from ansible_collections.waba.onprem.plugins.module_utils._upgrade import check, image_checks

FAILED: list[tuple[str, dict[str, t.Any], str]] = [
    (
        "the images of the target exist",
        {"found": {**FOUND, "missing_images": {"reg/web:v2.53.4": "manifest unknown"}}},
        "h1: reg/web:v2.53.4: manifest unknown. Set wa_upgrade_version to a version that the registry has, or correct wa_registry or "
        "wa_images.",
    ),
    (
        "the images of the target exist",
        {**LEFT, "found": {**FOUND, "missing_images": {"reg/web:v2.53.4": "manifest unknown"}}},
        "h1: reg/web:v2.53.4: manifest unknown. Load the image, or correct wa_registry or wa_images, and run upgrade.yml again. Or go back "
        "to the version before on the database as it is: ansible-playbook RESTORED",
    ),
    (
        "the images of the target exist",
        {
            **LEFT,
            "left": {**JOURNAL, **at("migrating")},
            "found": {**FOUND, "missing_images": {"reg/web:v2.53.4": "manifest unknown"}},
        },
        "h1: reg/web:v2.53.4: manifest unknown. Load the image, or correct wa_registry or wa_images, and run upgrade.yml again.",
    ),
    (
        "the registry has answered",
        {"found": {**FOUND, "unanswered_images": {"reg/web:v2.53.4": "503"}}},
        "h1: reg/web:v2.53.4: 503. The registry gave no clear answer whether it has the version, also when asked "
        "again (a refused login is not repeated). Run again when it answers; ",
    ),
    (
        "the images of the target are the builds that they are named after",
        {"found": {**FOUND, "wrong_images": {"a:v1": "it is a:v2", "b:v1": "it is b:v2"}}},
        "h1: a:v1: it is a:v2; b:v1: it is b:v2. Nothing was changed. Take the registry's build (docker pull a:v1; docker pull b:v1), "
        "or load the right one, and run upgrade.yml again.",
    ),
    (
        "there is room for images and logs",
        {"found": {**FOUND, "image_free_bytes": 1}},
        "h1: 1 B free where Docker keeps",
    ),
    (
        "the images of the target that are here have not expired",
        {"today": "2099-07-01"},
        "h1: expired: reg/coreapp:v2.53.4 on 2099-06-30, reg/web:v2.53.4 on 2099-06-30. Choose a newer version in wa_upgrade_version.",
    ),
]


def test_the_table_has_every_check() -> None:
    assert names(image_checks) == {name for name, _changes, _message in FAILED}


@pytest.mark.parametrize(("name", "changes", "message"), FAILED)
def test_a_check_fails(name: str, changes: dict[str, t.Any], message: str) -> None:
    assert_failed(name, changes, message)


G = 1 << 30


@pytest.mark.parametrize(
    ("free", "here", "wanted", "needed"),
    [
        (0, [], IMAGES, "0 B free where Docker keeps images and containers; expected 4.0 GiB."),
        (4 * G - 1, IMAGES[:1], IMAGES, "4.0 GiB"),
        (4 * G, [], IMAGES, ""),
        (0, IMAGES, IMAGES, "expected 1.0 GiB."),
        (G, IMAGES, IMAGES, ""),
        (G, IMAGES, [], "4.0 GiB"),  # preparation: which images it will be, nobody knows yet
        (None, [], IMAGES, ""),
    ],
)
def test_room_for_images_and_logs(free: int | None, here: list[str], wanted: list[str], needed: str) -> None:
    found = {"image_free_bytes": free, "images": [{"name": name} for name in here]}
    said = image_checks.room(check.Observed({**GOOD, "found": found, "target_images": wanted}))
    assert needed in (said or ("",))[0]
    assert bool(said) is bool(needed)


def test_an_unfinished_upgrade_needs_no_room_for_logs() -> None:
    found = {"image_free_bytes": 0, "images": [{"name": name} for name in IMAGES]}
    assert image_checks.room(check.Observed({**GOOD, **LEFT, "found": found})) is None
