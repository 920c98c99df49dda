"""More and fewer of a service: what stays is not touched, what goes has lost its visitors first."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from files.moorage.tests.deploy.rig import Rig, docker
    from files.moorage.tests.deploy.world import FakeRig
else:
    from rig import Rig, docker
    from world import FakeRig

PEERS = ["127.0.0.1:21000", "127.0.0.1:21002", "127.0.0.1:21004"]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRig:
    """A host in memory."""
    return fresh(tmp_path, monkeypatch)


def fresh(directory: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRig:
    """Return a host in memory with its files below a directory."""
    monkeypatch.setattr("moorage.deploy.receipt.DEFAULT_LOG", directory / "log")
    (directory / "log" / "rollouts").mkdir(parents=True)
    return FakeRig(directory)


def webs(rig: FakeRig, number: int, *scripts: str, **facts: Any) -> str:
    """Describe so many of a service; ``scripts`` are those of the last ones."""
    given = ["well"] * (number - len(scripts)) + list(scripts)
    made = [
        rig.web("web" if n == 1 else f"web-{n}", script, replica=n, **facts)
        for n, script in enumerate(given, 1)
    ]
    return rig.deploy(*({**web, "facts": {**web["facts"], "service": "web"}} for web in made))


def processes(rig: FakeRig, number: int) -> str:
    """Describe a site and so many workers in one container."""
    names = ["web", "worker", *(f"worker-{n}" for n in range(2, number + 1))]
    described = [{"name": name, "command": ["well"]} for name in names]
    # The names of its processes are no reason for another one.
    made = rig.all_in_one(*described, visited=["web"])
    made["facts"]["config"] = "same"
    return rig.deploy(made)


def test_more_of_them_come_and_the_first_one_is_not_touched(host: FakeRig) -> None:
    host.run(webs(host, 1))
    host.steps_done()
    assert host.run(webs(host, 3)).outcome == "activated"
    assert host.steps_done() == [
        "make web-2-next (web-2.a)",
        f"switch web:80 {PEERS[0]}+{PEERS[1]}",
        "rename web-2-next to web-2",
        "make web-3-next (web-3.a)",
        f"switch web:80 {'+'.join(PEERS)}",
        "rename web-3-next to web-3",
    ]
    assert host.world.wrong == []


def test_those_that_go_lose_their_visitors_first(host: FakeRig) -> None:
    host.run(webs(host, 3))
    host.steps_done()
    outcome = host.run(webs(host, 1))
    assert outcome.outcome == "activated"
    assert host.steps_done() == [
        f"switch web:80 {PEERS[0]}",
        "stop web-2",
        "stop web-3",
        "remove web-2",
        "remove web-3",
    ]
    assert host.world.wrong == []
    assert outcome.did["removed"] == [f"{host.stack}-web-2", f"{host.stack}-web-3"]


def test_one_that_does_not_get_well_takes_its_siblings_back(host: FakeRig) -> None:
    one = webs(host, 1)
    host.run(one)
    before, pools = host.states(), dict(host.world.pools)
    outcome = host.run(webs(host, 3, "sick"))
    assert (outcome.outcome, outcome.previous) == ("restored", one)
    assert host.states() == before and host.world.pools == pools and host.world.wrong == []


def test_number_and_code_may_change_at_once(host: FakeRig) -> None:
    for number, image in ((3, "old"), (2, "new"), (3, "newer")):
        assert host.run(webs(host, number, image=image)).outcome == "activated"
        assert len(host.world.pools["web:80"]) == number and host.world.wrong == []


def test_going_back_brings_the_number_of_then(host: FakeRig) -> None:
    three = webs(host, 3)
    host.run(three)
    there = host.states()
    host.run(webs(host, 1))
    assert host.run(three, action="rollback").ok
    assert host.states() == there and host.world.wrong == []


def test_workers_of_a_shared_container_come_and_go_beside_the_others(host: FakeRig) -> None:
    host.run(processes(host, 1))
    (container,) = host.world.instances.values()
    host.steps_done()
    for number, changed in ((3, ["worker-2", "worker-3"]), (1, ["worker-2", "worker-3"])):
        outcome = host.run(processes(host, number))
        assert (outcome.outcome, outcome.did["processes"]) == ("activated", changed)
        assert host.steps_done() == ["reload"] and host.world.wrong == []
        assert len(host.world.supervisors[container.name].running()) == number + 1
    assert [instance.id for instance in host.world.instances.values()] == [container.id]


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1)])
@pytest.mark.parametrize("then", ["again", "back"])
def test_whoever_comes_after_a_cut_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int, then: str
) -> None:
    number, done = 0, False
    while not done:
        rig = fresh(tmp_path / str(number), monkeypatch)
        one, two = webs(rig, before), webs(rig, after)
        assert rig.run(one).ok
        done = rig.run(two, left=number) is not None
        wanted, many = (two, after) if then == "again" else (one, before)
        outcome = rig.run(wanted)
        said = f"cut at {number}: {outcome}\n" + "\n".join([*rig.steps_done(), *rig.world.wrong])
        assert outcome.ok and rig.world.wrong == [], said
        assert len(rig.world.instances) == len(rig.world.pools["web:80"]) == many, said
        assert {i.state for i in rig.world.instances.values()} == {"running"}, said
        number += 1
    assert number > 4


# A job of two seconds after the other, each with a line when it begins and one when it ends; told
# to stop, it ends the one that it is at.
_WORKER = """
trap 'stop=1' TERM
while [ -z "$stop" ]; do
  job=$(cat /proc/sys/kernel/random/uuid)
  echo "begun $job" >> /jobs/log
  for tick in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; done
  echo "ended $job" >> /jobs/log
done
""".replace("$", "$$")  # Compose's own sign


def test_no_job_is_killed_when_workers_come_and_go(rig: Rig, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    jobs.mkdir(mode=0o777)
    entry = {
        "volumes": [{"type": "bind", "source": str(jobs), "target": "/jobs"}],
        "stop_grace_period": "20s",
    }

    def workers(number: int) -> str:
        names = ["worker", *(f"worker-{n}" for n in range(2, number + 1))]
        return rig.release(
            *(
                rig.service(
                    name, _WORKER, dict(entry), service="worker", replica=n, stop_seconds=20.0
                )
                for n, name in enumerate(names, 1)
            )
        )

    def log() -> list[list[str]]:
        return [line.split() for line in (jobs / "log").read_text().splitlines()]

    assert rig.activate(workers(1)).ok
    first = rig.containers()["worker"].id
    assert rig.activate(workers(3)).ok
    assert rig.containers().keys() == {"worker", "worker-2", "worker-3"}
    assert rig.containers()["worker"].id == first
    lines, deadline = log(), time.monotonic() + 60
    while len(at_work(lines)) < 3:
        assert time.monotonic() < deadline, lines
        time.sleep(0.05)
        lines = log()
    busy = at_work(lines)
    assert rig.activate(workers(1)).ok
    assert {n: c.id for n, c in rig.containers().items()} == {"worker": first}
    assert docker("inspect", "--format", "{{.RestartCount}}", f"{rig.stack}-worker") == "0"
    after = log()
    assert len(at_work(after)) <= 1, "that of the one that goes on"
    assert len(busy - at_work(after)) >= 2


def at_work(lines: list[list[str]]) -> set[str]:
    """Return the jobs that have begun and not ended."""
    begun, ended = ({job for what, job in lines if what == word} for word in ("begun", "ended"))
    return begun - ended
