"""Proofs by the command: a backup that restores, and everything that is to raise the alarm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

import pytest
from rig import IMAGE
from saved import DATABASE, RESTORE, Saved, assert_nothing_left, places, state

from moorage.backup.faults import BackupError
from moorage.backup.proving import Found, different, note, prove
from moorage.backup.sets import fresh_id, save_manifest, tags
from moorage.backup.throwaway import ThrowAway
from moorage.cli.backups import _work
from moorage.common.signing import ensure_key, verify
from moorage.control.backups import read_backups
from moorage.deploy.release import read_release
from moorage.release.names import COMPOSE_JSON


def test_a_backup_is_proven_and_the_stack_not_touched(
    standing: Saved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ensure_key(tmp_path)
    monkeypatch.setattr("moorage.backup.noted.KEY", tmp_path / "receipt.key")
    standing.reset()
    standing.change()
    before = standing.content()
    ident = standing.set().id
    done = standing.run("prove", standing.stack, "--json")
    assert done.status == 0, done
    assert (done.json["ok"], done.json["proven"], done.json["backup"]) == (True, ident, ident)
    details = {part["name"]: part["detail"] for part in done.json["parts"]}
    assert details["dump/db"] == "1 lines of its census as saved"
    assert details["volume/files"] == "restored, sha256 as saved"
    assert details["application"] == "2 services healthy; 0 requests answered"
    assert standing.content() == before
    found = json.loads(state(standing).read_text())
    assert found["ok"] is True
    lines = state(standing).with_suffix(".prom").read_text().splitlines()
    assert f'moorage_backup_proof_ok{{stack="{standing.stack}"}} 1' in lines
    made = next(x for x in lines if x.startswith("moorage_backup_proof_proven_time_seconds{"))
    assert float(made.split()[-1]) == pytest.approx(found["made"], abs=0.01)
    assert f"{standing.stack} backup {ident} proven" in verify(
        state(standing), tmp_path / "receipt.pub"
    )
    row = standing.run("backups", standing.stack, "--json").json[0]
    assert (row["id"], row["proven"], row["failed"]) == (ident, True, False)
    assert_nothing_left(standing)


def test_of_a_compose_file_that_says_little_a_backup_is_proven(
    saved: Saved, tmp_path: Path
) -> None:
    # Its image says whose the volume is, nothing when it is up, and of the host it has the time.
    (tmp_path / "localtime").symlink_to("/etc/hostname")
    mount = {"type": "bind", "target": "/etc/passwd", "read_only": True}
    saved.entry = {"volumes": [{**mount, "source": str(tmp_path / "localtime")}]}
    seed = {"path": str(saved.db), "image": IMAGE, "target": "/none", "user": "10002:10002"}
    new = {"path": str(saved.db), "owner": 0, "group": 0, "mode": "0700"}
    files = {"path": str(saved.files), "owner": 10001, "group": 10001, "mode": "0750"}
    saved.manifest = {"seeds": [seed], "directories": [new, files]}
    whose = 'test "$(stat -c %u /data)" = 10002 || exit 1'.replace("$", "$$")
    up = "touch /tmp/well; sleep 2; test -e /data/rows || touch /data/rows; touch /tmp/up"
    saved.database = f"{whose}; {up}; {DATABASE}"
    saved.health = False
    saved.deploy(restore=["sh", "-c", f"test -e /tmp/up && {RESTORE.strip()}"])
    saved.backup()
    done = saved.run("prove", saved.stack, "--json")
    assert done.status == 0, done
    details = {part["name"]: part["detail"] for part in done.json["parts"]}
    assert details["dump/db"] == "1 lines of its census as saved"
    assert details["application"].endswith(f"; without {tmp_path / 'localtime'}")


def test_what_runs_without_containers_is_not_proven_and_the_reason_is_said(
    standing: Saved,
) -> None:
    standing.reset()
    found = standing.set()
    release = read_release(standing.layout, found.release)
    native = replace(release, manifest=replace(release.manifest, manager="systemd"))
    work = _work(Namespace(json=True), standing.layout)
    # The release that was saved is not here any more.
    gone = replace(found, release="0" * 12)
    with pytest.raises(BackupError, match=f"throw-away containers.*--snapshot {found.id}"):
        prove(work, native, gone)
    assert_nothing_left(standing)


def test_keys_that_end_by_themselves_are_no_difference() -> None:
    saved = ["db0\t3\tab12", "db2 (with a time to live)\t3\t-"]
    assert different(saved, saved[:1]) == []
    assert different(saved, ["db0\t3\tab13"]) == ["db0\t3\tab12", "db0\t3\tab13"]


def test_what_was_proven_stays_known_while_the_next_ones_fail(standing: Saved) -> None:
    standing.reset()
    proven = standing.set().id
    assert standing.run("prove", standing.stack).status == 0
    password = places(standing.directory)["PASSWORD"]
    right = password.read_text()
    repository = standing.directory / "repository"
    for said in ("does not open it", "there is no repository"):
        if said == "does not open it":
            password.write_text("wrong\n")
        else:
            repository.rename(standing.directory / "away")
        try:
            done = standing.run("prove", standing.stack)
        finally:
            password.write_text(right)
            if not repository.exists():
                (standing.directory / "away").rename(repository)
        assert done.status == 1 and said in done.err, done
        assert f"the newest that was proven is {proven}" in done.out
        found = json.loads(state(standing).read_text())
        assert (found["ok"], found["proven"]) == (False, proven) and said in found["message"]
        metrics = state(standing).with_suffix(".prom").read_text()
        assert f'moorage_backup_proof_ok{{stack="{standing.stack}"}} 0' in metrics
    assert_nothing_left(standing)


def test_all_stacks_or_one(standing: Saved) -> None:
    assert "name a stack, or say --all" in standing.run("prove").err
    done = standing.run("backup", "--all", "--dry-run")
    assert done.status == 0 and "would be saved: dump/db, volume/files" in done.out
    known = len(standing.run("backups", standing.stack, "--json").json)
    done = standing.run("backup", "--all", "--json")
    assert done.status == 0, done
    assert len(standing.run("backups", standing.stack, "--json").json) == known + 1
    done = standing.run("restore", standing.stack, "--dry-run")
    assert done.status == 0 and "dump/db takes the place" in done.out
    assert "before-restore" not in standing.run("backups", standing.stack).out


def test_backups_of_another_host_neither_prove_nor_replace_those_of_this_one(
    standing: Saved,
) -> None:
    standing.reset()
    own = standing.set()
    # As another host would: with its own name, and later.
    other = replace(own, id=f"2999{own.id[4:]}", host="elsewhere")
    forged = {**os.environ, **standing.restic()._environment}
    content = json.dumps(other.to_dict()).encode()
    words = [w for t in tags(other.stack, other.id, "manifest") for w in ("--tag", t)]
    subprocess.run(
        ["restic", "backup", "--host", "elsewhere", "--stdin", "--stdin-filename", "manifest",
         "--tag", "kind=whole", *words],
        input=content, env=forged, check=True, capture_output=True,
    )  # fmt: skip
    try:
        done = standing.run("prove", standing.stack, "--json")
        assert done.status == 0 and done.json["proven"] == own.id, done
        done = standing.restore()
        assert done.status == 1 and "is of the host elsewhere" in done.err, done
    finally:
        gone = standing.restic().snapshots(f"backup={other.id}")
        standing.restic().forget([snapshot.id for snapshot in gone])


def test_a_proof_does_not_fill_the_disk(standing: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr("shutil.disk_usage", lambda _: full)
    done = standing.run("prove", standing.stack)
    assert done.status == 1 and "FAILED dump/db" in done.out and "make room" in done.out, done
    assert_nothing_left(standing)


def test_a_proof_ends_a_database_that_hangs(
    as_deployed: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = as_deployed
    saved.declare(restore=["sleep", "600"])
    # More than a pipe holds.
    (saved.db / "rows").write_bytes(b"row\n" * 100_000)
    saved.backup()
    monkeypatch.setattr("moorage.backup.saving._LONGEST_SECONDS", 2.0)
    done = saved.run("prove", saved.stack, "--json")
    details = {part["name"]: part["detail"] for part in done.json["parts"]}
    assert done.status == 1 and "was ended since it took more than" in details["dump/db"], done
    assert_nothing_left(saved)


def test_a_proof_ends_what_takes_its_time_to_end(
    standing: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.backup.throwaway._LONGEST_GRACE_SECONDS", 1.0)
    args = Namespace(json=True)
    release = read_release(standing.layout, standing.set().release)
    # No program ends by that signal.
    units = [replace(unit, stop_seconds=3600.0) for unit in release.manifest.units]
    release = replace(release, manifest=replace(release.manifest, units=tuple(units)))
    described = json.loads((release.path / COMPOSE_JSON).read_text())
    described["services"]["db"] |= {"stop_grace_period": "3600s", "stop_signal": "SIGWINCH"}
    path = standing.directory / "slow"
    shutil.copytree(release.path, path)
    (path / COMPOSE_JSON).write_text(json.dumps(described))
    with ThrowAway(_work(args, standing.layout), replace(release, path=path)) as beside:
        unit = beside.unit_of("db")
        assert unit is not None
        with beside.alone(unit, "db"):
            beside.restart(unit)
    assert_nothing_left(standing)


def test_a_backup_that_holds_something_else_and_nobody_who_reaches_it(
    as_deployed: Saved,
) -> None:
    saved = as_deployed
    # What counts tells which networks there are: the throw-away one has none.
    saved.declare(census=["sh", "-c", "cat > /dev/null; ls /sys/class/net"])
    ident = saved.backup()
    done = saved.run("prove", saved.stack, "--json")
    assert done.status == 1 and done.json["proven"] != ident, done
    part = next(part for part in done.json["parts"] if part["name"] == "dump/db")
    assert "lines of its census differ" in part["detail"] and "eth0" in part["detail"]
    assert "lo" not in part["detail"].rpartition(":")[2].split()
    assert ident in saved.run("backups", saved.stack).out
    assert "FAILED" in saved.run("backups", saved.stack).out
    assert_nothing_left(saved)


def test_an_alarm_is_raised_whatever_is_said_and_whatever_was_noted(
    as_deployed: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = as_deployed
    saved.declare(census=["sh", "-c", "cat > /dev/null; od -An -v -tx1 -w8192 -N8192 /dev/urandom"])
    saved.backup()
    state(saved).write_text('{"made": "yesterday", "parts": 5}')
    done = saved.run("prove", saved.stack)
    assert done.status == 1 and "lines of its census differ" in saved.alarmed("proof"), done
    found = json.loads(state(saved).read_text())
    assert max(len(part["detail"]) for part in found["parts"]) == 16_384
    # What the kernel says of a name that is no text.
    part = Found("volume/files", False, 0.1, "no space left: 'x\udcff'")
    note(saved.stack, "", 0.0, 0.0, [part])
    proof = read_backups(state(saved).parent, saved.stack).proof
    assert proof is not None and proof.message == "volume/files: no space left: 'x?'"
    assert "no space left" in saved.alarmed("proof")
    # What is torn may have been an alarm.
    state(saved).write_text('{"ok": fal')
    assert "! the last backup is NOT proven" in saved.run("status", saved.stack).out
    for ends, why in (
        (ZeroDivisionError("nobody has thought of it"), "nobody has thought of it"),
        (SystemExit(143), "it was ended from outside"),
    ):
        state(saved).unlink()

        def fail(*_: object, error: BaseException = ends) -> None:
            raise error

        monkeypatch.setattr("moorage.cli.backups.prove", fail)
        with pytest.raises(type(ends)):
            saved.run("prove", saved.stack)
        assert why in saved.alarmed("proof")


def test_what_is_empty_cut_off_altered_or_missing_raises_the_alarm(standing: Saved) -> None:
    standing.reset()
    restic, whole = standing.restic(), standing.set()
    harm: dict[str, Callable[[bytes], bytes]] = {
        "dump/db": lambda content: content[: len(content) // 2],
        "volume/files": lambda content: content[:600] + b"?" + content[601:],
        # restic takes no stream of nothing: an archive without an entry.
        "secrets": lambda _: bytes(1024),
    }
    ident, parts = fresh_id(), []
    for part in whole.parts:
        with restic.read(part.snapshot, part.name) as source:
            content = source.read()
        if part.name in harm:
            content = harm[part.name](content)
        labels = tags(whole.stack, ident, part.name)
        written = partial(_write, content)
        parts.append(replace(part, snapshot=restic.save(written, part.name, labels)))
    save_manifest(restic, replace(whole, id=ident, created=time.time(), parts=tuple(parts)))
    made = restic.snapshots(f"backup={ident}")
    try:
        missing = next(part.snapshot for part in parts if part.name == "release")
        restic.forget([missing])
        done = standing.run("prove", standing.stack, "--json")
        found = {part["name"]: part["detail"] for part in done.json["parts"] if not part["ok"]}
        assert done.status == 1 and list(found) == [p.name for p in parts] + ["application"], found
        for name in harm:
            assert "is not what was saved" in found[name], found
        assert "no snapshot" in found["release"] or "no matching ID" in found["release"], found
        assert found["application"].startswith("it was not started, since others failed: ")
        assert "is not what was saved" in standing.alarmed("proof")
        assert_nothing_left(standing)
    finally:
        restic.forget([s.id for s in made if s.id != missing])


def _write(content: bytes, out: IO[bytes]) -> None:
    out.write(content)


def test_a_damaged_repository_raises_the_alarm(as_deployed: Saved) -> None:
    saved = as_deployed
    shutil.copytree(saved.directory / "repository", saved.directory / "away")
    for path in (saved.directory / "repository/data").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            path.write_bytes(bytes(path.stat().st_size))
    shutil.rmtree(saved.directory / "cache", ignore_errors=True)
    done = saved.run("prove", saved.stack, "--json")
    assert done.status == 1 and not done.json["ok"], done
    assert "what lies in it was damaged" in saved.alarmed("proof")
    assert_nothing_left(saved)
