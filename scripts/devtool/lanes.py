"""Pieces of work side by side: each in a process of its own, its output shown whole at its end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import FrameType

from devtool.paths import LOGS
from devtool.ui import Problem, say

Work = Callable[[], bool]
# How often it is said how far everything is.
_PROGRESS_SECONDS = 60
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Done:
    """A piece of work that has ended, after so many seconds."""

    name: str
    seconds: float
    passed: bool


@dataclass(frozen=True)
class _Lane:
    process: ForkProcess
    log: Path
    started: float


def run(works: Sequence[tuple[str, Work]], lanes: int) -> Iterator[Done]:
    """Begin pieces of work in their order, ``lanes`` at a time; yield each when it has ended.

    What ends with an exception or by a signal has not passed. Whoever stops before the end
    interrupts what runs and waits for it; nothing else is begun then.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    waiting, running = list(works), list[_Lane]()
    try:
        while waiting or running:
            while waiting and len(running) < lanes:
                running.append(_begin(*waiting.pop(0)))
            handles = [lane.process.sentinel for lane in running]
            ended = connection.wait(handles, timeout=_PROGRESS_SECONDS)
            if not ended:
                for lane in running:
                    say(f"    {lane.process.name}: {_last_line(lane.log)}")
            for lane in [lane for lane in running if lane.process.sentinel in ended]:
                running.remove(lane)
                yield _end(lane)
    finally:
        for lane in running:
            # From a terminal it was interrupted as we were; twice does no harm (`_do`).
            os.kill(lane.process.ident or 0, signal.SIGINT)
        for lane in running:
            lane.process.join()


def log_of(name: str) -> Path:
    """Return where the output of a piece of work is kept."""
    return LOGS / f"{name.replace(' ', '-').replace('/', '-')}.log"


def _begin(name: str, work: Work) -> _Lane:
    log = log_of(name)
    say(f"==> {name} (in {log})")
    process = _FORK.Process(target=_do, args=(work, log), name=name)
    process.start()
    return _Lane(process, log, time.monotonic())


def _end(lane: _Lane) -> Done:
    lane.process.join()
    seconds = time.monotonic() - lane.started
    say(f"==> {lane.process.name}, whole output")
    # Bytes as they are: nothing of it is for us.
    sys.stdout.buffer.write(lane.log.read_bytes())
    return Done(lane.process.name, seconds, lane.process.exitcode == 0)


def _do(work: Work, log: Path) -> None:
    """Work as this process, in the group of its parent: what ends the one ends the other."""
    with log.open("wb") as output, open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
    # Line by line, so that it stays in order with what other processes write there.
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    signal.signal(signal.SIGINT, _interrupted_once)
    try:
        passed = work()
    except Problem as problem:
        problem.show()
        passed = False
    except KeyboardInterrupt:
        passed = False
    sys.exit(0 if passed else 1)


def _interrupted_once(_number: int, _frame: FrameType | None) -> None:
    # What follows is putting things away: not to be interrupted again.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _last_line(log: Path) -> str:
    lines = log.read_bytes()[-2000:].decode(errors="replace").split("\n") if log.exists() else []
    return next((line.strip()[-100:] for line in reversed(lines) if line.strip()), "")
