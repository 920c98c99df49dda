"""What a process sees: its own mounts, and of the host no more than it may; as systemd has it."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress

from moorage.launch import mounts
from moorage.release.native import Mount

_MODE = 0o755
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_SHARED = ("pts", "mqueue", "hugepages")
_LINKS = {
    "ptmx": "pts/ptmx",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "log": "/run/systemd/journal/dev-log",
}
# How the kernel is set: to be read.
_KERNEL = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi")
_SCRATCH = ("/tmp", "/var/tmp")  # noqa: S108 - each process has its own
_CLOSED = (
    "/home", "/root", "/run/user", "/run/docker.sock", "/run/containerd", "/run/moorage",
    "/run/supervisor.sock", "/var/lib/moorage", "/var/log/moorage", "/var/log/supervisor",
)  # fmt: skip
_LINKS_FOLLOWED = 40


class NoPlace(Exception):
    """A mount that cannot be made, and why."""


def surround(given: Sequence[Mount]) -> None:
    """Have this process, which is root's, see what one with these mounts is to see."""
    mounts.separate()
    # In an order in which what is inside another comes after it.
    wanted = sorted(dict.fromkeys(given), key=lambda mount: _plain(mount.target).split("/"))
    trees = {mount: _tree(mount) for mount in wanted}
    devices = {name: mounts.copied(f"/dev/{name}") for name in _there("/dev", _DEVICES + _SHARED)}
    for mount in _outermost(wanted):
        os.close(_place(mount, trees[mount]))
    mounts.close_writing_everywhere()
    # Nobody else's processes: what they are called with is theirs.
    _attach(mounts.empty(["hidepid=invisible"], b"proc"), "/proc")
    for name in _there("/proc", _KERNEL):
        tree = mounts.copied(f"/proc/{name}")
        mounts.close_writing(tree, below=True)
        _attach(tree, f"/proc/{name}")
    _devices(devices)
    for path in _SCRATCH:
        _attach(mounts.empty(["mode=1777"]), path)
    closed = [_closed(path) for path in _CLOSED if os.path.exists(path)]
    for mount in wanted:
        _mount(mount, trees[mount])
    for tree in closed:
        mounts.close_writing(tree)
    for mount in wanted:
        if not mount.source and _read_only(mount):
            mounts.close_writing(trees[mount])


def _tree(mount: Mount) -> int:
    try:
        return mounts.copied(mount.source) if mount.source else mounts.empty(_options(mount))
    except OSError as trouble:
        what = mount.source or f"an empty directory ({mount.options})"
        raise NoPlace(f"cannot mount {what} at {mount.target}: {trouble.strerror}") from None


def _options(mount: Mount) -> list[str]:
    return [option for option in mount.options.split(",") if option]


def _read_only(mount: Mount) -> bool:
    return mount.read_only or "ro" in _options(mount)


def _mount(mount: Mount, tree: int) -> None:
    try:
        place = _place(mount, tree)
        if mount.source:
            mounts.close_devices(tree)
        # Of an empty directory only once all is mounted that lies in it.
        if mount.source and (mount.read_only or mount.secret):
            mounts.close_writing(tree, below=True)
        mounts.attach(tree, place)
    except OSError as trouble:
        what = mount.source or "an empty directory"
        raise NoPlace(f"cannot mount {what} at {mount.target}: {trouble.strerror}") from None
    os.close(place)


def _outermost(wanted: Iterable[Mount]) -> Iterable[Mount]:
    """What lies in no other mount: its place is the host's."""
    inside = ""
    for mount in wanted:
        target = _plain(mount.target)
        if not inside or not target.startswith(f"{inside}/"):
            inside = target
            yield mount


def _plain(path: str) -> str:
    return posixpath.normpath(f"/{path.lstrip('/')}")


def _there(directory: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if os.path.exists(f"{directory}/{name}")]


def _attach(tree: int, path: str) -> None:
    place = os.open(path, os.O_PATH)
    mounts.attach(tree, place)
    os.close(place)


def _closed(path: str) -> int:
    is_directory = os.path.isdir(path)
    tree = mounts.empty(["mode=0", "size=4k"]) if is_directory else mounts.copied("/dev/null")
    _attach(tree, path)
    return tree


def _devices(trees: dict[str, int]) -> None:
    _attach(mounts.empty(["mode=0755", "size=4m", "noexec"]), "/dev")
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    for name, tree in trees.items():
        path = f"/dev/{name}"
        if name in _SHARED:
            os.mkdir(path)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        _attach(tree, path)
    os.mkdir("/dev/shm")  # noqa: S108 - each process has its own
    _attach(mounts.empty(["mode=1777"]), "/dev/shm")  # noqa: S108


def _place(mount: Mount, tree: int) -> int:
    """Return a handle of where a mount goes, and make that where it is not there.

    No link that is not root's own leads anywhere: a volume is an application's to write.
    """
    is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    names = _plain(mount.target).split("/")[1:]
    here, followed = os.open("/", os.O_PATH | os.O_DIRECTORY), 0
    while names:
        name = names.pop(0)
        try:
            there = _entered(here, name, is_directory or bool(names))
        except OSError as trouble:
            os.close(here)
            where = f"{mount.target} ({name})"
            raise NoPlace(f"cannot mount at {where}: {trouble.strerror}") from None
        found = os.fstat(there)
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink("", dir_fd=there)
            followed += 1
            if not _trusted(here, found) or followed > _LINKS_FOLLOWED:
                raise NoPlace(f"cannot mount at {mount.target}: {name} is a link to {target}")
            os.close(there)
            names = [word for word in target.split("/") if word not in ("", ".")] + names
            if target.startswith("/"):
                os.close(here)
                here = os.open("/", os.O_PATH | os.O_DIRECTORY)
            continue
        os.close(here)
        here = there
    return here


def _trusted(directory: int, link: os.stat_result) -> bool:
    holder = os.fstat(directory)
    return link.st_uid == 0 and holder.st_uid == 0 and not holder.st_mode & 0o022


def _entered(directory: int, name: str, is_directory: bool) -> int:
    try:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
    except FileNotFoundError:
        # Another process of the stack may be starting, too, and want the same place.
        with suppress(FileExistsError):
            if is_directory:
                os.mkdir(name, _MODE, dir_fd=directory)
            else:
                how = os.O_CREAT | os.O_EXCL | os.O_WRONLY
                os.close(os.open(name, how, 0o644, dir_fd=directory))
    return os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
