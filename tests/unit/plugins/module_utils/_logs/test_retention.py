# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of the client's log cleanup: prediction, violations, changes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._logs import retention
from ansible_collections.waba.onprem.plugins.module_utils._logs.measurement import LogFile, Measurement
from ansible_collections.waba.onprem.plugins.module_utils._logs.retention import (
    compare,
    live_core_files,
    old_core_files,
    predict,
    violations,
)

LOGS, CORE, ARCHIVE = "/var/log/whatsapp", "/usr/local/waent/logs", "/var/log/whatsapp/archive"
MB = 1 << 20
_inodes = itertools.count(1)


def log(path: str, size: int = 100, age: float = 0, inode: int = 0) -> LogFile:
    """A file that is `age` seconds old."""
    return LogFile(path, inode or next(_inodes), size, size, 1e9 - age)


def measured(*files: LogFile) -> Measurement:
    """A measurement of these files."""
    return Measurement(files=list(files), folders=[LOGS])


@pytest.mark.parametrize(
    ("name", "log_name", "rotated"),
    [
        ("web.log", "web", False),
        ("web.log.1", "web", True),
        ("web.log-20261124.gz", "web", True),
        ("access.log-20261124151201.gz", "access", True),
        ("access-2026-11-24T15:12:01Z.log.gz", "access", True),
        ("wa-service-20261124-151201-123456.log", "wa-service", False),
        ("wa-service-20261124-151201-123456.log.gz", "wa-service", True),
        ("wa-service.log", "wa-service", False),
        ("error.log.12.xz", "error", True),
        ("20261124.log", "20261124.log", False),
        ("notes.txt", "notes.txt", False),
        ("my log.log", "my log", False),
        ("wa-service.log.20261124-151201.7", "wa-service", False),
        ("wa-service.log.INFO.20261124-151201.7", "wa-service.INFO", False),
        ("wa-service.log.20261124.gz", "wa-service", True),
        ("20261124-crash.log", "20261124-crash.log", False),
    ],
)
def test_the_log_of_a_file_name(name: str, log_name: str, rotated: bool) -> None:
    """Which log a file belongs to, and whether it may still be written to."""
    file = log(f"{LOGS}/{name}")
    if log_name != name:
        assert file.log_name == log_name
    assert file.rotated == rotated


def test_live_logs_and_archives_are_distinguished() -> None:
    """A file in the archive folder is an archive, whatever its name. A hidden file is neither."""
    assert log(f"{LOGS}/web.log").live
    assert not log(f"{ARCHIVE}/web.log").live
    assert log(f"{ARCHIVE}/notes.txt").archived
    assert not log(f"{ARCHIVE}/.lock").archived
    assert not log(f"{LOGS}/.web.log").live
    assert not log("/var/log/archives/web.log").archived


def test_core_keeps_the_newest_files_of_the_archive() -> None:
    """All files count together. Old live logs are added, and the oldest files are removed."""
    archive = [log(f"{ARCHIVE}/wa-service-{n}.log.gz", age=1000 * n) for n in range(1, 31)]
    live = [log(f"{CORE}/wa-service-{n}.log", age=n) for n in range(3)]
    plan = predict("core", measured(*live, *archive))
    assert plan.archive == live[1:]
    assert plan.rotate == []
    assert [file.path for file in plan.remove] == [f"{ARCHIVE}/wa-service-{n}.log.gz" for n in (29, 30)]
    assert (plan.free_bytes, plan.compress_bytes) == (200, 200)
    large = log(f"{CORE}/wa-service-9.log", 15 * MB + 1)
    assert predict("master", measured(large)).rotate == [large]
    assert not predict("core", measured(log(f"{CORE}/wa-service-9.log", 15 * MB))).changed


