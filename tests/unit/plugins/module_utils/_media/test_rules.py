# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of the media volume: options, drift, consumers, Compose files, plan."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Mount
from ansible_collections.waba.onprem.plugins.module_utils._media import rules
from ansible_collections.waba.onprem.plugins.module_utils._media.rules import Consumer

PATH = "/usr/local/wamedia"


def record(driver: str = "local", options: t.Any = None, labels: t.Any = None) -> dict[str, t.Any]:
    return {"Name": "m", "Driver": driver, "Options": options, "Labels": labels, "Mountpoint": "/x/_data"}


# Secrets


@pytest.mark.parametrize(
    ("options", "secrets"),
    [
        ({"o": "username=u,password=pw1,vers=3.0"}, {"pw1"}),
        ({"o": "vers=1.0,user=wa%pw1,sec=ntlm", "device": "//h/s"}, {"pw1"}),
        ({"o": "vers=1.0,accountKey=pw1=="}, {"pw1=="}),
        ({"apikey": "k1", "keyring": "/etc/ring"}, {"k1"}),
        ({"o": "password2=a=b,pass=c"}, {"a=b", "c"}),
        ({"o": "credentials=/root/.smb,addr=h"}, {"/root/.smb"}),
        ({"o": "name=admin,secret=AQBx==,secretfile=/etc/s"}, {"AQBx==", "/etc/s"}),
        ({"device": "//user:hunter2@host/share"}, {"hunter2"}),
        ({"sshcmd": "u@h:/x", "password": "geheim"}, {"geheim"}),
        ({"api_key": "k1", "token": "t1"}, {"k1", "t1"}),
        ({"type": "nfs", "o": "addr=1.2.3.4,nfsvers=4.1,hard", "device": ":/export/media"}, set()),
        ({"type": "none", "o": "bind", "device": "/srv/passage"}, set()),
    ],
)
def test_secrets_in_driver_options_are_hidden(options: dict[str, str], secrets: set[str]) -> None:
    assert redact.option_secrets(options) == secrets
    shown = str(redact.mask_options(options))
    assert not any(secret in shown for secret in secrets)
    assert secrets or redact.mask_options(options) == options


@given(st.text(st.characters(blacklist_characters=",", blacklist_categories=["Cs"]), min_size=5))
def test_any_password_in_option_o_is_hidden(password: str) -> None:
    options = {"o": f"username=u,password={password},vers=3.0"}
    assert redact.option_secrets(options) == {password}
    assert redact.mask_options(options) == {"o": "username=u,password=<hidden>,vers=3.0"}


# Drift


@pytest.mark.parametrize(
    ("actual", "driver", "options", "expected"),
    [
        (record(), "local", {}, []),
        (record(labels={"x": "y"}), "local", {}, []),
        (
            record(options={"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}),
            "local",
            {"type": "nfs", "device": ":/media"},
            [
                {"what": "option device", "found": "tmpfs", "wanted": ":/media"},
                {"what": "option o", "found": "size=1m", "wanted": None},
                {"what": "option type", "found": "tmpfs", "wanted": "nfs"},
            ],
        ),
        (
            record("p", {"password": "x"}),
            "p",
            {},
            [{"what": "option password", "found": "<hidden>", "wanted": None}],
        ),
        (record("nfs-plugin:latest"), "nfs-plugin", {}, []),
        (record("other"), "local", {}, [{"what": "driver", "found": "other", "wanted": "local"}]),
        (record(options={"o": "rw,hard"}), "local", {"o": "hard,rw"}, []),
        (
            record("p", {"o": "rw,hard"}),
            "p",
            {"o": "hard,rw"},
            [{"what": "option o", "found": "rw,hard", "wanted": "hard,rw"}],
        ),
        (record(), "local", {"device": "/x"}, [{"what": "option device", "found": None, "wanted": "/x"}]),
        (
            record(options={"o": "password=old"}),
            "local",
            {"o": "password=new"},
            [{"what": "option o", "found": "password=<hidden>", "wanted": "password=<changed>"}],
        ),
        (
            record(options={"o": "password=same,vers=2"}),
            "local",
            {"o": "password=same,vers=3"},
            [{"what": "option o", "found": "password=<hidden>,vers=2", "wanted": "password=<hidden>,vers=3"}],
        ),
    ],
)
def test_drift_of_driver_and_options(actual: t.Any, driver: str, options: t.Any, expected: t.Any) -> None:
    assert rules.drift(actual, driver, options) == expected


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_a_volume_created_as_requested_has_no_drift(options: dict[str, str]) -> None:
    assert rules.drift(record("p", options), "p", options) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uid": "1"}, "no option uid"),
        ({"device": "/x"}, "device without type"),
        ({"type": "nfs"}, "type without device"),
        ({"o": "rw"}, "o without device"),
    ],
)
def test_options_that_docker_refuses_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(WaError, match=message):
        rules.check_options("local", options)
    rules.check_options("another", options)


def test_options_that_docker_accepts_are_accepted() -> None:
    for options in (
        {},
        {"size": "1G"},
        {"type": "none", "o": "bind", "device": "/x"},
        {"type": "tmpfs", "device": "tmpfs"},
    ):
        rules.check_options("local", options)


