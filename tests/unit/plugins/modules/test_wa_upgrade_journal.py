# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""wa_upgrade_journal with real files: one lock, facts, atomic writes."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import lock_file, upgrade_journal
from ansible_collections.waba.onprem.plugins.module_utils._deployment.lock_file import JournalFile

Run = t.Callable[..., "dict[str, t.Any]"]


@pytest.fixture
def run(run_module: t.Callable[..., dict[str, t.Any]], tmp_path: Path) -> Run:
    def call(operation: str, run_id: str = "m/1/5", check: bool = False, **options: t.Any) -> dict[str, t.Any]:
        given: dict[str, t.Any] = {"operation": operation, "path": str(tmp_path / "support.lock"), "run_id": run_id}
        given.update(host="h1")
        if operation in ("begin", "hold"):
            given.update(deployment="support", target="2.53.4", user="ann", controller="ops1")
        return run_module("wa_upgrade_journal", {**given, **options}, check)

    return call


@pytest.fixture
def read(run_module: t.Callable[..., dict[str, t.Any]], tmp_path: Path) -> Run:
    def call() -> dict[str, t.Any]:
        return run_module("wa_info", {"gather": ["journal"], "lock_file": str(tmp_path / "support.lock")})

    return call


def stage(result: dict[str, t.Any]) -> str:
    """The word for where the journal of a result stands."""
    return upgrade_journal.stage(result["journal"])[0]


def stop(run: Run, run_id: str = "m/1/5", check: bool = False) -> dict[str, t.Any]:
    """The run has begun to stop the client."""
    return run("note", run_id, check, times=["down_at"])


def test_an_upgrade_writes_its_facts_and_is_archived(run: Run, read: Run, tmp_path: Path) -> None:
    begun = run("begin")
    assert (begun["changed"], begun["resumed"], begun["held"]) == (True, False, False)
    seen = [stage(begun)]
    for more in (
        {"times": ["down_at"]},
        {"schema": "started", "notes": {"dump": "/d"}},
        {"schema": "done"},
        {"times": ["up_at"]},
    ):
        noted = run("note", **more)
        seen.append(stage(noted))
    assert seen == ["locked", "stopping", "migrating", "starting", "verifying"]
    assert sorted(noted["journal"]["notes"]) == ["down_at", "dump", "up_at"]
    run("end", outcome="done")
    [last] = tmp_path.iterdir()
    assert last.name == "support.last-upgrade.json"
    assert json.loads(last.read_text())["outcome"] == "done"
    assert last.stat().st_mode & 0o777 == 0o600
    assert read()["journal"] == {}


def test_check_mode_writes_nothing(run: Run, tmp_path: Path) -> None:
    predicted = run("begin", check=True)
    assert (predicted["changed"], predicted["actions"]) == (True, ["lock support for the upgrade to 2.53.4"])
    assert list(tmp_path.iterdir()) == []
    run("begin")
    before = (tmp_path / "support.lock").read_bytes()
    stop(run, check=True)
    run("end", outcome="done", check=True)
    assert (tmp_path / "support.lock").read_bytes() == before
    assert run("begin", run_id="m/2/5", check=True)["failed"]


def test_another_run_is_refused_with_the_holder_of_the_lock(run: Run) -> None:
    run("begin")
    refused = run("begin", run_id="m/2/5")
    assert refused["held"]
    assert "locked by the upgrade to 2.53.4 by ann from ops1, since 20" in refused["msg"]
    assert "wa_upgrade_take_over" in refused["msg"]


def test_a_dead_run_is_resumed(run: Run) -> None:
    run("begin")
    run("note", schema="started", notes={"from_version": "2.51.2"})
    taken = run("begin", run_id="m/2/5", take_over=True)
    assert (taken["resumed"], stage(taken)) == (True, "migrating")
    assert taken["journal"]["notes"] == {"from_version": "2.51.2"}
    assert not taken["held"]
    lost = run("note", schema="done")
    assert "taken over by" in lost["msg"]
    assert run("note", run_id="m/2/5", schema="done")["changed"]


