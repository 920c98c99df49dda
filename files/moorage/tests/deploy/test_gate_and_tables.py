"""The gate against a clock of its own, and what a person reads."""

from __future__ import annotations

import pytest

from moorage.cli.tables import backup_lines, duration, status_rows, table
from moorage.deploy.gate import Check, GateClosed, wait_until_healthy


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_the_gate_opens_once_all_are_well() -> None:
    clock = Clock()

    def look() -> list[Check]:
        return [Check("a", True, "ok"), Check("b", clock.now >= 3, "starting")]

    wait_until_healthy(look, 10, clock=clock, sleep=clock.sleep)
    assert 3 <= clock.now < 3.2


def test_the_gate_is_bounded_and_tells_what_it_saw() -> None:
    clock = Clock()
    sick = [Check("a", True, "ok"), Check("b", False, "unhealthy", log=["HTTP 500"])]
    with pytest.raises(GateClosed, match="b: unhealthy") as closed:
        wait_until_healthy(lambda: sick, 10, clock=clock, sleep=clock.sleep)
    assert "| HTTP 500" in str(closed.value) and "a: ok" not in str(closed.value)
    assert clock.now < 10.2


def test_the_gate_does_not_wait_for_the_hopeless() -> None:
    clock = Clock()
    dead = [Check("b", False, "FATAL", hopeless=True)]
    with pytest.raises(GateClosed, match="gave up"):
        wait_until_healthy(lambda: dead, 10, clock=clock, sleep=clock.sleep)
    assert clock.now == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (192, "3m12s"), (18120, "5h02m"), (370000, "4d06h")],
)
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("proof", "line"),
    [
        ({}, "no backup is proven yet: `moorage prove` restores the newest one beside"),
        ({"ok": True, "made": 96_400.0}, "newest proven backup: 1h00m old"),
        ({"ok": True, "made": 100_030.0}, "newest proven backup: 0s old"),
        ({"ok": True, "made": -80_000.0}, "! newest proven backup: 2d02h old"),
        (
            {"ok": False, "made": 96_400.0},
            "! the last backup is NOT proven (newest proven backup: 1h00m old): `moorage backups` "
            "shows them",
        ),
        (
            {"ok": False, "made": 0.0},
            "! the last backup is NOT proven (newest proven backup: none): `moorage backups` shows "
            "them",
        ),
    ],
)
def test_the_age_of_what_is_proven_is_said_and_old_age_marked(
    proof: dict[str, object], line: str
) -> None:
    good = {"ok": True, "finished": 99_000.0, "made": 98_000.0}
    assert list(backup_lines(good, proof, 100_000.0)) == [line]
    failed = {"ok": False, "finished": 99_000.0, "made": 0.0, "message": "it is full\nmore"}
    assert list(backup_lines(failed, proof, 100_000.0)) == [
        "! the last backup FAILED 16m40s ago (newest: none): it is full",
        line,
    ]


def test_a_table_lines_up() -> None:
    service = {
        "service": "frontend", "kind": "process", "state": "RUNNING", "health": "none",
        "pid": 7, "uptime": 65.0, "restarts": 12, "memory_bytes": 2**20, "reason": None,
    }  # fmt: skip
    lines = table(status_rows([service])).splitlines()
    assert lines[1].split() == [
        "frontend",
        "process",
        "RUNNING",
        "-",
        "7",
        "1m05s",
        "12",
        "1",
        "MiB",
    ]
    assert lines[0].index("STATE") == lines[1].index("RUNNING")
    assert "\033[32mRUNNING" in table(status_rows([service]), colour=True)