def test_web_keeps_the_newest_files_of_each_log() -> None:
    """Each log has thirty archives. Only a log above its size is rotated, and old live files are kept."""
    files = [
        log(f"{ARCHIVE}/{name}.log-{n:03}.gz", age=n)
        for name, count in (("web", 30), ("access", 33))
        for n in range(count)
    ]
    files += [log(f"{LOGS}/web.log", 20 * MB + 1), log(f"{LOGS}/access.log", 20 * MB), log(f"{LOGS}/error.log")]
    plan = predict("web", measured(*files))
    assert [file.name for file in plan.rotate] == ["web.log"]
    assert plan.archive == []
    assert {file.name for file in plan.remove} == {"web.log-029.gz", *(f"access.log-{n:03}.gz" for n in (30, 31, 32))}


ARCHIVED = st.lists(
    st.tuples(st.sampled_from(["web", "access", "x y", "wa-service"]), st.integers(0, 50), st.integers(0, 9999)),
    max_size=60,
)


@given(ARCHIVED, st.integers(0, 40), st.sampled_from(["web", "core", "master"]))
def test_the_prediction_satisfies_the_rules(rows: list[tuple[str, int, int]], keep: int, role: str) -> None:
    """It removes exactly as many files as the rules require, the oldest of each group first."""
    files = [log(f"{ARCHIVE}/{name}.log-{n}.gz", size, age) for n, (name, age, size) in enumerate(rows)]
    groups: dict[str, list[LogFile]] = {}
    for file in files:
        groups.setdefault(file.log_name if role == "web" else "", []).append(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "KEEP", keep)
        removed = {file.path for file in predict(role, measured(*files)).remove}
        after = measured(*(file for file in files if file.path not in removed))
        assert not predict(role, after).changed, "a second cleanup has nothing to do"
        assert [one for one in violations(role, after, after) if one["rule"] == "too_many"] == []
    for group in groups.values():
        kept = [file.mtime for file in group if file.path not in removed]
        gone = [file.mtime for file in group if file.path in removed]
        assert len(kept) == min(keep, len(group))
        assert not kept or not gone or min(kept) >= max(gone)
    difference = compare(measured(*files), after)
    assert difference.changed == bool(removed)
    assert difference.freed_bytes == sum(file.used for file in files if file.path in removed)


def test_writing_of_the_client_is_no_change() -> None:
    """A growing log, a new live log and a hidden file are no change; all others are."""
    web = log(f"{LOGS}/web.log", 100, inode=1)
    old = measured(web, log(f"{ARCHIVE}/a.gz", inode=2))
    grown = measured(
        log(f"{LOGS}/web.log", 900, inode=1),
        log(f"{ARCHIVE}/a.gz", inode=2),
        log(f"{LOGS}/new.log"),
        log(f"{ARCHIVE}/.l"),
    )
    same = compare(old, grown)
    assert (same.changed, same.freed_bytes) == (False, 0)
    cut = compare(old, measured(log(f"{LOGS}/web.log", 20, inode=1), log(f"{ARCHIVE}/a.gz", inode=2)))
    assert (cut.changed, cut.freed_bytes) == (True, 80)
    rotated = compare(
        old,
        measured(
            log(f"{LOGS}/web.log", 5, inode=9),
            log(f"{ARCHIVE}/a.gz", inode=2),
            log(f"{ARCHIVE}/web.log-1.gz", 30, inode=8),
        ),
    )
    assert (rotated.changed, rotated.freed_bytes) == (True, 70)
    assert [file.name for file in rotated.came] == ["web.log-1.gz"]


