"""Paths of the host that a stack mounts: whom they lead to, and what is made of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from moorage.deploy import places
from moorage.deploy.places import make_places
from moorage.deploy.release import Release, ReleaseError
from moorage.release.layout import Layout
from moorage.release.manifest import Manifest, Place
from moorage.release.places import refusal


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory to which root alone leads, unlike the tests' usual ones."""
    with TemporaryDirectory(dir="/var/lib") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def layout(top: Path) -> Layout:
    for stack in ("shop", "other"):
        release = top / f"opt/{stack}/releases/0123456789ab"
        release.mkdir(parents=True)
        (release / "release.json").write_text("{}")
        (top / f"opt/{stack}/data/v").mkdir(parents=True)
    return Layout.of("shop", top / "opt")


def made(
    layout: Layout, path: Path | str, *, make: bool = True, read_only: bool = False
) -> list[str]:
    manifest = Manifest("containers", places=(Place(str(path), make, read_only),))
    return make_places(layout, Release("1", layout.base, manifest))


def test_what_is_missing_is_made_as_roots(layout: Layout, top: Path) -> None:
    path = top / "srv/media/films"
    assert made(layout, path) == [str(path)] and made(layout, path) == []
    status = path.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o755)


def test_not_where_an_application_writes(layout: Layout, top: Path) -> None:
    (top / "srv").mkdir()
    os.chown(top / "srv", 1234, 0)
    with pytest.raises(ReleaseError, match="srv is not root's alone"):
        made(layout, top / "srv/media/films")
    os.chown(top / "srv", 0, 1234)
    (top / "srv").chmod(0o775)
    with pytest.raises(ReleaseError, match="srv is not root's alone"):
        made(layout, top / "srv/media/films")
    assert os.listdir(top / "srv") == []


def test_not_below_a_directory_of_everybody(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="/tmp is not root's alone"):
        made(layout, tmp_path / "srv/media")


def test_not_through_a_link_or_a_file(layout: Layout, top: Path) -> None:
    (top / "elsewhere").mkdir()
    (top / "link").symlink_to(top / "elsewhere")
    (top / "file").write_text("")
    for name in ("link", "file"):
        with pytest.raises(ReleaseError, match="is a link or a file"):
            made(layout, top / name / "media/films")
    assert os.listdir(top / "elsewhere") == []


def test_not_where_the_description_says_no(layout: Layout, top: Path) -> None:
    with pytest.raises(ReleaseError, match="create_host_path: false"):
        made(layout, top / "srv", make=False)


@pytest.mark.parametrize(
    "target",
    [
        "opt/other/data/v",
        "opt/other",
        "opt/shop/secrets",
        "opt",
        "opt/shop/data/v",
        "opt/shop/releases",
    ],
)
def test_neither_another_stacks_nor_its_own(layout: Layout, top: Path, target: str) -> None:
    with pytest.raises(ReleaseError, match="own"):
        made(layout, top / target)
    # Nor by a link, whoever has put it there.
    (top / "planted").symlink_to(top / target)
    with pytest.raises(ReleaseError, match=r"which leads to .* own"):
        made(layout, top / "planted")


@pytest.mark.parametrize(
    "target", ["/run/docker.sock", "/run", "/", "/opt/moorage/keys", "/proc/1/root"]
)
def test_nor_what_makes_root(layout: Layout, top: Path, target: str) -> None:
    (top / "planted").symlink_to(target)
    for path in (target, top / "planted"):
        with pytest.raises(ReleaseError):
            made(layout, path, read_only=True)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/x",
        "/proc/x",
        "/sys/x",
        "/run/x",
        "/",
        "/usr/local/x",
        "/dev/x",
        "/root/.x",
        "//etc//x",
    ],
)
def test_nothing_is_made_among_what_is_the_systems(path: str) -> None:
    assert refusal(path, "/opt/shop", making=True)


@pytest.mark.parametrize(
    "path", ["/srv/x", "/data", "/mnt/d/x", "/home/me/x", "/var/lib/app", "/opt/app"]
)
def test_elsewhere_it_is(path: str) -> None:
    assert not refusal(path, "/opt/shop", ("shop", "other"), making=True)


def test_logs_of_containers_may_be_read() -> None:
    path = "/var/lib/docker/containers"
    assert refusal(path, "/opt/shop") and not refusal(path, "/opt/shop", read_only=True)
    assert refusal("/srv/../opt/x", "/opt/shop")


def test_the_time_zone_is_said_where_debian_has_it_no_more(tmp_path: Path) -> None:
    zone, path = tmp_path / "localtime", tmp_path / "timezone"
    zone.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    places._say_timezone(path, zone)
    assert path.read_text() == "Europe/Berlin\n"
    path.write_text("mine\n")
    places._say_timezone(path, zone)
    assert path.read_text() == "mine\n"


def test_not_below_what_a_service_writes_by_a_link_either(layout: Layout, top: Path) -> None:
    (top / "srv/sub").mkdir(parents=True)
    (top / "alias").symlink_to("srv")
    below = Place(str(top / "srv/sub"), False, True)
    for writes in (True, False):
        above = Place(str(top / "alias"), False, not writes)
        manifest = Manifest("containers", places=(above, below))
        if writes:
            with pytest.raises(ReleaseError, match=r"sub lies in .*alias, where services write"):
                make_places(layout, Release("1", layout.base, manifest))
        else:
            assert make_places(layout, Release("1", layout.base, manifest)) == []
