"""restic on this host: one repository, which it encrypts, and what it says when something is wrong.

Its command line and JSON: the manual of restic 0.14 (Debian 12) and 0.18 (Debian 13). The
repository, the password's file and a backend's credentials go through its environment, which is
root's: nothing secret is an argument.
"""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from moorage.backup.faults import BackupError, NoRepository
from moorage.backup.settings import Keep, Settings

# Looking at a repository, however far away; restic itself would try for a quarter of an hour.
_LOOK_SECONDS = 300.0
# For how long a backend may be away that is only looked at.
_RETRY_SECONDS = 15.0
_POLL_SECONDS = 1.0
# What neither takes nor gives a byte for so long will not any more: restic itself tries for half of
# that. Tidying says nothing of how far it is.
_STALL_SECONDS = 1800.0
_TIDY_SECONDS = 6 * 3600.0
_END_SECONDS = 30.0
_SAID_BYTES = 64 << 10
_SAID_LINES = 8
_AWAY = (
    r"dial tcp|connection refused|no such host|i/o timeout|network is unreachable|"
    r"subprocess ssh exited|Host key verification failed|context deadline exceeded"
)
_SILENT = (
    "it takes nothing, gives nothing and says nothing: is that host up, and its disk or bucket?"
)
NO_REPOSITORY = (
    "there is no repository any more: is its disk mounted? Where a new one is to be begun, remove "
    "/var/lib/moorage/backup/.repository"
)
_TROUBLES = (
    (
        r"wrong password or no key found",
        "the password does not open it: put back the one of the recovery kit",
    ),
    (
        r"no space left on device|disk quota exceeded",
        "the disk that it lies on, or /tmp, is full: make room, or keep fewer backups",
    ),
    (
        _AWAY,
        "it cannot be reached: is that host up, and does this one reach it?",
    ),
    (
        r"repository is already locked|unable to create lock",
        "another restic is at work there, or cannot write its lock: wait for it to end",
    ),
    (
        r"permission denied|Access Denied|InvalidAccessKeyId|SignatureDoesNotMatch|\b40[13]\b",
        "it refuses this host: look at the credentials in environment_file",
    ),
    (
        r"Is there a repository|unable to open config file|repository does not exist",
        NO_REPOSITORY,
    ),
    (
        r"ciphertext verification failed|nonce is invalid|invalid data returned|does not match|"
        r"unexpected EOF|"
        r"not found in (index|repository)|file does not exist|load[^\n]*returned error|"
        r"file is too short|cannot be loaded|invalid header|incomplete pack|unable to load|"
        r"/(data|index|snapshots|keys)/\S*: no such file",
        "what lies in it was damaged: `restic check` names it. Restore an older backup, and let "
        "the next ones go to a new repository",
    ),
)
_CREDENTIALS = re.compile(r"(://)[^/\s@]*@")


@dataclass(frozen=True)
class Snapshot:
    """One stream in the repository; ``tags`` are those of NAME=VALUE."""

    id: str
    host: str
    tags: Mapping[str, str]


