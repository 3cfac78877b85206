# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines in a host's files that start the client."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.waba.onprem.plugins.module_utils._host.autostart import read

WORDS = {"cleanup.sh", "wacore", "/srv/biz"}


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_lines_that_concern_the_client_are_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        "var/spool/cron/crontabs/root",
        "30 2 * * * docker exec 0123 /opt/whatsapp/bin/cleanup.sh\n@daily ls\n",
    )
    write(tmp_path, "etc/cron.d/old", "# 1 1 * * * root docker exec wacore cleanup.sh\n")
    write(tmp_path, "etc/systemd/system/wa.service", "[Service]\nExecStart=docker run \\\n  --name wacore \\\n  img\n")
    write(tmp_path, "etc/systemd/system/other.service", "[Service]\nExecStart=docker run --name wacore2 img\n")
    write(tmp_path, "etc/systemd/system/app.service", "[Service]\nExecStart=/bin/true\n")
    write(tmp_path, "etc/systemd/system/app.service.d/override.conf", "[Service]\nExecStop=docker stop wacore\n")
    write(tmp_path, "run/systemd/system/now.service", "[Service]\nExecStart=docker start wacore\n")
    write(tmp_path, "etc/rc.local", "cd /srv/biz && docker-compose up -d\n")
    write(tmp_path, "etc/init.d/x", "echo wacore\n")
    found = read(WORDS, str(tmp_path))
    assert [(one["kind"], one["path"][len(str(tmp_path)) :], one["line"]) for one in found] == [
        ("cron", "/var/spool/cron/crontabs/root", "30 2 * * * docker exec 0123 /opt/whatsapp/bin/cleanup.sh"),
        ("unit", "/etc/systemd/system/wa.service", "ExecStart=docker run --name wacore img"),
        ("unit", "/etc/systemd/system/app.service.d/override.conf", "ExecStop=docker stop wacore"),
        ("unit", "/run/systemd/system/now.service", "ExecStart=docker start wacore"),
        ("boot", "/etc/rc.local", "cd /srv/biz && docker-compose up -d"),
    ]


def test_a_script_that_changes_the_directory_first_is_found_by_that_line(tmp_path: Path) -> None:
    write(tmp_path, "etc/cron.daily/wa", "#!/bin/sh\ncd /srv/biz\ndocker compose restart\n")
    assert [one["line"] for one in read(WORDS, str(tmp_path))] == ["cd /srv/biz"]


def test_a_script_that_a_line_calls_is_read(tmp_path: Path) -> None:
    write(tmp_path, "etc/cron.d/wa", "5 4 * * * root /opt/tools/clean\n6 4 * * * root /opt/tools/other\n")
    write(tmp_path, "opt/tools/clean", "#!/bin/sh\nfor c in $(docker ps -q); do docker exec $c cleanup.sh; done\n")
    write(tmp_path, "opt/tools/other", "docker restart wacore, but no script\n")
    write(tmp_path, "etc/systemd/system/wa.service", "[Service]\nWorkingDirectory=/srv/biz\nExecStart=/opt/tools/up\n")
    found = [(one["path"][len(str(tmp_path)) :], one["line"]) for one in read(WORDS, str(tmp_path))]
    assert found == [
        ("/etc/cron.d/wa, by /opt/tools/clean", "for c in $(docker ps -q); do docker exec $c cleanup.sh; done"),
        ("/etc/systemd/system/wa.service", "WorkingDirectory=/srv/biz"),
    ]


def test_other_file_types_do_not_block(tmp_path: Path) -> None:
    """A FIFO that a cron line calls, one among the cron files, a device, and a huge file."""
    write(tmp_path, "etc/crontab", "1 1 * * * root /srv/pipe; /srv/zero; /srv/huge; docker restart wacore\n")
    (tmp_path / "srv").mkdir()
    os.mkfifo(tmp_path / "srv/pipe")
    (tmp_path / "srv/zero").symlink_to("/dev/zero")
    with (tmp_path / "srv/huge").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "etc/cron.d").mkdir()
    os.mkfifo(tmp_path / "etc/cron.d/pipe")
    found = read(WORDS, str(tmp_path))
    assert [one["line"] for one in found] == ["1 1 * * * root /srv/pipe; /srv/zero; /srv/huge; docker restart wacore"]


def test_an_instance_of_a_template_is_named_and_not_read(tmp_path: Path) -> None:
    write(tmp_path, "etc/systemd/system/compose@.service", "[Service]\nExecStart=docker compose -f /srv/%i/a.yml up\n")
    write(tmp_path, "etc/systemd/system/shell@.service", "[Service]\nExecStart=/bin/sh\n")
    wants = tmp_path / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    names = (("compose", "biz"), ("compose", "srv-biz"), ("compose", "core"), ("compose", "other"), ("shell", "biz"))
    for kind, name in names:
        (wants / f"{kind}@{name}.service").symlink_to(f"../{kind}@.service")
    found = [(one["kind"], os.path.basename(one["path"]), one["line"]) for one in read(WORDS, str(tmp_path))]
    assert found == [
        ("template", "compose@biz.service", "/srv/biz"),
        ("template", "compose@srv-biz.service", "/srv/biz"),
    ]
