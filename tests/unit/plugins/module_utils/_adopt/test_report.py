# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of an adoption: its order, and each line of it."""

from __future__ import annotations

import typing as t

import pytest
from adopt_samples import adopt, container, member, render, single, survey

OPTIONS = "ansible-playbook -i /in/inventory.yml --vault-password-file /v"
PROVISION = f"{OPTIONS} waba.onprem.provision --check --diff"


def report(surveys: dict[str, t.Any], failed: dict[str, str] | None = None) -> list[str]:
    return adopt(surveys, failed, options=OPTIONS).report


def part(lines: list[str], title: str) -> list[str]:
    """The entries of one list."""
    rest = lines[lines.index(title) + 2 :]
    return rest[: rest.index("")]


def test_a_client_without_problems() -> None:
    assert report({"h1": single()}) == [
        "# Adoption report",
        "",
        "No host was changed. No container was restarted.",
        "",
        "## Needs an action",
        "",
        "Nothing.",
        "",
        "## h1: single, version 2.51.2",
        "",
        "- h1: biz-wacore-1 (running), biz-waweb-1 (running)",
        "",
        "Settings backup: /backups/settings.json",
        "",
        "## What to do first",
        "",
        f"1. See what provision.yml would change: `{PROVISION}`; without --check --diff it changes it",
        "",
        "Next:",
        "",
        f"    {PROVISION}",
    ]


def test_registrations_come_before_other_actions() -> None:
    other = survey(
        container("wacore", environment={"WA_CONFIG_ON_DB": None, "WA_DB_NAME_PREFIX": "x_"}), container("waweb")
    )
    watcher = single(autostart=[{"kind": "container", "path": "watchtower", "line": "w:1, running"}])
    found = report({"a": watcher, "h1": other}, {"h9": "no permission"})
    actions = part(found, "## Needs an action")
    assert [line for line in actions if line[0].isdigit()] == [
        "1. h1: the registration of the number exists only inside the container biz-wacore-1",
        "2. h9: it was not read",
        "3. a: the container watchtower on a (w:1, running) restarts or replaces containers",
    ]
    assert actions[actions.index("2. h9: it was not read") :] == [
        "2. h9: it was not read",
        "   - no permission",
        "   - To do: Correct it, and run adopt.yml again; the other hosts are in the inventory",
        "3. a: the container watchtower on a (w:1, running) restarts or replaces containers",
        "   - To do: Exclude the containers of the client from it, or stop it",
    ]
    assert actions[:4] == [
        "1. h1: the registration of the number exists only inside the container biz-wacore-1",
        "   - it is lost when the container is recreated or removed (docker compose down, docker rm, an upgrade by hand): the number must then "
        "be registered again",
        "   - the collection does not recreate it, and upgrade.yml refuses this client, until the registration is moved",
        "   - To do: Move it to a folder of the host, in five commands: docs/guides/adopt.md, Move a registration out of its container",
    ]


UNSET: dict[str, t.Any] = {"WA_CONFIG_ON_DB": None}


@pytest.mark.parametrize(
    ("environment", "mounts", "reported"),
    [
        (UNSET, [], True),
        ({"WA_CONFIG_ON_DB": "0"}, [], True),
        (UNSET, [["tmpfs", "", "/usr/local/waent/data"]], True),
        (UNSET, [["volume", "other", "/usr/local/waent/logs"]], True),
        (UNSET, [["volume", "conf", "/usr/local/waent/data"]], False),
        (UNSET, [["bind", "/srv/wa", "/usr/local/waent"]], False),
        ({}, [], False),  # the sample has WA_CONFIG_ON_DB=1
    ],
)
def test_a_registration_is_reported_unless_it_is_in_the_database_or_on_a_volume(
    environment: dict[str, t.Any], mounts: list[t.Any], reported: bool
) -> None:
    media = ["volume", "biz_whatsappMedia", "/usr/local/wamedia"]
    core = container("wacore", environment=environment, mounts=[media, *mounts])
    found = report({"h1": survey(core, container("waweb", environment=UNSET))})
    entry = "1. h1: the registration of the number exists only inside the container biz-wacore-1"
    assert (entry in found) == reported


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        (
            ("unit", "/u", "docker start wacore biz-wacore-1"),
            "   - /u: docker start wacore biz-wacore-1",
        ),
        (
            ("cron", "/c", "cd /srv/biz; docker compose up -d"),
            "   - /c: cd /srv/biz; docker compose up -d",
        ),
        (
            ("cron", "/c", "docker exec biz-wacore-1 cleanup.sh"),
            "1. h1: /c cleans logs: docker exec biz-wacore-1 cleanup.sh",
        ),
        (
            ("container", "watchtower", "w:1, running"),
            "1. h1: the container watchtower on h1 (w:1, running) restarts or replaces containers",
        ),
    ],
)  # fmt: skip
def test_what_starts_or_cleans_containers(entry: tuple[str, str, str], line: str) -> None:
    kind, path, text = entry
    found = report({"h1": single(autostart=[{"kind": kind, "path": path, "line": text}])})
    assert line in part(found, "## Needs an action")


