"""A supervisor and a gateway as one control API: both real."""

import json
import random
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from control_rig import ControlRig, eventually
from gateway_rig import ENGINE, STACK, Gateway, Stack

from moorage.control import (
    Backups,
    ControlBackend,
    ControlError,
    Event,
    KnowsBackups,
    State,
    metrics,
)
from moorage.control.connect import connect
from moorage.control.contract import Attempt, split_time
from moorage.control.http import HttpBackend
from moorage.control.merged import _merged
from moorage.release.names import BACKUP_NOTE, PROOF_NOTE


class Both:
    """Processes under a supervisor, and a database in a container beside them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.rig = ControlRig(directory)
        self.stack = Stack(directory)
        self.gateway: Gateway | None = None

    def start(self) -> None:
        self.rig.start()
        self.stack.add("db", "trap 'exit 0' TERM; echo ready; sleep 600 & wait")
        self.open()

    def open(self) -> None:
        (self.directory / "g").mkdir(exist_ok=True)
        self.gateway = Gateway(self.directory / "g", self.stack.release, ENGINE)

    def close(self) -> None:
        if self.gateway is not None:
            self.gateway.stop()
            self.gateway = None

    @property
    def address(self) -> str:
        return f"unix+supervisor://{self.rig.socket},unix+http://{self.directory}/g/control.sock"

    def stop(self) -> None:
        self.close()
        self.rig.stop()
        self.stack.remove()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    made = Both(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def control(both: Both) -> ControlBackend:
    return connect(both.address)


def names(control: ControlBackend) -> list[str]:
    return [service.name for service in control.services()]


def test_every_service_is_there_whatever_runs_it(both: Both, control: ControlBackend) -> None:
    assert names(control) == ["steady", "broken", "once", "talker", "db"]
    assert control.service("db").image and not control.service("steady").image
    eventually(lambda: control.logs("db") == ["ready"], "the container's log")
    assert control.logs("talker") == ["one", "two"]
    (stamped,) = control.logs("db", times=True)
    at, text = split_time(stamped)
    assert text == "ready" and abs(datetime.fromisoformat(at).timestamp() - time.time()) < 600
    assert control.logs("talker", times=True) == ["- one", "- two"]
    for times, line in ((False, "ready"), (True, stamped)):
        lines = control.follow("db", times=times)
        assert next(lines) == line
        lines.close()  # type: ignore[attr-defined]
    # Over a restart it goes on with what is new.
    lines = control.follow("db", lines=1, times=True)
    assert next(lines) == stamped
    control.perform("restart", "db", who="ada")
    assert split_time(next(x for x in lines if x))[1] == "ready"
    lines.close()  # type: ignore[attr-defined]

    before = control.service("db").pid
    assert control.perform("restart", "db", who="ada", reason="a check").state is State.RUNNING
    assert control.service("db").pid != before
    assert control.perform("stop", "steady", who="ada").state is State.STOPPED
    assert both.gateway is not None
    assert [line["who"] for line in both.gateway.audit()] == ["ada", "ada"]
    with pytest.raises(ControlError) as refused:
        control.perform("stop", "nothing", who="ada")
    assert refused.value.status == 404


def test_events_of_both_are_one_trail(both: Both, control: ControlBackend) -> None:
    control.perform("restart", "db", who="ada")
    control.perform("restart", "steady", who="bob")
    asked = [(e.service, e.who) for e in control.events(limit=500) if e.kind == "request"]
    assert asked == [("db", "ada"), ("steady", "bob")]
    last = eventually(
        lambda: (n := control.events(limit=1)[-1].sequence) == control.events()[-1].sequence and n,
        "nothing more happens",
    )  # fmt: skip
    assert control.events(since=last) == []
    control.perform("stop", "db", who="eve")
    fresh = control.events(since=last)
    assert fresh[0].who == "eve"
    assert all(event.sequence > last for event in fresh)
    assert control.events(since=fresh[0].sequence)[: len(fresh) - 1] == fresh[1:]


def test_one_that_is_silent_does_not_hide_the_other(both: Both, control: ControlBackend) -> None:
    both.close()
    *processes, silent = control.services()
    assert [s.name for s in processes] == ["steady", "broken", "once", "talker"]
    assert silent.name == "gateway" and "does not answer" in (silent.reason or "")
    assert control.perform("restart", "steady", who="ada").running
    assert control.events()
    with pytest.raises(ControlError) as refused:
        control.perform("restart", "db", who="ada")
    assert refused.value.code == "unreachable"

    both.open()
    assert "db" in names(control)
    both.rig.stop()
    assert names(control) == ["supervisor", "db"]
    assert control.perform("restart", "db", who="ada").running

    both.close()
    with pytest.raises(ControlError) as gone:
        control.services()
    assert gone.value.status == 503


# What is written there counts as memory of the container, and nothing of it can be let go.
HUNGRY = "while [ ! -e /dev/shm/eat ]; do sleep 0.1; done; cat /dev/zero > /dev/shm/food; sleep 600"


def test_a_container_that_the_kernel_ends_something_of_is_named(
    both: Both, control: ControlBackend
) -> None:
    limits = {"mem_limit": "24m", "memswap_limit": "24m"}
    hungry = both.stack.add("hungry", HUNGRY, **limits)
    eventually(lambda: control.service("hungry").running, "it runs")
    assert hungry.exec_run(["sh", "-c", "> /dev/shm/eat"]).exit_code == 0
    told = eventually(
        lambda: [e for e in control.events(limit=500) if e.kind == "oom"], "the kernel's act", 60
    )
    assert {event.service for event in told} == {"hungry"}
    words = "memory"
    eventually(lambda: words in (control.service("hungry").reason or ""), "the status says so", 60)
    assert not control.service("db").reason
    text = metrics.text({"s": (control.services(), control.events(limit=500))})
    (line,) = [x for x in text.splitlines() if x.startswith("moorage_service_memory_kill_time")]
    assert line.startswith('moorage_service_memory_kill_time_seconds{stack="s",service="hungry"} 1')
    assert both.gateway is not None
    assert 'service="hungry"} 1' in HttpBackend(both.gateway.socket).metrics()


@pytest.mark.parametrize("seed", range(50))
def test_the_numbers_lead_on_from_any_event(seed: int) -> None:
    """However the two are interleaved: what follows a number is what was merged after it."""
    chance = random.Random(seed)
    one, two = ([_event(n, chance.random() * 9) for n in range(1, 1 + chance.randrange(9))]
                for _ in range(2))  # fmt: skip
    whole = _merged([one, two], [0, 0])
    numbers = [event.sequence for event in whole]
    assert numbers == sorted(set(numbers))
    for at, event in enumerate(whole):
        marks = divmod(event.sequence, 10**8)
        later = [
            [e for e in own if e.sequence > mark]
            for own, mark in zip((one, two), marks, strict=True)
        ]
        assert _merged(later, marks) == whole[at + 1 :]


def _event(sequence: int, at: float) -> Event:
    return Event(sequence, at, "s", "state")


def test_backups_are_what_the_gateway_has_read(both: Both) -> None:
    # As a front end is told of both: it finds out by itself who answers where.
    control = connect(f"{both.rig.socket},{both.directory}/g/control.sock")
    assert isinstance(control, KnowsBackups)
    assert control.backups() == Backups()
    note = {"ok": False, "finished": 5.0, "made": 1.0, "message": "it is full\nand more"}
    (both.directory / "g" / BACKUP_NOTE.format(STACK)).write_text(json.dumps(note))
    assert control.backups().backup == Attempt(False, 5.0, 1.0, "it is full")
    (both.directory / "g" / PROOF_NOTE.format(STACK)).write_text('{"ok": tr')
    torn = control.backups().proof
    assert torn is not None and not torn.ok and "is damaged" in torn.message
    both.close()
    assert control.backups() == Backups()
