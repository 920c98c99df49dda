"""Dumps of hooks are kept by their whole name, and nothing else is taken for one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moorage.deploy.hooks import _forget_old

NAMES = ["db.sql", "users-db.sql", "20260101T000000Z-db.sql", "db+sql", "[d]b.sql"]


@pytest.mark.parametrize("name", NAMES)
def test_of_each_name_the_newest_stay(tmp_path: Path, name: str) -> None:
    made = []
    for number in range(7):
        for other in NAMES:
            path = tmp_path / f"{'f6a9'[number % 4] * 12}-2026010{number + 1}T000000Z-{other}.gz"
            path.touch()
            os.utime(path, (number, number))
            made.append(path)
    foreign = tmp_path / f"mine-{name}.gz"
    foreign.touch()
    _forget_old(made[-1], name, 5)
    left = set(tmp_path.iterdir())
    gone = [path for path in made if path not in left]
    assert foreign in left
    assert len(gone) == 2
    assert {path.name.split("Z-", 1)[1] for path in gone} == {f"{name}.gz"}


def test_a_dangling_link_beside_dumps_does_no_harm(tmp_path: Path) -> None:
    for number in range(6):
        link = tmp_path / f"{'a' * 12}-2026010{number + 1}T000000Z-db.sql.gz"
        link.symlink_to(tmp_path / "nowhere")
    _forget_old(tmp_path / "any", "db.sql", 5)
    assert len(list(tmp_path.iterdir())) == 5
