"""Backups by the command, with restic and on the engine: what is in one, and what is none."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from saved import Saved, places

from moorage.backup import retention
from moorage.backup.saving import counted, load, pump
from moorage.backup.sets import fresh_id, list_sets, tags
from moorage.common.claim import claim
from moorage.deploy.reservation import Reservation, read_reservation, reserve


def test_a_backup_has_all_parts_and_says_what_they_are(as_deployed: Saved) -> None:
    saved, release = as_deployed, as_deployed.layout.current.readlink().name
    os.mkfifo(saved.files / "pipe")
    done = saved.run("backup", saved.stack)
    assert done.status == 0, done
    assert "left out: pipe: a pipe" in done.out and f"of {saved.stack}" in done.out
    made = saved.set()
    assert [part.name for part in made.parts] == ["dump/db", "volume/files", "secrets", "release"]
    assert (made.release, made.host, made.kind) == (release, socket.gethostname(), "whole")
    dump, volume = made.parts[:2]
    assert dump.census == ("1",) and dump.bytes == len("first row\n")
    assert volume.owner == (10001, 10001)
    # What the service's volume holds is in its dump, and nowhere else.
    assert "volume/db" not in saved.parts()
    # Nobody is kept away any more.
    assert read_reservation(saved.layout) is None
    shown = saved.run("backups", saved.stack)
    assert made.id in shown.out and release in shown.out
    row = saved.run("backups", saved.stack, "--json").json[0]
    assert (row["id"], row["parts"], row["bytes"], row["proven"]) == (made.id, 4, made.bytes, False)


def test_what_a_dump_leaves_when_it_dies_in_the_middle(as_deployed: Saved) -> None:
    saved, before = as_deployed, as_deployed.parts()
    (saved.db / "broken").touch()
    done = saved.run("backup", saved.stack)
    assert done.status == 1 and "ended with 3" in done.err and "| it broke" in done.err
    # None, not even a part of one.
    assert saved.parts() == before
    (saved.db / "broken").unlink()
    (saved.db / "rows").write_text("")
    done = saved.run("backup", saved.stack)
    assert done.status == 1 and "wrote nothing" in done.err
    subprocess.run(["docker", "stop", f"{saved.stack}-db"], check=True, capture_output=True)
    done = saved.run("backup", saved.stack)
    assert f"`moorage start {saved.stack} db`" in done.err
    assert saved.parts() == before


@pytest.mark.parametrize(
    ("how", "said"),
    [("unknown", "x-moorage: {backup: {files: true}}"), ("", "deploy the stack once")],
)
def test_nobody_has_said_how_the_database_is_saved(how: str, said: str, as_deployed: Saved) -> None:
    saved, before = as_deployed, as_deployed.parts()
    saved.declare(how=how)
    done = saved.run("backup", saved.stack)
    assert done.status == 1 and ("{files: true}" if how else said) in done.err, done
    assert "db" in done.err and saved.parts() == before


@pytest.mark.parametrize(("how", "there"), [("files", True), ("none", False)])
def test_a_database_as_files_or_not_at_all(how: str, there: bool, as_deployed: Saved) -> None:
    as_deployed.declare(how=how)
    as_deployed.backup()
    parts = [part.name for part in as_deployed.set().parts]
    assert ("volume/db" in parts) is there
    assert "dump/db" not in parts


def test_who_holds_the_stack_is_named_and_nobody_is_held_by_the_dead(as_deployed: Saved) -> None:
    before = as_deployed.parts()
    mine = Reservation.parse(claim("an update", os.getpid()))
    token = reserve(as_deployed.layout, mine).token
    done = as_deployed.run("backup", as_deployed.stack)
    assert done.status == 1 and "for: an update" in done.err and as_deployed.parts() == before
    # The same of a process that was killed.
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    reserve(as_deployed.layout, Reservation.parse(claim("a backup", child.pid)), instead_of=token)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert as_deployed.backup()


def at_work(repository: Path) -> bool:
    """Tell whether a restic works on a repository."""
    sign = f"RESTIC_REPOSITORY={repository}\0".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if sign in path.read_bytes():
                return True
    return False


def test_a_backup_that_is_killed_leaves_nothing_that_counts(as_deployed: Saved) -> None:
    saved, before = as_deployed, as_deployed.restic().snapshots(f"stack={as_deployed.stack}")
    sets = [found.id for found in list_sets(saved.restic(), saved.stack)]
    # The dump waits until somebody lets it go on.
    (saved.db / "rows").unlink()
    os.mkfifo(saved.db / "rows")
    running = subprocess.Popen(saved.argv("backup", saved.stack), stdout=subprocess.DEVNULL)
    with open(saved.db / "rows", "wb") as feed:  # opens as soon as the dump reads
        feed.write(b"half a dump")
        feed.flush()
        running.send_signal(signal.SIGKILL)
        running.wait()
    (saved.db / "rows").unlink()
    (saved.db / "rows").write_text("first row\n")
    # restic takes the end of a dead producer for the end of the dump: such a part may be there.
    deadline = time.monotonic() + 120
    while at_work(saved.directory / "repository"):
        assert time.monotonic() < deadline, "restic does not end"
        time.sleep(0.05)
    assert [found.id for found in list_sets(saved.restic(), saved.stack)] == sets
    made = saved.backup()
    assert {found.id for found in list_sets(saved.restic(), saved.stack)} - {*sets} == {made}
    known = {made, *(s.tags["backup"] for s in before)}
    there = saved.restic().snapshots(f"stack={saved.stack}")
    if left := [s.id for s in there if s.tags["backup"] not in known]:
        saved.restic().forget(left)


def test_parts_without_a_manifest_go_after_a_day(as_deployed: Saved) -> None:
    saved, restic = as_deployed, as_deployed.restic()
    # For so long another host of this name may be at work on them.
    young, old = fresh_id(), "20200101T000000Z-abcdef"

    def produce(out: IO[bytes]) -> None:
        out.write(b"a dump")

    parts = [
        restic.save(produce, "dump/db", tags(saved.stack, ident, "dump/db"))
        for ident in (young, old)
    ]
    saved.backup()
    left = {s.tags["backup"] for s in restic.snapshots(f"stack={saved.stack}")}
    assert young in left and old not in left
    restic.forget(parts[:1])


def test_old_backups_go_as_whole_sets_and_a_proven_one_stays(as_deployed: Saved) -> None:
    saved = as_deployed
    saved.configure(keep={"last": 1, "daily": 0, "weekly": 0, "monthly": 0})
    first = saved.backup()
    state = places(saved.directory)["STATE"]
    state.mkdir(exist_ok=True)
    (state / f"{saved.stack}.json").write_text(json.dumps({"proven": first}))
    second, third = saved.backup(), saved.backup()
    assert [found.id for found in list_sets(saved.restic(), saved.stack)] == [third, first]
    assert saved.run("backups", saved.stack, "--json").json[1]["proven"] is True
    assert retention.proven_set(saved.stack) == first
    there = {s.tags["backup"] for s in saved.restic().snapshots()}
    assert there == {first, third} and second not in there
    saved.configure(keep={"last": 0, "daily": 0, "weekly": 0, "monthly": 0})
    done = saved.run("backup", saved.stack)
    # The backup is good, and nothing goes.
    assert done.status == 0 and "no backup of" in done.err
    (state / f"{saved.stack}.json").unlink()


def test_a_census_that_takes_nothing_holds_nobody_up(
    as_deployed: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.backup.saving._CENSUS_SECONDS", 1.0)
    saved = as_deployed
    saved.declare(census=["sleep", "600"])
    (saved.db / "rows").write_bytes(b"row\n" * 100_000)
    saved.backup()
    dump = next(part for part in saved.set().parts if part.kind == "dump")
    assert dump.census is None and "census failed" in dump.notes[0] and dump.bytes == 400_000


def test_what_a_container_says_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path], check=True)
    try:
        rows = io.BytesIO()
        much = "head -c 20000000 /dev/zero"
        pump(["sh", "-c", f"{much} >&2 && echo row"], rows.write)
        assert rows.getvalue() == b"row\n"
        load("db", ["sh", "-c", f"{much} >&2 && cat >/dev/null"], io.BytesIO(b"row"))
        with counted(["sh", "-c", f"cat >/dev/null; {much}"]) as census:
            census.write(b"row")
        assert census.lines is not None and len(census.lines[0]) == 4 << 20
    finally:
        subprocess.run(["umount", tmp_path], check=True)
