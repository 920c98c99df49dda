"""A new volume is its image's: owner, mode and content, as an engine's own volume has them."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from rig import IMAGE

from moorage.common.engine import DockerError
from moorage.deploy.release import Release
from moorage.deploy.runtimes.docker import run as docker
from moorage.deploy.runtimes.seeding import seed
from moorage.release.layout import Layout
from moorage.release.manifest import Manifest, Seed
from moorage.release.names import SERVICE_LABEL, STACK_LABEL

_MADE = (
    "set -e; useradd --uid 1234 --user-group app; "
    "mkdir -p /data/below /empty /of-root; echo kept > /data/below/file; ln -s /etc /data/link; "
    "mknod /data/below/disk b 7 0; cp /bin/true /data/below/root; chmod 6755 /data/below/root; "
    "chown -R 1234:1234 /data /empty; chmod 0711 /empty"
)


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    name = f"moorage-test-{secrets.token_hex(4)}"
    docker(
        [
            "run",
            "--network",
            "none",
            "--name",
            name,
            "--user",
            "0",
            "--entrypoint",
            "sh",
            IMAGE,
            "-c",
            _MADE,
        ]
    )
    labels = f"LABEL {STACK_LABEL}=shop {SERVICE_LABEL}=web"
    changes = ("--change", "USER app:app", "--change", "VOLUME /declared", "--change", labels)
    docker(["commit", *changes, name, name])
    docker(["rm", name])
    yield name
    docker(["image", "rm", name])


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout.of("shop", tmp_path)
    (layout.data / "v").mkdir(parents=True)
    (layout.data / "v").chmod(0o700)
    return layout


def seeded(layout: Layout, *seeds: Seed) -> list[tuple[str, str]]:
    return list(seed(layout, Release("1", layout.base, Manifest("containers", seeds=seeds))))


def looks(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def test_owner_and_content_are_the_images(layout: Layout, image: str) -> None:
    path = layout.data / "v"
    entry = Seed(str(path), image, "/data")
    assert seeded(layout, entry) == [(str(path), image)]
    assert looks(path)[:2] == (1234, 1234)
    assert (path / "below/file").read_text() == "kept\n"
    assert os.readlink(path / "link") == "/etc"
    # Users of the host reach it: nothing there gives them a disk, or root.
    assert sorted(os.listdir(path / "below")) == ["file", "root"]
    assert looks(path / "below/root")[2] == 0o755
    # Once only: what an application has made of it is its own.
    (path / "below/file").unlink()
    assert seeded(layout, entry) == []
    # The volume that was bound to it is gone. Others come and go meanwhile.
    for volume in docker(["volume", "ls", "--quiet", "--filter", "name=moorage-seed"]).split():
        with suppress(DockerError):
            assert str(path) not in docker(["volume", "inspect", volume])


@pytest.mark.parametrize(
    ("target", "user", "wanted"),
    [
        ("/empty", "", (1234, 1234, 0o711)),
        ("/absent", "", (1234, 1234, 0o755)),
        ("/of-root", "", (1234, 1234, 0o755)),
        ("/absent", "app", (1234, 1234, 0o755)),
        ("/absent", "app:daemon", (1234, 1, 0o755)),
        ("/absent", "77:78", (77, 78, 0o755)),
        ("/absent", "root:root", (0, 0, 0o755)),
    ],
)
def test_an_empty_one(
    layout: Layout, image: str, target: str, user: str, wanted: tuple[int, ...]
) -> None:
    seeded(layout, Seed(str(layout.data / "v"), image, target, user))
    assert looks(layout.data / "v") == wanted


def test_of_several_the_one_that_has_something(layout: Layout, image: str) -> None:
    path = str(layout.data / "v")
    seeded(layout, Seed(path, IMAGE, "/absent", "5:5"), Seed(path, image, "/data", mode="750"))
    assert looks(layout.data / "v") == (1234, 1234, 0o750)


def test_an_account_that_the_image_has_not(layout: Layout, image: str) -> None:
    with pytest.raises(DockerError, match=r"no account .nobody-here.: .*volume_owners"):
        seeded(layout, Seed(str(layout.data / "v"), image, "/absent", "nobody-here"))
    # The next try finds it as it was.
    assert looks(layout.data / "v") == (0, 0, 0o700)


def test_what_is_not_new_is_left(layout: Layout, image: str, tmp_path: Path) -> None:
    path = layout.data / "v"
    (path / "file").write_text("data")
    other = tmp_path / "elsewhere"
    other.mkdir(mode=0o700)
    (layout.data / "link").symlink_to(other)
    entries = [Seed(str(p), image, "/data") for p in (path, other, layout.data / "link")]
    assert seeded(layout, *entries, Seed(str(layout.data / "gone"), image, "/data")) == []
    assert os.listdir(path) == ["file"] and os.listdir(other) == []
    (path / "file").unlink()
    os.chown(path, 5, 5)
    assert seeded(layout, entries[0]) == []


def test_not_while_a_container_could_swap_what_is_copied(layout: Layout, image: str) -> None:
    path = layout.data / "v"
    # A container's root makes its volume look new; a stopped one may be started meanwhile.
    name = docker(["create", "--volume", f"{path}:/elsewhere", IMAGE, "true"]).strip()
    try:
        assert seeded(layout, Seed(str(path), image, "/data")) == []
        assert os.listdir(path) == []
    finally:
        docker(["rm", name])
    assert len(seeded(layout, Seed(str(path), image, "/data"))) == 1


@pytest.mark.parametrize("user", ["4294967295", "9" * 5000, "app:9999999999", "-1", "\u0663"])
def test_a_number_that_is_no_users(layout: Layout, image: str, user: str) -> None:
    with pytest.raises(DockerError, match="has no account"):
        seeded(layout, Seed(str(layout.data / "v"), image, "/absent", user))


def test_an_image_that_poses_as_a_service(layout: Layout, image: str) -> None:
    began = str(time.time())
    seeded(layout, Seed(str(layout.data / "v"), image, "/empty", "app"))
    made = ["--filter", f"image={image}", "--filter", "event=create"]
    said = ["events", "--since", began, "--until", str(time.time()), *made]
    # As whoever lists the stack's containers asks.
    assert docker(said)
    assert not docker([*said, "--filter", f"label={STACK_LABEL}=shop"])


def test_a_part_of_the_content_is_none(tmp_path: Path, image: str) -> None:
    full = tmp_path / "full"
    full.mkdir()
    docker_image = f"{image}-large"
    script = "mkdir -p /data/a; for i in 1 2 3 4; do head -c 1000000 /dev/zero > /data/a/$i; done"
    named = ["--name", docker_image, "--network", "none", "--user", "0", "--entrypoint", "sh"]
    docker(["run", *named, IMAGE, "-c", script])
    docker(["commit", docker_image, docker_image])
    docker(["rm", docker_image])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", full], check=True)
    try:
        layout = Layout.of("shop", full)
        path = layout.data / "v"
        path.mkdir(parents=True)
        path.chmod(0o700)
        with pytest.raises(DockerError, match="no space left"):
            seeded(layout, Seed(str(path), docker_image, "/data"))
        assert looks(path) == (0, 0, 0o700) and os.listdir(path) == []
        subprocess.run(["mount", "-o", "remount,size=20m", full], check=True)
        assert len(seeded(layout, Seed(str(path), docker_image, "/data"))) == 1
        assert len(os.listdir(path / "a")) == 4
    finally:
        subprocess.run(["umount", full], check=True)
        docker(["image", "rm", docker_image])