class Restic:
    """Works on the repository of the settings. Everything raises BackupError."""

    def __init__(self, settings: Settings) -> None:
        self.repository = _CREDENTIALS.sub(r"\1", settings.repository)
        self._environment = settings.environment()

    def save(self, produce: Callable[[IO[bytes]], None], name: str, tags: Sequence[str]) -> str:
        """Save what ``produce`` writes as a snapshot and return its id; nothing when that fails.

        What ``produce`` raises goes on to the caller.
        """
        argv = ["backup", "--json", "--stdin", "--stdin-filename", file_of(name)]
        argv += [word for tag in tags for word in ("--tag", tag)]
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as wrong:
            running = self._start(argv, stdin=subprocess.PIPE, stdout=said, stderr=wrong)
            stdin = running.stdin
            assert stdin is not None
            try:
                # It has ended before us otherwise, and says why.
                with suppress(BrokenPipeError):
                    produce(_Taken(stdin))  # type: ignore[arg-type]
                stdin.close()
                status = _end(running)
            except _Stalled:
                _abort(running)
                wrong.seek(0)
                raise self._fault(f"save {name}", wrong.read(), 0) from None
            except BaseException:
                _abort(running)
                raise
            said.seek(0)
            wrong.seek(0)
            last = said.read().rpartition(b"\n{")[2] or b""
            if status != 0:
                raise self._fault(f"save {name}", wrong.read(), status)
        found = re.search(rb'"snapshot_id":"([0-9a-f]+)"', last)
        if found is None:
            raise BackupError(f"restic has saved {name} and does not say as what")
        return found[1].decode()

    @contextmanager
    def read(self, snapshot: str, name: str) -> Iterator[IO[bytes]]:
        """Give the stream that was saved as a snapshot; one that is left early counts as read."""
        with tempfile.TemporaryFile() as wrong:
            running = self._start(["dump", snapshot, f"/{file_of(name)}"], subprocess.DEVNULL,
                                  subprocess.PIPE, wrong)  # fmt: skip
            assert running.stdout is not None
            source = io.BufferedReader(_Given(running.stdout))
            try:
                yield source
                early = bool(source.read(1))
                status = 0 if early else _end(running)
            except _Stalled:
                _abort(running)
                wrong.seek(0)
                raise self._fault(f"read {name}", wrong.read(), 0) from None
            except BaseException:
                _abort(running)
                status = running.returncode
                wrong.seek(0)
                words = wrong.read()
                # Why the stream ended says more than that it did.
                if status > 0 and words.strip() and b"signal interrupt" not in words:
                    raise self._fault(f"read {name}", words, status) from None
                raise
            finally:
                running.stdout.close()
            if early:
                _abort(running)
                return
            wrong.seek(0)
            if status != 0:
                raise self._fault(f"read {name}", wrong.read(), status)

    def begin(self) -> None:
        """Make the repository."""
        self._ask("begin it", ["init"], _LOOK_SECONDS)

    def snapshots(self, *tags: str, host: str = "") -> list[Snapshot]:
        """Return the snapshots that have all these tags, the oldest first."""
        argv = ["snapshots", "--json", "--no-lock", "--tag", ",".join(("moorage", *tags))]
        argv += ["--host", host] if host else []
        found = json.loads(self._ask("look into it", argv, _LOOK_SECONDS) or "[]") or []
        return [_snapshot(entry) for entry in sorted(found, key=lambda entry: str(entry["time"]))]

    def surplus(self, keep: Keep, *tags: str, host: str) -> list[Snapshot]:
        """Return those of the snapshots that a policy lets go; nothing is changed."""
        argv = ["forget", "--dry-run", "--json", "--no-lock", "--group-by", "host", "--host", host]
        argv += ["--tag", ",".join(("moorage", *tags))]
        for name, count in vars(keep).items():
            argv += [f"--keep-{name}", str(count)] if count > 0 else []
        groups = json.loads(self._ask("apply keep", argv, _LOOK_SECONDS) or "[]") or []
        return [_snapshot(entry) for group in groups for entry in group.get("remove") or ()]

    def forget(self, snapshots: Sequence[str]) -> None:
        """Let go of snapshots; their data stays until the next `prune`."""
        # What a restic of this host has left that was killed; others' are theirs.
        self._ask("take back dead locks", ["unlock"], _LOOK_SECONDS)
        self._ask("forget old backups", ["forget", *snapshots], _TIDY_SECONDS)

    def prune(self) -> None:
        """Remove data that no snapshot has any more."""
        self._ask("prune it", ["prune"], _TIDY_SECONDS)

    def _ask(self, what: str, argv: Sequence[str], seconds: float) -> str:
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as wrong:
            running = self._start(argv, subprocess.DEVNULL, said, wrong)
            began = time.monotonic()
            try:
                while (status := running.poll()) is None:
                    passed = time.monotonic() - began
                    away = passed > _RETRY_SECONDS and _is_away(wrong)
                    if away or passed > seconds:
                        wrong.seek(0)
                        raise self._fault(what, wrong.read(), 0)
                    with suppress(subprocess.TimeoutExpired):
                        running.wait(_POLL_SECONDS)
            except BaseException:
                _abort(running)
                raise
            said.seek(0)
            wrong.seek(0)
            if status != 0:
                raise self._fault(what, wrong.read(), status)
            return said.read().decode("utf-8", "replace")

    def _start(
        self, argv: Sequence[str], stdin: int, stdout: int | IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                ["restic", *argv], bufsize=0, stdin=stdin, stdout=stdout, stderr=stderr,
                env=self._environment,
                # A person's Ctrl-C is for us: what was begun is then ended in order.
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise BackupError("restic is not installed: apt-get install restic") from None

    def _fault(self, what: str, words: bytes, status: int) -> BackupError:
        lines = _lines(words)[-_SAID_LINES:]
        text = "\n".join(lines)
        mend = next((mend for signs, mend in _TROUBLES if re.search(signs, text, re.I)), "")
        why = mend or (f"restic ended with {status}" if status else _SILENT)
        tail = "".join(f"\n  | {_CREDENTIALS.sub(chr(92) + '1', line)}" for line in lines)
        kind = NoRepository if mend is NO_REPOSITORY else BackupError
        return kind(f"the repository {self.repository}: cannot {what}: {why}{tail}")


def file_of(name: str) -> str:
    """Return what a part is called in its snapshot: restic 0.18.0 takes no directories there."""
    return name.replace("/", "-")


class _Stalled(Exception):
    """restic has neither taken nor given a byte for too long, nor ended."""


class _Taken:
    """Writes all of a piece to restic, as fast as that takes it."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out.fileno()
        os.set_blocking(self._out, False)

    def write(self, piece: Any, /) -> int:
        """Write a piece; raises _Stalled."""
        rest = memoryview(piece)
        while rest:
            if not select.select([], [self._out], [], _STALL_SECONDS)[1]:
                raise _Stalled
            rest = rest[os.write(self._out, rest) :]
        return len(piece)


class _Given(io.RawIOBase):
    """Reads what restic gives."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source.fileno()

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what is there; raises _Stalled."""
        if not select.select([self._source], [], [], _STALL_SECONDS)[0]:
            raise _Stalled
        return os.readv(self._source, [buffer])


def _end(running: subprocess.Popen[bytes]) -> int:
    try:
        return running.wait(_STALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise _Stalled from None


def _is_away(said: IO[bytes]) -> bool:
    """Tell whether restic tries in vain to reach its backend."""
    words = os.pread(said.fileno(), _SAID_BYTES, 0).decode("utf-8", "replace")
    return re.search(_AWAY, words, re.IGNORECASE) is not None


def _abort(running: subprocess.Popen[bytes]) -> None:
    """End restic before the end of its input, so that it makes no snapshot and leaves no lock."""
    with suppress(ProcessLookupError):
        running.send_signal(signal.SIGINT)
    try:
        running.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
    if running.stdin is not None:
        with suppress(OSError):
            running.stdin.close()


def _lines(words: bytes) -> list[str]:
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", words.decode("utf-8", "replace"))
    return [line.strip() for line in text.splitlines() if line.strip()]


def _snapshot(entry: Mapping[str, Any]) -> Snapshot:
    tags = (str(tag).partition("=") for tag in entry.get("tags") or ())
    return Snapshot(str(entry["id"]), str(entry["hostname"]), {n: v for n, _, v in tags})
