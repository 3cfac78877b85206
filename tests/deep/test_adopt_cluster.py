# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A high availability client on three hosts, with a watchtower and a systemd unit, goes through adoption and an upgrade."""

from __future__ import annotations

import contextlib
from pathlib import Path

import adopt_layouts
from adopt_layouts import Batch, Client
from engine import lab_engine
from operator_layouts import IN_ENV, TAG, VERSION, layout
from operator_project import Layout

HOSTS = ("h1", "h2", "h3")
PROJECT = "wa"
WATCHTOWER = """\
  watchtower:
    image: @R/db:v1
    volumes: ["/var/run/docker.sock:/var/run/docker.sock"]
"""
UNIT, SERVICE = (
    "/etc/systemd/system/whatsapp.service",
    f"[Service]\nExecStart=/usr/bin/docker compose --project-directory {adopt_layouts.BASE}/{PROJECT} up\n",
)


def member(host: str) -> Layout:
    """The vendor's file for one of several hosts: a node, a master and a Webapp, with the media on the share."""
    address, key = adopt_layouts.addresses(f"@A({host})"), adopt_layouts.secrets()["jwt_key"]
    core = f'WA_CONFIG_ON_DB: "1", WA_APP_MULTICONNECT: "1", COREAPP_HOSTNAME: {address}'
    return layout(
        f"""\
x-all: &all
  env_file: [db.env]
  volumes: [media:/usr/local/wamedia]
  command: [/opt/whatsapp/bin/wait_on_mysql.sh, {adopt_layouts.LAUNCH}]
  restart: always
services:
  wacore:
    <<: *all
    image: @R/coreapp:{TAG}
    environment: {{{core}, COREAPP_EXTERNAL_PORTS: "6250,6251,6252,6253"}}
    ports: ["6250-6253:6250-6253"]
  master:
    <<: *all
    image: @R/coreapp:{TAG}
    environment: {{{core}, WA_MASTER_NODE: "1", COREAPP_EXTERNAL_PORTS: "6254,6255,6256,6257"}}
    ports: ["6254-6257:6250-6253"]
  waweb:
    <<: *all
    image: @R/web:{TAG}
    environment:
      WA_CONFIG_ON_DB: "1"
      WA_APP_MULTICONNECT: "1"
      WEBAPP_HOSTNAME: {address}
      WEBAPP_EXTERNAL_PORTS: "@W"
      WA_WEB_JWT_CRYPTO_KEY: {key}
    ports: ["@W:443"]
{WATCHTOWER if host == "h2" else ""}\
volumes:
  media: {{driver_opts: {{type: none, o: bind, device: /srv/media}}}}
""",
        {".env": VERSION},
        version=IN_ENV,
        options=("-p", "@P"),
    )


def test_three_hosts_keep_their_compose_files_through_an_upgrade(tmp_path: Path) -> None:
    with adopt_layouts.started_lab(HOSTS, "2.40", "--shared"), contextlib.ExitStack() as stack:
        engines = {host: stack.enter_context(lab_engine(adopt_layouts.NAME, host)) for host in HOSTS}
        members = [Client(host, member(host), host, engine, PROJECT) for host, engine in engines.items()]
        batch = Batch(members, tmp_path, HOSTS[0])
        batch.clients["h3"].lab.host(f"mkdir -p $(dirname {UNIT}); printf '{SERVICE}' >{UNIT}")
        adopt_layouts.begin(batch, "--forks=1")
        batch.raise_failure()
        adopt_layouts.adopt_and_provision(batch)
        batch.raise_failure()
        report = (tmp_path / "adopted/report.md").read_text(encoding="utf-8")
        assert f"the container {PROJECT}-watchtower-1 on h2" in report
        assert f"h3: its containers are started besides the collection\n   - {UNIT}: ExecStart=" in report
        for step in (adopt_layouts.correct_drift, adopt_layouts.fail_after_the_stop, adopt_layouts.upgrade):
            step(batch)
            batch.raise_failure()
