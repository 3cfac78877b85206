# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  project: {description: The Compose project., type: str, required: true}
  project_dir: {description: The folder that relative paths start from. It need not exist., type: path, required: true}
  content: {description: 'The content of the Compose file at the place of V(-) in O(compose_files), as JSON.', type: str}
  compose_files: {description: 'The Compose files in their order, O(content) alone when not given.', type: list, elements: path}
  interpolation_files: {description: The files with the variables of the Compose files., type: list, elements: path, default: []}
  profiles: {description: 'The profiles to enable, those of the environment or of C(.env) when not given.', type: list, elements: str}
  services: {description: 'The services to look at, with those that they depend on; none for all.', type: list, elements: str, default: []}
  version: {description: The version that O(services) have to have., type: str}
  env_files: {description: 'Contents of env files that are not written yet, by path.', type: dict, default: {}}
  confirm_identity: {description: 'Values that are to change with intent, as in M(waba.onprem.wa_db_env).', type: dict, default: {}}
  skip_mounts: {description: Whether containers that another Compose file made may lose mounts., type: bool, default: false}
  media_folder: {description: The directory that the media volume binds., type: path}
"""
