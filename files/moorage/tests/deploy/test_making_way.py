"""Who holds what can be held once has let go of it before the next one takes it."""

from __future__ import annotations

import json
import socket
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rig import Rig

from moorage.deploy.difference import Needs, free_slot, in_the_way, needs_of
from moorage.deploy.instance import Instance, Published
from moorage.release.manifest import Unit

# Says for itself when it began and ended to write.
WRITES = (
    "trap 'echo end $1 $(date +%s.%N) >>/data/log; exit 0' TERM;"
    "echo begin $1 $(date +%s.%N) >>/data/log; while :; do sleep 0.05; done"
)


def writer(name: str) -> str:
    return f"set -- {name}; {WRITES}"


def bind(source: Path, *, read_only: bool = False) -> dict[str, Any]:
    mount = {"type": "bind", "source": str(source), "target": "/data", "read_only": read_only}
    return {"volumes": [mount]}


def published(port: int) -> dict[str, Any]:
    entry = {"target": 80, "published": str(port), "host_ip": "127.0.0.1", "protocol": "tcp"}
    return {"ports": [entry]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    found.mkdir()
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def writers(data: Path) -> list[tuple[str, str]]:
    """Return who began and ended to write, in order of time."""
    lines = [line.split() for line in (data / "log").read_text().splitlines()]
    return [(what, who) for what, who, _ in sorted(lines, key=lambda line: float(line[2]))]


def test_a_renamed_service_never_writes_beside_itself(rig: Rig, data: Path) -> None:
    old = rig.service("db", writer("old"), bind(data), rolled=False, data=True)
    assert rig.activate(rig.release(old)).ok
    new = rig.service("database", writer("new"), bind(data), rolled=False, data=True)
    outcome = rig.activate(rig.release(new))
    assert outcome.outcome == "activated", outcome.message
    assert writers(data) == [("begin", "old"), ("end", "old"), ("begin", "new")]
    assert set(rig.containers()) == {"database"}
    receipt = json.loads(Path(str(outcome.receipt)).read_text())
    assert receipt["services"]["removed"] == [f"{rig.stack}-db"]


def test_going_back_has_one_writer_too(rig: Rig, data: Path) -> None:
    old = rig.service("db", writer("old"), bind(data), rolled=False, data=True)
    assert rig.activate(rig.release(old)).ok
    new = rig.service("database", writer("new"), bind(data), rolled=False, data=True)
    sick = rig.service("web", "exit 3", health=True, needs={"database": "service_started"})
    outcome = rig.activate(rig.release(new, sick))
    assert outcome.outcome == "restored", outcome.message
    assert set(rig.containers()) == {"db"} and rig.containers()["db"].state == "running"
    order = writers(data)
    for (what, who), (after, whose) in pairwise(order):
        assert (what, after) in (("begin", "end"), ("end", "begin")), order
        assert after == "begin" or who == whose, order


def test_who_reads_alone_or_shares_by_design_is_left(rig: Rig, data: Path) -> None:
    db = rig.service("db", writer("db"), bind(data), rolled=False, data=True)
    reader = rig.service("reader", entry=bind(data, read_only=True), rolled=False)
    beside = rig.service("beside", entry=bind(data))
    assert rig.activate(rig.release(db, reader, beside)).ok
    before = {n: c.id for n, c in rig.containers().items() if n != "db"}
    changed = rig.service("db", writer("db2"), bind(data), rolled=False, data=True)
    assert rig.activate(rig.release(changed, reader, beside)).ok
    assert {n: c.id for n, c in rig.containers().items() if n != "db"} == before
    assert all(c.state == "running" for c in rig.containers().values())


def test_a_port_goes_to_a_renamed_service_in_one_run(rig: Rig) -> None:
    port = free_port()
    assert rig.activate(rig.release(rig.service("db", entry=published(port), rolled=False))).ok
    outcome = rig.activate(rig.release(rig.service("base", entry=published(port), rolled=False)))
    assert outcome.outcome == "activated", outcome.message
    assert rig.containers()["base"].published[0].port == port


def test_two_services_swap_their_ports_in_one_run(rig: Rig) -> None:
    one, two = free_port(), free_port()

    def release(first: int, second: int) -> str:
        made: str = rig.release(
            rig.service("a", entry=published(first), rolled=False, data=True),
            rig.service("b", entry=published(second), rolled=False, data=True),
        )
        return made

    assert rig.activate(release(one, two)).ok
    outcome = rig.activate(release(two, one))
    assert outcome.outcome == "activated", outcome.message
    found = {n: c.published[0].port for n, c in rig.containers().items()}
    assert found == {"a": two, "b": one}
    assert all(c.state == "running" for c in rig.containers().values())


def test_a_service_becomes_one_that_cannot_run_twice_and_back(rig: Rig) -> None:
    rolled = rig.release(rig.service("web", "exec sleep 600"))
    single = rig.release(rig.service("web", "exec sleep 601", rolled=False, singleton=True))
    for release in (rolled, single, rolled, single):
        outcome = rig.activate(release)
        assert outcome.outcome == "activated", outcome.message
        assert set(rig.containers()) == {"web"}
        assert rig.containers()["web"].state == "running"


def container(name: str, *, writes: tuple[str, ...] = (), ports: tuple[int, ...] = ()) -> Instance:
    found = tuple(Published("80", "0.0.0.0", port) for port in ports)
    facts = ("1", name, name, "image", "running", "none", 0, 1, "", 0, "always")
    return Instance(*facts, published=found, writes=writes)


def unit(name: str, **facts: Any) -> Unit:
    return Unit(name, name, "c", keys={"": name}, **{"rolled": False, **facts})


DB = Needs(frozenset({"/opt/s/data/db"}), frozenset({("127.0.0.1", 3306)}))


@pytest.mark.parametrize(
    ("there", "others", "facts", "stops"),
    [
        (container("old", writes=("/opt/s/data/db",)), {}, {}, True),
        (container("old", writes=("/opt/s/data/db/sub",)), {}, {}, True),
        (container("old", writes=("/opt/s/data",)), {}, {}, True),
        (container("old", writes=("/opt/s/data/db2",)), {}, {}, False),
        (container("old", writes=("/opt/s/data/db",)), {"old": DB}, {}, False),
        (container("old-next", writes=("/opt/s/data/db",)), {}, {}, True),
        (container("new", writes=("/opt/s/data/db",)), {}, {}, False),
        (container("new-next", writes=("/opt/s/data/db",)), {}, {}, False),
        (container("old", writes=("/opt/s/data/db",)), {}, {"rolled": True}, False),
        (container("old", writes=("/opt/s/data/db",)), {}, {"one_off": True}, False),
        (container("old", ports=(3306,)), {}, {}, True),
        (container("old", ports=(3306,)), {}, {"rolled": True}, True),
        (container("old", ports=(3307,)), {}, {}, False),
        (container("old"), {}, {}, False),
    ],
)
def test_what_is_in_the_way(
    there: Instance, others: dict[str, Needs], facts: dict[str, Any], stops: bool
) -> None:
    found = in_the_way(unit("new", **facts), [there], {"new": DB, **others})
    assert bool(found) is stops


def test_a_directory_is_the_same_by_another_name(tmp_path: Path) -> None:
    (tmp_path / "data/db").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")
    new = needs_of([unit("new")], {"new": bind(tmp_path / "link/db")})
    old = container("old", writes=(str(tmp_path / "data/db"),))
    assert in_the_way(unit("new"), [old], new) == [old]
    # What two services share by two names is theirs together all the same.
    both = {**new, "old": needs_of([unit("old")], {"old": bind(tmp_path / "link/db")})["old"]}
    assert in_the_way(unit("new"), [old], both) == []


def test_what_a_unit_needs_is_read_from_all_its_keys() -> None:
    rolled = Unit("s-web", "web", "c", rolled=True, keys={"a": "web.a", "b": "web.b"})
    described = {
        "web.a": {**bind(Path("/a")), "ports": [*published(1)["ports"], *published(3)["ports"]]},
        "web.b": {**bind(Path("/r"), read_only=True), **published(3)},
    }
    found = needs_of([rolled, unit("gone")], described)
    assert found["s-web"] == Needs(
        frozenset({"/a"}), frozenset({("127.0.0.1", 3)}), frozenset({"/r"})
    )
    assert found["gone"] == Needs()


@pytest.mark.parametrize(("held", "free"), [(7001, "b"), (7002, "a"), (7003, "a")])
def test_one_that_becomes_two_stays_until_visitors_have_left_it(held: int, free: str) -> None:
    """The first of the two has the ports of the single one: it starts in the slot that is free."""
    keys = {"a": "web.1.a", "b": "web.1.b"}
    first = Unit("s-web-1", "web", "c", keys=keys, rolled=True)
    described = {"web.1.a": published(7001), "web.1.b": published(7002)}
    there = Published("80", "127.0.0.1", held)
    facts = ("1", "s-web", "web", "image", "running", "none", 0, 1, "", 0, "always")
    single = Instance(*facts, published=(there,))
    assert in_the_way(first, [single], needs_of([first], described)) == []
    assert free_slot(first, "", [single], described) == free
