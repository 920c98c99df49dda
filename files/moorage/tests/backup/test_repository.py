"""The repository of backups: one that cannot be used, one that is not there yet, and its keys."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO

import pytest
from saved import Saved, places

from moorage.backup.faults import BackupError
from moorage.backup.restic import Restic
from moorage.backup.settings import Settings


@pytest.mark.parametrize("trouble", ["password", "missing", "unreachable", "settings", "open"])
def test_a_repository_that_cannot_be_used(
    trouble: str, as_deployed: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.backup.restic._RETRY_SECONDS", 0.5)
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
    noted = as_deployed.alarmed("backup")
    assert said in noted and "verysecret" not in noted
    assert as_deployed.run("prove", as_deployed.stack).status == 1
    assert said in as_deployed.alarmed("proof")


def test_the_first_backup_begins_the_repository(as_deployed: Saved) -> None:
    saved = as_deployed
    (places(saved.directory)["STATE"] / ".repository").unlink()
    (saved.directory / "repository").rename(saved.directory / "away")
    done = saved.run("backups", saved.stack)
    assert done.status == 0 and "there is no backup of" in done.out, done
    assert saved.run("backups", saved.stack, "--json").json == []
    done = saved.run("prove", saved.stack)
    assert done.status == 1 and "there is no backup of" in done.err, done
    assert "there is no backup of" in saved.alarmed("proof")
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
        assert "is full: make room" in as_deployed.alarmed("backup")
    finally:
        (as_deployed.files / "large").unlink()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_an_alarm_is_raised_also_where_its_own_disk_is_full(
    as_deployed: Saved, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
    try:
        state = places(as_deployed.directory)["STATE"]
        for path in state.iterdir():
            if path.is_file():
                shutil.copy2(path, disk)
        monkeypatch.setattr("moorage.backup.settings.STATE", disk)
        as_deployed.backup()
        assert as_deployed.run("prove", as_deployed.stack).status == 0
        with (disk / "else").open("wb", buffering=0) as out, suppress(OSError):
            while out.write(bytes(4096)):
                pass
        places(as_deployed.directory)["PASSWORD"].write_text("another one\n")
        names = {"backup": f"{as_deployed.stack}.backup", "prove": as_deployed.stack}
        for verb, noted in names.items():
            done = as_deployed.run(verb, as_deployed.stack)
            assert done.status == 1 and "does not open it" in done.err, done
            found = json.loads((disk / f"{noted}.json").read_text())
            assert not found["ok"] and found["made"] > 0
            assert "} 0" in (disk / f"{noted}.prom").read_text()
    finally:
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


@pytest.fixture(params=["rest", "sftp"])
def silent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository whose backend takes what it is asked and answers nothing."""
    if request.param == "rest":
        listener = socket.create_server(("127.0.0.1", 0))
        request.addfinalizer(listener.close)
        return f"rest:http://127.0.0.1:{listener.getsockname()[1]}/"
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\ncat > /dev/null; exit\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return "sftp:somebody@elsewhere:/backups"


def give(content: bytes, out: IO[bytes]) -> None:
    """Write what is to be saved."""
    out.write(content)


def test_a_backend_that_says_nothing_is_given_up(
    silent: str, as_deployed: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.backup.restic._STALL_SECONDS", 1.0)
    monkeypatch.setattr("moorage.backup.restic._LOOK_SECONDS", 1.0)
    restic = Restic(Settings(silent))
    # More than a pipe holds, and less.
    for content in (bytes(1 << 20), b"some"):
        with pytest.raises(BackupError, match="cannot save dump/db: it takes nothing"):
            restic.save(partial(give, content), "dump/db", ["stack=x"])
    with (
        pytest.raises(BackupError, match="cannot read dump/db: it takes nothing"),
        restic.read("0" * 8, "dump/db") as source,
    ):
        source.read(1)
    as_deployed.configure(repository=silent)
    done = as_deployed.run("backup", as_deployed.stack)
    assert done.status == 1 and "cannot look into it: it takes nothing" in done.err, done
