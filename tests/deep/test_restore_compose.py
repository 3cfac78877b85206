# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restore.yml of clients with an operator's own Compose files, after a new version that does not get healthy: the files are as before."""

from __future__ import annotations

import contextlib
import typing as t

import adopt_layouts
import pytest
from adopt_layouts import LAYOUTS, Batch, Client, State, succeeds
from engine import lab_engine
from observer import Lab
from operator_project import NEW, OLD

NAME, HOSTS = "deep-restore-compose", ("h1", "h2")
NAMES = ("image tags in the file", "version in .env")  # where the collection sets the version


@pytest.fixture
def batch(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Batch]:
    """Two adopted clients, whose databases can be dumped."""
    with contextlib.ExitStack() as ends:
        patch = ends.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(adopt_layouts, "NAME", NAME)
        ends.enter_context(adopt_layouts.started_lab(HOSTS, "2.40"))
        clients = [
            Client(name, LAYOUTS[name], host, ends.enter_context(lab_engine(NAME, host)))
            for name, host in zip(NAMES, HOSTS)
        ]
        found = Batch(clients, tmp_path_factory.mktemp("batch"))
        adopt_layouts.begin(found)
        found.adopt()
        done = found.play("provision", wa_upgrade_dump=True)
        found.each(lambda client: succeeds(done[client.host]))
        found.raise_failure()
        yield found


def data(one: State) -> tuple[list[str], str, str]:
    return one.objects, one.media, one.messages


def test_the_operators_own_compose_files_are_as_before(batch: Batch) -> None:
    before, lab = batch.each(Client.state), Lab(NAME, HOSTS[0])
    lab.lab("fault", "unregistered", "on")
    upgraded = batch.play(
        "upgrade",
        wa_upgrade_version=NEW,
        wa_upgrade_update_compose_files=True,
        wa_upgrade_dump=True,
        wa_upgrade_skip=["health", "database_backup"],
        wa_client_health_timeout=5,
        wa_upgrade_waves=["100%"],
    )
    lab.lab("fault", "all", "off")
    for client in batch.clients.values():
        assert upgraded[client.host].failed
        assert "waba.onprem.restore" in upgraded[client.host].message
        after = client.state()
        assert after.files != before[client.host].files
        assert {one.partition(":v")[2].split()[0] for one in after.images.values()} >= {NEW}
        options = {"wa_restore_accept_lost": True}
        refused = batch.play("restore", "--limit", client.host, "--check")[client.host]
        assert "the client has run since the copy was made" in refused.message
        for arguments in (["--check"], []):
            succeeds(batch.play("restore", "--limit", client.host, *arguments, **options)[client.host])
            if arguments:
                assert client.state() == after
    batch.healthy(OLD)

    def back(client: Client) -> None:
        now, was = client.state(), before[client.host]
        assert now.files == was.files
        assert data(now) == data(was)
        assert now.images == was.images
        client.compose("up", "--detach")
        assert client.state().runs == now.runs

    batch.each(back)
    batch.raise_failure()
    batch.assert_in_sync(wa_upgrade_dump=True)
    batch.raise_failure()
