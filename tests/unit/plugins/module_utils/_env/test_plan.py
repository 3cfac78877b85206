# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan for a db.env: new content, summary, and what is shown of it."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import plan as env_plan

SECRET = "Canary-61-Pw"
PATH = "/srv/wa/db.env"
BASE = f"WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD={SECRET}\n"


def params(**more: t.Any) -> dict[str, t.Any]:
    """The module's options as Ansible passes them."""
    return {
        "format": "portable",
        "state": "present",
        "extra": None,
        "extra_secrets": None,
        "password": None,
        **more,
    }


def made(before: str | None, **more: t.Any) -> env_plan.Plan:
    return env_plan.make(params(**more), PATH, before)


@pytest.mark.parametrize(
    ("before", "options", "after", "summary", "removed"),
    [
        (BASE, {"hostname": "new"}, BASE.replace("=db\n", "=new\n"), "set WA_DB_HOSTNAME", []),
        (BASE, {"name_prefix": "a_"}, BASE + "WA_DB_NAME_PREFIX=a_\n", "set WA_DB_NAME_PREFIX", []),
        (BASE + "X=1\nY=2\n", {"extra": {"X": "", "Y": "3"}}, BASE + "Y=3\n", "set Y; removed X", ["X"]),
        ("WA_DB_PORT=1\n" + BASE, {}, BASE, "removed earlier lines of WA_DB_PORT", []),
        (BASE, {}, BASE, "", []),
    ],
)
def test_the_new_content_and_its_summary(
    before: str, options: dict[str, t.Any], after: str, summary: str, removed: list[str]
) -> None:
    plan = made(before, **options)
    assert (plan.before, plan.after) == (before, after)
    assert (plan.summary(), plan.removed()) == (summary, removed)


@pytest.mark.parametrize(
    ("before", "options", "undeclared"),
    [
        (BASE, {}, []),  # without options, every key counts as declared
        (BASE, {"engine": "MYSQL"}, ["WA_DB_HOSTNAME", "WA_DB_PORT", "WA_DB_USERNAME", "WA_DB_PASSWORD"]),
        (BASE + "# c\n", {}, []),
        (BASE + "TZ=UTC\nX=1\n", {"extra": {"X": "2"}, "hostname": "db"}, ["TZ"]),
        (BASE + "WA_API_KEY=a\n", {"extra_secrets": {"WA_API_KEY": "b"}}, []),
        (BASE + "TZ=UTC\n", {"extra": {"TZ": ""}}, []),  # the key is removed
        (None, {"engine": "MYSQL", "hostname": "db", "username": "wa", "password": SECRET}, []),
    ],
)
def test_undeclared_keys_are_listed(before: str | None, options: dict[str, t.Any], undeclared: list[str]) -> None:
    needed = {"engine": "MYSQL", "hostname": "db", "username": "wa", "password": SECRET, "port": 3306}
    given = {**needed, **options} if before != BASE else options
    assert list(made(before, **given).undeclared) == undeclared


def test_a_new_file_needs_all_required_settings() -> None:
    options = {"engine": "PGSQL", "hostname": "db", "username": "wa", "password": SECRET}
    plan = made(None, **options)
    assert plan.after == BASE.replace("MYSQL", "PGSQL").replace("3306", "5432")
    assert plan.existing == {}
    assert plan.values["WA_DB_PORT"] == "5432"
    with pytest.raises(WaError) as error:
        made(None, **{**options, "hostname": None})
    assert str(error.value) == f"{PATH}: WA_DB_HOSTNAME: missing or empty; expected a value; set option hostname."


@pytest.mark.parametrize("option", ["hostname", "username", "password"])
def test_a_required_option_must_not_be_empty(option: str) -> None:
    with pytest.raises(WaError) as error:
        made(BASE, **{option: ""})
    assert (
        str(error.value) == f"{PATH}: WA_DB_{option.upper()}: missing or empty; expected a value; set option {option}."
    )


def test_state_absent_checks_no_rule() -> None:
    plan = made("WA_DB_ENGINE=ORACLE\nX=1\n", state="absent")
    assert (plan.after, plan.values, plan.warnings) == (None, {}, [])
    assert plan.removed() == ["WA_DB_ENGINE", "X"]
    assert made(None, state="absent").removed() == []


