"""When a scheduled process runs: the five fields of cron, in local time."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAMED = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}  # fmt: skip
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    ("minute", 0, 59, ()), ("hour", 0, 23, ()), ("day of month", 1, 31, ()),
    ("month", 1, 12, MONTHS), ("day of week", 0, 7, DAYS),
)  # fmt: skip
# A 29 February on a given day of the week may be 40 years away.
FARTHEST = 41 * 366 * 86_400
# No clock is set forward or back by more.
LONGEST_SHIFT = 3 * 3600


class Cron:
    """A schedule such as `*/5 8-18 * * mon-fri`; raises ValueError for what is none.

    As in cron, a day matches by its date or by its day of the week where both are restricted. When
    clocks are set forward, what lies in the lost hour runs right after it; when they are set back,
    what has a fixed hour does not run again in the repeated one. What runs every hour (`*` or `*/n`
    in the field of hours) runs by the clock on the wall.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        words = NAMED.get(text.strip().lower(), text).split()
        if len(words) != len(FIELDS):
            names = ", ".join(NAMED)
            raise ValueError(f"needs five fields like '*/5 * * * *', or one of {names}")
        found = [field(word, *about) for word, about in zip(words, FIELDS, strict=True)]
        self._minutes, self._hours, self._days, self._months = found[:4]
        self._weekdays = frozenset(day % 7 for day in found[4])
        self._any_hour = words[1].startswith("*")
        self._either = not (words[2].startswith("*") or words[4].startswith("*"))

    def next(self, after: float) -> float:
        """Return the first moment after another one at which it runs, both in unix time.

        Raises ValueError where there is none, such as a 30 February.
        """
        moment = int(after // 60 + 1) * 60
        until = moment + FARTHEST
        while moment < until:
            wall = time.localtime(moment)
            if self._runs(moment, wall):
                return float(moment)
            moment += self._step(wall)
        raise ValueError("names no day that there is within 40 years")

    def _runs(self, moment: int, wall: time.struct_time) -> bool:
        matches = self._matches(wall)
        if self._any_hour:
            return matches
        if matches:
            return not repeated(moment, wall)
        # Just after clocks were set forward: what lies in what they left out runs now.
        lost = wall.tm_gmtoff - time.localtime(moment - 60).tm_gmtoff
        return 0 < lost <= LONGEST_SHIFT and any(
            self._matches(time.gmtime(moment + wall.tm_gmtoff - back))
            for back in range(60, lost + 60, 60)
        )

    def _matches(self, wall: time.struct_time) -> bool:
        return (
            wall.tm_min in self._minutes and wall.tm_hour in self._hours and self._on_day(wall)
        )  # fmt: skip

    def _on_day(self, wall: time.struct_time) -> bool:
        if wall.tm_mon not in self._months:
            return False
        by_date = wall.tm_mday in self._days
        by_week = (wall.tm_wday + 1) % 7 in self._weekdays
        return by_date or by_week if self._either else by_date and by_week

    def _step(self, wall: time.struct_time) -> int:
        """Return the seconds to the next moment that is worth a look.

        Clocks are set at full hours alone, as those before it count: none is passed over on a day
        that matches, and on another one only until three hours before it ends.
        """
        if wall.tm_mon not in self._months and wall.tm_mday < 27:
            return (27 - wall.tm_mday) * 86_400
        to_the_hour = (60 - wall.tm_min) * 60
        if self._on_day(wall) and wall.tm_hour in self._hours:
            return 60
        if not self._on_day(wall) and wall.tm_hour < 20:
            return to_the_hour + (20 - wall.tm_hour) * 3600
        return to_the_hour


def repeated(moment: int, wall: time.struct_time) -> bool:
    """Whether clocks that were set back have shown a moment's time before."""
    shift = time.localtime(moment - LONGEST_SHIFT).tm_gmtoff - wall.tm_gmtoff
    if not 0 < shift <= LONGEST_SHIFT:
        return False
    return time.localtime(moment - shift)[:5] == wall[:5]


def field(text: str, name: str, low: int, high: int, names: Sequence[str]) -> frozenset[int]:
    """Return the numbers that a field stands for; raises ValueError naming the field."""
    found: set[int] = set()
    for item in text.split(","):
        span, slash, step_text = item.partition("/")
        begin_text, dash, end_text = span.partition("-")
        step = number(step_text, name, 1, high, ()) if slash else 1
        if span == "*":
            # 7 is another name of Sunday.
            begin, end = low, min(high, 6) if names is DAYS else high
        else:
            begin = number(begin_text, name, low, high, names)
            end = number(end_text, name, low, high, names) if dash else high if slash else begin
        if begin > end:
            raise ValueError(f"{name}: {span} begins after its end")
        found.update(range(begin, end + 1, step))
    return frozenset(found)


def number(text: str, name: str, low: int, high: int, names: Sequence[str]) -> int:
    """Return what a number or a name stands for; raises ValueError."""
    if text.lower() in names:
        return names.index(text.lower()) + (low if names is MONTHS else 0)
    digits = text.isascii() and text.isdigit() and len(text) <= 2
    if not digits or not low <= int(text) <= high:
        allowed = f"{low} to {high}" + (f" or {names[0]} to {names[-1]}" if names else "")
        raise ValueError(f"{name}: must be {allowed}, not {text!r}")
    return int(text)
