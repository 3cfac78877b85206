# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever an inventory contains, the rules return a clear error or a safe value.

A hundred examples each by default, 2,000 with WA_TEST_PROFILE=deep.
"""

from __future__ import annotations

import math
import re
import typing as t

from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.waba.onprem.plugins.module_utils._compose import document as compose_document
from ansible_collections.waba.onprem.plugins.module_utils._core import units
from ansible_collections.waba.onprem.plugins.module_utils._core.errors import WaError
from ansible_collections.waba.onprem.plugins.module_utils._deployment import layout, paths
from ansible_collections.waba.onprem.plugins.module_utils._deployment import topology as deployment_topology
from ansible_collections.waba.onprem.plugins.module_utils._env import file as env_file
from ansible_collections.waba.onprem.plugins.module_utils._env import plan as env_plan
from ansible_collections.waba.onprem.plugins.plugin_utils import _values as inventory_values

CANARY = "Canary-Secret-1"
PLAIN = re.compile(r"/[^/]+(/[^/]+)*")
# Values that YAML, `-e name=value` or a typing error may give a variable.
WRONG: st.SearchStrategy[t.Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)
SEGMENTS = [
    "wa",
    "a b",
    " a",
    "..",
    ".",
    "",
    "...",
    "ü",
    "e\u0301",
    "\u200b",
    "$HOME",
    "~",
    "-rf",
    "*",
    "a,b",
    "x\n",
    "\x00",
]
SEGMENTS += [
    "db.env",
    "compose.yml",
    "h1.lock",
    "%d",
    "#",
    "'",
    "wa" * 60,
    "lib",
    "docker",
    "local",
    "cron.d",
    "h1",
    "waba",
]
HEADS = [
    "/",
    "//",
    "",
    "./",
    "~/",
    " /",
    "/srv/",
    "/home/",
    "/usr/",
    "/usr/local/",
    "/var/lib/",
    "/etc/",
    "/run/",
    "/opt/waba/",
]
PATHS = st.builds(
    lambda head, parts, tail: head + "/".join(parts) + tail,
    st.sampled_from(HEADS),
    st.lists(st.sampled_from(SEGMENTS), max_size=4),
    st.sampled_from(["", "", "/", "//", "/.", " "]),
)
NAMES = st.sampled_from(
    ["h1", "Support", "поддержка", "a.b.example.com", "--", "x" * 300, "a/b", "..", "12", "", "ÄÖ1", "a b"]
)
SERVICES = st.sampled_from(["wacore1", "wacore2", "master1", "waweb", "dbupgrade"])


def outcome(rule: t.Callable[..., t.Any], *args: t.Any, **options: t.Any) -> tuple[t.Any, str]:
    """The result of `rule`, or None with the message of its WaError. Any other exception fails the test."""
    try:
        return rule(*args, **options), ""
    except WaError as error:
        return None, str(error)


def attempt(rule: t.Callable[..., t.Any], *args: t.Any, **options: t.Any) -> t.Any:
    """The result of `rule`, or None if it refuses with a message."""
    found, refusal = outcome(rule, *args, **options)
    assert found is not None or len(refusal) > 10
    return found


def check_path(path: str) -> None:
    """Assert that a path is normalised and needs no quoting."""
    assert PLAIN.fullmatch(path)
    assert not {".", ".."} & {*path.split("/")}
    assert path.isprintable()
    assert not set("\"'`\\$,;*?[]{}<>|&!()") & {*path}
    assert len(path.encode()) < 255


@given(PATHS | WRONG)
def test_any_path_is_refused_or_normalised(value: t.Any) -> None:
    for rule in (paths.normalise, paths.file, paths.folder):
        path = attempt(rule, "wa_project_dir", value)
        if path is None:
            continue
        if rule is not paths.normalise or path != "/":
            check_path(path)
        for spelling in (path, path + "/", path + "/.", "/" + path, path.replace("/", "//"), path.replace("/", "/./")):
            assert rule("wa_project_dir", spelling) == path


@given(PATHS)
def test_no_system_folder_is_accepted(value: str) -> None:
    path = attempt(paths.folder, "wa_project_dir", value)
    shared = (
        "/",
        "/etc",
        "/home",
        "/opt",
        "/root",
        "/srv",
        "/tmp",
        "/usr",
        "/usr/local",
        "/var",
        "/var/lib",
        "/etc/cron.d",
    )
    if path is not None:
        assert path not in shared
        assert not re.match(r"/(usr/(?!local/)|run(/|$)|var/lib/docker(/|$)|home/[^/]+$)", path)


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES | WRONG,
        "leader": st.sampled_from(["h1", "h2"]) | WRONG,
        "project": st.sampled_from(["", "biz", "My Project", "-x", "wa-h1", "_"]) | WRONG,
        "project_dir": PATHS | WRONG,
        "env_file": PATHS | WRONG,
    },
)
PLACES = (
    "project_dir",
    "compose_file",
    "env_file",
    "lock_file",
    "gc_state_file",
    "refused_login_file",
    "log_cleanup_status_file",
)


@given(OPTIONS, NAMES)
def test_any_deployment_is_refused_or_consistent(options: dict[str, t.Any], host: str) -> None:
    groups = {"all": [host], "Support": [host, "h2"], "12": [host]}
    found = attempt(deployment_topology.deployment, host, groups, **options)
    if found is None:
        return
    for place in PLACES:
        check_path(found[place])
    assert len({found[place] for place in PLACES}) == len(PLACES)
    assert found["compose_file"].startswith(found["project_dir"] + "/")
    assert all(found[place].startswith("/var/lib/waba/") for place in PLACES[3:])
    assert re.fullmatch(r"[a-z0-9_-]{1,100}", found["slug"])
    assert re.fullmatch(r"[A-Za-z0-9_-]+", found["cron_file"])
    assert found["project"] == "" or re.fullmatch(r"[a-z0-9][a-z0-9_-]*", found["project"])
    assert host in found["members"]
    assert found["leader"] in found["members"]
    again = {"project_dir": found["project_dir"], "env_file": found["env_file"]}
    assert deployment_topology.deployment(host, groups, **{**options, **again}) == found


HOST = st.fixed_dictionaries(
    {"ansible_host": st.just("192.0.2.1")},
    optional={
        "wa_project": st.sampled_from(["", "biz", "wa-one"]) | WRONG,
        "wa_project_dir": st.sampled_from(["/srv/a", "/srv/a/", "/srv//b"]) | WRONG,
        "wa_env_file": st.sampled_from(["/srv/a/db.env", "/srv/a/./db.env"]) | WRONG,
        "wa_client_web_port": st.sampled_from([9090, "9090", " 9091", 9092]) | WRONG,
        "wa_client_core_port": st.sampled_from([6250, "6290"]) | WRONG,
    },
)


@given(HOST, HOST)
def test_any_two_deployments_on_one_machine_are_refused_or_separate(
    one: dict[str, t.Any], two: dict[str, t.Any]
) -> None:
    hostvars, groups = {"one": one, "two": two}, {"all": ["one", "two"]}
    if attempt(deployment_topology.projects_at, hostvars, "one", groups) is None:
        return
    first, second = (deployment_topology.described(hostvars, host, groups) for host in hostvars)
    assert all(first[name] != second[name] for name in ("project", "slug", "project_dir", "env_file"))
    assert int(one.get("wa_client_web_port", 9090)) != int(two.get("wa_client_web_port", 9090))


MEMBER = st.fixed_dictionaries(
    {},
    optional={
        "wa_client_services": st.sampled_from([["web", "core1"], ["web", "core1", "master1"], "web,core1", ["core0"]])
        | WRONG,
        "wa_client_address": st.sampled_from(["192.0.2.1", "localhost"]) | WRONG,
        "wa_version": st.sampled_from(["2.53.4", "v2.53.4", 2.53]) | WRONG,
        "wa_media_volume_driver_options": st.just({"type": "nfs"}) | WRONG,
        "wa_db_env_extra_secrets": st.just({"WA_WEB_JWT_CRYPTO_KEY": CANARY}) | WRONG,
    },
)


@given(MEMBER, MEMBER, st.sampled_from(deployment_topology.TOPOLOGIES) | WRONG, st.integers(-1, 5), st.booleans())
def test_any_layout_is_refused_or_complete(
    one: dict[str, t.Any], two: dict[str, t.Any], topology: t.Any, shards: int, alone: bool
) -> None:
    members = ["h1"] if alone else ["h1", "h2"]
    deployment = {"name": "support", "members": members, "leader": "h1"}
    places, refusal = outcome(layout.layout, {"h1": one, "h2": two}, deployment, topology, shards)
    assert CANARY not in refusal
    if places is None:
        return
    assert list(places) == members
    services = [word for here in places.values() for word in here]
    assert sum(word.startswith("core") for word in services) >= shards
    assert "web" in services
    if topology == "single":
        assert places == {"h1": ["web", "core1"]}


@given(
    st.lists(st.sampled_from(["web", "core1", "core7", "master1", "master2"]), unique=True),
    st.sampled_from(deployment_topology.TOPOLOGIES),
    st.booleans(),
    st.sampled_from([9090, "9090", 65535]) | WRONG,
    st.sampled_from([6250, "6250", 65530]) | WRONG,
)
def test_any_ports_are_refused_or_valid(words: list[str], topology: str, alone: bool, web: t.Any, core: t.Any) -> None:
    found = attempt(layout.services, words, topology, "192.0.2.1", alone, web, core)
    outside = [port["outside"] for service in found or [] for port in service["ports"]]
    assert all(isinstance(port, int) and 0 < port < 65536 for port in outside)


SETTING = st.sampled_from(
    ["db.example.com", "", " x ", "a b", "$HOME", 'q"q', "ü", "x\ny", "null", "3306", CANARY]
) | st.text(max_size=8)
DB_ENV = st.fixed_dictionaries(
    {
        "state": st.just("present"),
        "engine": st.sampled_from(["MYSQL", "PGSQL", None]),
        "hostname": SETTING | st.none(),
        "port": st.integers(-5, 70000) | st.none(),
        "username": SETTING | st.none(),
        "password": st.sampled_from([CANARY, f"{CANARY}$", f"'{CANARY}", f"{CANARY} #", f"{CANARY}\n"]) | st.none(),
        "name_prefix": SETTING | st.none(),
        "extra": st.dictionaries(
            st.sampled_from(
                [
                    "WA_CONFIG_ON_DB",
                    "WA_DB_SSL_CA",
                    "WA_DB_CONNECTION_IDLE_TIMEOUT",
                    "TZ",
                    "HTTPS_PROXY",
                    "a b",
                    "WA_DB_PORT",
                ]
            ),
            SETTING | WRONG,
        ),
        "extra_secrets": st.dictionaries(st.sampled_from(["WA_API_KEY", "TZ"]), SETTING | WRONG),
        "format": st.sampled_from(env_file.FORMATS),
    }
)


@given(
    DB_ENV, st.sampled_from(["", "WA_DB_ENGINE=MYSQL\nTZ='UTC'\n# c\nTZ=b\n", 'A="\n', "\ufeffWA_DB_HOSTNAME=x\r\n"])
)
def test_any_db_env_is_refused_or_read_as_written(params: dict[str, t.Any], before: str) -> None:
    plan, refusal = outcome(env_plan.make, params, "db.env", before)
    elsewhere = any(CANARY in str(value) for option, value in params.items() if option != "password")
    assert CANARY not in refusal or elsewhere
    if plan is None:
        return
    assert plan.after is not None
    assert plan.values == env_file.load(plan.after, params["format"])
    for option, key in (("hostname", "WA_DB_HOSTNAME"), ("password", "WA_DB_PASSWORD")):
        if params[option]:
            assert plan.values[key] == params[option]
    again = env_plan.make(params, "db.env", plan.after)
    assert (again.after, again.edited.changed, again.edited.removed) == (plan.after, [], [])
    if params["password"] and not elsewhere:
        assert CANARY not in env_plan.show(params, plan.after)


@given(st.sampled_from(["1d", "30s", "1.5h", "\u0663s", "1e9", "-1", "9" * 400, "0", " 5m ", "1 h"]) | WRONG)
def test_any_duration_is_refused_or_a_number_of_seconds(value: t.Any) -> None:
    seconds = attempt(units.parse_duration, "wa_x_timeout", value)
    if seconds is not None:
        assert math.isfinite(seconds)
        assert 0 <= seconds < 1e18
        assert units.parse_duration("wa_x_timeout", str(int(seconds))[:12]) >= 0
        assert units.format_duration(seconds)


@given(st.sampled_from(["20M", "5G", "1.5T", "3iB", "\u0663M", "9" * 400, "0", "1e9", "-5G", "2 G"]) | WRONG)
def test_any_size_is_refused_or_a_number_of_bytes(value: t.Any) -> None:
    size = attempt(units.parse_size, "wa_x_min_free", value)
    if size is not None:
        assert isinstance(size, int)
        assert 0 <= size < 1 << 100
        assert units.format_size(size)


@given(st.sampled_from(["expired", "a,b", " a , ", ",", ["a", " b"]]) | WRONG)
def test_any_list_is_refused_or_a_list_of_strings(value: t.Any) -> None:
    found = attempt(units.text_list, value, "wa_upgrade_skip")
    if found is not None:
        assert all(isinstance(word, str) and word == word.strip() and word for word in found)
        assert units.text_list(found, "wa_upgrade_skip") == found
        assert isinstance(value, (list, tuple)) or value is None or len(found) <= value.count(",") + 1


@given(st.dictionaries(st.sampled_from(["wacore1", "wacore2", "master1", "waweb"]), NAMES | SERVICES, max_size=4))
def test_any_service_names_are_refused_or_keep_kinds_and_number_of_containers(names: dict[str, str]) -> None:
    services = layout.services(["web", "core1", "core2", "master1"], "multiconnect", "h1")
    kinds: dict[str, set[str]] = {}
    for one in services:
        kinds.setdefault(names.get(one["name"], one["name"]), set()).add(one["kind"])
    found = attempt(compose_document.rename, services, names)
    assert (found is None) is ("dbupgrade" in kinds or any(len(one) > 1 for one in kinds.values()))
    if found is not None:
        assert sum(one.get("scale", 1) for one in found) == len(services)
        assert {one["name"]: {one["kind"]} for one in found} == kinds


@given(
    st.dictionaries(
        st.sampled_from(sorted(inventory_values.RULES)), st.text("0123456789*,-/:smhdKMG ", max_size=6) | WRONG
    )
)
def test_any_values_are_refused_by_name_or_valid(given_values: dict[str, t.Any]) -> None:
    messages = inventory_values.refusals(given_values)
    named = [one.partition(":")[0] for one in messages]
    assert named == sorted({*named} & given_values.keys())
    assert inventory_values.refusals({name: value for name, value in given_values.items() if name not in named}) == []
