#!/usr/bin/python
# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wa_drift_info
short_description: Compares a host with the inventory
version_added: 0.1.0
description:
  - Says of each of O(concerns) of a host whether it is as the inventory wants it, and describes the differences.
  - It changes nothing. Where the client has Compose files of the operator it runs C(docker compose config); of packages it only reads the
    host's own database. At the leader it asks the client's API whether the client serves. It writes nothing but what O(probe) asks
    for, and that a login was refused, which is not tried again for a day; in check mode not that either.
  - Run in a play it takes the desired state of the inventory from the roles' own variables and defaults; it is what
    C(provision.yml) begins with, and ends with where it has changed something.
author:
  - waba.onprem contributors (@waba)
options:
  desired:
    description: What to compare with in place of the inventory's desired state, by concern. An action plugin gives it.
    type: dict
  secrets:
    description: The secret options of O(desired), by concern. An action plugin gives it.
    type: dict
  concerns:
    description: The concerns to compare; all of them when not given.
    type: list
    elements: str
    choices: [host, media_volume, db_env, client, database, log_cleanup, health, automatic_gc]
  fail_on_drift:
    description:
      - Whether a host fails that is not as the inventory wants it. What waits for the time of a restart is no failure.
      - The record of which client is here, which a playbook writes when all has ended well, is then not compared.
      - Alarms are no failure of the module; they are in RV(alarms). In check mode that holds those of the first comparison that the
        run would not correct.
    type: bool
    default: false
  probe:
    description:
      - Whether each container shows that it can write the media volume - it writes a file there, reads another container's, and
        removes it. In check mode only the permission is checked.
    type: bool
    default: false
  restart:
    description: When containers may be restarted for a change; what needs a restart is a drift with V(now) only.
    type: str
    choices: [now, window, report]
    default: now
  look:
    description: What to read for RV(look). An action plugin gives it.
    type: dict
  status:
    description:
      - Whether to read RV(figures) as well, and to return a host that is unreachable, or cannot be compared, as a result that says so.
      - It is what C(status.yml) asks.
    type: bool
    default: false
  figures:
    description: What to read for RV(figures). An action plugin gives it.
    type: dict
extends_documentation_fragment:
  - waba.onprem.attributes
attributes:
  check_mode:
    description: With O(probe) no container writes into the media volume; only the permission is checked.
  diff_mode:
    description: Each drifted file's difference is in RV(concerns), with secrets hidden.
seealso:
  - plugin: waba.onprem.desired
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Compare the host with the inventory
  waba.onprem.wa_drift_info:
  register: wa_drift

- name: Prove as well that every container can write the media volume
  waba.onprem.wa_drift_info:
    concerns: [media_volume]
    probe: true

- name: Display what differs
  ansible.builtin.debug:
    msg: "{{ wa_drift.drift }}"
"""

RETURN = r"""
concerns:
  description:
    - What was found of each concern of O(concerns). What is empty is left out.
    - Each has C(state), which is V(in_sync), V(drifted), V(restart_pending) (something waits for the time of a restart or for
      the next upgrade) or V(unknown); C(changes), what differs and can be corrected without a restart; C(containers), those that are
      missing, stopped or not well; C(restarts), what takes a restart; C(pending), what waits for the next upgrade; C(warnings), what
      configuration does not correct; C(alarms), what fails the run although no role corrects it; C(diff), in diff mode, with secrets
      hidden; C(error), why it is not known.
  type: dict
  returned: success
  sample:
    host: {state: in_sync}
    db_env: {state: drifted, changes: [set WA_DB_PORT]}
alarms:
  description: What no role corrects and fails the run, a line each.
  type: list
  elements: str
  returned: with O(fail_on_drift)
  sample: ["the client does not serve: starting or migrating: coreapp"]
drift:
  description: All that differs, a line each, with the concern, without what waits for a restart.
  type: list
  elements: str
  returned: success
  sample: ["db_env: set WA_DB_PORT"]
database:
  description:
    - Who uses the client's database, and what it holds; empty without C(database) in O(concerns), or where no client runs.
    - C(identity), C(started) and C(cluster) tell which running server it is, C(origin) is what it shows of this host's session, C(unknown)
      has the sessions of the client's user that are not this client's, C(unreadable) why they are not known, C(holds) whether it has a
      client's tables, and C(definitions) their digest.
  type: dict
  returned: success
  sample: {origin: 10.0.0.5, unknown: [], holds: true, definitions: 5d2a0f6c9be1a3c4}
hold:
  description:
    - The hold that a file on the host sets, as M(waba.onprem.wa_info) returns it; empty when there is none.
    - While it is set, C(containers) and C(restarts) of RV(concerns) wait.
  type: dict
  returned: success
  sample: {}
lock:
  description: The upgrade, restore or other changing run that has the deployment's lock on this host; empty for none.
  type: dict
  returned: success
  sample: {}
record:
  description: What a run that ends well records of the client; empty when the record has it already.
  type: dict
  returned: success, and failures with O(fail_on_drift) that concern neither media volume nor db.env nor client
  sample: {project: wa-support, version: 2.51.2}
record_changed:
  description: Whether RV(record) tells of another client, or of another version of it, than the present record.
  type: bool
  returned: success
  sample: false
marker:
  description: What the marker file in the media volume holds; V(null) when no container was asked.
  type: str
  returned: success
  sample: 9f2c1b7a04d2e6b8c1a35f70
engine_away:
  description: Whether something is not known because the Docker Engine does not answer.
  type: bool
  returned: success
  sample: false
