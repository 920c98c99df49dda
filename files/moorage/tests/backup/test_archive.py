"""A directory as a stream and back: all that it holds, and nothing that lies outside of it."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moorage.backup.archive import Broken, pack, unpack

NAMES = (
    b"plain",
    b"two\nlines",
    b"\xff\xfe no utf-8",
    "\u4e2d\u6587".encode(),
    b"-rf",
    b" ",
    b"x" * 255,
)


def packed(directory: Path) -> tuple[bytes, list[str], list[str]]:
    out = io.BytesIO()
    done = pack(directory, out)
    return out.getvalue(), done.left, done.changed


def facts(directory: Path) -> dict[bytes, tuple[object, ...]]:
    """Return all that is to come back of a directory, by name."""
    found: dict[bytes, tuple[object, ...]] = {}
    top = os.fsencode(directory)
    for path, _, _ in os.walk(top):
        for name in [b"", *os.listdir(path)]:
            full = os.path.join(path, name) if name else path
            status = os.lstat(full)
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(full)
            elif stat.S_ISREG(status.st_mode):
                with open(full, "rb") as source:
                    content = hashlib.file_digest(source, "sha256").hexdigest()
            times = status.st_mtime_ns
            found[os.path.relpath(full, top)] = (
                *(status.st_mode, status.st_uid, status.st_gid, times),
                *(status.st_nlink if stat.S_ISREG(status.st_mode) else 0, content),
            )
    return found


@pytest.fixture
def rich(tmp_path: Path) -> Path:
    """A directory with what file systems have, of several owners."""
    top = tmp_path / "rich"
    (top / "a" / "b").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        path = os.path.join(os.fsencode(top / "a"), name)
        with open(path, "wb") as out:
            out.write(os.urandom(1000 * number))
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number))
        os.chown(path, 10001 + number, 20001)
    os.chmod(top / "a" / "plain", 0o4751)
    os.link(top / "a" / "plain", top / "a" / "b" / "second name")
    os.symlink("/etc/passwd", top / "link")
    os.symlink("../nowhere", top / "a" / "dangling")
    os.chown(top / "link", 7, 8, follow_symlinks=False)
    (top / "empty").mkdir(mode=0o1777)
    os.chmod(top / "empty", 0o1777)
    os.utime(top / "a" / "b", ns=(0, 5_000_000_000))
    os.chown(top, 10001, 10001)
    os.chmod(top, 0o2750)
    return top


def test_all_that_a_directory_has_comes_back(rich: Path, tmp_path: Path) -> None:
    stream, left, changed = packed(rich)
    assert (left, changed) == ([], [])
    unpack(io.BytesIO(stream), tmp_path / "again")
    assert facts(tmp_path / "again") == facts(rich)
    # The same content is the same stream: what did not change costs the repository nothing.
    assert packed(rich)[0] == stream


def test_the_stream_is_one_that_tar_reads(rich: Path, tmp_path: Path) -> None:
    with open(rich / "holes", "wb") as out:
        out.truncate(1 << 40)
        out.seek(1 << 30)
        out.write(b"in the middle")
    stream, _, _ = packed(rich)
    assert len(stream) < 1 << 20
    (tmp_path / "other").mkdir()
    subprocess.run(
        ["tar", "--extract", "--numeric-owner", "--same-permissions", "--same-owner"],
        input=stream, cwd=tmp_path / "other", check=True,
    )  # fmt: skip
    sizes = [(tmp_path / name / "holes").stat().st_size for name in ("rich", "other")]
    assert sizes == [1 << 40, 1 << 40]
    unpack(io.BytesIO(stream), tmp_path / "again")
    again = (tmp_path / "again" / "holes").stat()
    assert (again.st_size, again.st_blocks < 1000) == (1 << 40, True)
    with open(tmp_path / "again" / "holes", "rb") as source:
        source.seek((1 << 30) - 3)
        assert source.read(20) == b"\0\0\0in the middle\0\0\0\0"


def test_extended_attributes_come_back(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one/file").write_text("x")
    os.setxattr(tmp_path / "one/file", "user.note", b"\xff\0binary")
    unpack(io.BytesIO(packed(tmp_path / "one")[0]), tmp_path / "two")
    assert os.getxattr(tmp_path / "two/file", "user.note") == b"\xff\0binary"


def test_what_is_no_file_is_left_out_and_named(tmp_path: Path) -> None:
    top = tmp_path / "odd"
    top.mkdir()
    os.mkfifo(top / "pipe")
    os.mknod(top / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    (top / "file").write_text("here")
    stream, left, _ = packed(top)
    assert sorted(left) == ["device: a device", "pipe: a pipe"]
    unpack(io.BytesIO(stream), tmp_path / "again")
    assert os.listdir(tmp_path / "again") == ["file"]


def test_what_lies_too_deep_is_named(tmp_path: Path) -> None:
    here = tmp_path / "deep"
    here.mkdir()
    fd = os.open(here, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    _, left, _ = packed(here)
    assert len(left) == 1 and "deeper than 200 directories" in left[0]


def test_a_file_that_shrinks_or_grows_while_it_is_read(tmp_path: Path) -> None:
    top = tmp_path / "busy"
    top.mkdir()
    (top / "log").write_bytes(b"x" * (8 << 20))

    class Meddling(io.BytesIO):
        met = False

        def write(self, piece: object) -> int:
            if not self.met and self.tell() >= 1 << 20:
                self.met = True
                os.truncate(top / "log", 3 << 20)
            return super().write(piece)  # type: ignore[arg-type]

    out = Meddling()
    done = pack(top, out)
    assert done.changed == ["log: was written while it was read"]
    unpack(io.BytesIO(out.getvalue()), tmp_path / "again")
    content = (tmp_path / "again/log").read_bytes()
    assert len(content) == 8 << 20 and content[-1:] == b"\0"


def test_nothing_outside_is_read_whatever_is_swapped_meanwhile(tmp_path: Path) -> None:
    """Somebody trades a directory and a file for links to a secret as fast as he can."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "inside").write_text("THE SECRET")
    top = tmp_path / "volume"
    (top / "dir").mkdir(parents=True)
    (top / "dir/inside").write_text("harmless")
    (top / "file").write_text("harmless")
    os.symlink(secret, top / "swap")
    os.symlink(secret / "inside", top / "trade")
    end = threading.Event()

    def swap() -> None:
        while not end.is_set():
            for one, other in (("dir", "swap"), ("file", "trade")):
                os.rename(top / one, top / "between")
                os.rename(top / other, top / one)
                os.rename(top / "between", top / other)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        streams = [packed(top)[0] for _ in range(200)]
    finally:
        end.set()
        thread.join()
    assert not any(b"THE SECRET" in stream for stream in streams)
    seen = {b"harmless" in stream for stream in streams}
    assert True in seen
    for number, stream in enumerate(streams):
        unpack(io.BytesIO(stream), tmp_path / f"again{number}")
    assert (secret / "inside").read_text() == "THE SECRET"