@pytest.mark.parametrize("options", [{}, {"restores": "/b/eu.json"}])
@pytest.mark.parametrize("target", ["2.53.4", "2.55.1"])
def test_what_a_run_that_has_ended_elsewhere_has_left_counts_no_more(
    run: Run, options: dict[str, t.Any], target: str
) -> None:
    run("begin", **options)
    run("note", schema="started", notes={"from_version": "2.51.2"})
    begun = run("begin", run_id="m/2/5", target=target, ended_runs=["m/1/5"])
    assert (begun["resumed"], stage(begun), begun["journal"]["notes"]) == (False, "locked", {})


def test_an_expired_lease_is_taken_over(run: Run) -> None:
    assert not run("begin", lease="0s")["took_over"]
    assert not run("begin", lease="0s")["took_over"]
    taken = run("begin", run_id="m/2/5")
    assert (taken["changed"], taken["took_over"]) == (True, True)


def test_a_restore_knows_that_it_goes_on(run: Run) -> None:
    """After an upgrade that was cut off it does not, and after one of its own runs it does."""
    run("begin")
    run("note", schema="started", lease="0s")
    begun = [run("begin", run_id=f"m/{number}/5", restores="/b/eu.json", lease="0s") for number in (2, 3)]
    assert [one["restores_on"] for one in begun] == [False, True]


def test_a_failed_run_leaves_its_journal_and_releases_the_lock(run: Run, read: Run) -> None:
    run("begin")
    run("note", schema="started")
    run("end", outcome="failed")
    left = read()
    assert (left["upgrade"]["held"], stage(left)) == (False, "migrating")
    other = run("begin", run_id="m/2/5", target="2.55.0")
    assert "expected the same target, not 2.55.0" in other["msg"]
    assert run("begin", run_id="m/2/5")["resumed"]


def test_without_resume_a_dead_run_is_replaced(run: Run) -> None:
    run("begin")
    stop(run)
    assert "locked by" in run("begin", run_id="m/2/5", target="2.55.0", resume=False)["msg"]
    replaced = run("begin", run_id="m/2/5", target="2.55.0", resume=False, ended_runs=["m/1/5"])
    assert (replaced["resumed"], stage(replaced), replaced["journal"]["target"]) == (
        False,
        "locked",
        "2.55.0",
    )


def test_an_upgrade_that_changed_nothing_may_get_another_target(run: Run) -> None:
    run("begin")
    again = run("begin", run_id="m/2/5", target="2.55.0", take_over=True)
    assert (again["resumed"], again["journal"]["target"]) == (False, "2.55.0")


def test_traffic_that_a_killed_run_keeps_away_is_known_until_an_upgrade_ends(run: Run) -> None:
    run("begin", lease="0s")
    away = run("note", times=["traffic_away_at"], lease="0s")["journal"]["notes"]
    for run_id in ("m/2/5", "m/3/5"):  # killed before their stop, too
        begun = run("begin", run_id=run_id, lease="0s")
        assert (begun["resumed"], begun["journal"]["notes"]) == (False, away)
    run("end", run_id="m/3/5", outcome="done")
    assert run("begin")["journal"]["notes"] == {}


@pytest.mark.parametrize("ends", ["released", "taken over", "killed"])
def test_traffic_that_a_killed_run_keeps_away_is_known_after_another_playbook(run: Run, read: Run, ends: str) -> None:
    run("begin", lease="0s")
    left = run("note", times=["traffic_away_at"], lease="0s")["journal"]
    for host in ("h1", "h2"):
        run("hold", run_id="m/2/5", host=host, lease="0s")
    if ends == "released":
        for host in ("h1", "h2"):
            run("release", run_id="m/2/5", host=host)
        assert read()["journal"] == left
    elif ends == "taken over":
        run("hold", run_id="m/3/5", lease="0s")
        run("release", run_id="m/3/5")
        assert read()["journal"] == left
    begun = run("begin", run_id="m/4/5", target="2.55.1")
    assert (begun["resumed"], begun["journal"]["notes"]) == (False, left["notes"])


def test_an_upgrade_that_left_nothing_is_gone_after_another_playbook(run: Run, read: Run) -> None:
    run("begin", lease="0s")
    run("hold", run_id="m/2/5")
    run("release", run_id="m/2/5")
    assert read()["journal"] == {}


