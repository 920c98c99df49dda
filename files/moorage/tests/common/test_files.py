"""Files are written whole, on the disk, and readable to nobody else for a moment."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from moorage.common import files


class Watched:
    """Notes the calls of functions of os, and lets them through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **look: Any) -> None:
        self.seen: list[Any] = []
        for name, saying in look.items():
            monkeypatch.setattr(os, name, self._noting(getattr(os, name), name, saying))

    def _noting(self, real: Any, name: str, saying: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            self.seen.append((name, saying(*args)))
            return real(*args, **more)

        return call


def test_a_file_has_its_mode_and_owner_before_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def size(fd: int, *_: Any) -> int:
        status = os.fstat(fd)
        assert stat.S_IMODE(status.st_mode) == 0o600
        return status.st_size

    watched = Watched(monkeypatch, fchmod=size, fchown=size)
    mine = os.getuid(), os.getgid()
    files.write_atomically(tmp_path / "secret", "all of it", 0o400, mine)
    assert watched.seen == [("fchown", 0), ("fchmod", 0)]
    status = (tmp_path / "secret").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o400, *mine)


def test_a_file_is_on_the_disk_before_its_name_and_then_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def content(fd: int) -> str:
        kind = os.readlink(f"/proc/self/fd/{fd}")
        return path.read_text() if kind == str(tmp_path) else f"scratch, {path.read_text()}"

    watched = Watched(monkeypatch, fsync=content)
    files.write_atomically(path, "new")
    assert watched.seen == [("fsync", "scratch, old"), ("fsync", "new")]


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match="directory/none"):
        files.write_atomically(tmp_path / "directory" / "none" / "file", "text")
    if os.getuid() == 0:
        with pytest.raises(OverflowError):
            files.write_atomically(tmp_path / "directory" / "file", "text", owner=(-5, 0))
    assert list((tmp_path / "directory").iterdir()) == []


def test_what_is_no_file_is_put_aside_and_kept(tmp_path: Path) -> None:
    (tmp_path / "file" / "inside").mkdir(parents=True)
    files.write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").read_text() == "text"
    aside = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert [path.name for path in aside[0].iterdir()] == ["inside"]
    files.discard(aside[0])
    assert not aside[0].exists() and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("before", ["nothing", "a link", "a directory"])
def test_a_link_leads_elsewhere_in_one_step(tmp_path: Path, before: str) -> None:
    link = tmp_path / "link"
    if before == "a link":
        link.symlink_to("old")
    elif before == "a directory":
        link.mkdir()
    files.lead(link, "new")
    assert os.readlink(link) == "new"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
