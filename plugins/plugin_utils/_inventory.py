# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's variables for one host: the inventory's value, or else the role's default.

The roles' files (`defaults/main.yml`, `meta/argument_specs.yml`) define names, types and defaults. They are read once in a
run: forked workers inherit the cache.
"""

from __future__ import annotations

import difflib
import functools
import re
import typing as t
from collections import ChainMap
from pathlib import Path

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.template import trust_as_template
from ansible.utils.vars import load_extra_vars

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.plugin_utils import _job_script as job_script
from ansible_collections.waba.onprem.plugins.plugin_utils import _values as values

ROLES = Path(__file__).resolve().parents[2] / "roles"
# The roles of provision.yml, whose options are checked before a host is touched.
PROVISIONED = ("wa_host", "wa_db_env", "wa_media_volume", "wa_client", "wa_log_cleanup")
# What several roles and the playbooks read; docs/variables.md describes them.
SHARED = frozenset(
    {
        *("wa_adopt_dir", "wa_api_key"),
        *(
            "wa_api_password",
            "wa_api_url",
            "wa_api_validate_certs",
            "wa_backup_dir",
            "wa_backup_include",
            "wa_backup_keep",
            "wa_backup_password",
            "wa_confirm_identity",
        ),
        *("wa_db_login_host", "wa_db_login_tls"),
        *(
            "wa_db_shared_origins",
            "wa_deployment",
            "wa_docker_host",
            "wa_env_file",
            "wa_env_format",
            "wa_failure_command",
            "wa_hosts",
        ),
        *("wa_images", "wa_leader", "wa_project", "wa_project_dir", "wa_provision_waves"),
        *("wa_restore", "wa_restore_accept_lost", "wa_restore_login_password", "wa_restore_login_user"),
        *(
            "wa_restore_drill",
            "wa_restore_drill_host",
            "wa_restore_drill_image",
            "wa_restore_remove_former",
            "wa_restore_snapshot_command",
        ),
        *("wa_registry", "wa_retire", "wa_retire_without_backup", "wa_shards"),
        *("wa_notify_command", "wa_report_dir", "wa_report_keep", "wa_status_all", "wa_status_fail_on"),
        *("wa_status_artifacts", "wa_status_bundle", "wa_status_bundle_logs"),
        *("wa_topology", "wa_version"),
    }
)
SHARED_MAPPINGS = ("wa_confirm_identity", "wa_db_login_tls", "wa_images")
# What roles and playbooks set for each other and for the operator.
_RESULTS = re.compile(r"wa_(drift|drift_left|host_lock_left|host_ready|upgrade_leaders|\w+_result)")
_ALIKE = 0.6  # difflib's own bound for a close match
Template = t.Callable[[t.Any], t.Any]


def _load(path: Path) -> t.Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), Loader=loader) if path.exists() else {}


@functools.cache
def defaults() -> dict[str, t.Any]:
    """Returns the defaults of all roles; texts are trusted as templates."""
    found: dict[str, t.Any] = {}
    for path in sorted(ROLES.glob("*/defaults/main.yml")):
        found.update(_load(path))
    return {name: trust_as_template(value) if isinstance(value, str) else value for name, value in found.items()}


@functools.cache
def specs() -> dict[str, dict[str, t.Any]]:
    """Returns the options of all entry points, by role."""
    return {
        path.parents[1].name: {
            name: option
            for entry in _load(path)["argument_specs"].values()
            for name, option in entry["options"].items()
        }
        for path in sorted(ROLES.glob("*/meta/argument_specs.yml"))
    }


@functools.cache
def main_specs() -> dict[str, dict[str, t.Any]]:
    """Returns the options of the main entry points of `PROVISIONED`, by role."""
    return {
        role: _load(ROLES / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
        for role in PROVISIONED
    }


@functools.cache
def known() -> frozenset[str]:
    """Returns the names of all documented variables."""
    return SHARED | {name for options in specs().values() for name in options}


def extra_vars() -> t.Mapping[str, t.Any]:
    """Returns the variables of the command line, which Ansible has read before."""
    found: t.Mapping[str, t.Any] = load_extra_vars(DataLoader())
    return found


def assert_for_one_run(name: str, given: t.Any) -> None:
    """Raises WaError where the variable `name`, which is `given` for one run, is not on the command line."""
    if given is not None and name not in extra_vars():
        raise WaError(
            name,
            "set in the inventory, where it would be a licence for ever",
            "on the command line, for one run",
            f"Remove it there, and give it with -e '{{\"{name}\": ...}}'",
        )


def warm() -> None:
    """Fills the caches before workers are forked."""
    for read in (defaults, main_specs, known, job_script.script):
        read()


class Inventory:
    """Values of variables by name, each templated on first access."""

    def __init__(self, variables: t.Mapping[str, t.Any], template: Template) -> None:
        """`variables` are a task's variables, `template` is its templar's method."""
        self.variables = variables
        self._template = template
        self._read: dict[str, t.Any] = {}
        self.results: dict[t.Callable[..., t.Any], t.Any] = {}  # of `_desired`

    @classmethod
    def of_host(
        cls,
        host: str,
        hostvars: t.Mapping[str, t.Mapping[str, t.Any]],
        groups: t.Mapping[str, t.Sequence[str]],
        template: Template,
    ) -> Inventory:
        """Returns the variables of any host of the inventory."""
        about = {"inventory_hostname": host, "hostvars": hostvars, "groups": groups}
        # Not copied: each access to a variable of `hostvars` templates it, and one that nobody reads may fail.
        return cls(ChainMap(about, t.cast("dict[str, t.Any]", hostvars[host])), template)

    def another(self, host: str) -> Inventory:
        """Returns the variables of another host of the inventory."""
        hostvars, _host, groups = self.all_hosts
        return self.of_host(host, hostvars, groups, self._template)

    def given(self, name: str) -> t.Any:
        """Returns the inventory's value; None if it is not set or is `omit`."""
        if name not in self._read:
            # Templated in a list, from which Ansible removes `omit`.
            found = self._template([self.variables[name]]) if name in self.variables else []
            self._read[name] = found[0] if found else None
        return self._read[name]

    def __getitem__(self, name: str) -> t.Any:
        """Returns the inventory's value, else the role's default. Raises KeyError if there is neither."""
        if name in self.variables:
            value = self.given(name)
            if value is not None or name not in defaults():
                return value
        return self._template(defaults()[name])

    def get(self, name: str) -> t.Any:
        """Returns the inventory's value, else the role's default, else None."""
        return self[name] if name in self.variables or name in defaults() else None

    @property
    def all_hosts(self) -> tuple[t.Any, str, t.Any]:
        """Returns `hostvars`, the host's name, and `groups`."""
        return self.variables["hostvars"], self.host, self.variables["groups"]

    @property
    def host(self) -> str:
        """The host's name in the inventory."""
        return str(self.variables["inventory_hostname"])


