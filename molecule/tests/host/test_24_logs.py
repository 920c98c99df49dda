"""Logs are rotated while a process writes: each line is there once, to read and to follow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ferry_site import CLERK, OFFICE, STACK
from support import Machine, wait_until

ROTATIONS, EACH = 4, 150
FOLLOWED = "/tmp/followed"
# What keeps each manager's output: all of it is printed, the oldest first.
STORED = {
    "systemd": f"journalctl --quiet --output cat --unit '{STACK}-clerk@*'",
    "supervisor": f"ls -tr /var/log/supervisor/{STACK}_clerk*.log* | xargs zcat --force",
    "own": f"zcat --force /var/log/moorage/processes/{STACK}/clerk*.log*",
}
# What a night does, as often as it is asked to.
ROTATE = "logrotate --force /etc/logrotate.conf && journalctl --quiet --rotate"
_LINE = re.compile(r"^(?:- )?([0-9a-f]{12}) (said )?(\d+)$", re.MULTILINE)


def said(text: str) -> tuple[list[int], int]:
    """Return the numbers of the newest run in a log, and which it says was its last."""
    lines = _LINE.findall(text)
    newest = lines[-1][0] if lines else ""
    numbers = [int(number) for run, end, number in lines if run == newest and not end]
    ends = [int(number) for run, end, number in lines if run == newest and end]
    return numbers, ends[-1] if ends else 0


@contextmanager
def followed(machine: Machine) -> Iterator[Callable[[], str]]:
    """Follow the clerk's log while the block runs; the function returns what was seen of it."""
    # It begins while the clerk talks already.
    command = f"exec moorage logs {STACK} clerk --follow --lines 1000 >{FOLLOWED} 2>&1"
    pid = machine.sh(f"setsid sh -c '{command}' </dev/null >/dev/null 2>&1 & echo $!")
    try:
        yield lambda: machine.sh(f"cat {FOLLOWED}")
    finally:
        machine.sh(f"kill {pid}; rm {FOLLOWED}")


def test_no_line_is_lost_or_doubled_while_logs_are_rotated(settled: Machine) -> None:
    record = json.loads(settled.sh(f"cat /opt/{STACK}/instances/{CLERK}.json"))
    stored = STORED[record["manager"]]
    pid = settled.instances(STACK)[CLERK]["pid"]
    # A run of its own, whose numbers begin with 1.
    settled.sh(f"moorage restart {STACK} clerk --reason 'a test'")
    with followed(settled) as seen:
        settled.sh(f"touch {OFFICE}/talk")
        try:
            for rotation in range(1, ROTATIONS + 1):
                due = rotation * EACH
                wait_until(f"it has said {due} lines", lambda n=due: len(said(seen())[0]) >= n)  # type: ignore[misc]
                settled.sh(ROTATE)
        finally:
            settled.sh(f"rm {OFFICE}/talk")
        last = wait_until("it has said how many", lambda: said(seen())[1])
        everything = list(range(1, last + 1))
        assert last > ROTATIONS * EACH and said(seen()) == (everything, last)
    assert said(settled.sh(stored)) == (everything, last)
    shown, ended = said(settled.sh(f"moorage logs {STACK} clerk --lines 100"))
    assert shown == everything[len(everything) - len(shown) :] and ended == last
    assert settled.instances(STACK)[CLERK]["pid"] != pid
