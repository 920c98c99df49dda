"""A stack's data encrypted on the disk: /opt/STACK/data is a mount of gocryptfs then.

What lies on the disk is /opt/STACK/encrypted. A unit of systemd's mounts it before the engine
starts, and again when the file system's process dies. Below the mount nothing can be made: the
directory is immutable, and none of the volumes is there for a container to be started on.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import os
import re
import secrets
import stat
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from moorage.common.files import lead, persist, write_atomically
from moorage.common.lock import hold
from moorage.deploy.instance import Instance
from moorage.deploy.release import ReleaseError
from moorage.deploy.runtimes.registry import runtime
from moorage.release.layout import Layout

_CONFIG, _FIRST_VECTOR = "gocryptfs.conf", "gocryptfs.diriv"
_KIND = "fuse.gocryptfs"
_OLDEST = (2, 6)
WAY = "docs/security.md (Encryption at rest) tells how data gets in there and out again"
# ioctl(2), linux/fs.h.
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10
_PATIENCE_SECONDS = 3600.0
_RESTART_SECONDS = 120.0


def unit_of(stack: str) -> str:
    """Return the unit that has the data of a stack mounted."""
    return f"moorage-data@{stack}.service"


def is_encrypted(layout: Layout) -> bool:
    """Tell whether the stack's data is encrypted on this host, mounted or not."""
    # The place itself may be on a disk that is not there.
    return layout.storage_key.exists() or (layout.encrypted / _CONFIG).exists()


def fault(layout: Layout) -> str:
    """Say why the data of the stack is out of reach; "" where it is not, or is not encrypted."""
    # A mount whose process has died is there, and no directory.
    if not is_encrypted(layout) or (_is_mounted(layout.data) and os.path.isdir(layout.data)):
        return ""
    unit = unit_of(layout.stack)
    return (
        f"{layout.data} is encrypted and not mounted, so nothing of it can be read or written: "
        f"see `journalctl -u {unit}`, then `systemctl restart {unit}`"
    )


def obstacle(layout: Layout, *, wanted: bool) -> str:
    """Say why the data cannot become encrypted, or stop to be; "" where it is as it is wanted."""
    name = f"{layout.stack.replace('-', '_')}_storage_encryption"
    if is_encrypted(layout):
        said = f"{layout.encrypted} holds the data of {layout.stack}"
        return "" if wanted else f"{said}, and {name} is not gocryptfs"
    if not wanted:
        return ""
    said = f"the data of {layout.stack} is to be encrypted ({name})"
    if os.path.lexists(layout.current):
        return f"{said}, and {layout.stack} is deployed here without it"
    there = _content(layout)
    return f"{said}, and {there}" if there else ""


def _content(layout: Layout) -> str:
    """Say what lies unencrypted where encrypted data is to be; "" for nothing."""
    if layout.data.is_symlink():
        return f"{layout.data} is a link: have {layout.encrypted} lead to that disk instead"
    for place in (layout.data, layout.backups):
        with suppress(FileNotFoundError), os.scandir(place) as entries:
            for entry in entries:
                # Provisioning may have made directories of volumes; root alone names them.
                inside = entry.is_dir(follow_symlinks=False)
                if not (inside and _is_empty(entry.path)):
                    return f"{entry.path} is not encrypted"
    return ""


def _is_empty(directory: str) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def encrypt(layout: Layout) -> bool:
    """Have a place that is encrypted, its key, and a mount point; tell whether anything was done.

    Mounting is the unit's. Raises ReleaseError for data that is there, and where one of place and
    key has been lost: another one would be of no use, and hide that.
    """
    config, key = layout.encrypted / _CONFIG, layout.storage_key
    fresh = key.with_suffix(".new")
    if key.exists() and not config.exists():
        raise ReleaseError(
            f"{key} is there, and {config} is not: is the disk mounted on which {layout.encrypted} "
            f"lies? The recovery kit has that file, too"
        )
    new = not key.exists() and not config.exists()
    if new and (why := obstacle(layout, wanted=True)):
        raise ReleaseError(f"{why}. {WAY}")
    if not new and not key.exists() and not fresh.exists():
        raise ReleaseError(
            f"{config} is there, and {key} is not, without which nothing of it can be read: put it "
            f"back from the recovery kit, with mode 0600"
        )
    _require_program()
    if new:
        _init(layout, fresh)
    made = _make_mount_point(layout)
    if not key.exists():
        # Last: with its key a place counts as made.
        fresh.rename(key)
        persist(key.parent)
        made = True
    return made


def _require_program() -> None:
    """Refuse versions that act as the wrong user when several are at work.

    They change the user of the whole process where one of its threads is meant: files get another
    owner, or are refused. Debian 13 has one (2.5.1), and Debian 12.
    """
    said = _run(["gocryptfs", "-version"], "gocryptfs does not run").split(";")[0]
    found = re.match(r"gocryptfs v?(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        raise ReleaseError(
            f"{said} is installed, which mixes up the users of files: version "
            f"{'.'.join(map(str, _OLDEST))} or newer is needed: `apt-get install "
            f"gocryptfs/trixie-backports`, then `systemctl restart 'moorage-data@*'`"
        )


