# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of wa_media_volume as it uses them, and which of them may be shown. See also `test_wa_media_volume.py`."""

from __future__ import annotations

import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from fake_docker import FakeDocker

from ansible_collections.waba.onprem.plugins.module_utils._concern import media_volume
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

SECRET = "Canary-18-Pw"
SHARE = {"type": "cifs", "o": f"username=wa,password={SECRET}", "device": "//nas/media"}


def made(**options: t.Any) -> AnsibleModule:
    with patch_module_args({**options, "_ansible_check_mode": True}):
        return AnsibleModule(media_volume.SPEC, supports_check_mode=True)


def test_driver_options_are_shown_without_their_secrets() -> None:
    module = made(driver_options=SHARE)
    assert "cifs" in module.no_log_values
    params, result = media_volume.prepare(module)
    assert params["driver_options"] == SHARE
    assert module.params["driver_options"] == {**SHARE, "o": "username=wa,password=<hidden>"}
    assert module.no_log_values & {"cifs", "//nas/media"} == set()
    assert result.redact(f"mount -o password={SECRET}") == "mount -o password=<hidden>"


@pytest.mark.parametrize(
    ("actual", "options", "actions", "drift"),
    [
        (None, {}, ["create volume m1"], []),
        ({}, {}, [], []),
        ({}, {"driver": "other", "on_drift": "report"}, [], ["driver"]),
    ],
)
def test_check_mode_with_a_given_engine_changes_nothing(
    engine: FakeDocker, actual: t.Any, options: dict[str, t.Any], actions: list[str], drift: list[str]
) -> None:
    if actual is not None:
        engine.volume("m1")
    module = made(name="m1", docker_host=engine.host, **options)
    params, result = media_volume.prepare(module)
    volume = media_volume.MediaVolume(params, result, Docker(params))
    volume.run()
    assert (result.actions, volume.consumers) == (actions, [])
    assert [one["what"] for one in result.values["drift"]] == drift
    assert all(line.startswith("GET ") for line in engine.requests)


def test_a_volume_with_other_options_is_refused(engine: FakeDocker) -> None:
    share = {"type": "nfs", "o": "addr=nas", "device": ":/old"}
    engine.volume("m1", options=share)
    module = made(name="m1", docker_host=engine.host, driver_options={**share, "device": ":/new"})
    params, result = media_volume.prepare(module)
    with pytest.raises(WaError) as error:
        media_volume.MediaVolume(params, result, Docker(params)).run()
    assert str(error.value).startswith("volume m1: option device is :/old, wanted :/new")
