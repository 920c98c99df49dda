"""No file that was cut short, or is another program's, stops the tool or hides another stack."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torn import FOREIGN, IN_PLACE, ONE, TWO, deployed, odd, stand_in

from moorage.cli.main import main
from moorage.common.lock import hold
from moorage.common.readers import Damaged, read_note, read_object
from moorage.deploy import room
from moorage.deploy.journal import Journal, follow
from moorage.deploy.release import (
    ReleaseError,
    current_release,
    history,
    list_releases,
    point_current_at,
    previous_release,
    prune_releases,
    read_release,
    write_release,
)
from moorage.deploy.reservation import Reservation, read_reservation, reserve
from moorage.release.layout import Layout, known_stacks


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found: Layout = deployed(tmp_path, "shop")
    return found


def spoilt(content: bytes) -> list[bytes]:
    """Return a file's content cut off after every byte, and what others would have there."""
    return [*(content[:length] for length in range(len(content))), *FOREIGN, *odd(content)]


def read_history(layout: Layout) -> None:
    history(layout)
    assert {r.id for r in list_releases(layout)} == {ONE, TWO}
    prune_releases(layout, 5)
    point_current_at(layout, read_release(layout, ONE))
    assert history(layout)[-1]["release"] == ONE, "a torn line swallows no later one"


def read_reserved(layout: Layout) -> None:
    read_reservation(layout)
    reserve(layout, Reservation("me", "here", 1, 1.0, "test"), by_force=True)


def read_marked(layout: Layout) -> None:
    from moorage.cli.releases import interrupted

    assert "interrupted" in interrupted(layout)


def read_locked(layout: Layout) -> None:
    read_note(layout.lock)
    with hold(layout.lock, "test", "me"):
        assert read_note(layout.lock)["who"] == "me"


def read_held(layout: Layout) -> None:
    from moorage.deploy.drivers.registry import driver

    driver("containers", layout).held(read_release(layout, TWO), [])


def read_hands(layout: Layout) -> None:
    from moorage.deploy.owners import Owners

    assert Owners(layout, read_release(layout, TWO), {}).turns() == []


READERS: list[tuple[str, Callable[[Layout], None], bytes]] = [
    ("releases/history.jsonl", read_history, b'{"release": "000000000001", "at": 1.5}\n'),
    (".reservation.json", read_reserved, b'{"who": "a", "controller": "b", "token": "c"}'),
    (".rollout.json", read_marked, b'{"release": "000000000001", "held": [], "since": 1.5}'),
    (".lock", read_locked, b'{"pid": 1, "who": "a", "purpose": "b", "since": 1.5}'),
    (".hands.json", read_hands, b'{"/opt/shop/data/x": [[1, 1], [2, 2]]}'),
    (".held.json", read_held, b'["web", "db"]'),
]


@pytest.mark.parametrize(("name", "read", "content"), READERS, ids=[r[0] for r in READERS])
def test_what_only_informs_is_read_however_it_is(
    layout: Layout, name: str, read: Callable[[Layout], None], content: bytes
) -> None:
    for torn in spoilt(content):
        (layout.base / name).write_bytes(torn)
        read(layout)


@pytest.mark.parametrize("what", IN_PLACE)
@pytest.mark.parametrize(("name", "read"), [r[:2] for r in READERS], ids=[r[0] for r in READERS])
def test_what_stands_in_the_place_of_a_file_is_got_over_or_told(
    layout: Layout, name: str, read: Callable[[Layout], None], what: str
) -> None:
    stand_in(layout.base / name, what)
    if name == ".lock" and what != "large":
        with pytest.raises(Damaged, match=r"\.lock is damaged: .*Move it away"):
            read(layout)
    else:
        read(layout)


def test_a_torn_line_of_the_history_hides_no_other_one(layout: Layout) -> None:
    with layout.history.open("a") as out:
        out.write('{"release": "0123')
    assert previous_release(layout).id == ONE
    point_current_at(layout, read_release(layout, ONE))
    assert [line["release"] for line in history(layout)] == [ONE, TWO, ONE]