def _init(layout: Layout, key: Path) -> None:
    key.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_atomically(key, base64.b64encode(secrets.token_bytes(32)), 0o600)
    layout.encrypted.mkdir(mode=0o755, parents=True, exist_ok=True)
    # Of an attempt that was cut off.
    (layout.encrypted / _FIRST_VECTOR).unlink(missing_ok=True)
    # Quiet: it would print the key that files are encrypted with.
    argv = ["gocryptfs", "-init", "-q", "-passfile", str(key), str(layout.encrypted)]
    _run(argv, f"{layout.encrypted} cannot be made")
    persist(layout.encrypted)


def _make_mount_point(layout: Layout) -> bool:
    """Have an empty directory that nothing can be put in; tell whether it was another one."""
    if _is_mounted(layout.data):
        return False
    if there := _content(layout):
        raise ReleaseError(f"{layout.data} is to be a mount point, and {there}. {WAY}")
    layout.data.mkdir(exist_ok=True)
    with os.scandir(layout.data) as entries:
        for entry in entries:
            os.rmdir(entry.path)
    # Dumps of hooks are data as well.
    if not layout.backups.is_symlink():
        with suppress(FileNotFoundError):
            layout.backups.rmdir()
        lead(layout.backups, f"{layout.data.name}/.backups")
    if stat.S_IMODE(layout.data.stat().st_mode) == 0:
        return False
    layout.data.chmod(0)
    _set_immutable(layout.data, immutable=True)
    return True


def _set_immutable(directory: Path, *, immutable: bool) -> None:
    """Keep root itself from making anything in a directory, where the file system can."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flags = int.from_bytes(fcntl.ioctl(fd, _GET_FLAGS, bytes(8))[:4], "little")
        flags = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
        fcntl.ioctl(fd, _SET_FLAGS, flags.to_bytes(8, "little"))
    except OSError as trouble:
        # Some file systems have no such thing.
        if trouble.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EPERM):
            raise
    finally:
        os.close(fd)


def revive(layout: Layout) -> list[str]:
    """Start anew what has lost the mount, once it is there again; returns the names.

    That is what was started on the one before, could not be started without, or ended since it was
    lost. What somebody had stopped by then stays stopped.
    """
    with hold(layout.lock, "return of the encrypted data", "moorage", _PATIENCE_SECONDS):
        if why := fault(layout):
            raise ReleaseError(why)
        lost, since = _times(layout.stack)
        runs = runtime(layout)
        due = [i for i in runs.instances(layout.stack) if has_lost(i, layout.data, lost, since)]

        def start(instance: Instance) -> str:
            longest = instance.stop_seconds + _RESTART_SECONDS
            runs.restart(instance.name, timeout_seconds=longest)
            return instance.name

        # Side by side: one that cannot save what it holds takes all of its grace to end.
        with ThreadPoolExecutor() as pool:
            return list(pool.map(start, due))


def has_lost(instance: Instance, data: Path, lost: float, since: float) -> bool:
    """Tell whether an instance has to be started for a mount that was lost and came back.

    ``lost`` and ``since`` are when, in Unix seconds; 0 where it never was (a pure function).
    """
    places = (*instance.writes, *instance.reads)
    if not any(place == str(data) or place.startswith(f"{data}/") for place in places):
        return False
    if instance.alive:
        return _seconds(instance.started_at) < since
    if instance.state != "exited" or instance.policy not in ("always", "unless-stopped"):
        return False
    if instance.refused:
        return str(data) in instance.refused
    return 0 < lost <= _seconds(instance.finished_at)


def _seconds(moment: str) -> float:
    # The engine writes nanoseconds, which fromisoformat of Python 3.11 does not read.
    whole, _, rest = moment.removesuffix("Z").partition(".")
    fraction = f".{rest}" if rest.isdigit() else ""
    try:
        return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0{fraction}")
    except ValueError:
        return 0.0


def _times(stack: str) -> tuple[float, float]:
    """Return when the mount was lost, and when the process of the present one was started."""
    names = ("ActiveExitTimestamp", "ExecMainStartTimestamp")
    argv = ["systemctl", "show", "--timestamp=us+utc", f"--property={','.join(names)}"]
    said = _run([*argv, unit_of(stack)], "systemd does not say when the data was mounted")
    found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    lost, since = (_moment(found.get(name, "")) for name in names)
    return lost, since


def _moment(text: str) -> float:
    try:
        moment = datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S.%f UTC")
    except ValueError:
        return 0.0
    return moment.replace(tzinfo=UTC).timestamp()


def forget(layout: Layout) -> None:
    """Unmount the data and remove its key: what lies on the disk is of no use from then on."""
    if not is_encrypted(layout):
        return
    _run(["systemctl", "disable", "--now", unit_of(layout.stack)], "the data stays mounted")
    if layout.data.is_dir():
        _set_immutable(layout.data, immutable=False)
        layout.data.chmod(0o755)
    layout.storage_key.unlink(missing_ok=True)


def _is_mounted(directory: Path) -> bool:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        lines = [line.split() for line in mounts]
    return any(words[4] == str(directory) and _KIND in words for words in lines)


def _run(argv: Sequence[str], failure: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as trouble:
        raise ReleaseError(f"{failure}: {trouble}") from None
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise ReleaseError(f"{failure}: `{' '.join(argv)}` says: {said}")
    return done.stdout