def test_the_last_upgrade_reports_all_its_runs(run: Run, read: Run) -> None:
    assert read()["ended"] == {}
    run("begin")
    stop(run)
    run("begin", run_id="m/2/5", take_over=True)
    run("end", run_id="m/2/5", outcome="rolled_back")
    ended = read()["ended"]
    assert (ended["outcome"], ended["runs"]) == ("rolled_back", ["m/1/5", "m/2/5"])


def test_rolled_back_is_refused_after_the_migration_started(run: Run, tmp_path: Path) -> None:
    run("begin")
    stop(run)
    assert run("end", outcome="rolled_back")["changed"]
    assert not (tmp_path / "support.lock").exists()
    run("begin")
    run("note", schema="started")
    assert "the schema is started; expected a schema that is untouched" in run("end", outcome="rolled_back")["msg"]
    assert (tmp_path / "support.lock").exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format": 2}',
        '{"lease_until": 12}',
        '{"format": 2, "schema": "done", "notes": {}}',
    ],
)
def test_a_file_not_written_by_an_upgrade_is_unchanged(run: Run, tmp_path: Path, content: str) -> None:
    (tmp_path / "support.lock").write_text(content)
    assert "not written by this collection" in run("begin", take_over=True)["msg"]
    assert (tmp_path / "support.lock").read_text() == content


def test_the_lock_of_another_deployment_is_refused(run: Run) -> None:
    run("begin")
    assert "is that of support" in run("begin", deployment="sales", take_over=True)["msg"]


def test_a_missing_folder_fails(run: Run, tmp_path: Path) -> None:
    refused = run("begin", path=str(tmp_path / "nowhere" / "support.lock"))
    assert "role wa_host does" in refused["msg"]


def test_a_lock_removed_by_another_process_fails(run: Run, tmp_path: Path) -> None:
    run("begin")
    (tmp_path / "support.lock").unlink()
    assert "somebody has removed the lock file" in stop(run)["msg"]


@pytest.mark.parametrize("outcome", ["failed", "rolled_back", "abandoned"])
def test_a_failed_run_keeps_the_lock_of_another_run(run: Run, tmp_path: Path, outcome: str) -> None:
    assert run("end", outcome=outcome)["changed"] is False
    run("begin", run_id="m/2/5")
    before = (tmp_path / "support.lock").read_text()
    assert run("end", outcome=outcome)["changed"] is False
    assert (tmp_path / "support.lock").read_text() == before
    for ended in ("done", "restored"):
        assert "taken over by" in run("end", outcome=ended)["msg"]
    (tmp_path / "support.lock").unlink()
    assert "somebody has removed the lock file" in run("end", outcome="restored")["msg"]


def _try_to_begin(path: str, number: int, go: t.Any, won: t.Any) -> None:
    file = JournalFile(path)
    claim = upgrade_journal.Claim("support", f"m/{number}/5", "ann", "ops1", "2.53.4")
    go.wait()
    try:
        with file.exclusively():
            file.save(upgrade_journal.begin(file.load(), claim, 1000.0, 60.0))
    except WaError:
        return
    won.put(number)


def test_one_of_many_concurrent_runs_gets_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    go, won = context.Event(), context.Queue()
    runs = [context.Process(target=_try_to_begin, args=(str(tmp_path / "a.lock"), n, go, won)) for n in range(12)]
    for process in runs:
        process.start()
    go.set()
    for process in runs:
        process.join(30)
        assert process.exitcode == 0
    winner = won.get(timeout=5)
    assert won.empty()
    assert json.loads((tmp_path / "a.lock").read_text())["run_id"] == f"m/{winner}/5"


def test_a_full_disk_keeps_the_old_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = JournalFile(str(tmp_path / "a.lock"))
    claim = upgrade_journal.Claim("support", "m/1/5", "ann", "ops1", "2.53.4")
    file.save(upgrade_journal.begin(None, claim, 1000.0, 60.0))
    before = (tmp_path / "a.lock").read_bytes()

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WaError, match="No space left on device"):
        file.save(upgrade_journal.begin(None, claim, 2000.0, 60.0))
    assert (tmp_path / "a.lock").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_lock_on_the_folder_has_no_effect(run: Run, tmp_path: Path) -> None:
    """Every user who may read the folder can lock it. Only the owner can open the guard file."""
    number = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(number, fcntl.LOCK_EX)
    assert not run("begin").get("failed")
    os.close(number)


