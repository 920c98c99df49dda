"""Log files: no line is cut or lost by rotation, reopening, or a kill between two system calls."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from process_supervisor.common.loop import EventLoop
from process_supervisor.output.logfile import LogFile
from process_supervisor.output.pump import Pump, make_fifo
from process_supervisor.output.tail import Follower, last_lines


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A non-blocking reading end and a writing end."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    yield read, write
    os.close(read)
    os.close(write)


def contents(path: Path) -> list[bytes]:
    """The rotated files' contents, oldest first."""
    numbered = sorted(path.parent.glob(f"{path.name}.[0-9]*"), key=lambda p: -int(p.suffix[1:]))
    return [item.read_bytes() for item in (*numbered, path) if item.exists()]


def feed(log: LogFile, pipe: tuple[int, int], data: bytes) -> None:
    """Push data through the pipe in pieces that fit it."""
    for begin in range(0, len(data), 30_000):
        os.write(pipe[1], data[begin : begin + 30_000])
        while log.take(pipe[0]):
            pass


@pytest.mark.parametrize("splices", [True, False])
def test_rotation_cuts_no_line(tmp_path: Path, pipe: tuple[int, int], splices: bool) -> None:
    path = tmp_path / "a.log"
    log = LogFile(str(path), str(tmp_path / "note"), max_bytes=20_000, backups=1000)
    log._splices = splices
    data = b"".join(b"%06d %s\n" % (number, b"x" * (number % 200)) for number in range(5000))
    feed(log, pipe, data)
    log.close()
    found = contents(path)
    assert b"".join(found) == data
    assert len(found) > 10
    assert all(part.endswith(b"\n") for part in found)
    assert all(len(part) < 20_000 + (1 << 14) + 300 for part in found)


def test_only_so_many_backups_are_kept(tmp_path: Path, pipe: tuple[int, int]) -> None:
    logs = tmp_path / "logs"
    log = LogFile(str(logs / "a.log"), str(tmp_path / "note"), max_bytes=1000, backups=2)
    for number in range(200):
        feed(log, pipe, b"%099d\n" % number)
    log.close()
    assert sorted(item.name for item in logs.iterdir()) == ["a.log", "a.log.1", "a.log.2"]


def test_a_line_longer_than_the_limit_stays_whole(tmp_path: Path, pipe: tuple[int, int]) -> None:
    path = tmp_path / "a.log"
    log = LogFile(str(path), str(tmp_path / "note"), max_bytes=1000, backups=9)
    data = b"first\n" + b"y" * 3_000_000 + b"\nlast\n"
    feed(log, pipe, data)
    log.close()
    found = contents(path)
    assert b"".join(found) == data
    assert all(part.endswith(b"\n") for part in found)


def test_a_line_without_an_end_fills_no_disk(tmp_path: Path, pipe: tuple[int, int]) -> None:
    path = tmp_path / "a.log"
    log = LogFile(str(path), str(tmp_path / "note"), max_bytes=100_000, backups=2)
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 1 << 20)
    for _ in range(64):
        os.write(pipe[1], b"x" * (1 << 20))
        while log.take(pipe[0]):
            pass
    log.close()
    found = contents(path)
    assert len(found) == 3
    assert all(len(part) < 100_000 + (18 << 20) for part in found)


def test_reopening_moves_an_unfinished_line(tmp_path: Path, pipe: tuple[int, int]) -> None:
    path, old = tmp_path / "a.log", tmp_path / "a.log.1"
    log = LogFile(str(path), str(tmp_path / "note"))
    feed(log, pipe, b"one\ntwo")
    path.rename(old)
    feed(log, pipe, b" and")
    log.reopen()
    feed(log, pipe, b" a half\nthree\n")
    assert old.read_bytes() == b"one\n"
    assert path.read_bytes() == b"two and a half\nthree\n"
    log.reopen()
    assert path.read_bytes() == b"two and a half\nthree\n"


def test_a_file_emptied_in_place_is_written_from_its_start(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    path = tmp_path / "a.log"
    log = LogFile(str(path), str(tmp_path / "note"))
    feed(log, pipe, b"one\n")
    os.truncate(path, 0)
    feed(log, pipe, b"two\n")
    assert path.read_bytes() == b"two\n"


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Fuse:
    """Lets so many system calls of a module through and kills at the next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
        self.left = calls
        for name in ("open", "replace", "ftruncate", "pwrite", "unlink", "write", "splice"):
            monkeypatch.setattr(os, name, self.guarded(getattr(os, name)))

    def guarded(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, until the fuse has burnt down."""

        def guarded(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return call(*args, **named)

        return guarded


def rotate(log: LogFile, path: Path, pipe: tuple[int, int]) -> None:
    """Write until the log rotates in the middle of a line."""
    while log.take(pipe[0]):
        pass


def reopen(log: LogFile, path: Path, pipe: tuple[int, int]) -> None:
    """What a log rotator and the supervisor do together."""
    while log.take(pipe[0]):
        pass
    if path.exists() and not Path(f"{path}.1").exists():
        path.rename(f"{path}.1")
    log.reopen()


@pytest.mark.parametrize("step", [rotate, reopen])
@pytest.mark.parametrize("calls", range(30))
def test_a_kill_at_any_system_call_loses_and_cuts_nothing(
    step: Callable[..., None], calls: int, tmp_path: Path, pipe: tuple[int, int]
) -> None:
    path, note = tmp_path / "a.log", str(tmp_path / "note")
    size = 100 if step is rotate else 0
    log = LogFile(str(path), note, max_bytes=size, backups=9)
    before = b"".join(b"line %d\n" % number for number in range(30)) + b"an unfinished"
    os.write(pipe[1], before)
    with pytest.MonkeyPatch.context() as patch:
        fuse = Fuse(patch, calls)
        try:
            step(log, path, pipe)
        except Killed:
            assert fuse.left < 0
    again = LogFile(str(path), note, max_bytes=size, backups=9)
    feed(again, pipe, b" line\nthe last\n")
    found = contents(path)
    assert b"".join(found) == before + b" line\nthe last\n"
    assert all(part.endswith(b"\n") for part in found if part)
    assert not os.path.exists(f"{path}.new")


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")),
                      max_size=60), count=st.integers(0, 70), newline=st.booleans())  # fmt: skip
