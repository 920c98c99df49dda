"""What root does in a directory that somebody else can write: nothing planted there is followed."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from moorage.control.contract import ControlError as Refused
from moorage.control.process import ProcessBackend
from moorage.deploy.drivers.unified import UnifiedDriver
from moorage.deploy.foreign import Foreign, remove_tree
from moorage.deploy.instance import Instance
from moorage.deploy.release import Release
from moorage.deploy.runtimes.docker import Docker
from moorage.release.layout import Layout
from moorage.release.manifest import parse
from process_supervisor.control.client import Client, ControlError

APPLICATION = 10001
SECRET = "for root alone\n"


class Site:
    """A unified stack's directories, owned as on a host, and a file that nobody may see."""

    def __init__(self, tmp_path: Path) -> None:
        self.layout = Layout.of("shop", tmp_path / "opt", tmp_path / "run")
        self.outside = tmp_path / "outside"
        self.outside.mkdir()
        self.secret = self.outside / "shadow"
        self.secret.write_text(SECRET)
        self.secret.chmod(0o600)
        for slot in "ab":
            for path in (self.state(slot), self.layout.runtime(f"unified-{slot}")):
                path.mkdir(parents=True)
                os.chown(path, APPLICATION, APPLICATION)
        config = self.layout.base / "config"
        self.unit: dict[str, Any] = {
            "name": "shop-unified", "service": "unified", "rolled": True,
            "keys": {"a": "unified.a", "b": "unified.b"}, "config": "1", "processes": ["web"],
            "slot_install": {
                s: {"supervisor.json": f"{config}/unified-{s}/supervisor.json"} for s in "ab"
            },
        }  # fmt: skip
        path = self.layout.releases / "0123456789ab"
        path.mkdir(parents=True)
        (path / "supervisor.json").write_text('{"processes": [{"name": "web"}]}')
        said = parse({"topology": "unified", "units": [self.unit]})
        self.release = Release("0123456789ab", path, said)

    def state(self, slot: str) -> Path:
        """The supervisor's state in a slot."""
        return self.layout.base / "data" / f"unified-state-{slot}"

    def put(self, path: Path, content: str) -> Path:
        """Write a file as the application."""
        path.write_text(content)
        os.chown(path, APPLICATION, APPLICATION)
        return path

    def prepare(self) -> list[str]:
        """Begin slot b while the container of slot a runs."""
        old = Instance(
            "0", "shop-unified", "unified", "image", "running", "none", 0, 1, "", 0, "no", slot="a"
        )
        unit = self.release.manifest.units[0]
        return UnifiedDriver(self.layout, Docker()).prepare(self.release, unit, "b", old, ["web"])

    def untouched(self) -> bool:
        """Whether nothing outside was read, written, made or given away."""
        there = self.secret.stat()
        found = [p for p in self.layout.base.rglob("*") if p.is_file() and not p.is_symlink()]
        return (
            [p.name for p in self.outside.iterdir()] == ["shadow"]
            and self.secret.read_text() == SECRET
            and (there.st_uid, stat.S_IMODE(there.st_mode)) == (0, 0o600)
            and not [
                p for p in found if p.stat().st_ino != there.st_ino and SECRET in p.read_text()
            ]
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Directories of a stack."""
    return Site(tmp_path)


def planted(site: Site, what: str, path: Path) -> str:
    """Put something odd at ``path`` and return what is said of it."""
    if what == "link":
        path.symlink_to(site.secret)
    elif what == "dangling link":
        path.symlink_to(site.outside / "new")
    elif what == "link to a directory":
        path.symlink_to(site.outside)
    elif what == "hard link":
        os.link(site.secret, path)
        return "a file with 2 names"
    elif what == "pipe":
        os.mkfifo(path)
        return "a pipe"
    elif what == "device":
        # The console's memory: opening it would have effects.
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 1))
        return "a device"
    elif what == "directory":
        (path / "below").mkdir(parents=True)
        (path / "below" / "link").symlink_to(site.outside)
        return "a directory"
    elif what == "file of root":
        path.write_text("not the application's")
        return "a file of user 0"
    return "a link"


ODD = ["link", "dangling link", "link to a directory", "hard link", "pipe", "device", "directory",
       "file of root"]  # fmt: skip
NAMES = ["events.jsonl", "events.jsonl.1", "events.jsonl.7", "intents.json", "anything"]


def test_the_trail_goes_on_in_the_other_slot_and_belongs_to_the_application(site: Site) -> None:
    for name in ("events.jsonl.1", "events.jsonl"):
        site.put(site.state("a") / name, f'{{"seq": 1, "of": "{name}"}}\n')
    assert site.prepare() == []
    found = {p.name: p for p in site.state("b").iterdir()}
    assert sorted(found) == ["events.jsonl", "events.jsonl.1", "intents.json"]
    assert found["events.jsonl.1"].read_text() == '{"seq": 1, "of": "events.jsonl.1"}\n'
    assert json.loads(found["intents.json"].read_text())["stopped"] == ["web"]
    assert {p.stat().st_uid for p in found.values()} == {APPLICATION}


@pytest.mark.parametrize("slot", ["a", "b"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ODD)
def test_what_is_planted_in_the_state_is_named_and_not_followed(
    site: Site, what: str, name: str, slot: str
) -> None:
    said = planted(site, what, site.state(slot) / name)
    assert site.prepare() == [f"{site.state(slot) / name}: {said}"]
    assert site.untouched()
    for path in site.state("b").iterdir():
        assert path.is_file() and not path.is_symlink()
        assert path.stat().st_uid == APPLICATION
    assert json.loads((site.state("b") / "intents.json").read_text())["stopped"] == ["web"]


@pytest.mark.parametrize("what", ODD)
def test_what_is_planted_beside_the_control_socket_goes(site: Site, what: str) -> None:
    runtime = site.layout.runtime("unified-b")
    os.mkfifo(runtime / "usual")
    planted(site, what, runtime / "control.sock")
    site.prepare()
    assert site.untouched()
    assert list(runtime.iterdir()) == []


def test_a_file_that_turns_into_a_link_and_back_gives_nothing_away(site: Site) -> None:
    state, stop = site.state("a"), threading.Event()
    name = state / "events.jsonl"

    def swap() -> None:
        while not stop.is_set():
            site.put(state / "file", '{"seq": 1}\n').replace(name)
            (state / "link").symlink_to(site.secret)
            (state / "link").replace(name)
            os.link(site.secret, state / "second")
            (state / "second").replace(name)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(300):
            site.prepare()
            copied = site.state("b") / "events.jsonl"
            assert not copied.exists() or copied.read_text() == '{"seq": 1}\n'
    finally:
        stop.set()
        swapping.join()
    assert site.untouched()


def test_of_a_huge_trail_the_last_lines_go_on(site: Site) -> None:
    with site.put(site.state("a") / "events.jsonl", "").open("w") as out:
        out.truncate(1 << 40)
        out.seek(0, os.SEEK_END)
        out.write('\n{"seq": 9}\n')
    site.prepare()
    assert (site.state("b") / "events.jsonl").read_text() == '{"seq": 9}\n'


def test_a_tree_goes_however_deep_it_is_and_links_in_it_are_not_followed(
    tmp_path: Path, site: Site
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=fd)
        os.symlink(site.outside, "l", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    remove_tree(top)
    assert not top.exists()
    assert site.untouched()


def test_a_name_that_became_a_directory_is_replaced(site: Site) -> None:
    (site.state("b") / "intents.json" / "below").mkdir(parents=True)
    with Foreign(site.state("b")) as state:
        state.write("intents.json", b"{}")
    assert (site.state("b") / "intents.json").read_bytes() == b"{}"


def test_a_link_in_the_place_of_a_socket_leads_nowhere(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "other.sock"))
        other.listen()
        (tmp_path / "control.sock").symlink_to(tmp_path / "other.sock")
        for connect in (
            Client(str(tmp_path / "control.sock")).info,
            ProcessBackend(str(tmp_path / "control.sock")).services,
        ):
            with pytest.raises((ControlError, Refused)) as refused:
                connect()
            assert "control.sock" in str(refused.value)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.accept()
