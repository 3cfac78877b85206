# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  api_url:
    description: The Webapp's address as the managed host reaches it, such as V(https://127.0.0.1:9090).
    type: str
    default: https://127.0.0.1:9090
  api_password:
    description: The password of V(admin), who alone may call message GC and settings backups.
    type: str
  api_key:
    description:
      - The Webapp's C(WA_API_KEY), which the client's health is asked with in place of a login.
      - Other calls need a login all the same.
    type: str
  api_ca_path:
    description: The certificate authority that signed the Webapp's certificate, a path on the managed host.
    type: path
  api_validate_certs:
    description:
      - Whether the Webapp's certificate must be valid.
      - A fresh client's own certificate is self-signed; give its authority with O(api_ca_path) rather than turn this off.
    type: bool
    default: true
  api_timeout:
    description:
      - Seconds (or text such as V(30s)) to wait for an answer of the Webapp.
      - For its health up to four times as long, once it has not answered in time; it waits some seconds for each node that
        is dead.
    type: str
    default: 30s
"""
