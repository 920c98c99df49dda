"""The lock between real processes, and the reservation that outlives them."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage.common.lock import Locked, exclusive, hold, is_held
from moorage.common.readers import read_note
from moorage.deploy.reservation import (
    Reservation,
    Reserved,
    admit,
    break_reservation,
    give_back,
    read_reservation,
    reserve,
)
from moorage.release.layout import Layout

HOLDER = """
import sys, pathlib
from moorage.common.lock import hold
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
    assert is_held(lock)
    holder.kill()
    holder.wait(timeout=60)
    assert read_note(lock) and not is_held(lock), "its note is still there"
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
    holder.wait(timeout=60)


ADA = Reservation("ada", "laptop", 4711, 1000.0, "update to release 0123")
BOB = Reservation("bob", "desk", 12, 2000.0, "rollback")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A stack without a release."""
    found = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    found.base.mkdir(parents=True)
    return found


def test_a_reservation_keeps_others_out_and_lets_its_token_in(layout: Layout) -> None:
    mine = reserve(layout, ADA)
    assert mine.token and mine.expires > mine.since
    with pytest.raises(Reserved, match=r"ada \(pid 4711 on laptop\) holds shop since 2.*0123"):
        reserve(layout, BOB)
    with pytest.raises(Reserved) as refused:
        admit(layout, "")
    assert refused.value.holder == mine
    assert "moorage unlock shop" in str(refused.value)
    admit(layout, mine.token)
    assert give_back(layout, "another") is False
    assert give_back(layout, mine.token) is True
    admit(layout, "")
    assert reserve(layout, BOB).who == "bob"


def test_only_root_reads_the_token(layout: Layout) -> None:
    reserve(layout, ADA)
    mode = (layout.base / ".reservation.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_dead_holder_is_replaced_by_its_token_only(layout: Layout) -> None:
    lost = reserve(layout, ADA)
    with pytest.raises(Reserved):
        reserve(layout, ADA, instead_of="0" * 32)
    again = reserve(layout, ADA, instead_of=lost.token)
    assert again.token != lost.token
    with pytest.raises(Reserved):
        admit(layout, lost.token)


def test_a_stale_one_says_so_and_still_waits_to_be_broken(layout: Layout) -> None:
    mine = reserve(layout, ADA)
    path = layout.base / ".reservation.json"
    path.write_text(json.dumps({**mine.to_dict(), "expires": mine.since - 1}))
    with pytest.raises(Reserved, match=r"stale since .* probably lost"):
        reserve(layout, BOB)
    # A sign of life of its holder makes it a live one again.
    admit(layout, mine.token)
    found = read_reservation(layout)
    assert found is not None and not found.stale()
    assert break_reservation(layout) == found
    assert read_reservation(layout) is None


def test_force_takes_it_from_anybody(layout: Layout) -> None:
    lost = reserve(layout, ADA)
    taken = reserve(layout, BOB, by_force=True)
    assert read_reservation(layout) == taken
    # The one who lost it cannot free what is not his any more.
    assert give_back(layout, lost.token) is False


def test_a_waiting_one_gets_the_reservation_when_it_is_reservation_ended(layout: Layout) -> None:
    mine = reserve(layout, ADA)
    code = """
import sys, pathlib
from moorage.release.layout import Layout
from moorage.deploy.reservation import Reservation, reserve
layout = Layout.of("shop", pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
print("asking", flush=True)
print(reserve(layout, Reservation("bob", "desk", 1, 0.0, "x"), wait_seconds=30).who)
"""
    argv = [sys.executable, "-c", code, str(layout.base.parent), str(layout.run.parent)]
    waiting = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == "asking\n"
    give_back(layout, mine.token)
    assert waiting.communicate(timeout=30)[0] == "bob\n"


def test_a_damaged_note_blocks_nobody(layout: Layout) -> None:
    (layout.base / ".reservation.json").write_text("{")
    assert reserve(layout, BOB).who == "bob"


@pytest.mark.parametrize(
    "change",
    [
        lambda layout, token: reserve(layout, BOB, by_force=True),
        admit,
        give_back,
        lambda layout, _: break_reservation(layout),
    ],
    ids=["reserve", "admit", "give back", "break"],
)
def test_nobody_reads_a_reservation_that_another_one_is_writing(
    layout: Layout, change: Callable[[Layout, str], object]
) -> None:
    mine = reserve(layout, ADA)
    began, late = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        change(layout, mine.token)
        late.set()

    thread = threading.Thread(target=work)
    with exclusive(layout.base / ".reservation.lock"):
        thread.start()
        assert began.wait(60) and not late.wait(0.1)
        assert read_reservation(layout) == mine
    thread.join(60)
    assert late.is_set()