def unknown(names: t.Iterable[str]) -> list[str]:
    """Returns a message for each variable `wa_*` that no role defines, with the most similar known name."""
    found = []
    for name in sorted({name for name in names if name.startswith("wa_") and not _RESULTS.fullmatch(name)} - known()):
        near = difflib.get_close_matches(name, known(), 1, _ALIKE)
        found.append(f"no role knows the variable {name}" + (f"; do you mean {near[0]}?" if near else ""))
    return found


def refused_values(inventory: Inventory) -> list[str]:
    """Returns a message for each variable of the host with a value that argument specs cannot detect as invalid."""
    return values.refusals({name: inventory.given(name) for name in values.checked(inventory.variables)})


def refusals(inventory: Inventory) -> list[str]:
    """Returns the errors that the roles of `PROVISIONED` would report for the host's variables."""
    options = {name: one for each in main_specs().values() for name, one in each.items()}
    mappings = sorted({*SHARED_MAPPINGS, *(name for name, one in options.items() if one["type"] == "dict")})
    # Argument specs accept texts such as a=b or JSON (from -e NAME=...) as dict; the roles do not.
    wrong = {name: inventory.given(name) for name in mappings}
    wrong = {name: value for name, value in wrong.items() if value is not None and not isinstance(value, t.Mapping)}
    if wrong:
        kinds = {
            name: "text" if isinstance(value, str) else f"a {type(value).__name__}" for name, value in wrong.items()
        }
        found = [f"{name} is {kind}, but must be a mapping" for name, kind in kinds.items()]
        cure = 'On the command line give all of it as JSON: -e \'{"wa_db_env_extra": {"NAME": "value"}}\''
        return [f"{'; '.join(found)}. {cure}"]
    given = {name: inventory.given(name) for name in options if inventory.given(name) is not None}
    found = list(ArgumentSpecValidator(options).validate(given, validate_role_argument_spec=True).error_messages)
    if not found:
        found = refused_values(inventory)
    return list(dict.fromkeys(found))