def test_each_broken_rule_is_a_violation() -> None:
    """A Coreapp log that becomes old during the run is no violation, nor is a live log that is just above its size."""
    clean = measured(log(f"{CORE}/wa-service-1.log"), log(f"{ARCHIVE}/wa-service-0.log.gz"))

    def rules(role: str, after: Measurement, before: Measurement | None = None) -> list[str]:
        return [one["rule"] for one in violations(role, before or after, after)]

    assert rules("core", clean) == []
    many = measured(*(log(f"{ARCHIVE}/w-{n}.log.gz") for n in range(42)))
    assert [(one["rule"], one["count"], len(one["paths"])) for one in violations("core", many, many)] == [
        ("too_many", 12, 10)
    ]
    assert rules("core", measured(log(f"{ARCHIVE}/a.log"))) == ["not_compressed"]
    assert rules("web", measured(log(f"{LOGS}/a.log.gz"))) == ["outside_archive"]
    two = measured(log(f"{CORE}/wa-service-1.log", age=5), log(f"{CORE}/wa-service-2.log"))
    assert rules("core", two) == ["old_core_files"]
    assert rules("web", two) == []
    assert rules("core", two, measured(two.files[0])) == []
    assert rules("web", measured(log(f"{LOGS}/web.log", 40 * MB))) == []
    large = measured(log(f"{LOGS}/web.log", 41 * MB, inode=7))
    assert rules("web", large) == ["live_too_large"]
    assert rules("web", measured(log(f"{LOGS}/web.log", 45 * MB, inode=7)), large) == ["live_too_large"]
    # rotated, and already too large again: the client writes fast, the cleanup works
    assert rules("web", measured(log(f"{LOGS}/web.log", 45 * MB)), large) == []
    assert rules("web", measured(log(f"{LOGS}/web.log", 41 * MB - 1, inode=7)), large) == []
    assert rules("web", Measurement(missing=["/x"])) == ["no_folder"]
    assert rules("web", Measurement(folders=["/x"], unreadable=["/x"])) == ["unreadable"]


def test_old_core_files_are_found_by_log_and_folder() -> None:
    """The newest file of each log in each folder is being written. A single file of another log is not old."""
    files = [log(f"{CORE}/wa-service-1.log", age=9), log(f"{CORE}/wa-service-2.log"), log(f"{CORE}/crash.log", age=99)]
    assert old_core_files("core", measured(*files, log(f"{LOGS}/wa-service-0.log", age=50))) == files[:1]


def test_the_vendors_core_logs() -> None:
    """Names start with a date: the newest of each level is live, older ones wait for the cleanup. Crash logs are no logs."""
    new = log(f"{CORE}/wa-service.log.20261125", age=0)
    old = log(f"{CORE}/wa-service.log.20261124", age=9)
    info = log(f"{CORE}/wa-service.log.INFO.20261120", age=99)
    crashes = [log(f"{CORE}/{n}-crash.log", age=n) for n in range(3)]
    found = measured(old, new, info, *crashes)
    assert old_core_files("core", found) == [old]
    assert live_core_files("core", found) == [new, info]
    assert live_core_files("web", found) == []
    plan = predict("core", found)
    assert (plan.archive, plan.rotate, plan.remove) == ([old], [], [])
    assert [one["rule"] for one in violations("core", found, found)] == ["old_core_files"]
    # with equal times, the later date in the name counts
    twins = [log(f"{CORE}/wa-service.log.{day}") for day in (20261124, 20261125)]
    assert live_core_files("core", measured(*twins)) == twins[1:]
    # a crash during the run is no change by the cleanup
    assert not compare(measured(new), measured(new, *crashes)).changed


def test_a_live_core_log_removed_by_the_cleanup_is_a_violation() -> None:
    """Removed or truncated, the Coreapp writes to a deleted file. Not if it was too large, or no longer live."""

    def rules(before: Measurement, after: Measurement, role: str = "core") -> list[str]:
        return [one["rule"] for one in violations(role, before, after)]

    live = log(f"{CORE}/wa-service.log.20261125", 5000, inode=7)
    assert rules(measured(live), measured()) == ["live_removed"]
    assert rules(measured(live), measured(log(live.path, 10, inode=7))) == ["live_removed"]
    assert rules(measured(live), measured(log(live.path, 9000, inode=7))) == []
    assert rules(measured(live), measured(log(f"{CORE}/wa-service.log.20261126"))) == []
    assert rules(measured(log(live.path, 16 * MB)), measured()) == []
    assert rules(measured(live), measured(), "web") == []


def test_lighttpd_rotates_its_own_log() -> None:
    """The log is measured, but no rule applies to it."""
    found = measured(log("/var/log/lighttpd/error.log"), log("/var/log/lighttpd/error.log.1.gz"))
    assert violations("web", found, found) == []
    outside = measured(log(f"{LOGS}/error.log.1.gz"))
    assert [one["rule"] for one in violations("web", outside, outside)] == ["outside_archive"]
