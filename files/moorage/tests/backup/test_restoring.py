"""Restores by the command: what comes back, what is refused, what is left when one is cut off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest
from saved import CHANGED, WAS, Saved, assert_settled

from moorage.backup.faults import BackupError
from moorage.backup.noted import restore_of
from moorage.backup.restic import Restic
from moorage.backup.sets import fresh_id, save_manifest
from moorage.backup.settings import Settings
from moorage.common.lock import hold
from moorage.common.signing import ensure_key, verify
from moorage.deploy.reservation import read_reservation
from moorage.release.layout import Layout


def largest_pack(repository: Path) -> Path:
    packs = (path for path in (repository / "data").rglob("*") if path.is_file())
    pack = max(packs, key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    return pack


@pytest.fixture(scope="module", autouse=True)
def said_of_truncated(
    standing: Saved, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[str]]:
    """What is said of a pack that was cut off.

    restic tries to read it for most of a minute: meanwhile the other tests of this file run.
    """
    repository = tmp_path_factory.mktemp("truncated") / "repository"
    shutil.copytree(standing.directory / "repository", repository)
    restic = Restic(Settings(str(repository)))

    def produce(out: IO[bytes]) -> None:
        out.write(os.urandom(1 << 20))

    snapshot = restic.save(produce, "volume/x", [])
    pack = largest_pack(repository)
    os.truncate(pack, pack.stat().st_size // 2)

    def read() -> str:
        with (
            pytest.raises(BackupError) as raised,
            restic.read(snapshot, "volume/x") as source,
        ):
            while source.read(1 << 20):
                pass
        return str(raised.value)

    with ThreadPoolExecutor() as pool:
        yield pool.submit(read)


def test_all_comes_back_and_what_was_there_is_a_backup(
    changed: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_key(tmp_path)
    monkeypatch.setattr("moorage.backup.noted.KEY", tmp_path / "receipt.key")
    done = changed.restore("--json")
    assert done.status == 0, done
    assert done.json["outcome"] == "restored"
    assert sorted(done.json["parts"]) == ["dump/db", "volume/files"]
    assert changed.content() == WAS
    assert not (changed.files / "later").exists() and changed.files.stat().st_uid == 10001
    assert_settled(changed)
    note = restore_of(changed.stack)
    assert json.loads(note.read_text()) == done.json and done.json["who"]
    signed = f"{changed.stack} backup {done.json['backup']} restored on {done.json['host']} by "
    assert signed + done.json["who"] in verify(note, tmp_path / "receipt.pub")
    listed = changed.run("backups", changed.stack)
    assert "last restore: restored" in listed.out and "dump/db, volume/files" in listed.out
    rows = changed.run("backups", changed.stack, "--json").json
    assert [row["id"] for row in rows if row["restored"]] == [done.json["backup"]]
    # What was overwritten, one part of it alone.
    before = changed.set(done.json["saved"])
    assert (before.kind, before.stack) == ("before-restore", changed.stack)
    assert "before-restore" in changed.run("backups", changed.stack).out
    done = changed.restore("--snapshot", before.id, "--only", "volume/files")
    assert done.status == 0, done
    assert changed.content() == (CHANGED[0], WAS[1], WAS[2])
    assert (changed.files / "later").read_text() == "made later"


def test_what_is_refused_before_anything_is_touched(changed: Saved) -> None:
    for words, said in (
        (("--only", "volume/no"), "it has dump/db, volume/files"),
        (("--only", "release"), "restic dump"),
        (("--only", "secrets"), "--with-secrets"),
        (("--snapshot", "20200101T000000Z-abcdef"), changed.set().id),
        (("--continue",), "nothing to resume"),
        (("--back",), "nothing to resume"),
        (("--secrets-only",), "holds secrets already"),
    ):
        done = changed.restore(*words)
        assert done.status == 1 and said in done.err, (words, done)
    asked = changed.run("restore", changed.stack)
    assert asked.status == 1 and "say --yes" in asked.err and "volume/files takes" in asked.out
    assert changed.content()[:2] == CHANGED
    assert_settled(changed)


def test_who_is_at_work_is_named_and_nothing_kept(changed: Saved) -> None:
    with hold(changed.layout.lock, "an update by hand", "somebody"):
        done = changed.restore()
        assert done.status == 1 and "somebody holds the lock" in done.err, done
        assert "an update by hand" in changed.run("backup", changed.stack).err
    assert changed.content()[:2] == CHANGED
    assert_settled(changed)


def test_what_has_no_place_any_more(as_deployed: Saved, empty_repository: Path) -> None:
    as_deployed.declare(how="")
    assert "has no place for dump/db" in as_deployed.restore().err
    as_deployed.configure(repository=str(empty_repository / "repository"))
    assert "there is no backup of" in as_deployed.restore().err


def test_an_altered_pack_touches_nothing(as_deployed: Saved) -> None:
    (as_deployed.files / "picture").write_bytes(os.urandom(1 << 20))
    as_deployed.backup()
    as_deployed.change()
    repository = as_deployed.directory / "repository"
    shutil.copytree(repository, as_deployed.directory / "away")
    pack = largest_pack(repository)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    done = as_deployed.restore("--only", "volume/files")
    assert done.status == 1 and "was damaged: `restic check`" in done.err, done
    assert as_deployed.content()[0] == CHANGED[0]
    assert_settled(as_deployed)


def test_a_stack_that_does_not_get_healthy_goes_back(as_deployed: Saved) -> None:
    saved = as_deployed
    (saved.files / "sick").touch()
    saved.backup()
    (saved.files / "sick").unlink()
    saved.change()
    done = saved.restore("--gate-timeout", "5")
    assert done.status == 1 and "returned: " in done.out, done
    assert json.loads(restore_of(saved.stack).read_text())["outcome"] == "returned"
    assert "the gate stayed closed" in done.err
    assert saved.content() == (*CHANGED, CHANGED[1])
    assert_settled(saved)
    # For the tests that come after: the newest backup is one of a stack that is well.
    saved.reset()
    saved.backup()


def test_a_database_that_takes_no_dump_goes_back(changed: Saved) -> None:
    (changed.db / "refuses").touch()
    done = changed.restore()
    # Nor does it take back what it had: it has that still, and a person is told.
    assert done.status == 1 and "db took no dump" in done.err, done
    assert "going back failed too" in done.err and "--back" in done.err
    assert f"moorage restore {changed.stack} --back" in changed.run("status", changed.stack).out
    (changed.db / "refuses").unlink()
    assert "was cut off (returning)" in changed.run("backup", changed.stack).err
    done = changed.run("restore", changed.stack, "--back")
    assert done.status == 0, done
    assert changed.content() == (*CHANGED, CHANGED[1])
    assert_settled(changed)


def test_what_is_lost_anyway_needs_no_backup(changed: Saved) -> None:
    (changed.db / "broken").touch()
    shutil.rmtree(changed.files)
    done = changed.restore("--gate-timeout", "5")
    assert done.status == 1 and "--without-backup" in done.err, done
    # It cannot start any more, which is no reason to keep the stack.
    assert "what ran before does not run well" in done.err
    assert read_reservation(changed.layout) is None
    done = changed.restore("--without-backup", "--json")
    assert done.status == 0 and done.json["saved"] == "", done
    assert changed.content() == WAS


def test_secrets_come_back_when_they_are_asked_for(changed: Saved) -> None:
    secret = changed.layout.base / "secrets" / "password"
    secret.write_text("another one")
    assert changed.restore("--only", "volume/files").status == 0
    assert secret.read_text() == "another one"
    done = changed.restore("--only", "secrets", "--with-secrets")
    assert done.status == 0, done
    assert secret.read_text() == "a secret of the stack"
    assert secret.parent.stat().st_mode & 0o777 == 0o711


def test_secrets_come_first_to_a_new_host(standing: Saved, tmp_path: Path) -> None:
    words = ("--base", str(tmp_path), "restore", standing.stack, "--secrets-only", "--json")
    done = standing.run(*words)
    assert done.status == 0, done
    assert json.loads(done.out)["backup"] == standing.set().id
    layout = Layout.of(standing.stack, tmp_path)
    assert (layout.base / "secrets/password").read_text() == "a secret of the stack"
    assert "holds secrets already" in standing.run(*words).err
    assert json.loads(restore_of(standing.stack).read_text())["parts"] == ["secrets"]


def test_too_little_room_is_said_before_anything_is_fetched(
    as_deployed: Saved, tmp_path: Path
) -> None:
    saved, base = as_deployed, as_deployed.layout.base
    large = saved.files / "large"
    large.write_bytes(os.urandom(9 << 20))
    saved.backup()
    large.unlink()
    # Over what is there, until it is refused: the stack's files on a disk that is small.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{base}/.", str(tmp_path)], check=True)
        subprocess.run(["mount", "--bind", str(tmp_path), str(base)], check=True)
        done = saved.restore()
        assert done.status == 1 and "free, and the restore needs about" in done.err, done
        assert_settled(saved)
    finally:
        subprocess.run(["umount", "--lazy", str(base)], check=False)
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_what_is_mounted_below_a_volume_is_not_removed_with_it(changed: Saved) -> None:
    share = changed.files / "share"
    share.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(share)], check=True)
    try:
        (share / "film").touch()
        done = changed.restore("--only", "volume/files")
        assert done.status == 1 and f"{share} is a mount" in done.err, done
        assert (share / "film").exists() and changed.content()[:2] == CHANGED
    finally:
        subprocess.run(["umount", str(share)], check=True)
    assert_settled(changed)


def test_a_manifest_gives_restic_no_options(standing: Saved) -> None:
    found, ident = standing.set(), fresh_id()
    part = replace(found.parts[0], snapshot="--option=sftp.command=touch")
    save_manifest(standing.restic(), replace(found, id=ident, parts=(part,)))
    try:
        done = standing.restore("--snapshot", ident)
        assert done.status == 1 and "is no snapshot" in done.err, done
    finally:
        there = standing.restic().snapshots(f"backup={ident}")
        standing.restic().forget([snapshot.id for snapshot in there])


def test_what_fails_before_a_database_got_anything_goes_back_without_a_backup(
    changed: Saved,
) -> None:
    name = f"{changed.stack}-db"
    subprocess.run(["docker", "exec", "-u", "0", name, "rm", "/tmp/well"], check=True)
    health = ["docker", "inspect", "-f", "{{.State.Health.Status}}", name]
    deadline = time.monotonic() + 60
    while subprocess.check_output(health) != b"unhealthy\n" and time.monotonic() < deadline:
        time.sleep(0.2)
    done = changed.restore("--without-backup", "--gate-timeout", "4")
    assert done.status == 1 and "returned: " in done.out, done
    assert changed.content()[:2] == CHANGED
    assert_settled(changed)


def test_a_database_that_somebody_had_stopped_is_stopped_again(changed: Saved) -> None:
    argv = ["docker", "stop", "-t", "1", f"{changed.stack}-db"]
    subprocess.run(argv, check=True, capture_output=True)
    done = changed.restore("--without-backup")
    assert done.status == 0, done
    assert (changed.db / "rows").read_text() == WAS[1]
    assert changed.states() == {"app": "running", "db": "exited"}


def test_a_command_that_hangs_is_ended(changed: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody reads from it.
    os.mkfifo(changed.db / "arriving")
    (changed.db / "arriving").chmod(0o666)
    monkeypatch.setattr("moorage.backup.saving._LONGEST_SECONDS", 6.0)
    done = changed.restore("--only", "dump/db")
    assert done.status == 1 and "was ended since it took more than" in done.err, done
    (changed.db / "arriving").unlink()
    monkeypatch.undo()
    done = changed.run("restore", changed.stack, "--back")
    assert done.status == 0, done
    assert changed.content() == (*CHANGED, CHANGED[1])
    assert_settled(changed)


def test_a_truncated_pack_is_named(said_of_truncated: Future[str]) -> None:
    assert "was damaged: `restic check`" in said_of_truncated.result(180)
