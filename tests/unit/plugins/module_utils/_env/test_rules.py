# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the values of a db.env."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._env import rules as env_rules

GOOD = {
    "WA_DB_ENGINE": "MYSQL",
    "WA_DB_HOSTNAME": "db.example.com",
    "WA_DB_PORT": "3306",
    "WA_DB_USERNAME": "wa",
    "WA_DB_PASSWORD": "Sesame-12",
}


def check(**changes: str) -> list[str]:
    return env_rules.check({**GOOD, **{f"WA_DB_{key}": value for key, value in changes.items()}}, "db.env")


def error(**changes: str) -> str:
    with pytest.raises(WaError) as caught:
        check(**changes)
    return str(caught.value)


def test_valid_values_have_no_warning() -> None:
    assert check() == []
    assert check(ENGINE="PGSQL", PORT="5432", NAME_PREFIX="support_", SSL_CA="/opt/certs/ca.pem") == []
    assert check(CONNECTION_IDLE_TIMEOUT="180000") == []


@pytest.mark.parametrize("char", "?{}&~!()^=")
def test_characters_that_the_vendor_forbids_in_a_password_are_refused(char: str) -> None:
    text = error(PASSWORD=f"Sesame{char}12")
    assert f"WA_DB_PASSWORD: contains {char};" in text
    assert "Sesame" not in text


@pytest.mark.parametrize("key", ["ENGINE", "HOSTNAME", "PORT", "USERNAME", "PASSWORD"])
def test_required_values_must_not_be_empty(key: str) -> None:
    assert f"WA_DB_{key}: missing or empty" in error(**{key: ""})
    values = {name: value for name, value in GOOD.items() if name != f"WA_DB_{key}"}
    with pytest.raises(WaError, match=f"WA_DB_{key}"):
        env_rules.check(values, "db.env")


@pytest.mark.parametrize("port", ["0", "65536", "-1", "3306 ", "٣٣٠٦", "1e3"])
def test_an_invalid_port_is_refused(port: str) -> None:
    assert "WA_DB_PORT" in error(PORT=port)


@pytest.mark.parametrize(("engine", "port"), [("PGSQL", "3306"), ("MYSQL", "5432")])
def test_the_port_of_the_other_engine_is_a_warning(engine: str, port: str) -> None:
    assert len(check(ENGINE=engine, PORT=port)) == 1


@pytest.mark.parametrize("value", ["1", "180", "999", "0", "ten", "1.5", "-5"])
def test_an_idle_timeout_in_seconds_is_refused(value: str) -> None:
    assert "WA_DB_CONNECTION_IDLE_TIMEOUT" in error(CONNECTION_IDLE_TIMEOUT=value)


@pytest.mark.parametrize("value", ["1000", "28800", "59999", "86400", "28800001"])
def test_an_unusual_idle_timeout_is_a_warning(value: str) -> None:
    assert len(check(CONNECTION_IDLE_TIMEOUT=value)) == 1


@pytest.mark.parametrize("value", ["60000", "180000", "28800000"])
def test_a_valid_idle_timeout_has_no_warning(value: str) -> None:
    assert check(CONNECTION_IDLE_TIMEOUT=value) == []


def test_an_idle_timeout_with_postgresql_is_refused() -> None:
    text = error(ENGINE="PGSQL", PORT="5432", CONNECTION_IDLE_TIMEOUT="180000")
    assert 'extra: {WA_DB_CONNECTION_IDLE_TIMEOUT: ""} removes it' in text


@pytest.mark.parametrize("prefix", ["a b", "a/b", "a.b", "a`b", "a'b", "x" * 50, "a;b", "\x07"])
def test_an_invalid_name_prefix_is_refused(prefix: str) -> None:
    assert "WA_DB_NAME_PREFIX" in error(NAME_PREFIX=prefix)


def test_a_name_prefix_that_needs_quotes_is_a_warning() -> None:
    assert len(check(NAME_PREFIX="my-shop")) == 1
    # PostgreSQL limits the length in bytes.
    assert "WA_DB_NAME_PREFIX" in error(ENGINE="PGSQL", PORT="5432", NAME_PREFIX="é" * 30)


