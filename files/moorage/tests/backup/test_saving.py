"""Backups by the command, with restic and on the engine: what is in one, and what is none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from saved import Saved, places

from moorage.backup import retention
from moorage.backup.sets import list_sets
from moorage.common.claim import claim
from moorage.deploy.reservation import Reservation, read_reservation, reserve


@pytest.fixture
def as_deployed(standing: Saved) -> Iterator[Saved]:
    """The stack that is there, whose settings may be changed."""
    settings, password = (places(standing.directory)[name] for name in ("SETTINGS", "PASSWORD"))
    kept = settings.read_bytes(), password.read_bytes()
    yield standing
    settings.write_bytes(kept[0])
    password.write_bytes(kept[1])
    password.chmod(0o600)
    if (away := standing.directory / "away").is_dir():
        away.rename(standing.directory / "repository")


def test_a_backup_has_all_parts_and_says_what_they_are(saved: Saved) -> None:
    release = saved.deploy()
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


def test_what_a_dump_leaves_when_it_dies_in_the_middle(saved: Saved) -> None:
    saved.deploy()
    (saved.db / "broken").touch()
    done = saved.run("backup", saved.stack)
    assert done.status == 1 and "ended with 3" in done.err and "| it broke" in done.err
    # None, not even a part of one.
    assert saved.parts() == []
    (saved.db / "broken").unlink()
    (saved.db / "rows").write_text("")
    done = saved.run("backup", saved.stack)
    assert done.status == 1 and "wrote nothing" in done.err
    subprocess.run(["docker", "stop", f"{saved.stack}-db"], check=True, capture_output=True)
    done = saved.run("backup", saved.stack)
    assert f"`moorage start {saved.stack} db`" in done.err
    assert "there is no backup" in saved.run("backups", saved.stack).out


@pytest.mark.parametrize(
    ("how", "said"),
    [("unknown", "x-moorage: {backup: {files: true}}"), ("", "deploy the stack once")],
)
def test_nobody_has_said_how_the_database_is_saved(how: str, said: str, saved: Saved) -> None:
    saved.deploy(how=how)
    done = saved.run("backup", saved.stack)
    assert done.status == 1 and ("{files: true}" if how else said) in done.err, done
    assert "db" in done.err and saved.parts() == []


@pytest.mark.parametrize(("how", "there"), [("files", True), ("none", False)])
def test_a_database_as_files_or_not_at_all(how: str, there: bool, saved: Saved) -> None:
    saved.deploy(how=how)
    saved.backup()
    assert ("volume/db" in saved.parts()) is there
    assert "dump/db" not in saved.parts()


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


def test_a_backup_that_is_killed_leaves_nothing_that_counts(saved: Saved) -> None:
    saved.deploy()
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
    deadline = time.monotonic() + 30
    while "dump/db" not in saved.parts() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert saved.run("backups", saved.stack).out.startswith("there is no backup")
    made = saved.backup()
    left = {s.tags["backup"] for s in saved.restic().snapshots(f"stack={saved.stack}")}
    assert left == {made}


def test_old_backups_go_as_whole_sets_and_a_proven_one_stays(saved: Saved) -> None:
    saved.deploy()
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


@pytest.mark.parametrize("trouble", ["password", "missing", "unreachable", "settings", "open"])
def test_a_repository_that_cannot_be_used(trouble: str, as_deployed: Saved) -> None:
    password = places(as_deployed.directory)["PASSWORD"]
    if trouble == "password":
        password.write_text("another one\n")
    elif trouble == "missing":
        as_deployed.backup()
        (as_deployed.directory / "repository").rename(as_deployed.directory / "away")
    elif trouble == "unreachable":
        as_deployed.configure(repository="rest:http://somebody:verysecret@127.0.0.1:9/")
    elif trouble == "settings":
        as_deployed.configure(kep={})
    else:
        password.chmod(0o644)
    said = {
        "password": "put back the one of the recovery kit",
        "missing": "there is no repository any more: is its disk mounted?",
        "unreachable": "cannot be reached",
        "settings": "the nearest known is keep",
        "open": "chmod 0600",
    }[trouble]
    done = as_deployed.run("backup", as_deployed.stack)
    assert done.status == 1 and said in done.err, done
    assert "verysecret" not in done.err + done.out
    assert said in as_deployed.run("backups", as_deployed.stack).err


def test_the_first_backup_begins_the_repository(saved: Saved) -> None:
    saved.deploy()
    (saved.directory / "repository").rename(saved.directory / "away")
    done = saved.run("backup", saved.stack)
    assert done.status == 0 and "began the repository" in done.out, done
    # The second one knows that there was one, whatever has become of it.
    (saved.directory / "repository").rename(saved.directory / "lost")
    assert "there is no repository any more" in saved.run("backup", saved.stack).err
    assert not (saved.directory / "repository").exists()


def test_a_full_disk_is_named(as_deployed: Saved) -> None:
    (as_deployed.files / "large").write_bytes(os.urandom(24 << 20))
    disk = as_deployed.directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    try:
        subprocess.run(
            ["cp", "-a", str(as_deployed.directory / "repository"), str(disk)], check=True
        )
        known = len(as_deployed.run("backups", as_deployed.stack, "--json").json)
        as_deployed.configure(repository=str(disk / "repository"))
        done = as_deployed.run("backup", as_deployed.stack)
        assert done.status == 1 and "is full: make room" in done.err, done
        assert len(as_deployed.run("backups", as_deployed.stack, "--json").json) == known
    finally:
        (as_deployed.files / "large").unlink()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_credentials_of_a_backend_come_from_a_file_of_roots(
    as_deployed: Saved, tmp_path: Path
) -> None:
    secret = tmp_path / "environment"
    secret.write_text("# of the bucket\nAWS_SECRET_ACCESS_KEY=verysecret\nnonsense verysecret\n")
    secret.chmod(0o600)
    as_deployed.configure(environment_file=str(secret))
    done = as_deployed.run("backup", as_deployed.stack)
    assert "line 3 is no assignment" in done.err and "verysecret" not in done.err
    secret.write_text("AWS_SECRET_ACCESS_KEY='verysecret'\n")
    as_deployed.backup()
    secret.chmod(0o640)
    assert "chmod 0600" in as_deployed.run("backup", as_deployed.stack).err


def test_a_census_that_takes_nothing_holds_nobody_up(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.backup.saving._CENSUS_SECONDS", 1.0)
    saved.deploy(census=["sleep", "600"])
    (saved.db / "rows").write_bytes(b"row\n" * 100_000)
    saved.backup()
    dump = next(part for part in saved.set().parts if part.kind == "dump")
    assert dump.census is None and "census failed" in dump.notes[0] and dump.bytes == 400_000
