"""Updates: signed releases and feeds, and a site that is really updated, or taken back."""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastblog import ipc, update_server, updates
from fastblog.updates import Place, UpdateError
from fastblog_rig import APP, Process, ask, environment, eventually, free_port, main_app
from fastblog_start import publish, releases
from fastblog_start.releases import ReleaseError

from moorage.common.signing import sign

Release = Callable[..., None]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A secret key; the public one beside it is key.pub."""
    argv = ["minisign", "-G", "-W", "-s", str(tmp_path / "key"), "-p", str(tmp_path / "key.pub")]
    subprocess.run(argv, check=True, capture_output=True)
    return tmp_path / "key"


@pytest.fixture
def release(tmp_path: Path, key: Path) -> Release:
    """Publishes what is deployed under another version, with a file changed."""

    def make(version: str, file: str = "", text: str = "", key: Path = key) -> None:
        source = tmp_path / f"source-{version}"
        shutil.copytree(APP / "fastblog", source / "fastblog", ignore=lambda *_: {"__pycache__"})
        (source / "fastblog" / "__init__.py").write_text(f'__version__ = "{version}"\n')
        if file:
            path = source / "fastblog" / file
            path.write_text(path.read_text() + text)
        (tmp_path / "feed").mkdir(exist_ok=True)
        publish.publish(key, tmp_path / "feed", source, f"notes of {version}")

    return make


@pytest.fixture
def place(tmp_path: Path, key: Path) -> Place:
    """Where the site of this test gets its updates."""
    data = tmp_path / "data"
    feed = str(tmp_path / "feed" / "feed.json")
    return Place(feed, key.with_name("key.pub"), data / "updates", data / "releases")


def test_a_feed_is_read_when_its_signature_is_right(
    place: Place, release: Release, tmp_path: Path
) -> None:
    release("1.2.0")
    release("1.10.0")
    serial, found = place.read()
    assert [(r.version, r.notes) for r in found] == [
        ("1.10.0", "notes of 1.10.0"),
        ("1.2.0", "notes of 1.2.0"),
    ]
    place.note("state", {"serial": serial + 1})
    with pytest.raises(UpdateError, match="older than one"):
        place.read()
    torn: dict[str, object] = {"newest": "x", "notes": [], "serial": None}
    for odd in ({"serial": "x"}, {"newest": 7}, torn):
        place.note("state", odd)
        assert update_server.look(place)["newest"] == "1.10.0"
        place.note("state", odd)
        assert not update_server.look(replace(place, feed=""))["available"]
    feed = tmp_path / "feed" / "feed.json"
    feed.write_text(feed.read_text().replace("1.10.0", "1.11.0"))
    with pytest.raises(UpdateError, match="signature is not right"):
        place.read()


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"expires": time.time() - 1},
        {"serial": "x"},
        {"releases": [{}]},
        {"releases": [{"version": "1", "file": "a", "size": 1, "sha256": "0" * 64}]},
        {"releases": [{"version": "1.0.0", "file": "../a", "size": 1, "sha256": "0" * 64}]},
        {"releases": 7},
    ],
    ids=["format", "expired", "serial", "empty", "version", "path", "type"],
)
def test_an_odd_feed_is_refused_though_it_is_signed(change: dict[str, object]) -> None:
    sound = {"format": 1, "serial": 1, "expires": time.time() + 60, "releases": []}
    assert updates.parse(json.dumps(sound).encode()) == (1, [])
    with pytest.raises(UpdateError):
        updates.parse(json.dumps(sound | change).encode())
    for noise in (b"", b"[" * 100_000, b"7", b"\xff"):
        with pytest.raises(UpdateError):
            updates.parse(noise)


def test_only_what_the_signature_covers_is_unpacked(
    place: Place, release: Release, tmp_path: Path
) -> None:
    release("1.1.0")
    archive = releases.archive(tmp_path / "feed", "1.1.0")
    unpacked = releases.unpack(archive, place.key, "1.1.0")
    assert releases.version_of(unpacked) == "1.1.0"
    shutil.rmtree(unpacked.parent)
    with pytest.raises(ReleaseError, match=r"it says that it is 1\.1\.0"):
        releases.unpack(archive, place.key, "1.3.0")
    with archive.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ReleaseError):
        releases.unpack(archive, place.key, "1.1.0")


def test_a_signed_archive_that_leads_elsewhere_is_refused(tmp_path: Path, key: Path) -> None:
    path = releases.archive(tmp_path, "1.1.0")
    for name, kind in (("../evil", tarfile.REGTYPE), ("fastblog/x", tarfile.SYMTYPE)):
        with tarfile.open(path, "w:gz") as packed:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            packed.addfile(entry)
        sign(path, key, "")
        with pytest.raises(ReleaseError, match="is no file of fastblog"):
            releases.unpack(path, key.with_name("key.pub"), "1.1.0")


def test_what_others_put_beside_what_is_unpacked_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "kept").mkdir()
    # Numbers that no process has.
    for number, target in enumerate(("/nowhere", "kept")):
        (tmp_path / f"fastblog-release-999999999{number}-x").symlink_to(target)
    left = tmp_path / "fastblog-release-9999999999-y"
    left.mkdir()
    releases.sweep()
    assert not left.exists() and (tmp_path / "kept").exists()


class Blog:
    """The processes, as a supervisor would run them; the site comes back when it ends."""

    def __init__(self, directory: Path, key: Path) -> None:
        self.directory, self.port = directory, free_port()
        where = f"127.0.0.1:{free_port()}"
        self.variables = environment(
            directory,
            IPC_ADDRESS=where,
            UPDATE_FEED=str(directory / "feed" / "feed.json"),
            RELEASE_KEY_FILE=str(key.with_name("key.pub")),
            HEALTH_SECONDS="60",
            WATCH_SECONDS="1",
            TMPDIR=str(directory),
        )
        self.ipc = Process(
            directory, self.variables | {"LISTEN": where}, "fastblog_start", "ipc_server"
        )
        self.site = main_app(directory, self.variables, self.port)

    def update(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Run the updater; return its status and what it has said."""
        given = self.variables | settings
        done = Process(self.directory, given, "fastblog_start", "updater", *arguments)
        status = done.popen.wait(120)
        return status, done.text()

    def version(self) -> str:
        """The version of the site."""
        found = ask(self.port, "/api/health")
        return str(found[1]["version"]) if found[0] == 200 else str(found)

    def kill(self) -> None:
        """End everything."""
        self.site.kill()
        self.ipc.kill()


