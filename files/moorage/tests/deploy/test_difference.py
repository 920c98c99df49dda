"""What a rollout decides from the containers that it finds: pure, no engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moorage.deploy.difference import Difference, difference, leftovers
from moorage.deploy.instance import Instance, Published
from moorage.deploy.release import Release
from moorage.deploy.runtimes.docker import _mounted
from moorage.deploy.traffic import direct_targets, lasting_targets, pools_of, public_targets
from moorage.deploy.waves import levels
from moorage.release.manifest import Policy, Unit, batches, parse
from moorage.release.names import NEXT

WEB = Unit(
    "shop-web",
    "web",
    "new",
    True,
    {"a": "web.a", "b": "web.b"},
    peers={"a": {"80": 20001}, "b": {"80": 20002}},
    needs={"db": "service_healthy", "migrate": "service_completed_successfully"},
)
DB = Unit("shop-db", "db", "new", False, {"": "db"}, data=True)
MIGRATE = Unit("shop-migrate", "migrate", "new", False, {"": "migrate"}, one_off=True)
TOOL = Unit("shop-tool", "tool", "new", False, {"": "tool"}, on_demand=True)
UNITS = [DB, MIGRATE, WEB, TOOL]


def container(unit: Unit, **other: Any) -> Instance:
    found = Instance(
        id=unit.name,
        name=unit.name,
        service=unit.service,
        image="",
        state="running",
        health="none",
        exit_code=0,
        pid=1,
        started_at="",
        restarts=0,
        policy="unless-stopped",
        config="new",
        slot="a" if unit.rolled else "",
    )
    return replace(found, **other)


RUNNING = [
    container(DB),
    container(MIGRATE, state="exited"),
    container(WEB),
    container(TOOL, state="created"),
]


def changed(name: str, **other: Any) -> list[Instance]:
    return [replace(c, **other) if c.name == name else c for c in RUNNING]


def test_what_is_as_described_is_left_alone() -> None:
    assert not difference(UNITS, RUNNING)


@pytest.mark.parametrize(
    ("found", "kind", "names"),
    [
        ([], "roll", ["shop-web"]),
        ([], "place", ["shop-db", "shop-migrate"]),
        ([], "create", ["shop-tool"]),
        (changed("shop-web", config="old"), "roll", ["shop-web"]),
        (changed("shop-db", config="old"), "place", ["shop-db"]),
        (changed("shop-tool", config="old"), "create", ["shop-tool"]),
        (changed("shop-tool", config="old", state="running"), "place", ["shop-tool"]),
        (changed("shop-migrate", exit_code=1), "place", ["shop-migrate"]),
        (changed("shop-migrate", state="created"), "place", ["shop-migrate"]),
        (changed("shop-db", state="exited"), "start", ["shop-db"]),
    ],
)
def test_each_difference_has_its_way(found: list[Instance], kind: str, names: list[str]) -> None:
    assert [item.name for item in getattr(difference(UNITS, found), kind)] == names


def test_what_somebody_has_stopped_is_renewed_and_not_started() -> None:
    stopped = changed("shop-web", state="exited", config="old")
    found = difference(UNITS, stopped, held=["web"])
    assert [unit.name for unit in found.create] == ["shop-web"]
    assert not found.roll and not found.start


def test_what_nothing_describes_goes() -> None:
    other = container(replace(WEB, name="shop-old", service="old"))
    assert difference(UNITS, [*RUNNING, other]).extra == [other]


def test_what_has_to_start_anew_does_although_it_is_as_described() -> None:
    assert difference(UNITS, RUNNING, anew={"shop-web"}).roll == [WEB]


def candidate(**other: Any) -> Instance:
    ports = (Published("80", "127.0.0.1", 20002),)
    return container(WEB, name=WEB.name + NEXT, slot="b", published=ports, **other)


def test_a_candidate_that_nobody_reaches_is_removed() -> None:
    old = container(WEB, config="old")
    found = leftovers([old, candidate()], {"127.0.0.1:20001"}, {WEB.name: "new"})
    assert [c.name for c in found.remove] == [WEB.next_name]


def test_a_candidate_that_visitors_reach_takes_over() -> None:
    old = container(WEB, config="old")
    found = leftovers([old, candidate()], {"127.0.0.1:20002"}, {WEB.name: "new"})
    assert found.finish == [WEB.name] and not found.remove


def test_going_back_the_old_one_stays_whoever_is_reached() -> None:
    old = container(WEB, config="old")
    found = leftovers([old, candidate()], {"127.0.0.1:20002"}, {WEB.name: "old"})
    assert [c.name for c in found.remove] == [WEB.next_name] and not found.finish


def test_a_candidate_whose_old_one_is_gone_takes_its_name() -> None:
    assert leftovers([candidate()], set(), {}).rename == [WEB.name]
    ended = candidate(state="restarting")
    assert leftovers([ended], set(), {}).remove == [ended]


def test_services_move_side_by_side_replicas_one_after_the_other() -> None:
    replicas = [replace(WEB, name=f"shop-web-{n}", replica=n) for n in (1, 2, 3)]
    worker = replace(WEB, name="shop-worker", service="worker")
    waves = [[unit.name for unit in wave] for wave in batches([*replicas, worker])]
    assert waves == [["shop-web-1", "shop-worker"], ["shop-web-2"], ["shop-web-3"]]


@pytest.mark.parametrize(("parallelism", "sizes"), [(0, [3]), (2, [2, 1]), (5, [3])])
def test_parallelism_says_how_many(parallelism: int, sizes: list[int]) -> None:
    policy = Policy(parallelism=parallelism)
    replicas = [replace(WEB, name=f"w{n}", update=policy) for n in (1, 2, 3)]
    assert [len(wave) for wave in batches(replicas)] == sizes


def test_going_back_has_a_policy_of_its_own() -> None:
    replicas = [replace(WEB, name=f"w{n}", rollback=Policy(parallelism=0)) for n in (1, 2, 3)]
    assert [len(wave) for wave in batches(replicas, rolling_back=True)] == [3]


def test_what_needs_something_new_starts_after_it() -> None:
    api = replace(WEB, name="shop-api", service="api", needs={"web": "service_started"})
    assert levels([api, WEB], {}) == [[WEB], [api]]
    assert levels([api, WEB], {WEB.name, api.name}) == [[api, WEB]]


MANIFEST: dict[str, Any] = {
    "topology": "unified",
    "edge": {
        "pools": {"web:80": {"service": "web", "port": 80}},
        "listeners": [{"port": 5000, "address": "", "pool": "web:80"}],
        "domains": ["shop.example.com"],
        "routes": [{"path": "/", "pool": "web:80"}],
    },
    "probe": {"targets": [{"service": "web", "port": 80, "path": "/", "expect": [200, 399]}]},
    "units": [
        {
            "name": "shop-unified",
            "service": "unified",
            "config": "x",
            "rolled": True,
            "keys": {"a": "unified.a", "b": "unified.b"},
            "peers": {"a": {"80": 20001}, "b": {"80": 20002}},
            "processes": ["web-1", "web-2", "website"],
        }
    ],
}


def test_a_pool_reaches_the_process_of_a_unified_container() -> None:
    release = Release("0" * 12, Path("/none"), parse(MANIFEST))
    (unit,) = release.manifest.units
    ports = (Published("80", "127.0.0.1", 20002),)
    there = container(WEB, name=unit.name, service="unified", slot="b", published=ports)
    assert pools_of(release, [unit], {unit.name: there}) == {"web:80": ["127.0.0.1:20002"]}
    assert pools_of(release, [unit], {}) == {"web:80": []}


def test_requests_go_through_the_edge_and_past_it() -> None:
    release = Release("0" * 12, Path("/none"), parse(MANIFEST))
    (through,) = public_targets(release)
    assert (through.address, through.port, through.path) == ("127.0.0.1", 5000, "/")
    (past,) = direct_targets(release, release.manifest.units[0], "b")
    assert (past.address, past.port) == ("127.0.0.1", 20002)


def test_without_a_port_of_its_own_the_domain_is_asked() -> None:
    edge: dict[str, Any] = {**MANIFEST["edge"], "listeners": []}
    release = Release("0" * 12, Path("/none"), parse({**MANIFEST, "edge": edge}))
    (through,) = public_targets(release)
    assert (through.port, through.host) == (80, "shop.example.com")
    (inside,) = public_targets(release, 19980)
    assert (inside.port, inside.host) == (19980, "shop.example.com")


def test_a_port_that_is_closed_by_the_update_is_not_asked() -> None:
    closed: dict[str, Any] = {**MANIFEST["edge"], "listeners": []}
    before = Release("0" * 12, Path("/none"), parse(MANIFEST))
    after = Release("1" * 12, Path("/none"), parse({**MANIFEST, "edge": closed}))
    assert lasting_targets(before, before) == public_targets(before)
    assert lasting_targets(before, after) == []


def test_what_is_not_there_is_made_and_a_one_off_always_runs() -> None:
    found = Difference(roll=[WEB], place=[DB, MIGRATE])
    both = [str(entry) for entry in found.operations({"shop-web"})]
    assert both == [
        "instance to replace: shop-web",
        "instance to make: shop-db",
        "one-off to run: shop-migrate",
    ]


def test_what_an_instance_writes_is_told_from_what_it_reads() -> None:
    mounts = [
        {"RW": True, "Source": "/opt/shop/data"},
        {"RW": False, "Source": "/opt/shop/config"},
        {"RW": True, "Name": "volume"},
    ]
    raw = {"Mounts": mounts}
    assert _mounted(raw, writable=True) == ("/opt/shop/data", "volume")
    assert _mounted(raw, writable=False) == ("/opt/shop/config",)
    assert _mounted({"Mounts": None}, writable=True) == ()