def hostile(*entries: tarfile.TarInfo) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
    return io.BytesIO(out.getvalue())


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize("through", ["link/file", "link/../file", "../file"])
def test_a_stream_leads_nowhere_else(through: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    link = entry("link", tarfile.SYMTYPE, str(tmp_path / "outside"))
    with pytest.raises((Broken, OSError)):
        unpack(hostile(link, entry(through, size=1)), tmp_path / "new")
    assert os.listdir(tmp_path / "outside") == []
    (tmp_path / "outside/file").touch()
    hard = entry("hard", tarfile.LNKTYPE, through)
    with suppress(Broken, OSError):
        unpack(hostile(link, hard), tmp_path / "newer")
    assert os.listdir(tmp_path / "newer") == ["link"]
    assert not (tmp_path / "file").exists()


def test_a_name_that_came_twice_is_the_last(tmp_path: Path) -> None:
    link = entry("name", tarfile.SYMTYPE, str(tmp_path))
    unpack(hostile(link, entry("name", size=3)), tmp_path / "new")
    assert (tmp_path / "new/name").read_text() == "xxx"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_no_stream_makes_devices(kind: bytes, tmp_path: Path) -> None:
    with pytest.raises(Broken, match="neither a file"):
        unpack(hostile(entry("device", kind)), tmp_path / "new")


def test_a_stream_that_is_cut_off(rich: Path, tmp_path: Path) -> None:
    stream, _, _ = packed(rich)
    for number, length in enumerate((0, 100, 3000, 12000)):
        with pytest.raises((Broken, OSError)):
            unpack(io.BytesIO(stream[:length]), tmp_path / f"cut{number}")


def test_owners_of_another_host(rich: Path, tmp_path: Path) -> None:
    unpack(io.BytesIO(packed(rich)[0]), tmp_path / "again", {10001: 777}, {20001: 888})
    status = (tmp_path / "again/a/plain").stat()
    assert (status.st_uid, status.st_gid) == (777, 888)
    assert (tmp_path / "again/a/-rf").stat().st_uid == 10005


def test_a_file_of_very_many_holes_takes_no_longer_than_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from").mkdir()
    with (tmp_path / "from" / "holes").open("wb") as out:
        out.truncate(1 << 30)
    # As if it had: the disk space for them takes longer than what is tried here.
    monkeypatch.setattr(
        "moorage.backup.archive._data", lambda _, size: [(n, 0) for n in range(200_000)]
    )
    began = time.process_time()
    with (tmp_path / "stream").open("wb") as out:
        pack(tmp_path / "from", out)
    assert time.process_time() - began < 20


def test_a_name_that_came_twice_as_another_kind_is_the_last(tmp_path: Path) -> None:
    directory, below = entry("name", tarfile.DIRTYPE), entry("name/below", size=2)
    hard = entry("hard", tarfile.LNKTYPE, "name/below")
    file, link = entry("name", size=3), entry("name", tarfile.SYMTYPE, str(tmp_path))
    inner = entry("name/inner", tarfile.DIRTYPE)
    unpack(hostile(directory, inner, below, file, hard), tmp_path / "file")
    assert (tmp_path / "file/name").read_text() == "xxx"
    unpack(hostile(directory, inner, link), tmp_path / "link")
    assert os.readlink(tmp_path / "link/name") == str(tmp_path)
    for number, first in enumerate((file, link)):
        unpack(hostile(first, directory, below), tmp_path / f"directory{number}")
        assert (tmp_path / f"directory{number}/name/below").read_text() == "xx"


@pytest.mark.parametrize("first", ["a", "a/inner/one"])
def test_a_file_with_two_names_is_whole_though_the_first_is_another_one_by_now(
    first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = tmp_path / "volume"
    (volume / first).parent.mkdir(parents=True)
    (volume / first).write_text("two names")
    os.link(volume / first, volume / "b")
    os.link(volume / first, tmp_path / "third")
    (volume / "c").write_text("one name")
    listed = os.scandir

    def twice(top: int) -> Iterator[os.DirEntry[str]]:
        """List as a directory does in which `c` is renamed to `a` meanwhile."""
        entries = {found.name: found for found in listed(top)}
        if "a" not in entries:
            yield from entries.values()
            return
        yield entries["a"]
        if first != "a":
            os.rename(volume / "a", tmp_path / "away")
        os.rename(volume / "c", volume / "a")
        yield from (entries["a"], entries["b"])

    class Listing:
        def __init__(self, top: int) -> None:
            self._entries = twice(top)

        def __next__(self) -> os.DirEntry[str]:
            return next(self._entries)

        def close(self) -> None:
            self._entries.close()  # type: ignore[attr-defined]

    monkeypatch.setattr(os, "scandir", Listing)
    stream, _, _ = packed(volume)
    monkeypatch.undo()
    unpack(io.BytesIO(stream), tmp_path / "again")
    assert (tmp_path / "again/a").read_text() == "one name"
    assert (tmp_path / "again/b").read_text() == "two names"