def test_what_starts_containers_on_some_of_the_hosts_is_named_with_them() -> None:
    surveys = {f"h{number}": member(number) for number in (1, 2, 3)}
    for host in ("h2", "h3"):
        line = "docker start biz-wacore-1"
        surveys[host]["autostart"] = [{"kind": "unit", "path": path, "line": line} for path in ("/u", "/v")]
    assert part(report(surveys), "## Needs an action") == [
        "1. h2, h3: its containers are started besides the collection",
        "   - /u: docker start biz-wacore-1",
        "   - /v: docker start biz-wacore-1",
        "   - To do: Disable that before upgrade.yml runs: it would start the old version",
    ]


def test_what_is_beside_a_client_is_not_looked_after() -> None:
    beside = {**container("db"), "image": "mysql:8", "role": "other", "env_files": []}
    lines = part(report({"h1": single(sidecars=[beside])}), "## h1: single, version 2.51.2")
    assert lines[1:] == ["  - not looked after by the collection: biz-db-1 (running, mysql:8)"]


def test_the_compose_files_of_clients_without_one_are_at_the_end_in_the_order_of_the_report() -> None:
    surveys = {"c": single(""), "b": single(), "a": single("")}
    adoption = adopt(surveys)
    assert [line for line in adoption.compose_files if line.startswith("## ")] == [
        f"## The role's Compose file for {name}" for name in ("a", "c")
    ]
    variables = {**adoption.documents["group_vars/all/vars.yml"], **adoption.documents["host_vars/a/vars.yml"]}
    text = render({"a": {key: value for key, value in variables.items() if value}}, "a", {"all": ["a"]})
    assert adoption.compose_files[: len(text.splitlines()) + 5] == [
        "",
        "## The role's Compose file for a",
        "",
        "```yaml",
        *text.splitlines(),
        "```",
    ]
    assert "```yaml" not in adoption.report


def test_hosts_without_a_client_are_listed() -> None:
    line = "Without a container of the client, running or stopped: h2."
    assert line in report({"h2": survey(container("wacore", one_shot=True, state="exited"))})
    first = adopt({"h1": single(), "h2": survey()})
    assert line in first.report
    assert line in adopt({"h1": single()}, earlier=first).report
    assert line not in adopt({"h2": single()}, earlier=first).report
    assert report({"h2": survey()})[-1] == "There is nothing to adopt. provision.yml sets up a new client."
    assert report({}, {"h1": "Unreachable"})[-1] == "Nothing was adopted yet."


def test_a_host_that_has_gone_from_the_inventory_that_is_read_has_no_entry() -> None:
    first = adopt({"h1": single(), "h3": survey()}, {"h2": "no permission"})
    added = adopt({"h1": single()}, earlier=first)
    assert "1. h2: it was not read" in added.report
    first.adoption.report["read"] = ["h1"]  # of which the samples make the inventory that is read
    corrected = adopt({"h1": single()}, earlier=first)
    assert part(corrected.report, "## Needs an action") == ["Nothing."]
    assert "Without a container" not in "".join(corrected.report)


def test_a_client_without_a_settings_backup_that_was_left_alone_has_a_way_to_one() -> None:
    found = part(report({"h1": single(), "h2": survey(container("wacore"))}), "## Needs an action")
    assert found[:2] == [
        "1. h2: no settings backup is known: if the registration is lost, the number must be registered again",
        "   - To do: For h2, which was left alone: make one by the client's API (POST /v1/settings/backup)",
    ]
