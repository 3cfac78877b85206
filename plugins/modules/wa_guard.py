#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_guard
short_description: Asks the client's database whether a Coreapp may be started (internal)
version_added: 0.1.0
description:
  - The roles call it before each start of a Coreapp. It logs in as the client will, and fails if another client may use the database, if
    the database is of another version, or if two deployments of the run reach the same one. It changes nothing.
options:
  purpose:
    description: V(others) and V(record) only read, for the other hosts of the run where these need it, or for the record.
    type: str
    choices: [start, others, record]
    default: start
  content:
    description: Whether to compare what the database holds with the version that is to be started; an upgrade does not.
    type: bool
    default: true
extends_documentation_fragment:
  - waba.onprem.attributes
attributes:
  check_mode:
    description: It changes nothing.
  diff_mode:
    description: It changes nothing.
    support: none
author:
  - waba.onprem contributors (@waba)
"""

EXAMPLES = r"""
- name: Assert that the client may be started
  waba.onprem.wa_guard:
"""

RETURN = r"""
database:
  description: What the database says, see RV(waba.onprem.wa_drift_info#module:database).
  type: dict
  returned: success
  sample: {origin: 10.0.0.5, unknown: []}
"""
