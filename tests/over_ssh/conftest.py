# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab host with a client started by hand, and modules that run on it over SSH through fixtures of pytest-ansible."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.parsing.vault import VaultSecret
from engine import lab_engine
from observer import Lab
from ssh_site import HOST, NAME, ROOT, Converge, Module, Site, start_client

COMMAND = "pytest -p pytest_ansible.plugin --ansible-unit-inject-only tests/over_ssh"


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run without the plugin, which only this folder uses."""
    if not config.pluginmanager.hasplugin("pytest_ansible.plugin"):
        raise pytest.UsageError(f"pytest-ansible is not loaded; run {COMMAND}")
    # Warnings of the plugin itself, which is pinned and ends in December 2026.
    for text in (
        "Host management is deprecated",
        "AnsibleCollectionFinder has already",
        "This process .* multi-threaded",
    ):
        config.addinivalue_line("filterwarnings", f"ignore:{text}")


@pytest.fixture(scope="session")
def site() -> t.Iterator[Site]:
    """The lab with the client, for all tests; it is removed at the end."""
    lab = Lab(NAME, HOST)
    folder = ROOT / ".lab" / NAME
    try:
        lab.lab("up", "--hosts", f"{HOST}:ready", "--db", "mariadb")
        secrets = json.loads((folder / "secrets.json").read_text(encoding="utf-8"))
        start_client(lab, secrets["db_password"])
        with lab_engine(NAME, HOST) as engine:
            yield Site(lab, engine, secrets)
    finally:
        lab.lab("down")


@pytest.fixture
def run(site: Site, ansible_adhoc: t.Any) -> Module:
    """Run a module, of this collection unless its name has a namespace; a result with a password fails the test."""

    def call(module: str, check: bool = False, /, **options: t.Any) -> dict[str, t.Any]:
        variables = options.pop("play_vars", {})
        host = ansible_adhoc(inventory=site.lab.inventory, host_pattern=HOST)[HOST]
        host.options["loader"].set_vault_secrets([("default", VaultSecret(b"Canary-17-Vault"))])  # for wa_adopt
        play = host._build_play_ds
        # The fixtures have no option for check mode, a play has.
        host._build_play_ds = lambda arguments: {
            **play(arguments),
            "check_mode": check,
            "diff": True,
            "vars": variables,
        }
        result = dict(getattr(host, module if "." in module else f"waba.onprem.{module}")(**options).contacted[HOST])
        assert not [secret for secret in site.secrets.values() if secret in json.dumps(result)]
        return result

    return call


@pytest.fixture
def converge(site: Site, run: Module) -> Converge:
    """Run a module in check mode, then for real, then again: prediction, the predicted change, and no further change."""

    def call(module: str, /, **options: t.Any) -> dict[str, t.Any]:
        before = site.snapshot()
        predicted = run(module, True, **options)
        assert not predicted.get("failed"), predicted
        assert predicted["changed"]
        assert site.snapshot() == before
        done = run(module, **options)
        assert not done.get("failed"), done
        assert done["changed"]
        after = site.snapshot()
        again = run(module, **options)
        assert not again.get("failed"), again
        assert not again["changed"]
        assert site.snapshot() == after
        return done

    return call
