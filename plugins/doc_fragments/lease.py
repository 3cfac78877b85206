# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  lease_file:
    description:
      - The lock file of the deployment, of a run that has locked it. The module renews the lease once a minute while it works.
      - It fails if another run takes the lock over meanwhile. A dump goes on, since that run waits for it.
    type: path
"""
