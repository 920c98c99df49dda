"""Files that lie over the host's for a process alone. Real namespaces, as root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from moorage.release.native import Mount, Process
from moorage.watch.again import missing, over_files, put_back


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    """A file of ours, and the one of the host that it lies over."""
    (tmp_path / "ours").write_text("ours\n")
    (tmp_path / "hosts").write_text("the host's\n")
    return Mount(str(tmp_path / "hosts"), str(tmp_path / "ours"), read_only=True)


@pytest.fixture
def process(mount: Mount) -> Iterator[subprocess.Popen[str]]:
    """One that sees ours in its place; it says when it does."""
    script = f"mount --bind {mount.source} {mount.target} && echo so && exec sleep 600"
    argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "so\n"
        yield running
        running.kill()


def seen(pid: int, path: str) -> str:
    """Return what a process sees at a path."""
    return Path(f"/proc/{pid}/root{path}").read_text()


def test_what_the_host_replaces_is_put_back_and_cannot_be_written(
    process: subprocess.Popen[str], mount: Mount, tmp_path: Path
) -> None:
    assert missing([mount], process.pid) == []
    (tmp_path / "new").write_text("the host's new one\n")
    (tmp_path / "new").rename(mount.target)
    assert seen(process.pid, mount.target) == "the host's new one\n"
    assert missing([mount], process.pid) == [mount]

    namespace = os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY)
    put_back([mount], namespace)
    os.close(namespace)

    assert missing([mount], process.pid) == []
    assert seen(process.pid, mount.target) == "ours\n"
    assert Path(mount.target).read_text() == "the host's new one\n"
    with pytest.raises(OSError, match="Read-only"):
        Path(f"/proc/{process.pid}/root{mount.target}").write_text("x")


def test_nothing_is_put_where_others_would_see_it(mount: Mount) -> None:
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    with pytest.raises(OSError, match="sees what others do"):
        put_back([mount], namespace)
    os.close(namespace)
    assert Path(mount.target).read_text() == "the host's\n"


def test_a_link_in_its_place_leads_nowhere(
    process: subprocess.Popen[str], mount: Mount, tmp_path: Path
) -> None:
    (tmp_path / "other").write_text("another\n")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "link").rename(mount.target)
    namespace = os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY)
    # Over the link itself, or not at all where a kernel does not know that.
    with suppress(OSError):
        put_back([mount], namespace)
    os.close(namespace)
    assert seen(process.pid, str(tmp_path / "other")) == "another\n"


def test_only_files_are_watched_and_no_secrets(mount: Mount, tmp_path: Path) -> None:
    process = Process(
        unit="shop-web@1a",
        service="web",
        command=("web",),
        directory="/",
        path="/usr/bin",
        user="10001:10001",
        mounts=(
            mount,
            Mount("/data", str(tmp_path)),
            Mount("/tmp", options="mode=1777"),
            Mount("/run/secrets/key", mount.source, secret=True),
        ),
    )
    assert over_files(process) == [mount]
