"""Restores that are killed, in every phase: nobody goes on before they are undone or finished."""

from __future__ import annotations

import subprocess

import pytest
from saved import CHANGED, WAS, Saved, assert_settled

from moorage.backup.restoring import unfinished


def assert_cut_off(saved: Saved, phase: str) -> None:
    """Until somebody has said what shall be, nobody goes on."""
    state = unfinished(saved.layout)
    assert state is not None and state.phase == phase
    said = f"`moorage restore {saved.stack} --back` undoes it"
    for verb in ("backup", "restore"):
        done = saved.run(verb, saved.stack)
        assert done.status == 1 and said in done.err, done
    assert said in saved.run("status", saved.stack).out
    release = saved.layout.current.readlink().name
    assert saved.rig.activate(release).outcome == "locked"


@pytest.mark.parametrize("phase", ["fetching", "stopping", "saving"])
def test_one_that_is_killed_before_its_change_is_undone(phase: str, changed: Saved) -> None:
    assert changed.killed(phase, "restore", changed.stack, "--yes").returncode == -9
    assert_cut_off(changed, phase)
    assert "--back" in changed.run("restore", changed.stack, "--continue").err
    done = changed.run("restore", changed.stack, "--back")
    assert done.status == 0, done
    assert changed.content()[:2] == CHANGED
    assert_settled(changed)


def test_one_that_is_killed_in_its_change_and_again_after_it_is_finished(changed: Saved) -> None:
    assert changed.killed("changing", "restore", changed.stack, "--yes").returncode == -9
    assert_cut_off(changed, "changing")
    for phase in ("changing", "starting"):
        assert changed.killed(phase, "restore", changed.stack, "--continue").returncode == -9
    assert_cut_off(changed, "starting")
    done = changed.run("restore", changed.stack, "--continue")
    assert done.status == 0, done
    assert changed.content()[:2] == WAS[:2]
    assert_settled(changed)
    release = changed.layout.current.readlink().name
    assert changed.rig.activate(release).outcome == "unchanged"


def test_one_that_is_killed_after_its_change_is_undone(changed: Saved) -> None:
    assert changed.killed("starting", "restore", changed.stack, "--yes").returncode == -9
    assert changed.content() == WAS
    assert changed.killed("returning", "restore", changed.stack, "--back").returncode == -9
    done = changed.run("restore", changed.stack, "--back")
    assert done.status == 0, done
    assert changed.content() == (*CHANGED, CHANGED[1])
    assert_settled(changed)


def test_one_that_is_killed_while_it_tidies_is_not_undone(changed: Saved) -> None:
    before = """
from moorage.backup import trees
whole = trees.remove_tree
def half(path):
    if path.name == ".files.before":
        (path / "picture").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(path)
trees.remove_tree = half
"""
    argv = changed.argv("restore", changed.stack, "--yes", before=before)
    assert subprocess.run(argv, capture_output=True, check=False).returncode == -9
    # What there was is not all there any more.
    assert "--continue` takes away" in changed.run("backup", changed.stack).err
    done = changed.run("restore", changed.stack, "--back")
    assert done.status == 1 and "had ended already: restored" in done.err, done
    assert changed.content() == WAS
    assert_settled(changed)
