"""Restores by the command: what comes back, what is refused, what is left when one is cut off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from saved import Saved

from moorage.backup.faults import BackupError
from moorage.backup.restic import Restic
from moorage.backup.restoring import directory_of, unfinished
from moorage.backup.sets import fresh_id, save_manifest
from moorage.backup.settings import Settings
from moorage.common.lock import hold
from moorage.deploy.reservation import read_reservation
from moorage.release.layout import Layout

WAS = ("a picture", "first row\n", "first row\n")
CHANGED = ("another picture", "second row\nthird row\n")
RUNS = {"app": "running", "db": "running"}


def assert_settled(saved: Saved) -> None:
    """Nothing is left of a restore, and all runs."""
    hidden = [p.name for p in (saved.layout.base / "data").iterdir() if p.name.startswith(".")]
    assert hidden == [] and not directory_of(saved.layout).exists()
    assert read_reservation(saved.layout) is None and saved.states() == RUNS


@pytest.fixture
def changed(standing: Saved) -> Saved:
    """The stack that is there, with other data than in its backup."""
    standing.reset()
    standing.change()
    return standing


def test_all_comes_back_and_what_was_there_is_a_backup(changed: Saved) -> None:
    done = changed.restore("--json")
    assert done.status == 0, done
    assert done.json["outcome"] == "restored"
    assert sorted(done.json["parts"]) == ["dump/db", "volume/files"]
    assert changed.content() == WAS
    assert not (changed.files / "later").exists() and changed.files.stat().st_uid == 10001
    assert_settled(changed)
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


def test_what_has_no_place_any_more(saved: Saved) -> None:
    saved.deploy()
    assert "there is no backup of" in saved.restore().err
    saved.backup()
    other = saved.rig.release(
        saved.rig.service("app", rolled=False, stop_seconds=1.0),
        services=[{"name": "app"}], directories=[],
    )  # fmt: skip
    assert saved.rig.activate(other).ok
    assert "has no place for dump/db" in saved.restore().err


def test_a_damaged_repository_touches_nothing(saved: Saved) -> None:
    saved.deploy()
    (saved.files / "picture").write_bytes(os.urandom(1 << 20))
    saved.backup()
    volume = next(part for part in saved.set().parts if part.name == "volume/files")
    saved.change()

    def harmed(how: str) -> Path:
        """Return a copy of the repository, in which the pack that holds the picture is damaged."""
        repository: Path = saved.directory / how
        shutil.copytree(saved.directory / "repository", repository)
        packs = (path for path in (repository / "data").rglob("*") if path.is_file())
        pack = max(packs, key=lambda path: path.stat().st_size)
        pack.chmod(0o600)
        content, half = pack.read_bytes(), pack.stat().st_size // 2
        altered = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
        pack.write_bytes({"altered": altered, "truncated": content[:half]}.get(how, b""))
        if how == "gone":
            pack.unlink()
        return repository

    def read(how: str) -> str:
        settings = Settings(str(saved.directory / how))
        with (
            pytest.raises(BackupError) as raised,
            Restic(settings).read(volume.snapshot, volume.name) as source,
        ):
            while source.read(1 << 20):
                pass
        return str(raised.value)

    kinds = ("altered", "truncated", "empty", "gone")
    for how in kinds:
        harmed(how)
    # restic tries again for most of a minute.
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(read, kinds))
    assert [how for how, text in zip(kinds, said, strict=True) if "was damaged" not in text] == []
    saved.configure(repository=str(saved.directory / "altered"))
    done = saved.restore("--only", "volume/files")
    assert done.status == 1 and "was damaged: `restic check`" in done.err, done
    assert saved.content()[0] == CHANGED[0]
    assert_settled(saved)


def test_a_stack_that_does_not_get_healthy_goes_back(saved: Saved) -> None:
    saved.deploy()
    (saved.files / "sick").touch()
    saved.backup()
    (saved.files / "sick").unlink()
    saved.change()
    done = saved.restore("--gate-timeout", "8")
    assert done.status == 1 and "returned: " in done.out, done
    assert "the gate stayed closed" in done.err
    assert saved.content() == (*CHANGED, CHANGED[1])
    assert_settled(saved)


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


@pytest.mark.parametrize("phase", ["fetching", "stopping", "saving", "changing", "starting"])
def test_a_restore_that_is_killed_is_undone_or_finished(phase: str, changed: Saved) -> None:
    touched = phase in ("changing", "starting")
    release = changed.layout.current.readlink().name
    assert changed.killed(phase, "restore", changed.stack, "--yes").returncode == -9
    state = unfinished(changed.layout)
    assert state is not None and state.phase == phase
    # Until somebody has said what shall be, nobody goes on.
    said = f"`moorage restore {changed.stack} --back` undoes it"
    for verb in ("backup", "restore"):
        done = changed.run(verb, changed.stack)
        assert done.status == 1 and said in done.err, done
    assert said in changed.run("status", changed.stack).out
    assert changed.rig.activate(release).outcome == "locked"
    if touched:
        # Once more, and killed once more.
        assert changed.killed(phase, "restore", changed.stack, "--continue").returncode == -9
    else:
        assert "--back" in changed.run("restore", changed.stack, "--continue").err
    done = changed.run("restore", changed.stack, "--continue" if touched else "--back")
    assert done.status == 0, done
    assert changed.content()[:2] == (WAS[:2] if touched else CHANGED)
    assert_settled(changed)
    assert changed.rig.activate(release).outcome == "unchanged"


def test_a_restore_that_is_killed_after_its_change_is_undone(changed: Saved) -> None:
    assert changed.killed("starting", "restore", changed.stack, "--yes").returncode == -9
    assert changed.content() == WAS
    assert changed.killed("returning", "restore", changed.stack, "--back").returncode == -9
    done = changed.run("restore", changed.stack, "--back")
    assert done.status == 0, done
    assert changed.content() == (*CHANGED, CHANGED[1])
    assert_settled(changed)


def test_what_is_lost_anyway_needs_no_backup(changed: Saved) -> None:
    (changed.db / "broken").touch()
    shutil.rmtree(changed.files)
    done = changed.restore("--gate-timeout", "8")
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


def test_too_little_room_is_said_before_anything_is_fetched(saved: Saved) -> None:
    base = saved.layout.base
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(base)], check=True)
    try:
        saved.layout.releases.mkdir()
        saved.deploy()
        (saved.files / "large").write_bytes(os.urandom(9 << 20))
        saved.backup()
        done = saved.restore()
        assert done.status == 1 and "free, and the restore needs about" in done.err, done
        assert_settled(saved)
    finally:
        saved.rig.clear()
        subprocess.run(["umount", "--lazy", str(base)], check=True)


def test_a_restore_that_is_killed_while_it_tidies_is_not_undone(changed: Saved) -> None:
    before = """
whole = restoring.remove_tree
def half(path):
    if path.name == ".files.before":
        (path / "picture").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(path)
restoring.remove_tree = half
"""
    argv = changed.argv("restore", changed.stack, "--yes", before=before)
    assert subprocess.run(argv, capture_output=True, check=False).returncode == -9
    # What there was is not all there any more.
    assert "--continue` takes away" in changed.run("backup", changed.stack).err
    done = changed.run("restore", changed.stack, "--back")
    assert done.status == 1 and "had ended already: restored" in done.err, done
    assert changed.content() == WAS
    assert_settled(changed)


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