runs:
  description: Whether a container of the client's Compose project runs.
  type: bool
  returned: success
  sample: true
expires_on:
  description: The day on which the version that runs expires, from the label C(EXPIRES_ON) of its images; empty if it has none.
  type: str
  returned: success
  sample: "2026-03-31"
look:
  description: Of a host that differs what the roles check before they change it.
  type: dict
  returned: when a concern differs
  sample: {}
figures:
  description:
    - What an operator wants to know beside the drift, by part. C(status.yml) joins the parts of all hosts as docs/fleet.schema.json has them.
    - Each has its C(error), empty where it was read. Times are in seconds since 1970.
  type: dict
  returned: with O(status)
  sample:
    disk_docker: {path: /var/lib/docker, free_bytes: 64424509440, total_bytes: 107374182400, error: ""}
login_refused:
  description: Whether the client has refused C(wa_api_password) in this call.
  type: bool
  returned: with O(status)
  sample: false
reached:
  description: Whether the host has answered.
  type: bool
  returned: with O(status)
  sample: true
requirements:
  description:
    - What a managed host needs and this one does not have; V(null) without C(host) in O(concerns).
    - C(missing) has the reason by requirement that the role P(waba.onprem.wa_host#role) installs, each one of C(python_requests),
      C(python_mysql), C(python_postgresql), C(cron); C(install) the packages for it; C(without_package) what has none.
    - C(services) has the reason by service that does not run, or is not started at boot; C(docker) is why the Docker Engine or
      C(docker compose) does not answer, with what to do.
  type: dict
  returned: success
  sample:
    missing: {cron: no cron daemon is installed}
    install: [cron]
    without_package: []
    services: {}
    docker: ""
unmanaged:
  description: Client containers of the host that are no deployment's of the inventory, as M(waba.onprem.wa_info) returns them.
  type: list
  elements: dict
  returned: success
  sample: []
"""

import contextlib
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.waba.onprem.plugins.module_utils._concern import comparison
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.result import Result
from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker


class ReadOnly(AnsibleModule):  # type: ignore[misc]  # Ansible has no types
    """A module whose helpers neither change a file nor end it during the comparison."""

    looking = False

    def fail_json(self, msg: str, **values: t.Any) -> t.NoReturn:
        """Ends the module; during the comparison, one concern only."""
        if self.looking:
            raise WaError("module", msg)
        super().fail_json(msg, **values)
        raise AssertionError("fail_json returned")


def merged(desired: t.Mapping[str, t.Any], secrets: t.Mapping[str, t.Any]) -> dict[str, dict[str, t.Any]]:
    """Returns the options of each concern merged with its secret options, also in elements of lists."""
    found = {name: dict(options) for name, options in desired.items()}
    for name, options in secrets.items():
        for key, value in options.items():
            if key == "files":
                found[name][key] = [{**one, **more} for one, more in zip(found[name][key], value)]
            else:
                found[name][key] = value
    return found


def answers(engine: Docker | None) -> bool:
    """Returns whether the Docker Engine answers. What has not answered the comparison is not asked again."""
    try:
        return engine is not None and bool(engine.info())
    except WaError:
        return False


def main() -> None:
    """Run the module."""
    module = ReadOnly(
        argument_spec={
            "desired": {"type": "dict"},
            "secrets": {"type": "dict", "no_log": True},
            "concerns": {"type": "list", "elements": "str", "choices": list(comparison.CONCERNS)},
            "fail_on_drift": {"type": "bool", "default": False},
            "probe": {"type": "bool", "default": False},
            "restart": {"type": "str", "choices": ["now", "window", "report"], "default": "now"},
            "look": {"type": "dict"},
            "status": {"type": "bool", "default": False},
            "figures": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    write = not module.check_mode
    module.check_mode = True  # so that Ansible's helpers only predict changes
    result = Result(module)
    if module.params["desired"] is None:
        result.fail(WaError("option desired", "not given", "what the action plugin of this module gives"))
    asked = None
    if module.params["figures"] is not None:
        checked = ArgumentSpecValidator(comparison.spec("figures")).validate(module.params["figures"])
        if checked.error_messages:
            result.fail(WaError("option figures", "; ".join(checked.error_messages)))
        asked = checked.validated_parameters
    module.looking = True
    compared = comparison.HostComparison(
        module,
        module.params["probe"],
        write,
        not module.params["fail_on_drift"],
        asked,
    )
    desired = merged(module.params["desired"], module.params.pop("secrets") or {})
    found = compared.run(
        {name: one for name, one in desired.items() if name in (module.params["concerns"] or comparison.CONCERNS)}
    )
    module.looking = False
    result.redact = compared.redact
    restart = module.params["restart"]
    result.values["concerns"] = {name: one.shown(restart) for name, one in found.items()}
    result.values["engine_away"] = any(one.error for one in found.values()) and not answers(compared.engine)
    result.values.update(compared.values)
    if asked:
        result.values.update(figures=compared.figures, login_refused=compared.session.refused, reached=True)
    if module.params["look"] and compared.engine and any(one.differs for one in found.values()):
        # Imported on use: a host in sync needs none.
        from ansible_collections.waba.onprem.plugins.module_utils._client import host_look

        with contextlib.suppress(WaError):  # then the role reads it, and reports the reason
            look = host_look.read(compared.engine, module.params["look"])
            result.values["look"] = {**look, **compared.steps}
    result.exit()


if __name__ == "__main__":
    main()
