# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  docker_host:
    description:
      - The Docker Engine's socket on the managed host, as C(unix:///PATH).
      - The environment variable E(DOCKER_HOST) is used when the option is not given.
    type: str
    default: unix:///var/run/docker.sock
  docker_timeout:
    description:
      - How long to wait for an answer of the engine, in seconds or as text such as V(60s).
      - The environment variable E(DOCKER_TIMEOUT) is used when the option is not given.
    type: str
    default: 60s
  client_images:
    description:
      - The complete names of the client's image repositories, without tag and digest, as the variable C(wa_images) of the roles.
      - A container is the client's if its image is of one of them, or if its command starts the vendor's program in
        C(/opt/whatsapp), in whatever image.
      - When not given, or where the registry has changed since, the last component of a container's image counts, C(web)
        and C(coreapp) or as in this option, together with a C(WA_*) variable, a mount at C(/usr/local/wamedia) or
        C(/usr/local/waent), or a command in C(/opt/whatsapp). A name alone proves nothing.
    type: dict
    suboptions:
      web:
        description: Repositories of the Webapp.
        type: list
        elements: str
      coreapp:
        description: Repositories of the Coreapp and the master.
        type: list
        elements: str
"""
