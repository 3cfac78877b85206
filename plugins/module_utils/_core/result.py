# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result and diff of a module, and what it writes to syslog; `redact` hides their secrets."""

from __future__ import annotations

import typing as t

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._core.redact import Redactor

if t.TYPE_CHECKING:
    from types import TracebackType

    from ansible.module_utils.basic import AnsibleModule


class Result:
    """Collects a module's actions and values, then ends it with `exit` or `fail`; both redact the result.

    As a context it does so at its end: with `fail` for a WaError.
    """

    def __init__(self, module: AnsibleModule, redactor: Redactor | None = None) -> None:
        self.module = module
        self.redact = redactor or Redactor()
        self.changed = False
        self.actions: list[str] = []
        self.values: dict[str, t.Any] = {}
        self.unmasked: dict[str, t.Any] = {}  # values of a task with no_log, returned without redaction
        self._diff: dict[str, t.Any] | None = None

    def __enter__(self) -> Result:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _where: TracebackType | None
    ) -> None:
        if isinstance(error, WaError):
            self.fail(error)
        if error is None:
            self.exit()

    def record_change(self, action: str) -> None:
        """Records a change, made or (in check mode) predicted, as text."""
        self.changed = True
        self.actions.append(action)

    def diff(self, before: t.Any, after: t.Any, header: str = "") -> None:
        """Sets the diff: text or structures before and after; `header` names the object."""
        self._diff = {"before": before, "after": after}
        if header:
            self._diff.update(before_header=header, after_header=header)

    def warn(self, text: str) -> None:
        """Adds a warning, redacted."""
        self.module.warn(self.redact(text))

    def _shape(self) -> dict[str, t.Any]:
        shape = dict(self.values, changed=self.changed, actions=self.actions)
        if self._diff is not None and self.module._diff:
            shape["diff"] = self._diff
        return t.cast("dict[str, t.Any]", self.redact(shape))

    def _log(self, *failure: str) -> None:
        """Writes what was done, and why it failed, to syslog; Ansible itself writes only how the module was called."""
        done = [*self.actions, *failure]
        if done and not self.module.check_mode:
            self.module.log(" ".join(self.redact("; ".join(done)).split()))

    def exit(self) -> t.NoReturn:
        """Ends the module successfully."""
        self._log()
        self.module.exit_json(**self._shape(), **self.unmasked)
        raise AssertionError("exit_json returned")

    def fail(self, error: WaError | str) -> t.NoReturn:
        """Ends the module with an error; the result includes the values gathered so far."""
        self._log(f"failed: {error}")
        self.module.fail_json(msg=self.redact(str(error)), **self._shape())
        raise AssertionError("fail_json returned")
