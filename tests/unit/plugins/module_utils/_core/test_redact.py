# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognition and masking of secrets in commands, lines and messages."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._core.redact import (
    HIDDEN,
    Redactor,
    holds_password,
    is_secret,
    mask,
    redact,
)
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import hide as hide_secrets

CANARY = "Canary-Pa55%20word'\\"


@pytest.mark.parametrize(
    "line",
    [
        "docker run -e WA_DB_PASSWORD=Canary-1 img",
        "docker run -e PASS_OLD='Canary-1 x' img",
        "curl -u admin:Canary-1 https://x/ && docker restart wacore",
        "curl --user 'admin:Canary-1' https://x/",
        "curl -H 'Authorization: Bearer Canary-1-abc' https://x/",
        "backup --password Canary-1 --all",
        "docker login -u x -p Canary-1 registry.example.com",
        "ssh -o ProxyCommand='sshpass -p Canary-1 ssh -W %h:%p jump'",
        "mysqldump -u root -pCanary-1 waba",
        "notify https://user:Canary-1@example.com/hook",
        '{"password": "Canary-1"}',
        "connect to mysql://wa:Canary/1@x@db:3306/waweb failed",
        "proxy http://Canary-1-0123456789@proxy:3128 refused",
    ],
)
def test_secrets_in_lines_are_hidden(line: str) -> None:
    assert "Canary" not in mask(line)
    assert "Canary" not in str(mask({"command": [line]}))
    assert HIDDEN in mask(line)


@pytest.mark.parametrize(
    "value",
    [
        "docker run -u 1000:1000 -p 9090:443 --user 20021:20021 img",
        "docker compose -p prod up -d --env-file /etc/wa/db.env",
        "ansible-playbook --vault-password-file vp",
        "https://example.com:8443/a@b",
        ["/opt/whatsapp/bin/wait_on_mysql.sh", "--verbose", "x"],
        {"X_TOKEN": None, "links": ["core:engine"]},
    ],
)
def test_other_values_are_not_taken_for_secrets(value: t.Any) -> None:
    assert mask(value) == value


def test_the_value_after_a_secret_option_is_hidden() -> None:
    assert mask(["--db-password", "Canary-1", "--token", "--x"]) == ["--db-password", "<hidden>", "--token", "--x"]


def test_secrets_are_recognised_by_key_and_value() -> None:
    assert all(
        is_secret(key)
        for key in ("DB_PWD", "AWS_SECRET", "traefik.basicauth", "S3_ACCESS_KEY", "pwd", "key", "TLS_KEY")
    )
    assert not any(is_secret(key) for key in ("PWD", "TZ", "KEYBOARD", "WA_DB_SSL_KEY"))
    assert holds_password("amqp://wa:Canary-1@mq:5672/")
    assert holds_password("https://Canary-1@mq:5672/")
    assert holds_password("http://u:Canary/1@p:3128")
    assert holds_password("u:Canary-1@proxy:3128")
    assert not any(holds_password(value) for value in ("https://mq:5672/@x", "ann@example.com", "a:b", "http://p:3128"))


def test_known_secrets_are_removed_from_any_value() -> None:
    secrets = {"WA_API_KEY": "Canary-1", "nested": [{"x": "Canary-2"}, None, True], "pin": 123456}
    shown = redact(
        {"msg": "refused Canary-1; Canary-2", "lines": ["123456", "http://u:Canary-3@p"], "ok": True}, secrets
    )
    assert shown == {"msg": "refused <hidden>; <hidden>", "lines": ["<hidden>", "http://u:<hidden>@p"], "ok": True}


def test_nested_and_escaped_secrets_are_hidden() -> None:
    hide = Redactor([CANARY, None, ""])
    shown = hide(
        {"a": [f"login with {CANARY} failed", (CANARY,)], CANARY: 1, "repr": repr(CANARY), "n": None, "b": True}
    )
    assert "Pa55" not in str(shown)
    assert shown["n"] is None
    assert shown["b"] is True


@given(st.text(min_size=4), st.text(), st.text())
def test_no_secret_remains_in_a_text(secret: str, before: str, after: str) -> None:
    assert secret not in Redactor([secret])(before + secret + after).replace(HIDDEN, "")


def test_a_longer_secret_is_hidden_completely() -> None:
    assert Redactor(["abcd", "abcdefgh"])("x abcdefgh y") == f"x {HIDDEN} y"


def test_a_short_secret_is_hidden_only_as_a_complete_value() -> None:
    hide = Redactor(["ab"])
    assert hide("ab") == HIDDEN
    assert hide("cab") == "cab"


def test_only_what_is_named_is_hidden() -> None:
    assert (
        hide_secrets("password=a Canary-1 (Canary-2)", {"x": ["Canary-1"], "y": None})
        == f"password=a {HIDDEN} (Canary-2)"
    )
