"""Logs while they are written to: every line is in one of the files, once and whole."""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support import Machine, wait_until

RECOVERY = Path(__file__).parents[2] / "tests/recovery.py"
REQUESTS = 1500


@contextmanager
def visitors(machine: Machine, mark: str) -> Iterator[Callable[[], bool]]:
    """Have a visitor ask for numbered addresses; give what tells whether it still does."""
    address, trouble = machine.address, []

    def ask() -> None:
        try:
            for number in range(REQUESTS):
                url = f"http://{address}:5000/health?{mark}={number:05d}"
                with urllib.request.urlopen(url, timeout=10) as answer:
                    answer.read()
        except OSError as error:
            trouble.append(error)

    visitor = threading.Thread(target=ask)
    visitor.start()
    yield visitor.is_alive
    visitor.join(timeout=120)
    assert not visitor.is_alive() and trouble == []


def assert_all_lines(machine: Machine, stack: str, mark: str) -> None:
    """Assert that each request of a visitor is in the log once, in a line that is whole."""
    line = re.compile(rf'^\S+ "GET /health\?{mark}=(\d{{5}}) HTTP/1\.1" 200 \d+ \d+ms$')
    expected = [f"{number:05d}" for number in range(REQUESTS)]

    def lines() -> list[str]:
        text = machine.sh(f"zcat -f /opt/{stack}/logs/frontend.log*")
        return [line for line in text.splitlines() if f"{mark}=" in line]

    found = wait_until(
        "the last request is in the log",
        lambda: (now := lines()) and any(expected[-1] in line for line in now) and now,
        seconds=10,
    )
    cut = [text for text in found if not line.match(text)]
    assert cut == [], "lines that are not whole"
    numbers = sorted(match[1] for text in found if (match := line.match(text)))
    assert numbers == expected, "lost or doubled lines"


def test_a_forced_rotation_loses_no_line(settled: Machine, stack: str) -> None:
    rotate = f"logrotate --force /etc/logrotate.d/moorage-{stack}"
    settled.sh(rotate)
    rotations = 0
    with visitors(settled, "rotated") as still_asking:
        while still_asking():
            settled.sh(rotate)
            rotations += still_asking()
    assert rotations >= 3, "too few to tell anything"
    assert_all_lines(settled, stack, "rotated")


def test_a_killed_supervisor_loses_no_line(settled: Machine, stack: str) -> None:
    kills = 0
    with visitors(settled, "killed") as still_asking:
        while still_asking():
            settled.python(RECOVERY, "supervisor", "1", container="tg2em-unified")
            kills += still_asking()
    assert kills >= 3, "too few to tell anything"
    assert_all_lines(settled, stack, "killed")


def test_rotated_files_are_owned_by_the_stack_and_compressed(settled: Machine, stack: str) -> None:
    for _ in range(2):
        settled.sh(f"logrotate --force /etc/logrotate.d/moorage-{stack}")
    shown = settled.sh(f"stat -c '%u %a %n' /opt/{stack}/logs/*.log*").splitlines()
    files = {name: (uid, mode) for uid, mode, name in (line.split() for line in shown)}
    assert any(name.endswith(".gz") for name in files)
    assert set(files.values()) == {("10001", "640")}
