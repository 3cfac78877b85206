# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the containers of a client's project to what its Compose files say; each step may be repeated."""

from __future__ import annotations

import contextlib
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.waba.onprem.plugins.module_utils._client import guard, listing
from ansible_collections.waba.onprem.plugins.module_utils._compose.document import STOPPED
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import hold, topology, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile
from ansible_collections.waba.onprem.plugins.module_utils._docker.transport import NotFound

if t.TYPE_CHECKING:
    from ansible_collections.waba.onprem.plugins.module_utils._compose import plan as compose_plan
    from ansible_collections.waba.onprem.plugins.module_utils._compose.project import Project
    from ansible_collections.waba.onprem.plugins.module_utils._docker.engine import Docker

_REQUESTS = 30  # seconds for the engine's answer beside the stop of a container
TIMEOUT = f"{topology.STOP_SECONDS + _REQUESTS}s"  # of the engine


def refuse_other_run(params: t.Mapping[str, t.Any]) -> bool:
    """Returns whether the run is an upgrade that has the client. Raises WaError if another run has the lock, or an upgrade is unfinished.

    What stops or starts containers needs the lock of its own: a run that has slept may have lost it. Files are written before it is taken.
    """
    lock = JournalFile(params["lock_file"]).load() if params["lock_file"] else None
    there = upgrade_journal.describe_lock(lock) or {"run_id": None, "blocking": False, "held": False}
    if there["run_id"] != params["run_id"] and (there["blocking"] or (params["run_id"] and there["held"])):
        raise WaError(f"lock {params['lock_file']}", there["message"])
    if params["run_id"] and params["lock_file"] and (params["start"] or params["state"] != "present"):
        upgrade_journal.own(lock, params["run_id"])
    return upgrade_journal.is_upgrade(lock) and there["run_id"] == params["run_id"]


def refuse_started(params: t.Mapping[str, t.Any], containers: t.Sequence[t.Mapping[str, t.Any]]) -> None:
    """Raises WaError if one of the `containers` of the client was started since an upgrade has noted its stop, by this host's own clock.

    Also if one that it has stopped is gone: `docker compose up` and `down` leave nothing else.
    """
    lock = JournalFile(params["lock_file"]).load_upgrade() or {"notes": {}}
    since = [one["name"] for one in containers if one["started_at"] > float(lock["notes"].get("down_at") or 0)]
    gone = {*params["stays_stopped"]} - {one["id"] for one in containers}
    if since or gone:
        raise WaError(
            f"client in project {params['project']}",
            f"{', '.join(since)} started since the upgrade has stopped it"
            if since
            else f"container {', '.join(sorted(one[:12] for one in gone))} removed since the upgrade has stopped it",
            "the containers that were stopped, since the copy of the database would lack what others have written",
            "See who has done it, then run upgrade.yml again, which makes a new copy",
        )


def refuse_changed(engine: Docker, params: t.Mapping[str, t.Any]) -> None:
    """Raises WaError if the client must not be touched any more.

    With many hosts or members minutes may pass after the comparison: another run may have begun, an operator may hold the client, or a
    container may have been started manually. What an upgrade has stopped it starts again, also where somebody holds the client since.
    """
    upgrades = refuse_other_run(params)
    if params["recreate"] == "never":  # they are held, as the comparison knew
        return
    held = hold.read(topology.hold_file(params["lock_file"]), time.time())
    if held and not upgrades:
        raise WaError.of(
            f"{held['path']} holds the client since this run has compared the host: {held['reason'].rstrip('.')}. Run again"
        )
    second = guard.check(listing.read(engine, None, []), params["guard"])["second_coreapp"]
    if second:
        raise WaError.of(second)


def start(
    project: Project,
    steps: t.Iterable[compose_plan.Step],
    planned: t.Mapping[str, t.Any],
    files: t.Sequence[str],
) -> None:
    """Does `steps`, and what is `planned` in the format of `wa_client`; `files` are the Compose files, which are written. Raises WaError."""
    # A surplus container would still be a node of the client, or occupy the ports; Compose would fail at a paused one.
    order = ("remove", "unpause", "start")
    taken = [one for one in steps if one.action in order]
    for step in sorted(taken, key=lambda one: (order.index(one.action), len(project.needs(one.service)))):
        if step.action == "remove":
            stop(project.engine, step.container)
            remove(project.engine, step.container)
        else:
            change(project.engine, step.container, step.action)
    for one in planned["calls"]:
        options = [{"never": "--no-recreate", "always": "--force-recreate"}[one["recreate"]]]
        project.compose.up(files, one["services"], *options, *([] if one["dependencies"] else ["--no-deps"]))
    for one in planned["restart_policies"]:  # Compose does not see what `docker update` has changed
        set_restart_policy(project.engine, one["name"], one["policy"], one["retries"])


def set_restart_policy(engine: Docker, name: str, policy: str, retries: int = 0) -> None:
    """Sets the restart policy of a container, which `docker update` does, too."""
    change(engine, name, "update", body={"RestartPolicy": {"Name": policy, "MaximumRetryCount": retries}})


def stop(engine: Docker, name: str) -> None:
    """Stops a container, as long as it takes; one that has gone is stopped."""
    record = engine.inspect_id(name)
    if record is None or record["State"]["Status"] in STOPPED:
        return
    with contextlib.suppress(NotFound):
        if record["State"]["Status"] == "paused":  # it takes no signal
            change(engine, name, "unpause")
        change(engine, name, "stop", {"t": topology.STOP_SECONDS})


def stop_all(engine: Docker, names: t.Sequence[str]) -> None:
    """Stops containers at once, since each may take the whole grace period."""
    with ThreadPoolExecutor(max(len(names), 1)) as pool:
        for _stopped in pool.map(lambda name: stop(engine, name), names):
            pass


def remove(engine: Docker, name: str) -> None:
    """Removes a stopped container. Volumes without a name stay: nobody knows what they hold. Raises WaError for one that runs."""
    try:
        with contextlib.suppress(NotFound):
            engine.request(f"container {name}", "DELETE", f"/containers/{name}", {"v": 0})
    except WaError:
        record = engine.inspect_id(name)
        if record is None or record["State"]["Status"] in STOPPED:
            raise
        found, name = f"{record['State']['Status']}: somebody has started it again", record["Name"].lstrip("/")
        cure = f"Wait for its end (docker wait {name}), then run again"
        raise WaError(f"container {name}", found, "one that has ended", cure) from None


def change(
    engine: Docker, name: str, verb: str, query: t.Mapping[str, t.Any] | None = None, body: t.Any = None
) -> None:
    """Starts, unpauses, updates or stops a container, given by its name or id."""
    engine.request(f"container {name}", "POST", f"/containers/{name}/{verb}", query, body)
