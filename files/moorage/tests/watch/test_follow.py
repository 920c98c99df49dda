"""Following a log over rotations, whose writer goes on with the old file for a while."""

from __future__ import annotations

from pathlib import Path

from moorage.watch.follow import pieces


def test_nothing_is_lost_or_doubled_between_two_files(tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    path.write_text("one\ntwo\nthree\n")
    seen = pieces(path, 2)
    assert next(seen) == b"two\nthree\n"
    path.rename(old)
    with old.open("a") as writer:
        writer.write("four\n")
    assert next(seen) == b"four\n"
    assert next(seen) == b"", "its name is gone, and there is no other file yet"
    with old.open("a") as writer:
        writer.write("five\n")
    path.write_text("six\n")
    assert [next(seen), next(seen), next(seen)] == [b"five\n", b"six\n", b""]
