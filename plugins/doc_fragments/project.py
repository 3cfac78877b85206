# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  project:
    description: The Compose project.
    type: str
    required: true
  project_dir:
    description: The folder of its C(compose.yml), which relative paths start from. It need not exist.
    type: path
    required: true
  content:
    description:
      - The Compose file's content, as JSON. It is hidden in logs.
      - Required without O(compose_files), and where these contain V(-).
    type: str
  compose_files:
    description:
      - The Compose files in their order. V(-) is the place of O(content), as it is for Compose.
      - O(content) alone when not given.
    type: list
    elements: path
  interpolation_files:
    description: The files with the variables of the Compose files, as C(docker compose --env-file) takes them.
    type: list
    elements: path
    default: []
  profiles:
    description: The profiles to enable. Those of C(COMPOSE_PROFILES) in the environment or in C(.env) when not given.
    type: list
    elements: str
  services:
    description:
      - The services to look at; all of them when not given. Services that they depend on are looked at, too.
      - What Compose would have to recreate of the latter is refused.
    type: list
    elements: str
    default: []
  version:
    description: The version that O(services) have to have.
    type: str
  env_files:
    description: Contents of env files that are not written yet, by path. They are hidden in logs.
    type: dict
    default: {}
  confirm_identity:
    description: Values that are to change with intent, as in M(waba.onprem.wa_db_env).
    type: dict
    default: {}
  skip_mounts:
    description: Whether containers that another Compose file made may lose mounts that the role's file does not have.
    type: bool
    default: false
  media_folder:
    description: The directory that the media volume binds; a container that mounts it directly has the same media.
    type: path
"""
