# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of the fleet. `tests/report` has promtool and node_exporter read them."""

from __future__ import annotations

import re
import typing as t

import fleets
import pytest
from fleets import NOW

from ansible_collections.waba.onprem.plugins.plugin_utils import _fleet_metrics as fleet_metrics


def samples(*deployments: fleets.Report) -> dict[str, float]:
    """Each sample by its name with labels."""
    text = fleet_metrics.metrics(fleets.fleet(deployments))
    found = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _space, value in found}


def test_every_value_of_a_deployment_is_there() -> None:
    now = int(NOW)
    midnight = now - now % 86400
    a, h = 'deployment="a"', 'deployment="a",host="h1"'
    found = samples(fleets.deployment("a", "h1"))
    states = ("unreachable", "unhealthy", "unknown", "drifted", "attention", "in_sync")
    expected = {
        "wa_report_timestamp_seconds": now,
        **{f'wa_report_deployments{{state="{state}"}}': state == "in_sync" for state in states},
        **{f'wa_deployment_state{{{a},state="{state}"}}': state == "in_sync" for state in states},
        f'wa_deployment_info{{{a},version="2.53.4",topology="single",database="MariaDB 11.8.3"}}': 1,
        f"wa_deployment_healthy{{{a}}}": 1,
        f"wa_deployment_drift{{{a}}}": 0,
        f"wa_deployment_unknown_sessions{{{a}}}": 0,
        f"wa_deployment_expiry_timestamp_seconds{{{a}}}": midnight + 100 * 86400,
        f'wa_deployment_certificate_expiry_timestamp_seconds{{{h},certificate="API"}}': midnight + 200 * 86400,
        f'wa_deployment_messages{{{a},database="waMessageStore"}}': 410233,
        f"wa_deployment_messages_limit{{{a}}}": 2_000_000,
        f"wa_deployment_gc_daily{{{a}}}": 1,
        f"wa_deployment_gc_last_timestamp_seconds{{{a}}}": now - 50000,
        f"wa_deployment_callbacks_waiting{{{a}}}": 0,
        f"wa_deployment_callbacks_refused_total{{{a}}}": 0,
        f"wa_deployment_database_connections{{{a}}}": 31,
        f"wa_deployment_database_connections_limit{{{a}}}": 151,
        f"wa_deployment_database_end_of_life_timestamp_seconds{{{a}}}": 1843689600,
        f"wa_deployment_settings_backup_timestamp_seconds{{{a}}}": now - 40000,
        f"wa_deployment_database_copy_timestamp_seconds{{{a}}}": now - 40000,
        f"wa_deployment_drill_timestamp_seconds{{{a}}}": now - 500000,
        f"wa_deployment_upgrade_unfinished{{{a}}}": 0,
        f"wa_deployment_held{{{a}}}": 0,
        f"wa_host_reached{{{h}}}": 1,
        **{f'wa_host_disk_free_bytes{{{h},filesystem="{one}"}}': (60 * 2**30) for one in ("docker", "logs", "media")},
        **{f'wa_host_disk_size_bytes{{{h},filesystem="{one}"}}': 100 * 2**30 for one in ("docker", "logs", "media")},
        f"wa_host_log_cleanup_timestamp_seconds{{{h}}}": now - 29990,
    }
    assert found == expected


def test_what_is_not_known_has_no_sample() -> None:
    found = samples(fleets.unreachable("a", "h1"))
    assert {re.sub(r"\{.*", "", name) for name in found} == {
        "wa_report_timestamp_seconds",
        "wa_report_deployments",
        "wa_deployment_state",
        "wa_deployment_info",
        "wa_deployment_messages_limit",
        "wa_deployment_gc_daily",
        "wa_deployment_settings_backup_timestamp_seconds",
        "wa_deployment_database_copy_timestamp_seconds",
        "wa_deployment_upgrade_unfinished",
        "wa_deployment_held",
        "wa_host_reached",
    }
    assert found['wa_host_reached{deployment="a",host="h1"}'] == 0


@pytest.mark.parametrize(
    ("part", "value", "name", "sample"),
    [
        (
            "backups",
            {"settings": None, "database": None, "images": None, "error": None},
            "settings_backup_timestamp_seconds",
            0,
        ),
        (
            "backups",
            {"settings": None, "database": None, "images": None, "error": "no folder"},
            "settings_backup_timestamp_seconds",
            None,
        ),
        ("drill", {"time": None, "age_seconds": None, "error": None}, "drill_timestamp_seconds", 0),
        ("drill", {"time": None, "age_seconds": None, "error": "not read"}, "drill_timestamp_seconds", None),
        ("gc", {"began": None, "error": None, "policy": None, "automatic": None}, "gc_last_timestamp_seconds", 0),
        ("gc", {"began": None, "error": None, "policy": None, "automatic": None}, "gc_daily", None),
        ("gc", {"began": None, "error": None, "policy": "daily", "automatic": False}, "gc_daily", 1),
        ("gc", {"began": None, "error": None, "policy": "daily", "automatic": True}, "gc_daily", 0),
        ("gc", {"began": None, "error": None, "policy": "limit", "automatic": None}, "gc_daily", 0),
        ("health", {"state": "unhealthy"}, "healthy", 0),
        ("health", {"state": "not_asked"}, "healthy", None),
        ("upgrade", {"held": True}, "upgrade_unfinished", 1),
        ("hold", {"text": "held"}, "held", 1),
    ],
)
def test_never_is_zero_and_unknown_is_nothing(part: str, value: t.Any, name: str, sample: float | None) -> None:
    one = {**fleets.deployment("a"), part: value}
    assert samples(one).get(f'wa_deployment_{name}{{deployment="a"}}') == sample


def test_drift_counts_all_hosts() -> None:
    one = fleets.drifted("a", "h1", "h2")
    one["members"][1]["concerns"]["client"] = fleets.concern("drifted", drift=["x"], pending=["y"], alarms=["z"])
    assert samples(one)['wa_deployment_drift{deployment="a"}'] == 3


def test_labels_are_escaped() -> None:
    assert 'wa_deployment_held{deployment="a\\"b\\\\c\\nd"}' in samples(fleets.deployment('a"b\\c\nd', "h1"))


def test_each_metric_has_help_and_type_once_before_its_samples() -> None:
    text = fleet_metrics.metrics(fleets.mixed(40))
    blocks = text.split("# HELP ")[1:]
    names = [block.split()[0] for block in blocks]
    assert len(names) == len({*names}) == 27
    for name, block in zip(names, blocks):
        _help, kind, *lines = block.splitlines()
        assert kind == f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"
        assert lines
        assert all(re.match(rf"{name}[{{ ]", line) for line in lines)


def test_an_empty_fleet_has_the_time_of_its_report() -> None:
    assert samples()["wa_report_timestamp_seconds"] == NOW