# Consumers


def checked(mounts: list[Mount]) -> Consumer:
    consumer = Consumer("biz-wacore-1", "wacore", "running", rules.mount_state_of(mounts))
    rules.check_consumer(consumer, mounts, "biz_m", "biz")
    return consumer


RIGHT = Mount("volume", "biz_m", PATH, True)
ANONYMOUS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("mounts", "reason_part"),
    [
        ([RIGHT], None),
        ([Mount("volume", "biz_m", PATH + "/", True)], None),
        ([RIGHT, Mount("bind", "/etc/x", "/usr/local/wamedia2", True)], None),
        ([], "mounts nothing"),
        ([Mount("volume", "biz_m", PATH, False)], "read-only"),
        ([Mount("volume", "m", PATH, True)], "the same name without the Compose project 'biz' in front"),
        ([Mount("volume", "biz_biz_m", PATH, True)], "Compose put its project 'biz' in front"),
        ([Mount("volume", "biz_M", PATH, True)], "mounts volume biz_M"),
        ([Mount("volume", ANONYMOUS, PATH, True)], "anonymous"),
        ([Mount("bind", "/srv", PATH, False)], "mounts bind /srv (read-only)"),
        ([Mount("volume", "biz_m", "/usr/local/media", True)], "at /usr/local/media, not at"),
        ([Mount("bind", "/srv", "/usr/local", True)], "/usr/local above it is bind /srv"),
        ([RIGHT, Mount("tmpfs", "", PATH + "/outgoing", True)], f"covered by other mounts: {PATH}/outgoing (tmpfs)"),
    ],
)
def test_wrong_mounts_have_a_reason(mounts: list[Mount], reason_part: str | None) -> None:
    reason = checked(mounts).reason
    assert (reason_part in reason) if reason_part else reason == ""


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ([], True),
        ([Mount("volume", "waent", "/usr/local/waent/data", True)], True),
        ([RIGHT], False),
        ([Mount("volume", "other", PATH, True)], False),
        ([Mount("bind", "/srv", "/usr/local", True)], False),
        ([Mount("tmpfs", "", PATH + "/incoming", True)], False),
    ],
)
def test_a_container_is_without_media(mounts: list[Mount], expected: bool) -> None:
    assert rules.is_without_media(mounts) is expected


def test_a_mount_of_the_bound_folder_is_accepted() -> None:
    folder = rules.folder_of({"type": "none", "o": "bind", "device": "/data/media/"})
    for source, good in (("/data/media", True), ("/data/other", False)):
        mounts = [Mount("bind", source, PATH, True)]
        consumer = Consumer("core", "core", "running", rules.mount_state_of(mounts))
        rules.check_consumer(consumer, mounts, "biz_m", "biz", folder)
        assert (not consumer.reason) is good
    assert rules.folder_of({"type": "nfs", "o": "addr=192.0.2.1", "device": ":/media"}) == ""


def test_all_wrong_mounts_are_reported() -> None:
    wrong = [checked([]), checked([Mount("bind", "/srv", PATH, True)]), checked([RIGHT])]
    with pytest.raises(WaError, match=r"mounts nothing .*; biz-wacore-1 mounts bind /srv"):
        rules.check_mounts(wrong)
    rules.check_mounts(wrong[2:])


# Plan


def params(**more: t.Any) -> dict[str, t.Any]:
    return {
        "name": "mm",
        "state": "present",
        "driver": "local",
        "driver_options": {},
        "on_drift": "fail",
        **more,
    }


@pytest.mark.parametrize(
    ("wanted", "actual", "actions", "obstacle"),
    [
        (params(), None, ["create volume mm"], False),
        (params(), record(), [], False),
        (params(state="absent"), None, [], False),
        (params(state="absent"), record(), ["remove volume mm"], False),
        (params(driver="other"), record(), [], True),
        (params(driver="other", on_drift="report"), record(), [], False),
    ],
)
def test_the_planned_actions(wanted: t.Any, actual: t.Any, actions: list[str], obstacle: bool) -> None:
    made = rules.plan(wanted, actual)
    assert (made.actions, made.obstacle is not None) == (actions, obstacle)


@pytest.mark.parametrize("name", ["", "x", "../m", "a/b", "-rf", "a b", "m\n"])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_an_invalid_volume_name_is_refused(name: str, state: str) -> None:
    with pytest.raises(WaError, match="is no name of a volume"):
        rules.plan(params(name=name, state=state), None)


@pytest.mark.parametrize(
    ("given", "driver", "drifts"),
    [
        ({"type": "nfs", "o": "addr=b", "device": ":/a"}, "local", True),
        ({"type": "nfs", "o": "addr=a", "device": ":/a"}, "local", False),
        ({}, "local", True),
        (None, "local", False),
        (None, "other", True),
    ],
)
def test_options_of_a_volume_are_compared_where_they_are_given(
    given: dict[str, str] | None, driver: str, drifts: bool
) -> None:
    there = dict(record(options={"type": "nfs", "o": "addr=a", "device": ":/a"}), Driver=driver)
    assert bool(rules.plan(params(driver_options=given), there).drift) is drifts