@pytest.fixture
def blog(tmp_path: Path, key: Path) -> Iterator[Blog]:
    """The site at 1.0.0."""
    made = Blog(tmp_path, key)
    yield made
    made.kill()


def test_the_site_is_updated_while_it_serves_and_what_is_bad_goes_back(
    blog: Blog, release: Release, tmp_path: Path
) -> None:
    release("1.1.0")
    status, said = blog.update("--dry-run")
    assert status == 0 and "1.1.0 could be installed" in said, said
    assert blog.version() == "1.0.0" and not (tmp_path / "data" / "releases").exists()

    asked: list[int] = []
    done = Process(tmp_path, blog.variables, "fastblog_start", "updater")
    while done.running():
        asked.append(ask(blog.port, "/")[0])
    assert "the site runs 1.1.0" in done.text(), done.text() + blog.site.text()
    assert blog.version() == "1.1.0" and set(asked) == {200} and len(asked) > 3
    assert blog.site.running(), "the process is the same"
    assert "there is nothing newer" in blog.update()[1]

    # One that cannot start is not even installed.
    release("1.2.0", "app.py", "\nraise RuntimeError('broken')\n")
    status, said = blog.update()
    assert status == 1 and "1.2.0 does not get well" in said, said
    assert blog.version() == "1.1.0"

    # One that is well on its trial, and not afterwards, is taken back.
    bad = "\nif __import__('os').environ.get('IPC_TOKEN_FILE'):\n    raise RuntimeError('bad')\n"
    release("1.3.0", "app.py", bad)
    status, said = blog.update(HEALTH_SECONDS="3")
    assert status == 1 and "1.3.0 was taken back; the site runs 1.1.0" in said, said
    assert blog.version() == "1.1.0"
    note = json.loads((tmp_path / "data" / "updates" / "updater.json").read_text())
    assert note["outcome"] == "taken back"


def test_who_writes_into_the_installed_release_changes_nothing(
    blog: Blog, release: Release, tmp_path: Path
) -> None:
    release("1.1.0")
    blog.site.kill()
    where = tmp_path / "data" / "releases"
    shutil.copytree(tmp_path / "feed", where)
    (where / "current").write_text("1.1.0\n")
    blog.site = main_app(tmp_path, blog.variables, blog.port)
    assert blog.version() == "1.1.0", blog.site.text()
    with releases.archive(where, "1.1.0").open("ab") as file:
        file.write(b"\0")
    blog.site.kill()
    blog.site = main_app(tmp_path, blog.variables, blog.port)
    assert blog.version() == "1.0.0" and "1.1.0 is not used" in blog.site.text()


def test_the_update_server_tells_what_is_new(blog: Blog, release: Release, tmp_path: Path) -> None:
    release("1.1.0")
    given = blog.variables | {"HEARTBEAT_FILE": str(tmp_path / "beat")}
    server = Process(tmp_path, given, "fastblog_start", "update_server")
    try:
        state = tmp_path / "data" / "updates" / "state.json"
        eventually(state.exists, server.text)
        found = json.loads(state.read_text())
        assert (found["newest"], found["available"], found["problem"]) == ("1.1.0", True, "")
        assert (tmp_path / "beat").exists()
        with ipc.Client("asker", environ=blog.variables) as client:
            eventually(
                lambda: "update_server" in [c["name"] for c in client.status()["clients"]],
                server.text,
            )
            release("1.2.0")
            assert client.request("update_server", "check", 30)["newest"] == "1.2.0"
            os.unlink(tmp_path / "feed" / "feed.json.minisig")
            found = client.request("update_server", "check", 30)
            assert "cannot fetch" in found["problem"] and found["newest"] == "1.2.0"
        server.popen.terminate()
        assert server.popen.wait(30) == 0
    finally:
        server.kill()