def test_a_held_guard_file_fails_after_the_timeout(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_file, "_TIMEOUT", 0.1)
    guard = tmp_path / ".support.lock.guard"
    with guard.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = run("begin")
    assert refused["failed"]
    assert refused["msg"].startswith(f"lock file {guard}: another process has held it for 0.1 s; expected a free lock.")
    assert not run("begin").get("failed")


def test_a_fifo_instead_of_the_journal_is_refused(read: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "support.lock")
    assert "no regular file" in read()["msg"]


def test_one_run_at_a_time_changes_the_containers(run: Run, tmp_path: Path) -> None:
    assert not run("hold", check=True).get("failed")
    assert list(tmp_path.iterdir()) == []
    assert run("hold")["changed"] is False
    assert not run("hold").get("failed")  # the lease is renewed
    refused = run("hold", run_id="m/2/5")
    assert "locked by a run that changes its containers, by ann from ops1, since 20" in refused["msg"]
    assert (refused["held"], refused["journal"]) == (True, {})
    run("release", run_id="m/2/5")
    assert [path.name for path in tmp_path.iterdir()] == ["support.lock"]
    run("release")
    assert list(tmp_path.iterdir()) == []
    assert not run("hold", run_id="m/2/5").get("failed")


def test_the_hosts_of_a_run_share_the_lock_until_the_last_releases_it(run: Run, tmp_path: Path) -> None:
    for host in ("h1", "h2"):
        run("hold", host=host)
    run("release", host="h1", check=True)
    run("release", host="h1")
    assert run("hold", run_id="m/2/5")["failed"]
    run("release", host="h2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"ended_runs": ["m/1/5"]}, {"take_over": True}])
def test_no_upgrade_begins_while_a_run_changes_the_containers(run: Run, read: Run, options: dict[str, t.Any]) -> None:
    run("hold")
    assert "locked by a run that changes its containers" in run("begin", run_id="m/2/5")["msg"]
    assert stage(run("begin", run_id="m/2/5", **options)) == "locked"
    run("release")
    assert stage(read()) == "locked", "it is not the run's own any more"


def test_no_run_changes_the_containers_of_an_upgrade(run: Run, tmp_path: Path) -> None:
    run("begin")
    assert "locked by the upgrade to 2.53.4" in run("hold", run_id="m/2/5")["msg"]
    stop(run)
    run("end", outcome="failed")
    assert "left unfinished by the upgrade to 2.53.4" in run("hold", run_id="m/2/5")["msg"]
    assert [path.name for path in tmp_path.iterdir()] == ["support.lock"]


def test_a_lock_whose_lease_is_over_blocks_no_other_run(run: Run, tmp_path: Path) -> None:
    run("hold", lease="0s")
    assert not run("hold", run_id="m/2/5").get("failed")
    run("hold", run_id="m/2/5", lease="0s")
    run("release", run_id="m/3/5")
    assert list(tmp_path.iterdir()) == []
    run("hold", run_id="m/2/5", lease="0s")
    assert stage(run("begin", run_id="m/3/5")) == "locked"


@pytest.mark.parametrize("operation", ["hold", "release"])
def test_a_host_without_the_folder_is_not_locked(run: Run, tmp_path: Path, operation: str) -> None:
    tmp_path.rmdir()
    result = run(operation)
    assert (result["changed"], result.get("failed")) == (False, None)


def test_after_going_back_a_late_step_counts_no_more(run: Run) -> None:
    run("begin")
    stop(run)
    assert stage(run("go_back")) == "stopping"
    assert "this run goes back" in stop(run)["msg"]
    assert not run("end", outcome="rolled_back").get("failed")
    assert run("go_back")["journal"] == {}


def test_going_back_changes_nothing_from_the_migration_on_or_of_another_run(run: Run, tmp_path: Path) -> None:
    run("begin")
    run("note", schema="started")
    before = (tmp_path / "support.lock").read_bytes()
    assert stage(run("go_back")) == "migrating"
    assert run("go_back", run_id="m/9/9")["held"] is True
    assert (tmp_path / "support.lock").read_bytes() == before
