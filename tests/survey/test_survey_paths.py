"""Files, directories and links: made so, left alone when so, and what happens when it fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.moorage_host import paths

ME = {"owner": str(os.getuid()), "group": str(os.getgid())}


def file(path: Path, content: str = "new\n", **more: Any) -> dict[str, Any]:
    """Return a wanted file as the module's arguments describe it."""
    return {
        "path": str(path),
        "content": content,
        "mode": "0640",
        "state": "present",
        "validate": None,
        "apply": None,
        "verify": None,
        "show_diff": True,
        **ME,
        **more,
    }


def mode(path: Path) -> str:
    """Return a path's permissions in octal digits."""
    return format(path.stat().st_mode & 0o7777, "04o")


def test_a_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "etc/x.conf"
    diff = paths.ensure_file(file(path), dry_run=False)
    assert diff and (diff["before"], diff["after"]) == ("", "new\n")
    assert (path.read_text(), mode(path)) == ("new\n", "0640")
    assert paths.ensure_file(file(path), dry_run=False) is None
    assert os.listdir(path.parent) == ["x.conf"]


def test_a_dry_run_says_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    applied = tmp_path / "applied"
    wanted = file(path, apply=["touch", str(applied)])
    assert paths.ensure_file(wanted, dry_run=True)
    assert paths.ensure_directory({"path": str(tmp_path / "d"), "mode": "0700", **ME}, dry_run=True)
    assert paths.ensure_link({"path": str(tmp_path / "l"), "target": "nowhere"}, dry_run=True)
    assert os.listdir(tmp_path) == []


def test_an_owner_that_is_not_there_yet_is_an_error_but_in_a_dry_run(tmp_path: Path) -> None:
    wanted = {**file(tmp_path / "x"), "owner": "nobody-of-this-name"}
    assert paths.ensure_file(wanted, dry_run=True)
    with pytest.raises(paths.PathError, match="no user nobody-of-this-name"):
        paths.ensure_file(wanted, dry_run=False)


def test_a_directory_in_which_an_application_works_is_made_and_then_left(tmp_path: Path) -> None:
    path = tmp_path / "data"
    wanted = {"path": str(path), "mode": "0750", **ME}
    assert paths.ensure_directory({**wanted, "keep": True}, dry_run=False)
    assert mode(path) == "0750"
    os.chmod(path, 0o700)
    if os.getuid() == 0:
        os.chown(path, 21001, 21001)
    assert paths.ensure_directory({**wanted, "keep": True}, dry_run=False) is None
    assert mode(path) == "0700"
    assert paths.ensure_directory({**wanted, "keep": False}, dry_run=False)
    assert mode(path) == "0750"


def test_a_mode_is_put_right(tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    paths.ensure_file(file(path), dry_run=False)
    path.chmod(0o666)
    diff = paths.ensure_file(file(path), dry_run=False)
    assert diff and "mode 0666" in diff["before"] and "mode 0640" in diff["after"]
    assert mode(path) == "0640"
    assert path.read_text() == "new\n"


def test_invalid_content_never_takes_the_place_of_valid(tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    checked = {"validate": "grep -q good %s"}
    paths.ensure_file(file(path, "good\n", **checked), dry_run=False)
    for dry_run in (True, False):
        with pytest.raises(paths.PathError, match="is not valid"):
            paths.ensure_file(file(path, "bad\n", **checked), dry_run=dry_run)
    assert path.read_text() == "good\n"


def test_a_checker_that_is_not_installed_is_left_out(tmp_path: Path) -> None:
    wanted = file(tmp_path / "x", validate="no-such-checker-here %s")
    assert paths.ensure_file(wanted, dry_run=False)


def test_content_that_cannot_be_applied_is_taken_back(tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    paths.ensure_file(file(path, "old\n"), dry_run=False)
    with pytest.raises(paths.PathError, match="could not be applied"):
        paths.ensure_file(file(path, "new\n", apply=["false"]), dry_run=False)
    assert path.read_text() == "old\n"
    with pytest.raises(paths.PathError, match="could not be applied"):
        paths.ensure_file(file(tmp_path / "y", apply=["false"]), dry_run=False)
    assert not (tmp_path / "y").exists()


def test_what_was_undone_by_hand_is_applied_again(tmp_path: Path) -> None:
    path, effect = tmp_path / "x.conf", tmp_path / "effect"
    commands: dict[str, Any] = {
        "apply": ["touch", str(effect)],
        "verify": ["test", "-e", str(effect)],
    }
    assert paths.ensure_file(file(path, **commands), dry_run=False)
    assert paths.ensure_file(file(path, **commands), dry_run=False) is None
    effect.unlink()
    assert paths.ensure_file(file(path, **commands), dry_run=True)
    assert not effect.exists()
    assert paths.ensure_file(file(path, **commands), dry_run=False)
    assert effect.exists()


def test_a_file_that_is_not_wanted_goes_and_that_is_applied(tmp_path: Path) -> None:
    path, effect = tmp_path / "x.conf", tmp_path / "effect"
    gone = file(path, state="absent", apply=["touch", str(effect)])
    assert paths.ensure_file(gone, dry_run=False) is None
    paths.ensure_file(file(path), dry_run=False)
    assert paths.ensure_file(gone, dry_run=False)
    assert not path.exists() and effect.exists()


def test_content_that_must_not_show_does_not(tmp_path: Path) -> None:
    diff = paths.ensure_file(file(tmp_path / "x", "hidden\n", show_diff=False), dry_run=False)
    assert diff and "hidden" not in str(diff)


def test_a_directory_keeps_its_content_and_follows_a_link(tmp_path: Path) -> None:
    disk, link = tmp_path / "disk", tmp_path / "data"
    disk.mkdir(mode=0o777)
    (disk / "row").write_text("kept")
    link.symlink_to(disk)
    wanted = {"path": str(link), "mode": "0750", **ME}
    assert paths.ensure_directory(wanted, dry_run=False)
    assert paths.ensure_directory(wanted, dry_run=False) is None
    assert link.is_symlink() and mode(disk) == "0750" and (disk / "row").read_text() == "kept"


def test_what_stands_in_the_way_of_a_path_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(paths.PathError, match="is a file"):
        paths.ensure_directory({"path": str(tmp_path / "file"), "mode": "0755", **ME}, False)
    with pytest.raises(paths.PathError, match="leads nowhere"):
        paths.ensure_directory({"path": str(tmp_path / "dangling"), "mode": "0755", **ME}, False)
    with pytest.raises(paths.PathError, match="is a directory"):
        paths.ensure_file(file(tmp_path / "dir"), dry_run=False)
    with pytest.raises(paths.PathError, match="is a directory"):
        paths.ensure_link({"path": str(tmp_path / "dir"), "target": "file"}, dry_run=False)


def test_a_link_is_moved_at_once_and_only_to_what_exists(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    link = tmp_path / "link"
    for target in ("a", "b"):
        wanted = {"path": str(link), "target": target}
        assert paths.ensure_link(wanted, dry_run=False)
        assert paths.ensure_link(wanted, dry_run=False) is None
        assert link.read_text() == target
    with pytest.raises(paths.PathError, match="does not exist"):
        paths.ensure_link({"path": str(link), "target": "c"}, dry_run=False)
    assert link.read_text() == "b"
