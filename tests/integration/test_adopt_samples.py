# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The samples that adoption is tested with have the shape of what is really read of a host."""

from __future__ import annotations

import typing as t
from pathlib import Path

import adopt_samples
from clients import Clients
from real_compose import Runner

from ansible_collections.waba.onprem.plugins.module_utils._docker import inspection
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker
from ansible_collections.waba.onprem.plugins.module_utils._docker.options import ARGUMENT_SPEC
from ansible_collections.waba.onprem.plugins.modules import wa_adopt


def shape(value: dict[str, t.Any]) -> dict[str, type]:
    return {key: type(inner) for key, inner in value.items()}


def test_a_sample_has_the_keys_and_types_of_an_inspection(clients: Clients, docker_engine: str, tmp_path: Path) -> None:
    compose, env = tmp_path / "docker-compose.yml", tmp_path / "db.env"
    compose.write_text("services: {wacore: {image: any, env_file: db.env}}\n")
    env.write_text("WA_DB_ENGINE=MYSQL\n")
    label = "com.docker.compose.project."
    labels = {f"{label}working_dir": str(tmp_path), f"{label}config_files": str(compose)}
    name = clients.add("wacore", volume=clients.volume(), labels=labels)
    options = {key: option.get("default") for key, option in ARGUMENT_SPEC.items()}
    read = inspection.read(Docker({**options, "docker_host": docker_engine}))
    [container] = [one for one in read["containers"] if one["name"] == name]
    wa_adopt.read_compose_files([container], Runner())
    sample = adopt_samples.single()
    assert (container["name"], container["env_files"]) == (name, [str(env)])
    assert shape(sample["containers"][0]) == shape(container)
    assert shape(sample["files"][0]) == shape(inspection.read_files([str(env)])[0])
    assert {*sample["volumes"][0]} <= {*read["volumes"][0]}
    assert {*read} - {"watchers"} <= {*sample}  # the watchers become part of autostart