@pytest.mark.parametrize("host", ["mysql://db", "db:3306", "a b", "wa@db", "a,b"])
def test_an_invalid_host_name_is_refused(host: str) -> None:
    assert "WA_DB_HOSTNAME" in error(HOSTNAME=host)


def test_an_ipv6_address_is_a_valid_host_name() -> None:
    assert check(HOSTNAME="2001:db8::1") == []


def test_unusual_values_are_warnings() -> None:
    assert len(check(PASSWORD="short")) == 1
    assert len(check(PASSWORD="x" * 42)) == 1
    assert len(check(USERNAME="x" * 17)) == 1
    assert len(check(SSL_CA="certs/ca.pem")) == 1
    assert len(check(SSL_KEY="/opt/certs/key.pem")) == 1


@pytest.mark.parametrize("mark", ["|", '"', ";", "${"])
@pytest.mark.parametrize("key", ["WA_DB_USERNAME", "WA_API_KEY", "WA_SOMETHING"])
def test_a_value_that_an_ini_file_changes_is_a_warning(key: str, mark: str) -> None:
    value = f"Sesame{mark}123456"
    (warning,) = env_rules.check({**GOOD, key: value}, "db.env")
    assert key in warning
    assert "Sesame" not in warning


@pytest.mark.parametrize("mark", ["|", '"', ";"])
def test_a_password_that_an_ini_file_changes_is_a_warning(mark: str) -> None:
    (warning,) = check(PASSWORD=f"Sesame{mark}12")
    assert "Sesame" not in warning


@pytest.mark.parametrize("word", ["null", "None", "NO", "off", "false", "Yes", "on", "TRUE"])
@pytest.mark.parametrize("key", ["WA_DB_USERNAME", "WA_DB_PERSISTENT", "WA_CONFIG_ON_DB", "WA_SECRET"])
def test_a_word_that_an_ini_file_changes_is_a_warning(key: str, word: str) -> None:
    (warning,) = env_rules.check({**GOOD, key: word}, "db.env")
    assert key in warning
    # The list of words is constant, so it does not reveal the value.
    assert warning == env_rules.check({**GOOD, key: "null"}, "db.env")[0]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("WA_API_KEY", "Sesame-1234", "12 to 128 characters"),
        ("WA_API_KEY", "Sesame-" + "x" * 122, "12 to 128 characters"),
        ("WA_API_KEY", "Sesame-12345=", "characters that the client may read"),
        ("WA_WEB_JWT_CRYPTO_KEY", "Sesame!", "characters that the client may read"),
    ],
)
def test_invalid_keys_of_the_webapp_are_a_warning(key: str, value: str, expected: str) -> None:
    (warning,) = env_rules.check({**GOOD, key: value}, "db.env")
    assert expected in warning
    assert value not in warning


def test_usual_values_have_no_warning() -> None:
    good = {
        **GOOD,
        "WA_CONFIG_ON_DB": "1",
        "WA_DB_PERSISTENT": "0",
        "WA_API_KEY": "Sesame-12345",
        "WA_WEB_JWT_CRYPTO_KEY": "Sesame-1",
        "WA_NOTE": "$x (normal) note",
        "SWITCH": "off",
        "TEXT": 'a|b;c"${d}',
    }
    assert env_rules.check(good, "db.env") == []
    assert env_rules.check({**GOOD, "WA_API_KEY": "x" * 128}, "db.env") == []


def test_the_upgrade_variable_is_refused_in_the_shared_file() -> None:
    with pytest.raises(WaError, match="WA_DB_UPGRADE"):
        env_rules.check({**GOOD, "WA_DB_UPGRADE": "1"}, "db.env")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("WA_DB_PASSWORD", "Sesame\n12", "a line feed"),
        ("WA_API_KEY", "Sesame\n12", "a line feed"),
        ("TZ", "a\0", "a NUL"),
    ],
)
def test_a_value_with_a_line_feed_or_nul_is_refused(key: str, value: str, expected: str) -> None:
    with pytest.raises(WaError, match=f"{key}: contains {expected}") as caught:
        env_rules.check({**GOOD, key: value}, "db.env")
    assert "Sesame" not in str(caught.value)
    assert env_rules.check({**GOOD, "CERTIFICATE": "one\ntwo"}, "db.env") == []


