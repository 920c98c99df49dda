"""A rollout on a disk without room ends with a cause, and switches nothing that is not recorded."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rig import Rig

from moorage.deploy.journal import Journal, follow
from moorage.deploy.release import history, list_releases

Mount = Callable[[str], Rig]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.fixture
def mounted(disk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mount]:
    """Return a function that makes a stack on a disk of its own, with options of tmpfs(5)."""
    monkeypatch.setattr("moorage.deploy.receipt.DEFAULT_LOG", disk.parent / "log")
    monkeypatch.setattr("moorage.deploy.systemd.start", lambda _: [])
    (disk.parent / "log/rollouts").mkdir(parents=True)
    made: list[Rig] = []

    def mount(options: str) -> Rig:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)
        made.append(Rig(disk))
        # On a disk of its own, as /var/log may be.
        made[-1].journal = disk.parent / "journal.jsonl"
        return made[-1]

    yield mount
    for rig in made:
        rig.clear()
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Use up a disk but for some bytes."""
    path = disk / "fill"
    with path.open("wb", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    out.write(bytes(size))
            except OSError:
                continue
        if leave:
            out.truncate(out.tell() - leave)
    return path


def ids(rig: Rig) -> dict[str, str]:
    return {name: container.id for name, container in rig.containers().items()}


@pytest.mark.parametrize("leave", [0, 4 << 10, 28 << 10, 64 << 10])
def test_without_room_nothing_is_touched_and_the_disk_is_named(
    mounted: Mount, disk: Path, leave: int
) -> None:
    rig = mounted("size=8m")
    one, two = rig.release(rig.service("web")), rig.release(rig.service("web", "exec sleep 601"))
    assert rig.activate(one).ok
    before = ids(rig)
    filled = fill(disk, leave)
    outcome = rig.activate(two)
    assert outcome.outcome == "failed"
    assert f"{rig.layout.base} has " in outcome.message and "KiB left" in outcome.message
    assert ids(rig) == before and rig.layout.current.readlink().name == one
    assert not list(rig.layout.base.glob(".room*")) and not rig.layout.marker.exists()
    filled.unlink()
    assert rig.activate(two).ok
    assert [line["release"] for line in history(rig.layout)] == [one, two]


def test_a_disk_without_names_for_files_is_told_as_such(mounted: Mount, disk: Path) -> None:
    rig = mounted("size=8m,nr_inodes=60")
    one = rig.release(rig.service("web"))
    made = []
    try:
        for number in range(100):
            made.append(disk / f"x{number}")
            made[-1].touch()
    except OSError:
        made.pop()
    for path in made[-3:]:
        path.unlink()
    outcome = rig.activate(one)
    assert outcome.outcome == "failed" and "no names for files" in outcome.message
    for path in made[:-3]:
        path.unlink()
    assert rig.activate(one).ok


@pytest.mark.parametrize("begins", ["start", "gate", "stop"])
def test_a_disk_that_fills_up_meanwhile_costs_neither_receipt_nor_history(
    mounted: Mount, disk: Path, begins: str
) -> None:
    rig = mounted("size=8m")
    one, two = rig.release(rig.service("web")), rig.release(rig.service("web", "exec sleep 601"))
    assert rig.activate(one).ok
    seen = rig.journal.stat().st_size

    def fill_then() -> None:
        deadline = time.monotonic() + 60
        mark = f'"event": "phase", "name": "{begins}"'.encode()
        while mark not in rig.journal.read_bytes()[seen:] and time.monotonic() < deadline:
            time.sleep(0.002)
        fill(disk)

    filler = threading.Thread(target=fill_then)
    filler.start()
    outcome = rig.activate(two)
    filler.join()
    assert outcome.receipt and json.loads(Path(outcome.receipt).read_text())["after"]
    assert not outcome.warnings
    if outcome.ok:
        assert history(rig.layout)[-1]["release"] == two
    else:
        assert "No space left on device: '" in outcome.message
        assert rig.layout.current.readlink().name == one
    assert {r.id for r in list_releases(rig.layout)} == {one, two}


def test_a_disk_that_can_only_be_read_is_named(mounted: Mount, disk: Path) -> None:
    rig = mounted("size=8m")
    one, two = rig.release(rig.service("web")), rig.release(rig.service("web", "exec sleep 601"))
    assert rig.activate(one).ok
    before = ids(rig)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    outcome = rig.activate(two)
    assert outcome.outcome == "failed" and f"Read-only file system: '{disk}" in outcome.message
    assert ids(rig) == before
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert rig.activate(two).ok


def test_a_journal_has_room_for_its_last_event(disk: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        journal = Journal(disk / "journal.jsonl")
        journal.note("first")
        fill(disk)
        for number in range(1000):
            journal.note("lost", number=number, text="x" * 100)
        journal.end("outcome", message="x" * 20_000)
        events = [event["event"] for event in follow(disk / "journal.jsonl", lambda: False)]
        assert (events[0], events[-1]) == ("first", "outcome")
        assert sorted(path.name for path in disk.iterdir()) == ["fill", "journal.jsonl"]
        del journal
    finally:
        subprocess.run(["umount", str(disk)], check=True)
