"""Names for the numbers that processes of stacks run as, where a program insists on names."""

from __future__ import annotations

import grp
import pwd
import re
import subprocess
from collections.abc import Iterable

_SU = re.compile(rb"^(\s*su) (\d+) (\d+)$", re.MULTILINE)


def with_names(rotation: bytes) -> bytes:
    """Return logrotate's configuration with accounts in the place of numbers.

    A number that has no account gets one, which nobody can sign in with. Raises OSError.
    """

    def named(found: re.Match[bytes]) -> bytes:
        uid, gid = int(found[2]), int(found[3])
        group = _group(gid)
        return b"%b %b %b" % (found[1], _user(uid, gid).encode(), group.encode())

    return _SU.sub(named, rotation)


def ensure_account(uid: int, gid: int, groups: Iterable[int] = ()) -> None:
    """Have a user and groups of these numbers; raises OSError."""
    for number in (gid, *groups):
        _group(number)
    _user(uid, gid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        name = f"moorage-{gid}"
        _make("groupadd", "--gid", str(gid), name)
        return name


def _user(uid: int, gid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"moorage-{uid}"
        _make(
            "useradd", "--uid", str(uid), "--gid", str(gid), "--no-create-home",
            "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "--no-log-init",
            "--key", "SUB_UID_COUNT=0", "--key", "SUB_GID_COUNT=0", name,
        )  # fmt: skip
        return name


def _make(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 0:
        raise OSError(f"`{' '.join(argv)}` made no account: {done.stderr.strip()}")
