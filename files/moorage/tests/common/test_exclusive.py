"""Whoever changes what others change as well waits for the lock, whichever way one comes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from moorage.common.lock import exclusive
from moorage.deploy.reservation import (
    Reservation,
    Reserved,
    admit,
    break_reservation,
    give_back,
    reserve,
)
from moorage.edge import Edge
from moorage.edge.errors import EdgeError
from moorage.edge.store import Store
from moorage.release.layout import Layout

CLAIM = Reservation(who="ada", purpose="an update", controller="here", pid=0, started=0.0)


def is_queued(lock: Path) -> bool:
    """Whether somebody waits for a lock: `4: -> FLOCK ADVISORY WRITE 4711 fe:01:131214 0 EOF`."""
    inode = str(lock.stat().st_ino)
    lines = (line.split() for line in Path("/proc/locks").read_text().splitlines())
    return any(w[1:3] == ["->", "FLOCK"] and w[6].rpartition(":")[2] == inode for w in lines)


def waits(lock: Path, act: Callable[[], object]) -> bool:
    """Tell whether what is done waits for a lock until it is free, and then gets to its end."""

    def run() -> None:
        # Without an nginx it gets no further.
        with suppress(EdgeError, Reserved):
            act()

    thread = threading.Thread(target=run, daemon=True)
    deadline = time.monotonic() + 60
    with exclusive(lock):
        thread.start()
        while thread.is_alive() and not (queued := is_queued(lock)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        queued = thread.is_alive() and is_queued(lock)
    thread.join(60)
    return queued and not thread.is_alive()


@pytest.mark.parametrize(
    "act",
    [
        lambda layout: reserve(layout, CLAIM),
        lambda layout: admit(layout, "a token"),
        lambda layout: give_back(layout, "a token"),
        break_reservation,
    ],
    ids=["reserve", "admit", "give back", "break"],
)
def test_a_reservation_is_read_and_written_by_one_at_a_time(
    tmp_path: Path, act: Callable[[Layout], object]
) -> None:
    layout = Layout.of("shop", tmp_path)
    layout.base.mkdir()
    assert waits(layout.base / ".reservation.lock", lambda: act(layout))


@pytest.mark.parametrize(
    "act",
    [
        lambda edge: edge.apply("shop", None),
        Edge.reload,
        Edge.refresh,
        lambda edge: edge.switch("shop", {"web:80": ["127.0.0.1:5"]}),
        lambda edge: edge.maintenance("shop", True),
        lambda edge: edge.forget("shop"),
        Edge.test,
    ],
    ids=["apply", "reload", "refresh", "switch", "maintenance", "forget", "test"],
)
def test_the_edges_files_are_changed_by_one_at_a_time(
    tmp_path: Path, act: Callable[[Edge], object]
) -> None:
    store = Store(tmp_path / "edge", tmp_path / "run")
    for name in ("stacks", "pools", "generations"):
        (store.base / name).mkdir(parents=True)
    store.settings_file.write_text(json.dumps({"kind": "none", "image": ""}))
    assert waits(store.base / ".lock", lambda: act(Edge(store)))
