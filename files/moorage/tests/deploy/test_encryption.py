"""What a host knows of data that is encrypted on the disk, where nothing of it is mounted.

Mounting it, and what becomes of containers, is tried on a host (molecule/backup).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from moorage.deploy.encryption import encrypt, fault, has_lost, obstacle
from moorage.deploy.instance import Instance
from moorage.deploy.release import ReleaseError
from moorage.release.layout import Layout

LOST, SINCE = 1_764_000_002.0, 1_764_000_010.0
BEFORE, BETWEEN, AFTER = (f"2025-11-24T16:0{time}.123456789Z" for time in ("0:00", "0:05", "6:51"))
DATA = Path("/opt/shop/data")
DATABASE = Instance(
    "1", "shop-db", "db", "db:1", "running", "none", 0, 7, BEFORE, 0, "unless-stopped",
    writes=("/opt/shop/data/db",),
)  # fmt: skip


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    layout.data.mkdir(parents=True)
    layout.backups.mkdir()
    return layout


def made(layout: Layout) -> None:
    layout.encrypted.mkdir()
    (layout.encrypted / "gocryptfs.conf").write_text("{}")
    layout.storage_key.parent.mkdir(parents=True)
    layout.storage_key.write_text("a key")


def test_empty_directories_of_volumes_are_no_obstacle(layout: Layout) -> None:
    (layout.data / "db").mkdir()
    assert obstacle(layout, wanted=True) == obstacle(layout, wanted=False) == ""


@pytest.mark.parametrize("place", ["data/db/rows", "data/.restore/db", "backups/a.sql.gz"])
def test_what_lies_there_unencrypted_is_named(layout: Layout, place: str) -> None:
    path = layout.base / place
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert obstacle(layout, wanted=False) == ""
    assert "encrypted (shop_storage_encryption), and /" in obstacle(layout, wanted=True)
    with pytest.raises(ReleaseError, match=r"is not encrypted.*security\.md"):
        encrypt(layout)
    assert path.exists() and not layout.encrypted.exists() and not layout.storage_key.exists()


def test_a_link_to_other_data_is_an_obstacle(layout: Layout, tmp_path: Path) -> None:
    (layout.data / "db").symlink_to(tmp_path)
    assert "data/db is not encrypted" in obstacle(layout, wanted=True)
    (layout.data / "db").unlink()
    layout.data.rmdir()
    layout.data.symlink_to(tmp_path)
    assert "data is a link" in obstacle(layout, wanted=True)


def test_a_stack_that_runs_without_is_an_obstacle(layout: Layout) -> None:
    layout.current.symlink_to("releases/0123456789ab")
    assert "is deployed here without it" in obstacle(layout, wanted=True)
    made(layout)
    assert obstacle(layout, wanted=True) == ""


def test_encrypted_data_of_which_no_setting_speaks_is_an_obstacle(layout: Layout) -> None:
    made(layout)
    assert f"{layout.encrypted} holds the data of shop" in obstacle(layout, wanted=False)
    layout.encrypted.rename(layout.base / "gone")
    assert obstacle(layout, wanted=False), "its disk may not be mounted"


def test_data_that_is_not_mounted_is_out_of_reach(layout: Layout) -> None:
    assert fault(layout) == ""
    made(layout)
    assert "is encrypted and not mounted" in fault(layout)
    assert "moorage-data@shop.service" in fault(layout)


def test_a_lost_key_or_place_is_never_made_anew(layout: Layout) -> None:
    made(layout)
    layout.storage_key.unlink()
    with pytest.raises(ReleaseError, match="put it back from the recovery kit"):
        encrypt(layout)
    layout.storage_key.write_text("a key")
    (layout.encrypted / "gocryptfs.conf").unlink()
    with pytest.raises(ReleaseError, match="is the disk mounted"):
        encrypt(layout)
    assert layout.storage_key.read_text() == "a key"


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({}, True),
        ({"started_at": BETWEEN}, True),
        ({"started_at": AFTER}, False),
        ({"state": "restarting"}, True),
        ({"writes": (), "reads": ("/opt/shop/data/db",)}, True),
        ({"writes": ("/opt/shop/data2/db", "/opt/shop/logs")}, False),
        ({"state": "exited", "finished_at": BETWEEN}, True),
        ({"state": "exited", "finished_at": BEFORE}, False),
        ({"state": "exited", "finished_at": BETWEEN, "policy": "no"}, False),
        ({"state": "exited", "finished_at": BEFORE, "refused": "no /opt/shop/data/db"}, True),
        ({"state": "exited", "finished_at": BETWEEN, "refused": "its port is taken"}, False),
        ({"state": "created", "refused": "no /opt/shop/data/db"}, False),
    ],
)
def test_who_is_started_for_data_that_came_back(changes: dict[str, str], lost: bool) -> None:
    assert has_lost(replace(DATABASE, **changes), DATA, LOST, SINCE) is lost  # type: ignore[arg-type]


def test_after_a_boot_nobody_is_who_started_after_the_mount() -> None:
    ended = replace(DATABASE, state="exited", finished_at=AFTER)
    assert not has_lost(ended, DATA, 0, SINCE), "somebody has stopped it"
