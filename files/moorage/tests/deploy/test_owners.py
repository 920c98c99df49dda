"""Directories that change hands: when, back again, and what is planted in them meanwhile."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rig import Rig

from moorage.deploy import foreign, owners
from moorage.deploy.difference import Owned, Turn, needs_of, shut_out, turns
from moorage.deploy.foreign import Passed, pass_on
from moorage.deploy.instance import Instance
from moorage.deploy.owners import Owners, astray, with_owners
from moorage.deploy.release import Release, make_runtime, read_release
from moorage.deploy.runtimes.docker import run as docker
from moorage.deploy.scene import Scene
from moorage.release.layout import Layout
from moorage.release.manifest import Directory, Manifest, Unit, parse

A, B, OTHER = 21001, 21002, 21003
DATA = "/opt/s/data/db"


def give(path: Path, uid: int = A) -> Path:
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def whose(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


# -- what has to change hands -----------------------------------------------------------------


def turned(
    wanted: Owned,
    there: Owned | None,
    *,
    known: tuple[int, ...] = (A, B),
    begun: tuple[int, ...] = (),
    writers: tuple[int, ...] = (),
) -> Any:
    found = turns(
        {DATA: wanted},
        {DATA: there} if there else {},
        known={DATA: {(uid, uid) for uid in known}},
        begun={DATA: {(uid, uid) for uid in begun}} if begun else {},
        writers={DATA: {(uid, uid) for uid in writers}},
    )
    return found[0] if found else None


def owned(uid: int, mode: int = 0o750) -> Owned:
    return Owned(uid, uid, mode)


def test_what_is_as_wanted_or_missing_stays() -> None:
    assert turned(owned(A), owned(A)) is None
    assert turned(owned(A), None) is None


def test_files_follow_the_owner_but_not_who_goes_on_writing_there() -> None:
    turn = turned(owned(B), owned(A))
    assert (turn.users, turn.groups, turn.shuts_out) == ({A}, {A}, True)
    beside = turned(owned(B), owned(A), writers=(A, B))
    assert (beside.users, beside.groups, beside.shuts_out) == (set(), set(), True)


def test_who_was_cut_off_is_gone_on_from_in_both_directions() -> None:
    forward = turned(owned(B), owned(A), begun=(A, B))
    back = turned(owned(A), owned(A), begun=(A, B))
    assert forward.users == {A} and back.users == {B} and back.shuts_out
    assert turned(owned(OTHER), owned(A), begun=(A, B)).users == {A, B}


def test_permissions_that_are_only_widened_stop_nobody() -> None:
    assert not turned(owned(A, 0o755), owned(A)).shuts_out
    assert turned(owned(A, 0o700), owned(A)).shuts_out
    assert not turned(owned(A, 0o755), owned(A)).users


def test_what_the_root_of_a_container_has_given_away_is_left_to_it() -> None:
    assert turned(owned(0), owned(999)) is None
    assert turned(owned(0), owned(B)).users == {B}
    assert turned(owned(0, 0o755), owned(0)).new.mode == 0o755
    # Nor does an application get what root has put there.
    assert turned(owned(A), owned(0)).users == set()
    assert turned(owned(A), owned(0), known=(0, A)).users == {0}


def test_a_directory_that_lies_on_another_disk_is_seen_by_whoever_mounts_it(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "disk")
    described = {"web": {"user": f"{B}:{B}", "volumes": [{"source": str(link)}]}}
    unit = Unit("web", "web", "new", rolled=False, keys={"": "web"})
    assert needs_of([unit], described)["web"].mounts(str(link))
    turn = Turn(str(link), owned(A), owned(B))
    facts = ("1", "old", "old", "image", "running", "none", 0, 1, "", 0, "always")
    writer = Instance(*facts, writes=(str(link),))
    reader = Instance(*facts, reads=(str(tmp_path / "disk"),))
    for there in (writer, reader):
        assert shut_out(unit, [turn], [there], {"web": "new"}) == [there]
    assert set(owners._writers(str(link), described)) == {(B, B)}


# -- giving away what lies there --------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    (found / "sub").mkdir(parents=True)
    give(found)
    give(found / "sub")
    for name in ("file", "sub/file"):
        (found / name).write_text("x")
        give(found / name)
    return found


def passed(data: Path, **more: Any) -> Passed:
    return pass_on(data, (B, B), 0o750, {A}, {A}, **more)


def test_what_lies_there_goes_along(data: Path) -> None:
    done = passed(data)
    assert (done.files, done.left, done.odd) == (3, 0, [])
    assert {whose(path) for path in (data, *data.rglob("*"))} == {(B, B)}
    assert data.stat().st_mode & 0o7777 == 0o750


def test_user_and_group_go_each_for_itself(data: Path) -> None:
    os.chown(data / "file", A, OTHER)
    os.chown(data / "sub/file", OTHER, A)
    passed(data)
    assert whose(data / "file") == (B, OTHER) and whose(data / "sub/file") == (OTHER, B)


def test_what_is_planted_there_is_neither_followed_nor_given_away(
    data: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("secret", "twice"):
        (outside / name).write_text("root's")
        os.chown(outside / name, A, A)
    (data / "to-file").symlink_to(outside / "secret")
    (data / "to-directory").symlink_to(outside)
    (data / "nowhere").symlink_to("/nonexistent")
    os.link(outside / "twice", data / "sub/twice")
    os.mkfifo(data / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(data / "socket"))
    for name in ("to-file", "to-directory", "nowhere", "pipe", "socket"):
        give(data / name)
    (data / "of-another").write_text("x")
    give(data / "of-another", OTHER)
    done = passed(data)
    assert sorted(line.partition(": ")[2] for line in done.odd) == [
        "a file with 2 names", "a link", "a link", "a link", "a pipe", "a socket",
    ]  # fmt: skip
    assert done.left == 6 and done.files == 3
    assert {whose(p) for p in (outside / "secret", outside / "twice")} == {(A, A)}
    assert whose(outside) == (0, 0) and whose(data / "of-another") == (OTHER, OTHER)
    assert whose(data / "file") == whose(data / "sub/file") == (B, B)


def test_what_is_mounted_below_is_another_ones(data: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "file").write_text("x")
    give(mounted / "file")
    (data / "there").mkdir()
    give(data / "there")
    subprocess.run(["mount", "--bind", mounted, data / "there"], check=True)
    try:
        done = passed(data)
    finally:
        subprocess.run(["umount", data / "there"], check=True)
    assert whose(mounted / "file") == (A, A)
    assert done.odd == [f"{data}/there: another file system"]


def test_a_tree_deeper_than_anybody_needs_is_left_below_that(data: Path) -> None:
    inner = data
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(foreign.DEEPEST + 5):
        inner = inner / "d"
        inner.mkdir()
        give(inner)
    done = passed(data)
    assert whose(inner) == (A, A) and whose(data) == (B, B)
    assert [line.rpartition(": ")[2] for line in done.odd] == ["deeper than 200 directories"]
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_moves_while_it_is_gone_through_leads_nowhere(data: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("root's")
    os.chown(outside / "file", A, A)
    for n in range(50):
        (data / f"d{n}").mkdir()
        (data / f"d{n}/file").write_text("x")
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            for n in range(50):
                path = data / f"d{n}"
                os.rename(path, data / "away")
                path.symlink_to(outside)
                path.unlink()
                os.rename(data / "away", path)

    mover = threading.Thread(target=turn)
    mover.start()
    try:
        for _ in range(40):
            pass_on(data, (B, B), 0o750, {A, 0}, {A, 0})
            pass_on(data, (A, A), 0o750, {B}, {B})
    finally:
        over.set()
        mover.join()
    assert whose(outside / "file") == (A, A) and whose(outside) == (0, 0)


def test_what_is_below_run_goes_with_its_socket(data: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(data / "control.sock"))
    give(data / "control.sock")
    assert passed(data, sockets=True).left == 0
    assert whose(data / "control.sock") == (B, B)


# -- with the notes that are kept ---------------------------------------------------------------


def entry(path: Path, uid: int, mode: str = "0750") -> dict[str, Any]:
    return {"path": str(path), "owner": uid, "group": uid, "mode": mode}


class Cut(BaseException):
    """The process is killed here."""


def release_of(layout: Layout, ident: str, **manifest: Any) -> Release:
    path = layout.releases / ident
    path.mkdir(parents=True)
    manifest = {"topology": "containers", "id": ident, **manifest}
    (path / "release.json").write_text(json.dumps(manifest))
    return Release(ident, path, parse(manifest))


def test_one_that_is_cut_off_within_a_directory_is_gone_on_with_or_undone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = Layout.of("s", tmp_path / "opt", tmp_path / "run")
    old = release_of(layout, "0" * 12, directories=[entry(data, A)])
    new = release_of(layout, "1" * 12, directories=[entry(data, B)])
    everything = (data, *data.rglob("*"))

    def cut(wanted: Release) -> None:
        with monkeypatch.context() as patch:
            given = list[int]()

            def give_some(walk: Any, seen: int, *rest: Any) -> None:
                if given:
                    raise Cut
                given.append(seen)
                whole(walk, seen, *rest)

            whole = foreign._Walk._give
            patch.setattr(foreign._Walk, "_give", give_some)
            mine = Owners(layout, wanted, {})
            with pytest.raises(Cut):
                mine.change(mine.turns()[0])

    for wanted, uid in ((new, B), (old, A), (new, B)):
        # On the way to B; then it is asked for, or what was before.
        if whose(data) == (A, A):
            cut(new)
            assert len({whose(path) for path in everything}) == 2
        mine = Owners(layout, wanted, {})
        for turn in mine.turns():
            mine.change(turn)
        assert {whose(path) for path in everything} == {(uid, uid)}
        assert mine.turns() == [] and not layout.hands.exists()
    # And undone from the middle.
    for turn in Owners(layout, old, {}).turns():
        Owners(layout, old, {}).change(turn)
    cut(new)
    mine = Owners(layout, old, {})
    for turn in mine.turns():
        mine.change(turn)
    assert {whose(path) for path in everything} == {(A, A)}


def test_a_note_that_is_torn_is_none(data: Path, tmp_path: Path) -> None:
    layout = Layout.of("s", tmp_path / "opt", tmp_path / "run")
    release = release_of(layout, "0" * 12, directories=[entry(data, A, "0755")])
    for text in ("", "[]", '{"x": 1}', '{"x": [["a", "b"]]}', '{"x": [[1]]}', "[" * 9999):
        layout.hands.write_text(text)
        assert Owners(layout, release, {}).turns() == []


def test_what_is_wrong_by_hand_is_seen_as_the_running_release_wants_it(
    data: Path, tmp_path: Path
) -> None:
    layout = Layout.of("s", tmp_path / "opt", tmp_path / "run")
    assert astray(layout) == []
    release_of(layout, "0" * 12, directories=[entry(data, A, "0755"), entry(data / "gone", A)])
    assert astray(layout) == []
    layout.current.symlink_to(f"releases/{'0' * 12}")
    assert astray(layout) == []
    os.chown(data, B, B)
    assert astray(layout) == [f"{data}: {B}:{B} 0755 instead of {A}:{A} 0755"]


def test_a_release_of_an_older_version_gets_its_owners_from_what_is_there(
    data: Path, tmp_path: Path
) -> None:
    layout = Layout.of("s", tmp_path / "opt", tmp_path / "run")
    old = release_of(layout, "0" * 12)
    os.utime(old.path / "release.json", (1, 1))
    new = release_of(layout, "1" * 12, directories=[entry(data, B), entry(data / "new", B)])
    told = with_owners(old, new)
    assert told.manifest.directories == (Directory(**entry(data, A, "0755")),)
    assert read_release(layout, old.id).manifest == told.manifest
    assert (old.path / "release.json").stat().st_mtime == 1
    assert with_owners(new, old) is new


def test_what_an_image_has_filled_is_given_back(data: Path, tmp_path: Path) -> None:
    layout = Layout.of("s", tmp_path / "opt", tmp_path / "run")
    other = data.with_name("other")
    other.mkdir()
    give(other)
    seeds = [{"path": str(path), "image": "one:1", "target": "/data"} for path in (data, other)]
    both = [entry(data, 0), entry(other, 0)]
    old = release_of(layout, "0" * 12, directories=both, seeds=seeds)
    owned = [entry(data, B), entry(other, 0)]
    new = release_of(layout, "1" * 12, directories=owned, seeds=seeds[1:])
    told = with_owners(old, new)
    assert read_release(layout, old.id).manifest == told.manifest
    assert [seed.path for seed in told.manifest.seeds] == [str(other)]
    for release, owner in ((new, B), (told, A)):
        one = Owners(layout, release, {})
        for turn in one.turns():
            one.change(turn)
        assert (whose(data), whose(other)) == ((owner, owner), (A, A))


def test_a_directory_below_run_is_left_until_its_container_has_stopped(tmp_path: Path) -> None:
    where = tmp_path / "run/slot"
    release = Release("1", tmp_path, Manifest("", runtime=(Directory(**entry(where, A)),)))
    make_runtime(release)
    assert whose(where) == (A, A)
    make_runtime(Release("2", tmp_path, Manifest("", runtime=(Directory(**entry(where, B)),))))
    assert whose(where) == (A, A)


# -- in a rollout -----------------------------------------------------------------------------

# Reads what was there, writes on, and says so; whoever is shut out ends.
WORKS = (
    "cd /data && cat note >/dev/null && echo $(id -u) >>note && umask 077 && "
    "echo >file-$(id -u) && touch /tmp/well && while echo >>tick; do sleep 0.1; done; exit 4"
)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "volume"
    found.mkdir(mode=0o750)
    give(found)
    (found / "note").write_text("")
    (found / "note").chmod(0o600)
    give(found / "note")
    yield found


def version(rig: Rig, volume: Path, uid: int, script: str = WORKS, **facts: Any) -> str:
    mount = {"type": "bind", "source": str(volume), "target": "/data"}
    entries = {"user": f"{uid}:{uid}", "volumes": [mount]}
    service = rig.service("web", script, entries, health=True, **facts)
    made: str = rig.release(service, directories=[entry(volume, uid)])
    return made


def all_of(volume: Path) -> set[tuple[int, int]]:
    return {whose(path) for path in (volume, *volume.iterdir())}


@pytest.mark.parametrize("rolled", [True, False])
def test_files_follow_their_owner_and_come_back_with_it(
    rig: Rig, volume: Path, rolled: bool
) -> None:
    old = version(rig, volume, A, rolled=rolled)
    assert rig.activate(old).ok
    (volume / "link").symlink_to("/etc/shadow")
    give(volume / "link")
    new = version(rig, volume, B, rolled=rolled)
    outcome = rig.activate(new)
    assert outcome.outcome == "activated", outcome.message
    (fact,) = outcome.did["owners"]
    assert fact["path"] == str(volume) and fact["files"] >= 3 and fact["left"] == 1
    assert any("changed hands, but for 1 of what" in line for line in outcome.warnings)
    (volume / "link").unlink()
    assert json.loads(Path(str(outcome.receipt)).read_text())["owners"] == [fact]
    assert all_of(volume) == {(B, B)}
    assert rig.activate(new).outcome == "unchanged"
    back = rig.activate(old, action="rollback")
    assert back.outcome == "activated" and all_of(volume) == {(A, A)}
    assert (volume / "note").read_text().split() == [str(A), str(B), str(A)]
    assert set(rig.containers()) == {"web"}


@pytest.mark.parametrize("rolled", [True, False])
def test_a_release_that_fails_gives_everything_back(rig: Rig, volume: Path, rolled: bool) -> None:
    assert rig.activate(version(rig, volume, A, rolled=rolled)).ok
    sick = "cd /data; umask 077; echo >new; echo >>note; exit 3"
    outcome = rig.activate(version(rig, volume, B, sick, rolled=rolled))
    assert outcome.outcome == "restored", outcome.message
    # What it has made is the old one's too.
    assert (volume / "new").exists() and all_of(volume) == {(A, A)}
    assert rig.containers()["web"].state == "running"
    assert set(rig.containers()) == {"web"}
    assert [fact["after"][:5] for fact in outcome.did["owners"]] == [str(B), str(A)]


def test_what_fails_before_the_switch_has_touched_nothing(rig: Rig, volume: Path) -> None:
    assert rig.activate(version(rig, volume, A)).ok
    before = rig.containers()["web"].id
    bad = version(rig, volume, B)
    document = json.loads((rig.layout.releases / bad / "release.json").read_text())
    document["images"] = ["moorage/none:1"]
    (rig.layout.releases / bad / "release.json").write_text(json.dumps(document))
    assert rig.activate(bad).outcome == "failed"
    assert all_of(volume) == {(A, A)} and rig.containers()["web"].id == before


@pytest.mark.parametrize("point", ["stopped", "half", "handed", "made", "serving"])
@pytest.mark.parametrize("next_one", ["old", "new"])
def test_one_that_is_cut_off_converges(
    rig: Rig, volume: Path, monkeypatch: pytest.MonkeyPatch, point: str, next_one: str
) -> None:
    wanted = {"old": version(rig, volume, A), "new": version(rig, volume, B)}
    assert rig.activate(wanted["old"]).ok

    def cut(*_: Any, **__: Any) -> Any:
        raise Cut

    def after(whole: Any) -> Any:
        def act(*args: Any, **more: Any) -> Any:
            whole(*args, **more)
            raise Cut

        return act

    with monkeypatch.context() as patch:
        if point == "stopped":
            patch.setattr(Scene, "hand_over", cut)
        elif point == "half":
            patch.setattr(owners, "pass_on", lambda path, *_, **__: (give(path / "note", B), cut()))
        elif point == "handed":
            patch.setattr(Scene, "make", cut)
        elif point == "made":
            patch.setattr(Scene, "make", after(Scene.make))
        else:
            patch.setattr(Scene, "succeed", cut)
        with pytest.raises(Cut):
            rig.activate(wanted["new"])
    outcome = rig.activate(wanted[next_one])
    assert outcome.ok, outcome.message
    uid = A if next_one == "old" else B
    assert all_of(volume) == {(uid, uid)}
    assert set(rig.containers()) == {"web"} and rig.containers()["web"].state == "running"
    assert rig.activate(wanted[next_one]).outcome == "unchanged"


def test_replicas_and_another_form_stop_before_it_changes_hands(rig: Rig, volume: Path) -> None:
    """Whoever is not as described would be shut out, whatever its name is."""
    mount = {"type": "bind", "source": str(volume), "target": "/data"}

    def made(name: str, uid: int) -> dict[str, Any]:
        entries = {"user": f"{uid}:{uid}", "volumes": [mount]}
        made: dict[str, Any] = rig.service(name, WORKS, entries, health=True)
        return made

    directories = {uid: [entry(volume, uid)] for uid in (A, B)}
    old = rig.release(made("web", A), made("worker", A), directories=directories[A])
    assert rig.activate(old).ok
    new = rig.release(made("all", B), directories=directories[B])
    outcome = rig.activate(new)
    assert outcome.outcome == "activated", outcome.message
    assert all_of(volume) == {(B, B)} and set(rig.containers()) == {"all"}
    sick = rig.service("web", "exit 3", made("web", A)["entry"], health=True)
    bad = rig.release(sick, made("worker", A), directories=directories[A])
    outcome = rig.activate(bad)
    assert outcome.outcome == "restored", outcome.message
    assert all_of(volume) == {(B, B)} and set(rig.containers()) == {"all"}
    assert rig.containers()["all"].state == "running"
    assert rig.activate(new).outcome == "unchanged"
    # None of them met a directory of another's.
    ended = [event for event in docker(["ps", "-aq", "--filter", "status=dead"]).split() if event]
    assert not ended


def test_what_is_wrong_by_hand_is_put_right_and_nobody_is_stopped(rig: Rig, volume: Path) -> None:
    release = version(rig, volume, A, "touch /tmp/well; exec sleep 600")
    assert rig.activate(release).ok
    before = rig.containers()["web"].id
    os.chown(volume, B, B)
    outcome = rig.activate(release)
    assert outcome.outcome == "activated" and outcome.did["instances"] == []
    assert whose(volume) == (A, A) and rig.containers()["web"].id == before
