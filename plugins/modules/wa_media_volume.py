#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_media_volume
version_added: 0.1.0
short_description: Keep the client's shared media volume right and writable
description:
  - Makes sure that the Docker volume for the client's media exists and is the right one.
  - Makes sure that every Webapp, Coreapp and master container mounts this very volume at C(/usr/local/wamedia), and proves that
    each can write what the others read.
  - Never deletes media. There is no option that does.
author: waba.onprem contributors (@waba)
extends_documentation_fragment:
  - waba.onprem.attributes
  - waba.onprem.docker
options:
  name:
    description:
      - The volume's name as Docker knows it.
      - Compose puts its project in front of a name in a Compose file, as in V(biz_whatsappMedia).
    type: str
    default: whatsappMedia
  state:
    description:
      - V(absent) removes the volume, and only when no container uses it and it holds no file.
    type: str
    choices: [present, absent]
    default: present
  driver:
    description: The volume driver.
    type: str
    default: local
  driver_options:
    description:
      - Options of the driver, such as V(type), V(o) and V(device) for a share. Others on the volume are a difference; without this
        option none are compared.
      - Where a directory of the host is bound, and C(/etc/fstab) promises a share at it or above it, that has to be mounted.
      - Values of passwords and credentials in them are hidden in everything that the module returns.
    type: dict
  on_drift:
    description:
      - What to do when a volume of that name is there and differs. Docker cannot change a volume.
      - V(fail) lists the differences and fails, V(report) only returns them. Remove an unused, empty volume by C(docker volume rm)
        and run again.
    type: str
    choices: [fail, report]
    default: fail
  probe:
    description:
      - Whether the containers must mount the volume correctly, and must prove that they can write.
      - Each running one writes a small file in the volume's root and in each folder there, reads that of another one and
        takes its own away.
      - V(false) only reports the mounts. In check mode the mounts are checked, and no probe is run.
    type: bool
    default: true
  project:
    description:
      - The Compose project whose containers count; an empty text for containers outside Compose.
      - The only one there is when not given; two are an error.
    type: str
  confirm_identity:
    description:
      - Confirms that a new volume is made while the client's containers mount another one where media go, by
        C(media_volume) with its name. It is refused otherwise, since recreated containers would see none of the media.
      - Other attributes of C(wa_confirm_identity) are accepted and say nothing here.
    type: dict
    default: {}
  write_marker:
    description:
      - Lets one running container write a new marker file into the volume, C(.wa-marker), for other hosts that should mount the
        same share. What it holds is returned as RV(marker). Not in check mode.
    type: bool
    default: false
  expect_marker:
    description:
      - The RV(marker) of another host, which every running container must read in its volume; part of the O(probe).
    type: str
notes:
  - The probe runs as the user of the client's own processes, which is the one other than root that most processes of the
    container have, and the container's configured user when all are root's. Root proves nothing on a share with
    C(root_squash).
  - The files of a volume are read to know that it is empty. Where they cannot be read, as with a share that is not mounted
    or with an engine on another machine, the volume counts as holding data.
"""

EXAMPLES = r"""
- name: Media on the host's own disk
  waba.onprem.wa_media_volume:
    name: biz_whatsappMedia
    project: biz

- name: Media on an NFS share
  waba.onprem.wa_media_volume:
    name: biz_whatsappMedia
    driver_options:
      type: nfs
      o: addr=nfs.example.com,nfsvers=4.1,hard,timeo=600,retrans=2
      device: ":/export/media"

- name: Media in a directory where the host mounts a share
  waba.onprem.wa_media_volume:
    driver_options: {type: none, o: bind, device: /srv/media}

- name: Report how containers mount the volume
  waba.onprem.wa_media_volume:
    project: biz
    probe: false
    on_drift: report
"""

RETURN = r"""
volume:
  description: The volume, or null when it is not there.
  returned: when Docker answered
  type: dict
  sample: {name: biz_whatsappMedia, driver: local, driver_options: {}, mountpoint: /var/lib/docker/volumes/biz_whatsappMedia/_data}
drift:
  description: How the volume that was found differs from what is wanted.
  returned: when Docker answered
  type: list
  elements: dict
  sample: [{what: option device, found: ":/old", wanted: ":/export/media"}]
consumers:
  description: The client's containers, with what they mount, and what is wrong.
  returned: when O(state=present)
  type: list
  elements: dict
  sample:
    - name: biz-wacore-1
      service: wacore
      state: running
      ok: true
      mounted: volume biz_whatsappMedia
      reason: null
      probe: passed
      user: "1000:1000"
marker:
  description: What the marker file in the volume holds; empty when there is none.
  returned: when O(write_marker=true) or O(probe=true), and a container that mounts the volume correctly runs
  type: str
  sample: 9f2c1b7a04d2e6b8c1a35f70
actions:
  description: Actions that were made, or predicted in check mode.
  returned: always
  type: list
  elements: str
  sample: [create volume biz_whatsappMedia]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.waba.onprem.plugins.module_utils._concern import media_volume
from ansible_collections.waba.onprem.plugins.module_utils._core import redact
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=media_volume.SPEC, supports_check_mode=True)
    result = Result(module)
    try:
        params, result = media_volume.prepare(module)
        media_volume.MediaVolume(params, result).run()
    except WaError as error:
        result.fail(redact.mask_mount(str(error)))
    result.exit()


if __name__ == "__main__":
    main()
