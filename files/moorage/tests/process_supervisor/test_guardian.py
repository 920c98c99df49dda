"""What a guardian decides and hands on, without a process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from process_supervisor.common.loop import EventLoop
from process_supervisor.guardian.guard import DELAYS, QUICK, Guard, interpreter, option, pack
from process_supervisor.guardian.link import RECORD, GuardianLink
from process_supervisor.supervisor.store import Store, kept_config


class Watched(Guard):
    """A guardian that starts nothing and notes how long it would have waited."""

    def __init__(self) -> None:
        super().__init__(["--config", "x"])
        self.waits: list[float] = []
        self.starts = 0

    def start(self) -> None:
        self.starts += 1
        self.started = time.monotonic()

    def pause(self, delay: float) -> None:
        self.waits.append(delay)


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """A guardian whose clock stands still."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    made = Watched()
    yield made
    os.close(made.read_fd)
    os.close(made.write_fd)


def exited(code: int) -> int:
    """Return the wait status of a process that exited."""
    return code << 8


@pytest.mark.parametrize("code", [0, 73, 78])
def test_what_nobody_is_helped_with_is_not_tried_again(guard: Watched, code: int) -> None:
    assert guard.supervisor_ended(exited(code)) == code
    assert guard.starts == 0


@pytest.mark.parametrize("status", [exited(1), signal.SIGKILL])
def test_a_supervisor_that_dies_comes_back_and_waits_longer_each_time(
    guard: Watched, status: int
) -> None:
    guard.start()
    for _ in range(len(DELAYS) + 2):
        assert guard.supervisor_ended(status) is None
    assert guard.starts == len(DELAYS) + 3
    assert guard.waits == [*DELAYS[1:], *[DELAYS[-1]] * 3]
    assert guard.waits == sorted(guard.waits)


def test_one_that_lived_long_enough_begins_anew(
    guard: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(len(DELAYS)):
        guard.supervisor_ended(exited(1))
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0 + QUICK)
    guard.supervisor_ended(exited(1))
    assert guard.waits[-1] == DELAYS[0]


def test_after_a_first_life_a_broken_configuration_ends_nothing(guard: Watched) -> None:
    # The services run on, and somebody may be about to mend it.
    guard.supervisor_ended(exited(1))
    assert guard.supervisor_ended(exited(78)) is guard.supervisor_ended(exited(73)) is None
    assert guard.starts == 3
    assert guard.supervisor_ended(exited(0)) == 0


def test_the_wish_to_stop_outlives_a_supervisor_and_other_signals_are_none(
    guard: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("process_supervisor.guardian.guard.posix.kill", lambda *w: sent.append(w))
    guard.forward(signal.SIGHUP)
    assert (guard.stopping, sent) == (False, [])
    guard.pid = 5
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
        guard.forward(number)
    assert guard.stopping
    assert sent == [(5, signal.SIGHUP), (5, signal.SIGTERM), (5, signal.SIGUSR1)]


def test_a_pipe_of_records_that_is_full_loses_the_oldest(guard: Watched) -> None:
    guard.record(1, 0, 0)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(guard.write_fd, pack(2, 0, 0))
    guard.record(3, 0, 0)
    read = b""
    with pytest.raises(BlockingIOError):
        while True:
            read += os.read(guard.read_fd, 1 << 16)
    pids = [record[0] for record in RECORD.iter_unpack(read)]
    assert (pids[0], pids[-1], set(pids)) == (2, 3, {2, 3})


@pytest.mark.parametrize(("config", "isolated"), [("a.json", True), ("a.yaml", False)])
def test_what_loads_little_is_isolated_unless_it_reads_yaml(config: str, isolated: bool) -> None:
    words = interpreter(["--config", config])
    assert (words[1:-1] == ["-I", "-S"]) is isolated
    assert Path(words[-1]).is_file()


def test_the_word_after_an_option() -> None:
    assert option(["--config", "a", "--run-dir", "b"], "--run-dir") == "b"
    assert option(["--config", "a"], "--run-dir") == ""


@pytest.fixture
def told() -> Iterator[tuple[EventLoop, Callable[[bytes], Any], int]]:
    """A loop, how to write into a guardian's pipe, and the pipe's other end."""
    read, write = os.pipe()
    yield EventLoop(), lambda data: os.write(write, data), read
    os.close(write)
    os.close(read)


def test_ends_are_heard_of_before_and_after_a_supervisor_comes_and_each_once(told: Any) -> None:
    loop, write, fd = told
    write(pack(10, exited(3), 77))
    link = GuardianLink(loop, 1, fd)
    heard: list[int] = []
    link.on_record = lambda: heard.append(1)
    status, at = link.ended(10, 77) or (None, 0)
    assert status == exited(3) and at > 1.7e9
    assert link.ended(10, 77) is None
    write(pack(11, 9, 78))
    link._readable()
    assert heard == [1]
    # Another process with the number of one that has ended.
    assert link.ended(11, 79) is None and link.ended(11, 78) is not None
    assert not os.get_inheritable(fd)


def test_without_a_guardian_nobody_is_asked_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))
    GuardianLink(EventLoop()).hold_fifos()
    assert sent == []
    GuardianLink(EventLoop(), 5).hold_fifos()
    assert sent == [(5, signal.SIGRTMIN)]


def test_records_of_strangers_do_not_pile_up(told: Any) -> None:
    loop, write, fd = told
    link = GuardianLink(loop, 1, fd)
    for first in range(0, 5000, 1000):
        write(b"".join(pack(pid, 0, 5) for pid in range(first, first + 1000)))
        link._readable()
    assert link.ended(903, 5) is None and link.ended(904, 5) is not None
    assert link.ended(4999, 5) is not None
    link._readable()


def test_what_another_boot_or_version_has_left_is_not_believed(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "run"), str(tmp_path / "state"), None)
    assert store.load_state("boot") == store.load_memory("boot") == {}
    store.save_state("boot", {"web": '{"state": "RUNNING"}'}, {"strays": 2})
    store.save_config("boot", {"processes": []})
    assert store.load_state("boot") == {"web": {"state": "RUNNING"}}
    assert store.load_memory("boot") == {"strays": 2}
    assert kept_config(str(tmp_path / "run"), "boot") == {"processes": []}
    assert store.load_state("other") == store.load_memory("other") == {}
    assert kept_config(str(tmp_path / "run"), "other") == {}
    path = Path(store.state_path)
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    assert store.load_state("boot") == {}
    store.forget_state()
    assert not path.exists() and kept_config(str(tmp_path / "run"), "boot") == {}
