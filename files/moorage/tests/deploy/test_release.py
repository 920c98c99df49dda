"""Releases on a real file system: written whole, found again, pruned without touching others."""

from __future__ import annotations

import json
import os
import stat
import time
from base64 import b64encode
from pathlib import Path

import pytest

from moorage.common.files import write_atomically
from moorage.deploy.release import (
    ReleaseError,
    current_release,
    history,
    install_files,
    list_releases,
    point_current_at,
    previous_release,
    prune_releases,
    read_files,
    read_release,
    remove_files,
    remove_runtime,
    write_release,
)
from moorage.release.layout import Layout, known_stacks


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
    layout.releases.mkdir(parents=True)
    return layout


def release_id(number: int) -> str:
    return f"{number:012x}"


def make(layout: Layout, number: int) -> None:
    write_release(
        layout,
        release_id(number),
        {"compose.yaml": (f"# {number}\n", 0o644), "sub/secretless.conf": ("x\n", 0o600)},
        {"topology": "unified", "images": [f"shop:{number}"]},
    )


def test_a_release_is_complete_or_not_there(layout: Layout) -> None:
    make(layout, 1)
    release = read_release(layout, release_id(1))
    assert release.compose_file.read_text() == "# 1\n"
    assert (release.path / "sub/secretless.conf").stat().st_mode & 0o777 == 0o600
    assert release.images == ("shop:1",)
    assert [p.name for p in layout.releases.iterdir()] == [release_id(1)], "no scratch is left"


