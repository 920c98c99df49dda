"""When a process that ends again and again is started."""

from __future__ import annotations

from pathlib import Path

from moorage.launch.pace import Pace, next_start, read_pace, write_pace
from moorage.release.native import Process

FOREVER = Process("u", "s", ("x",), "/", "/bin", "1:1", delay=1, delay_max=5, window=100)
TWICE = Process("u", "s", ("x",), "/", "/bin", "1:1", delay=1, window=100, attempts=2)


def pauses(process: Process, lasting: float, count: int) -> list[float]:
    """The pauses before the starts of a process that lasts so long each time."""
    pace, now, found = Pace(), 1000.0, []
    for _ in range(count):
        pace = next_start(process, pace, now, 7)
        found.append(max(0.0, pace.until - now))
        now = max(now, pace.until) + lasting
    return found


def test_the_pause_doubles_up_to_its_longest() -> None:
    assert pauses(FOREVER, 0.1, 6) == [0, 1, 2, 4, 5, 5]


def test_one_that_lasted_starts_at_once() -> None:
    assert pauses(FOREVER, 200, 3) == [0, 0, 0]


def test_its_attempts_come_to_an_end_and_a_person_begins_anew() -> None:
    pace = Pace()
    for now in (0.0, 2.0, 5.0):
        pace = next_start(TWICE, pace, now, 7)
        assert not pace.refused

    pace = next_start(TWICE, pace, 10.0, 7)
    assert pace.refused == "it has ended 3 times without a run of 100 s"

    assert next_start(TWICE, pace, 11.0, 7) == Pace(0, (11.0,))


def test_what_was_noted_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "launch" / "u.json"
    assert read_pace(path) == Pace()

    write_pace(path, Pace(3, (1.0, 2.0), 4.0, 5))

    assert read_pace(path) == Pace(3, (1.0, 2.0), 4.0, 5)