def wanted(existing: dict[str, str] | None = None, **params: t.Any) -> dict[str, str | None]:
    return env_rules.settings(params, existing or {})


def test_options_that_are_not_given_change_nothing() -> None:
    assert wanted() == {}
    assert wanted(hostname="db", extra={"WA_DB_CONNECTION_IDLE_TIMEOUT": "180000"}) == {
        "WA_DB_HOSTNAME": "db",
        "WA_DB_CONNECTION_IDLE_TIMEOUT": "180000",
    }
    assert wanted(name_prefix="", extra={"WA_DB_SSL_CA": ""}) == {
        "WA_DB_NAME_PREFIX": None,
        "WA_DB_SSL_CA": None,
    }


@pytest.mark.parametrize(
    ("engine", "existing", "port"),
    [
        ("MYSQL", {}, "3306"),
        ("PGSQL", {}, "5432"),
        ("PGSQL", {"WA_DB_ENGINE": "MYSQL", "WA_DB_PORT": "3306"}, "5432"),
        ("PGSQL", {"WA_DB_ENGINE": "PGSQL", "WA_DB_PORT": "3306"}, None),
        ("MYSQL", {"WA_DB_ENGINE": "MYSQL", "WA_DB_PORT": "3307"}, None),
        ("MYSQL", {"WA_DB_PORT": "3307"}, None),
        (None, {"WA_DB_ENGINE": "PGSQL"}, "5432"),
        (None, {}, None),
    ],
)
def test_the_default_port_of_the_engine(engine: str | None, existing: dict[str, str], port: str | None) -> None:
    assert wanted(existing, engine=engine).get("WA_DB_PORT") == port


@pytest.mark.parametrize("option", ["hostname", "username", "password", "name_prefix"])
@pytest.mark.parametrize("value", [True, 342391, 1000.0, ["a"]], ids=str)
def test_a_value_that_yaml_reads_as_another_type_is_refused(option: str, value: t.Any) -> None:
    with pytest.raises(WaError, match=f"option {option}: a .* to YAML") as caught:
        wanted(**{option: value})
    assert f'{option}: "..."' in str(caught.value)
    assert "342391" not in str(caught.value)
    assert ("removes the key" in str(caught.value)) == (option == "name_prefix")


@pytest.mark.parametrize("value", [True, 511, 1000.0, None, ["a"], {"a": "b"}])
@pytest.mark.parametrize("option", ["extra", "extra_secrets"])
def test_extra_accepts_only_strings(option: str, value: t.Any) -> None:
    with pytest.raises(WaError) as caught:
        wanted(**{option: {"WA_X": value}})
    assert f"option {option}: WA_X" in str(caught.value)
    assert 'WA_X: "..."' in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "extra_secrets", "expected"),
    [
        ({"WA_DB_PASSWORD": "x"}, {}, "option password"),
        ({"WA_X": "1"}, {"WA_X": "2"}, "stands in extra and in extra_secrets"),
        ({"WA X": "1"}, {}, "no name of a variable"),
        ({"WA_DB_UPGRADE": "1"}, {}, "one-shot"),
    ],
)
def test_invalid_keys_in_extra_are_refused(extra: dict[str, str], extra_secrets: dict[str, str], expected: str) -> None:
    with pytest.raises(WaError, match=expected):
        wanted(extra=extra, extra_secrets=extra_secrets)


def test_an_empty_value_in_extra_removes_the_key() -> None:
    assert wanted(extra={"WA_DB_UPGRADE": "", "A": "1"}, extra_secrets={"B": "2"}) == {
        "WA_DB_UPGRADE": None,
        "A": "1",
        "B": "2",
    }


@pytest.mark.parametrize(
    "key", ["WA_DB_PASSWORD", "WA_API_KEY", "WA_WEB_JWT_CRYPTO_KEY", "WA_SECRET", "smtp_pass", "GIT_TOKEN"]
)
def test_keys_of_secrets_are_recognised(key: str) -> None:
    assert redact.is_secret(key)


@pytest.mark.parametrize("key", ["WA_DB_HOSTNAME", "WA_DB_SSL_KEY", "WA_CONFIG_ON_DB", "TZ"])
def test_other_keys_are_no_secrets(key: str) -> None:
    assert not redact.is_secret(key)
    assert redact.is_secret(key, {key: "declared"})