def test_a_damaged_release_is_told_and_made_anew(layout: Layout) -> None:
    manifest = layout.releases / TWO / "release.json"
    whole = manifest.read_bytes()
    wrong = [
        b'{"topology": 5}',
        b'{"topology": "x", "units": [5]}',
        b'{"topology": "x", "edge": []}',
    ]
    # Another text in a text's place, or nothing in a list's, is no damage that anybody could see.
    said = json.loads(whole)
    empty: dict[str, Any] = {"edge": {}, "directories": []}
    others: list[Any] = ["text", {}, [], None]
    sound = {
        json.dumps({**said, name: other}).encode()
        for name, value in said.items()
        for other in others
        if type(other) is type(value) or (name in empty and other == empty[name])
    }
    for torn in [content for content in [*spoilt(whole.rstrip()), *wrong] if content not in sound]:
        manifest.write_bytes(torn)
        with pytest.raises(ReleaseError, match=r"(?s)release.json is damaged: .*Deploy the stack"):
            current_release(layout)
        assert [r.id for r in list_releases(layout)] == [ONE]
        assert previous_release(layout).id == ONE
    (layout.releases / TWO / "receipt-1.json").write_text("{}")
    write_release(layout, TWO, {"compose.yaml": ("x\n", 0o644)}, {"topology": "containers"})
    assert json.loads(manifest.read_bytes()) == json.loads(whole)
    assert (layout.releases / TWO / "receipt-1.json").exists(), "evidence survives"


def test_one_damaged_stack_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = deployed(tmp_path, "shop")
    deployed(tmp_path, "blog")
    (layout.releases / TWO / "release.json").write_bytes(b"")
    monkeypatch.setattr("moorage.deploy.runtimes.docker.Docker.instances", lambda *_: [])
    status = ["--base", str(tmp_path / "opt"), "--run", str(tmp_path / "run"), "status"]
    assert main(status) == 0
    said = capsys.readouterr().out
    assert "blog (containers" in said
    assert "release.json is damaged: it is empty. Deploy the stack again" in said


def test_what_another_program_keeps_below_opt_is_no_stack(tmp_path: Path) -> None:
    layout = deployed(tmp_path, "shop")
    blog = tmp_path / "opt/blog"
    (blog / "releases/20240101120000").mkdir(parents=True)
    (blog / "releases/20240101120000/release.json").write_text("{}")
    (blog / "current").symlink_to("releases/20240101120000")
    assert known_stacks(tmp_path / "opt") == ["shop"]
    with pytest.raises(ReleaseError, match="made by another program"):
        current_release(Layout.of("blog", tmp_path / "opt", tmp_path / "run"))
    (layout.current).unlink()
    layout.current.mkdir()
    with pytest.raises(ReleaseError, match="made by another program"):
        current_release(layout)


def test_a_directory_in_the_place_of_a_file_is_damage(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match="it is a directory"):
        read_object(tmp_path)
    (tmp_path / "large").write_bytes(b" " * (33 << 20))
    with pytest.raises(Damaged, match="larger than 32 MiB"):
        read_object(tmp_path / "large")


def test_a_journal_that_was_cut_off_is_followed_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).note("outcome", outcome="activated")
    path.write_bytes(b'{"event": "ph\n' + path.read_bytes() + b'{"event": "torn')
    assert [event["event"] for event in follow(path, lambda: False)] == ["outcome"]


def test_room_for_the_end_of_a_rollout_is_taken_or_refused(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(small)]
    subprocess.run(mount, check=True)
    try:
        with pytest.raises(ReleaseError, match=r"has 512 KiB left .* needs 1024 KiB"):
            room.Room(small).take()
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True)
    kept = room.Room(tmp_path)
    kept.take()
    assert sum(path.stat().st_blocks for path in tmp_path.glob(".room*")) >= (1 << 20) // 512
    kept.give()
    kept.give()
    assert not list(tmp_path.glob(".room*"))
