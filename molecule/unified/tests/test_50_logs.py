"""Rotation while the log is written to: every line is in one of the files, once and whole."""

from __future__ import annotations

import re
import threading
import urllib.request

from support import Machine, wait_until

REQUESTS = 1500


def test_a_forced_rotation_loses_no_line(settled: Machine, stack: str) -> None:
    address = settled.address
    settled.sh(f"logrotate --force /etc/logrotate.d/moorage-{stack}")

    def write() -> None:
        for number in range(REQUESTS):
            url = f"http://{address}:5000/health?line={number:05d}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                answer.read()

    writer = threading.Thread(target=write)
    writer.start()
    rotations = 0
    while writer.is_alive() and rotations < 8:
        settled.sh(f"logrotate --force /etc/logrotate.d/moorage-{stack}")
        rotations += 1
    writer.join(timeout=120)
    assert not writer.is_alive()
    assert rotations >= 3

    def numbers() -> list[str]:
        text = settled.sh(f"zcat -f /opt/{stack}/logs/frontend*.log*")
        return re.findall(r"line=(\d{5})", text)

    expected = [f"{number:05d}" for number in range(REQUESTS)]
    wait_until(
        "the last line is written", lambda: len(numbers()) >= REQUESTS, seconds=10, every=0.3
    )
    assert sorted(numbers()) == expected, "lost or doubled lines"


def test_rotated_files_are_owned_by_the_stack_and_compressed(settled: Machine, stack: str) -> None:
    shown = settled.sh(f"stat -c '%u %a %n' /opt/{stack}/logs/*.log*").splitlines()
    assert any(line.endswith(".gz") for line in shown)
    assert {line.split()[0] for line in shown} == {"10001"}


def test_the_timer_that_rotates_daily_is_on(settled: Machine) -> None:
    timer = settled.host.service("logrotate.timer")
    assert timer.is_enabled and timer.is_running
