"""When cron's five fields run: what is written, and each minute of many days looked at."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from process_supervisor.config.cron import NAMED, Cron

# Where clocks were set, among them by half an hour, at midnight, and where they never are.
CHANGES = (
    ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2024-03-10"), ("America/New_York", "2024-11-03"),
    ("Australia/Lord_Howe", "2025-10-05"), ("Australia/Lord_Howe", "2026-04-05"),
    ("America/Sao_Paulo", "2018-11-04"), ("America/Sao_Paulo", "2019-02-17"),
    ("Asia/Kolkata", "2024-02-29"), ("UTC", "2023-12-31"),
)  # fmt: skip
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def own_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@cache
def minutes(zone: str, day: str) -> list[tuple[int, datetime]]:
    """Each minute of the three days around a day: unix time, and what clocks show."""
    middle = datetime.fromisoformat(day).replace(tzinfo=UTC, hour=12)
    begin = int(middle.timestamp()) - 36 * 3600
    where = ZoneInfo(zone)
    moments = range(begin, begin + 72 * 3600, 60)
    return [(at, datetime.fromtimestamp(at, where).replace(tzinfo=None)) for at in moments]


@cache
def once(zone: str, day: str) -> list[tuple[int, datetime]]:
    """The same with each minute of a clock once: the first time, or after those left out."""
    first: dict[datetime, int] = {}
    for at, wall in minutes(zone, day):
        first.setdefault(wall, at)
    wall, found = max(first), []
    at = first[wall]
    while wall >= min(first):
        at = first.get(wall, at)
        found.append((at, wall))
        wall -= MINUTE
    return found


FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, frozenset[int]]:
    """A field as it is written, and what it means."""
    everything = range(low, high + 1)
    if draw(st.booleans()):
        step = draw(st.integers(1, high))
        return (f"*/{step}" if step > 1 else "*"), frozenset(everything[::step])
    found: set[int] = set()
    words = []
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(low, high))
        end = draw(st.integers(begin, high))
        step = draw(st.integers(1, 5))
        words.append(f"{begin}-{end}/{step}" if step > 1 else f"{begin}-{end}")
        found.update(range(begin, end + 1, step))
    return ",".join(words), frozenset(found)


def expected(words: list[str], sets: list[frozenset[int]], day: tuple[str, str]) -> list[int]:
    """When it runs, by looking at each minute there is and at each that clocks left out."""
    either = words[2][0] != "*" and words[4][0] != "*"

    def matches(wall: datetime) -> bool:
        date, week = wall.day in sets[2], wall.isoweekday() % 7 in sets[4]
        on_day = (date or week) if either else (date and week)
        return wall.minute in sets[0] and wall.hour in sets[1] and wall.month in sets[3] and on_day

    listed = minutes(*day) if words[1][0] == "*" else once(*day)
    return sorted({at for at, wall in listed if matches(wall)})


@settings(deadline=None, max_examples=60)
@given(st.tuples(*(fields(*about) for about in FIELDS)), st.sampled_from(CHANGES))
def test_it_runs_when_looking_at_each_minute_says_so(
    written: tuple[tuple[str, frozenset[int]], ...], day: tuple[str, str]
) -> None:
    words, sets = [item[0] for item in written], [item[1] for item in written]
    shown = minutes(*day)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", day[0])
        time.tzset()
        cron = Cron(" ".join(words))
        found: list[int] = []
        at = float(shown[0][0] - 1)
        end = shown[-1][0]
        while len(found) < 5000:
            try:
                at = cron.next(at)
            except ValueError:
                break
            if at > end:
                break
            found.append(int(at))
    assert found == expected(words, sets, day)


def runs(text: str, begin: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    """The first moments after one, as clocks show them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        cron, where, found = Cron(text), ZoneInfo(zone), []
        at = datetime.fromisoformat(begin).replace(tzinfo=where).timestamp()
        for _ in range(count):
            at = cron.next(at)
            found.append(datetime.fromtimestamp(at, where).strftime("%Y-%m-%d %H:%M %Z"))
        return found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("*/20 * * * *", ["2026-03-28 00:20 CET", "2026-03-28 00:40 CET"]),
        ("30 2 * * *", ["2026-03-28 02:30 CET", "2026-03-29 03:00 CEST", "2026-03-30 02:30 CEST"]),
        ("0 0 29 2 *", ["2028-02-29 00:00 CET", "2032-02-29 00:00 CET"]),
        ("0 12 13 * FRI", ["2026-04-03 12:00 CEST", "2026-04-10 12:00 CEST"]),
        ("0 9 * JAN-feb,dec 7", ["2026-12-06 09:00 CET"]),
        ("5/20 8 * * mon-fri", ["2026-03-30 08:05 CEST", "2026-03-30 08:25 CEST"]),
        ("@Monthly", ["2026-04-01 00:00 CEST"]),
        ("59 23 31 12 *", ["2026-12-31 23:59 CET", "2027-12-31 23:59 CET"]),
    ],
)  # fmt: skip
def test_examples(text: str, found: list[str]) -> None:
    assert runs(text, "2026-03-28T00:00", len(found)) == found


def test_an_hour_that_comes_twice() -> None:
    once = ["2026-10-25 02:30 CEST", "2026-10-26 02:30 CET"]
    assert runs("30 2 * * *", "2026-10-25T00:00", 2) == once
    each = ["2026-10-25 01:30 CEST", "2026-10-25 02:30 CEST", "2026-10-25 02:30 CET"]
    assert runs("30 * * * *", "2026-10-25T01:00", 3) == each


def test_short_names() -> None:
    for name in NAMED:
        assert len(runs(name, "2026-01-01T00:00", 2)) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("* * * *", "needs five fields"),
        ("", "needs five fields"),
        ("@reboot", "needs five fields"),
        ("60 * * * *", "minute: must be 0 to 59, not '60'"),
        ("* 24 * * *", "hour: must be 0 to 23"),
        ("* * 0 * *", "day of month: must be 1 to 31"),
        ("* * * foo *", "month: must be 1 to 12 or jan to dec, not 'foo'"),
        ("* * * * 8", "day of week: must be 0 to 7 or sun to sat"),
        ("5-1 * * * *", "minute: 5-1 begins after its end"),
        ("*/0 * * * *", "minute: must be 1 to 59, not '0'"),
        ("1,,2 * * * *", "minute: must be 0 to 59, not ''"),
        ("000099 * * * *", "minute: must be"),
        ("-1 * * * *", "minute: must be"),
        ("\u0661 * * * *", "minute: must be"),
    ],
)
def test_what_is_none(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Cron(text)


def test_a_day_that_never_comes() -> None:
    with pytest.raises(ValueError, match="no day that there is"):
        Cron("0 0 30 2 *").next(0)
