# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which containers of a host forbid that its client is started, or that its Coreapps are restarted. Pure rules."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._client import starts, unmanaged
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import service_containers


def check(containers: t.Sequence[t.Mapping[str, t.Any]], facts: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Returns why a start is refused, empty if it is not. `containers` are all of a host from `wa_info`.

    `facts` are those of the lookup `desired` for `guard`: `unmanaged`, the options of `unmanaged.sort`; `adopt`, the command that
    runs adopt.yml; `single`, whether the client has one Coreapp; `services`, those of
    the client in an operator's Compose files; `rendered`, whether the role's Compose file describes them. The keys:

    - `refusal`: containers outside the project, and those in it that another Compose file made
    - `second_coreapp`: a second Coreapp beside the one that is started
    """
    name, database = facts["unmanaged"]["project"], facts["unmanaged"]["database"]
    found = unmanaged.sort(containers, **facts["unmanaged"])
    services, neighbours = facts.get("services", ()), facts["unmanaged"]["neighbours"]
    second = starts.second_coreapp(containers, name, database, services, neighbours) if facts["single"] else ""
    if name and facts.get("rendered"):
        ours = [one for one in service_containers(containers) if one["project"] == name and one["role"] != "other"]
        found["adopted"] = [one for one in ours if not one["own"] and (not services or one["service"] in services)]
    return {"refusal": unmanaged.refusal(found, name, facts["adopt"]), "second_coreapp": second}
