"""The lock between real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from moorage.deploy.lock import Locked, hold, read_note

HOLDER = """
import sys, pathlib
from moorage.deploy.lock import hold
with hold(pathlib.Path(sys.argv[1]), "deploy of release 0123", "ada"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_second_one_learns_who_holds_it_and_a_dead_holder_frees_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    told = rf"ada .* deploy of release 0123 \(pid {holder.pid}\)"
    with pytest.raises(Locked, match=told), hold(lock, "update", "bob"):
        pass
    holder.kill()
    holder.wait(timeout=10)
    with hold(lock, "update", "bob", wait_seconds=5):
        assert read_note(lock)["who"] == "bob"
    assert read_note(lock) == {}


def test_a_waiting_one_gets_it_when_the_holder_is_done(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdin is not None
    holder.stdout.readline()
    holder.stdin.close()
    with hold(lock, "update", "bob", wait_seconds=10):
        assert read_note(lock)["purpose"] == "update"
    holder.wait(timeout=10)