def test_last_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], count: int, newline: bool
) -> None:
    path = tmp_path_factory.mktemp("tail") / "a.log"
    text = b"\n".join(lines) + (b"\n" if newline and lines else b"")
    path.write_bytes(text)
    expected = text.removesuffix(b"\n").split(b"\n") if text else []
    wanted = [line.decode("utf-8", "replace") for line in expected[-count:]] if count else []
    assert last_lines(str(path), count) == wanted


def test_last_lines_go_on_in_rotated_files(tmp_path: Path) -> None:
    (tmp_path / "a.log.2").write_text("1\n2\n")
    (tmp_path / "a.log.1").write_text("3\n4\n")
    (tmp_path / "a.log").write_text("5\n")
    assert last_lines(str(tmp_path / "a.log"), 4) == ["2", "3", "4", "5"]


def test_nobody_waits_for_what_is_in_the_place_of_a_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("new\n")
    os.mkfifo(tmp_path / "log.1")
    assert last_lines(str(tmp_path / "log"), 100) == ["new"]
    (tmp_path / "secret").write_text("another's\n")
    (tmp_path / "log.1").unlink()
    (tmp_path / "log.1").symlink_to("secret")
    assert last_lines(str(tmp_path / "log"), 100) == ["new"]
    (tmp_path / "log").unlink()
    os.mkfifo(tmp_path / "log")
    assert last_lines(str(tmp_path / "log"), 100) == []
    with pytest.raises(OSError, match="is no file"):
        Follower(str(tmp_path / "log"), 10)


def test_nothing_is_written_where_an_application_leads(tmp_path: Path) -> None:
    log, note, theirs = tmp_path / "log", str(tmp_path / "note"), tmp_path / "theirs"
    theirs.write_text("theirs\n")
    log.symlink_to(theirs)
    LogFile(str(log), note).close()
    os.lchown(log, 12345, 12345)
    with pytest.raises(OSError, match="symbolic links"):
        LogFile(str(log), note)
    log.unlink()
    log.with_name("log.new").symlink_to(theirs)
    LogFile(str(log), note).close()
    assert theirs.read_text() == "theirs\n"


def test_a_follower_sees_each_line_once_over_rotation(
    tmp_path: Path, pipe: tuple[int, int]
) -> None:
    path = tmp_path / "a.log"
    log = LogFile(str(path), str(tmp_path / "note"), max_bytes=2000, backups=50)
    feed(log, pipe, b"before\n")
    follower = Follower(str(path), 10)
    seen = follower.read()
    expected = ["before"]
    for number in range(300):
        line = f"{number:04d} {'z' * (number % 90)}"
        half = len(line) // 2
        feed(log, pipe, line[:half].encode())
        seen += follower.read()
        feed(log, pipe, line[half:].encode() + b"\n")
        expected.append(line)
        while True:
            found = follower.read()
            seen += found
            if not found and not follower.more:
                break
    assert len(contents(path)) > 5
    assert seen == expected
    follower.close()


def test_a_full_disk_stops_nobody_and_says_what_is_lost(tmp_path: Path) -> None:
    """A file system that is full, without one: the file may not grow beyond a size."""
    loop, fifo = EventLoop(), str(tmp_path / "fifo")
    make_fifo(fifo)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    log = LogFile(str(tmp_path / "log"), str(tmp_path / "note"))
    pump = Pump(loop, reader, log, lambda: None)
    room = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    os.write(writer, b"kept\n")
    pump.drain()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, old[1]))
    try:
        os.write(writer, b"x" * 100)
        pump.drain()
        assert "cannot write" in (pump.problem or "")
        assert pump.lost == 0  # it can wait
        written = 0
        while written < 3 * room:
            written += os.write(writer, b"y" * (room // 4 + 1))  # never EAGAIN: it would wait
            pump.drain()
        assert f"output lost: {pump.lost} bytes since 2" in (pump.problem or "")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    os.write(writer, b"again\n")
    pump.drain()
    assert pump.problem is None
    text = (tmp_path / "log").read_text()
    assert text.startswith("kept\n[output lost: ")
    assert text.endswith("again\n")
    pump.close()
    os.close(writer)