@pytest.mark.parametrize(
    ("before", "options", "warning"),
    [
        (
            "WA_DB_PORT=1\n" + BASE,
            {},
            f"{PATH}: WA_DB_PORT stood there more than once; every reader takes the last one, which is kept",
        ),
        (
            BASE,
            {"extra": {"MY_TOKEN": "x"}},
            "option extra: MY_TOKEN is a secret by its name; extra_secrets keeps it out of logs",
        ),
        (
            BASE,
            {"extra": {"PROXY": f"http://u:{SECRET}@h"}},
            "option extra: PROXY is a secret by its value; extra_secrets keeps it out of logs",
        ),
        (
            BASE + "X='a'\n",
            {},
            f"{PATH}: X is not read the same by every reader (quotes, a comment behind the value, or white space around it); declare it in extra to correct it",
        ),
        (
            BASE.replace("3306", "5432"),
            {},
            f"{PATH}: WA_DB_PORT is 5432, the port of PGSQL, but the engine is MYSQL (3306 as a rule)",
        ),
    ],
)
def test_warnings_of_a_plan(before: str, options: dict[str, t.Any], warning: str) -> None:
    assert made(before, **options).warnings == [warning]
    assert SECRET not in warning


@pytest.mark.parametrize("env_format", ["compose", "docker"])
def test_a_format_with_one_reader_has_no_disagreements(env_format: str) -> None:
    assert made(BASE + "X='a'\n", format=env_format).warnings == []


def test_existing_values_are_known_if_the_readers_agree() -> None:
    assert made(BASE + "X=a$B\n").existing["X"] is None
    assert made(BASE + "X=a$B\n", format="docker").existing["X"] == "a$B"


# Secrets


def test_secrets_are_collected_from_options_and_file() -> None:
    given = params(extra={"MY_TOKEN": "token", "TZ": "UTC", "PROXY": "http://u:pw@h"}, extra_secrets={"ODD": "odd"})
    text = "WA_DB_PASSWORD='quo$ted'\nODD=one\nTZ=CET\nURL=http://u:x@h\nWA_API_KEY=\n"
    assert sorted(set(env_plan.secrets(given, text))) == [
        "'quo$ted'",
        "http://u:pw@h",
        "http://u:x@h",
        "one",
        "quo$ted",
        "token",
    ]
    assert env_plan.secrets(params(), None) == []


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("WA_DB_PASSWORD", None, True),
        ("WA_DB_HOSTNAME", "db", False),
        ("ODD", "x", True),
        ("PROXY", "http://u:p@h", True),
        ("PROXY", "http://h:80", False),
        ("PROXY", None, False),
    ],
)
def test_secret_keys_and_values_are_recognised(key: str, value: t.Any, secret: bool) -> None:
    assert env_plan.is_secret(params(extra_secrets={"ODD": "x"}), key, value) is secret


def test_only_public_settings_are_shown() -> None:
    text = (
        f"{BASE}WA_CONFIG_ON_DB=1\nTZ=UTC\nMINE=shown\nMINE_URL=http://u:{SECRET}@h\n# was {SECRET}\n\n"
        f"WA_DB_NAME_PREFIX=a$X\nSTRAY {SECRET}\n"
    )
    given = params(extra={"MINE": "shown", "MINE_URL": "x"})
    shown = env_plan.show(given, text, ["WA_DB_PASSWORD"])
    assert shown == (
        "WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD=<changed>\n"
        "WA_CONFIG_ON_DB=1\nTZ=<hidden>\nMINE=shown\nMINE_URL=<hidden>\n# ...\n\nWA_DB_NAME_PREFIX=<hidden>\n"
        "STRAY=<hidden>\n"
    )
    assert env_plan.show(params(), None) == ""


# Whether the connection of the client changes


@pytest.mark.parametrize(
    ("options", "stale", "reconnects"),
    [
        ({}, [], False),
        ({"hostname": "new"}, [], True),
        ({"password": "Other-81-Pw"}, [], True),
        ({"extra": {"WA_DB_CONNECTION_IDLE_TIMEOUT": "180000", "TZ": "UTC"}}, [], False),
        ({}, [["TZ"]], False),
        ({}, [["TZ"], ["WA_DB_PORT"]], True),
        ({"name_prefix": ""}, [], False),
    ],
)
def test_reconnects_depends_on_the_changed_keys(
    options: dict[str, t.Any], stale: list[list[str]], reconnects: bool
) -> None:
    plan = made(BASE + "WA_DB_NAME_PREFIX=\n", **options)
    assert env_plan.reconnects(plan, [{"stale_keys": keys} for keys in stale]) is reconnects


def test_a_new_file_reconnects() -> None:
    options = {"engine": "MYSQL", "hostname": "db", "username": "wa", "password": SECRET}
    assert env_plan.reconnects(made(None, **options), [])
