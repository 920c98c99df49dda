"""Data that is encrypted on the disk, or is to be, is looked at before any change."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.moorage_host import preflight, stacks


def look(base: Path, *, encrypted: bool) -> list[dict[str, str]]:
    wanted = [{"name": "shop", "dir": str(base / "shop"), "encrypted": encrypted}]
    found: list[dict[str, str]] = stacks.check_encryption(wanted)
    return found


def test_a_bare_host_and_plain_data_are_no_problem(tmp_path: Path) -> None:
    assert look(tmp_path, encrypted=True) == look(tmp_path, encrypted=False) == []
    (tmp_path / "shop/data/db").mkdir(parents=True)
    (tmp_path / "shop/data/db/rows").touch()
    assert look(tmp_path, encrypted=False) == []


def test_data_on_the_wrong_side_is_told_with_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "shop/data/db").mkdir(parents=True)
    (tmp_path / "shop/data/db/rows").touch()
    (found,) = look(tmp_path, encrypted=True)
    assert found["problem"].endswith("data/db is not encrypted")
    assert found["value"] == "not encrypted" and "security.md" in found["fix"]
    (tmp_path / "shop/encrypted").mkdir()
    (tmp_path / "shop/encrypted/gocryptfs.conf").touch()
    assert look(tmp_path, encrypted=True) == []
    (found,) = look(tmp_path, encrypted=False)
    assert "shop/encrypted holds the data of shop" in found["problem"]
    host = {"os_name": "x", "architecture": "x", "memory_mb": 1}
    assert "found: encrypted" in preflight.report(host, [found])