def test_a_file_of_somebody_else_that_is_called_as_the_stack_stays(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.deploy.release.PROGRAMS", tmp_path / "conf.d")
    theirs = tmp_path / "conf.d" / "shop.conf"
    theirs.parent.mkdir()
    theirs.write_text("[program:shop]\n")
    ours = "# Written by Moorage\n"
    for number, content in enumerate((ours, ours + "[group:shop]\n"), start=1):
        manifest = {"topology": "host", "install": {"supervisor.conf": str(theirs)}}
        files = {"supervisor.conf": (content, 0o644)}
        release = write_release(layout, release_id(number), files, manifest)
        if number == 1:
            with pytest.raises(ReleaseError, match="is there and not Moorage's"):
                install_files(release)
            assert theirs.read_text() == "[program:shop]\n"
            theirs.unlink()
        install_files(release)
        assert theirs.read_text() == content


def test_a_failed_write_leaves_nothing(layout: Layout) -> None:
    with pytest.raises(FileExistsError):
        write_release(
            layout, release_id(1), {"a": ("x", 0o644), "a/b": ("x", 0o644)}, {"topology": "x"}
        )
    assert list(layout.releases.iterdir()) == []


def test_a_release_that_is_there_is_never_rewritten(layout: Layout) -> None:
    make(layout, 1)
    path = read_release(layout, release_id(1)).path
    before = [(p, p.stat().st_ino) for p in (path, path / "compose.yaml", path / "release.json")]
    make(layout, 1)
    assert [(p, p.stat().st_ino) for p, _ in before] == before


def test_a_release_that_is_wanted_again_is_not_the_next_to_go(layout: Layout) -> None:
    make(layout, 1)
    manifest = read_release(layout, release_id(1)).path / "release.json"
    os.utime(manifest, (1, 1))
    make(layout, 1)
    assert manifest.stat().st_mtime > 1


def test_an_unknown_release_names_those_that_are_kept(layout: Layout) -> None:
    make(layout, 1)
    with pytest.raises(ReleaseError, match=release_id(1)):
        read_release(layout, release_id(2))
    with pytest.raises(ReleaseError, match="no release id"):
        read_release(layout, "../../etc")


def test_files_are_installed_where_the_manifest_says(layout: Layout) -> None:
    target = layout.config / "unified" / "supervisor.json"
    for number in (1, 2):
        files = {"supervisor.json": (f"{number}\n", 0o644)}
        manifest = {"topology": "unified", "install": {"supervisor.json": str(target)}}
        install_files(write_release(layout, release_id(number), files, manifest))
        assert target.read_text() == f"{number}\n"
    before = target.stat()
    install_files(read_release(layout, release_id(2)))
    assert target.stat().st_ino == before.st_ino, "what is the same already is left alone"


def test_what_is_shipped_is_installed_as_it_was_and_goes_with_its_releases(layout: Layout) -> None:
    top = layout.base / "config/shipped"
    for number, binary in ((1, b"\x89PNG\r\n\xff"), (2, b"\0")):
        files = {
            "compose.yaml": ("", 0o644),
            f"shipped64/{number}/below/logo": (b64encode(binary).decode(), 0o600),
            f"shipped/{number}/run.sh": ("#!/bin/sh\n", 0o700),
        }
        install = {name: f"{top}/{name.partition('/')[2]}" for name in files if "shipped" in name}
        release = write_release(
            layout, release_id(number), files, {"topology": "containers", "install": install}
        )
        install_files(release)
        point_current_at(layout, release)
        assert (top / f"{number}/below/logo").read_bytes() == binary
        assert stat.S_IMODE((top / f"{number}/below/logo").stat().st_mode) == 0o644
        assert stat.S_IMODE((top / f"{number}/run.sh").stat().st_mode) == 0o755
    assert prune_releases(layout, 2) == [] and sorted(os.listdir(top)) == ["1", "2"]
    assert prune_releases(layout, 1) == [release_id(1)] and os.listdir(top) == ["2"]
    remove_files(read_release(layout, release_id(2)))
    assert not top.exists()


def test_directories_below_run_come_with_the_release(layout: Layout) -> None:
    wanted = layout.run / "unified"
    entry = {"path": str(wanted), "owner": os.getuid(), "group": os.getgid(), "mode": "2750"}
    release = write_release(layout, release_id(1), {}, {"topology": "x", "runtime": [entry]})
    install_files(release)
    assert stat.S_IMODE(wanted.stat().st_mode) == 0o2750
    (wanted / "control.sock").touch()
    install_files(release)
    assert (wanted / "control.sock").exists(), "what runs there is left alone"


def test_a_damaged_manifest_is_named(layout: Layout) -> None:
    make(layout, 1)
    (layout.releases / release_id(1) / "release.json").write_text("{")
    with pytest.raises(ReleaseError, match="damaged"):
        read_release(layout, release_id(1))


def test_the_current_release_moves_and_the_history_tells(layout: Layout) -> None:
    assert current_release(layout) is None
    for number in (1, 2, 1):
        make(layout, number)
        point_current_at(layout, read_release(layout, release_id(number)))
    running = current_release(layout)
    assert running is not None and running.id == release_id(1)
    assert [line["release"] for line in history(layout)] == [release_id(n) for n in (1, 2, 1)]
    assert known_stacks(layout.base.parent) == ["shop"]


def test_pruning_keeps_the_last_activated_and_the_running_one(layout: Layout) -> None:
    for number in range(1, 8):
        make(layout, number)
        point_current_at(layout, read_release(layout, release_id(number)))
    point_current_at(layout, read_release(layout, release_id(1)))
    stranger = layout.releases / "notes"
    stranger.mkdir()
    removed = prune_releases(layout, keep=3)
    assert [r.id for r in list_releases(layout)] == [release_id(n) for n in (1, 7, 6)]
    assert sorted(removed) == [release_id(n) for n in (2, 3, 4, 5)]
    assert stranger.is_dir(), "what is not a release is not touched"


def test_the_running_release_outlives_any_pruning(layout: Layout) -> None:
    for number in (1, 2):
        make(layout, number)
        point_current_at(layout, read_release(layout, release_id(number)))
    prune_releases(layout, keep=0)
    assert [r.id for r in list_releases(layout)] == [release_id(2)]


def test_a_release_that_waits_for_its_turn_is_not_pruned(layout: Layout) -> None:
    for number in range(1, 4):
        make(layout, number)
        if number < 3:
            point_current_at(layout, read_release(layout, release_id(number)))
    assert prune_releases(layout, keep=1) == [release_id(1)]
    # One of the past that is brought again waits just so.
    make(layout, 4)
    point_current_at(layout, read_release(layout, release_id(4)))
    make(layout, 2)
    later = time.time() + 1
    os.utime(layout.releases / release_id(2) / "release.json", (later, later))
    assert prune_releases(layout, keep=1) == []
    for number in (2, 3):
        os.utime(layout.releases / release_id(number) / "release.json", (0, 0))
    assert sorted(prune_releases(layout, keep=1)) == [release_id(2), release_id(3)]


def test_a_release_that_was_tried_in_vain_does_not_wait(layout: Layout) -> None:
    make(layout, 1)
    point_current_at(layout, read_release(layout, release_id(1)))
    make(layout, 2)
    (layout.releases / release_id(2) / "receipt.json").write_text("{}")
    assert prune_releases(layout, keep=1) == [release_id(2)]


def test_going_back_means_what_ran_before_however_often_nothing_changed(layout: Layout) -> None:
    make(layout, 1)
    point_current_at(layout, read_release(layout, release_id(1)))
    with pytest.raises(ReleaseError, match=rf"no earlier release.*retained: {release_id(1)}"):
        previous_release(layout)
    for number in (2, 3):
        make(layout, number)
        point_current_at(layout, read_release(layout, release_id(number)))
    assert previous_release(layout).id == release_id(2)
    # Back and back again is further back, and not to what was no good.
    point_current_at(layout, previous_release(layout), "rollback")
    assert previous_release(layout).id == release_id(1)
    point_current_at(layout, previous_release(layout), "rollback")
    with pytest.raises(ReleaseError, match="no earlier release"):
        previous_release(layout)
    # Forward again by name, or by an update.
    point_current_at(layout, read_release(layout, release_id(3)), "update")
    assert previous_release(layout).id == release_id(1)
    prune_releases(layout, keep=1)
    with pytest.raises(ReleaseError, match="no earlier release"):
        previous_release(layout)


def test_the_files_of_a_release_are_read_without_what_lies_beside_them(layout: Layout) -> None:
    make(layout, 1)
    release = read_release(layout, release_id(1))
    (release.path / "receipt-20260101T000000.000Z.json").write_text("{}")
    (release.path / "receipt.json").symlink_to("receipt-20260101T000000.000Z.json")
    files = {"compose.yaml": ("# 1\n", 0o644), "sub/secretless.conf": ("x\n", 0o600)}
    assert read_files(release) == files


def test_an_atomic_write_sets_the_mode_and_replaces(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_atomically(target, json.dumps({"a": 1}), 0o600)
    write_atomically(target, json.dumps({"a": 2}), 0o600)
    assert json.loads(target.read_text()) == {"a": 2}
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_runtime_of_one_form_goes_and_what_lies_beside_it_stays(layout: Layout) -> None:
    for slot in ("unified", "gateway"):
        layout.control_socket(slot).parent.mkdir(parents=True)
    os.mkfifo(layout.runtime("unified") / "frontend.stdout")
    remove_runtime(layout.runtime("unified"))
    remove_runtime(layout.runtime("unified"))
    assert [path.name for path in layout.run.iterdir()] == ["gateway"]
