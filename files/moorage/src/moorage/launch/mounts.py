"""Mounts without paths that somebody could exchange: made apart, and moved into place by handles.

The new mount calls of Linux 5.12: open_tree(2), move_mount(2), mount_setattr(2), fsopen(2); the C
library has them under no name, and their numbers are the same on every machine.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _SETATTR = 428, 429, 430, 431, 432, 442
_HERE, _EMPTY_PATH, _RECURSIVE = -100, 0x1000, 0x8000
_CLONE, _FROM_HANDLE, _TO_HANDLE = 1, 0x04, 0x40
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_NEW_NAMESPACE, _NEW_USERS, _SLAVE, _ALL_BELOW = 0x20000, 0x10000000, 1 << 19, 1 << 14
_READ_ONLY = 1
# Options of mount(8) that are the mount's and not the file system's.
_FLAGS = {"ro": _READ_ONLY, "nosuid": 2, "nodev": 4, "noexec": 8}
_USUAL = {"rw", "suid", "dev", "exec"}


class _Attributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user")]


def _call(number: int, *values: int | bytes | None) -> int:
    words = [ctypes.c_long(v) if isinstance(v, int) else ctypes.c_char_p(v) for v in values]
    return _done(_libc.syscall(ctypes.c_long(number), *words))


def _done(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def separate() -> None:
    """Have mounts of one's own: what the host unmounts goes here too, and nothing the other way."""
    _done(_libc.unshare(_NEW_NAMESPACE))
    _done(_libc.mount(None, b"/", None, ctypes.c_ulong(_SLAVE | _ALL_BELOW), None))


def enter(namespace: int) -> None:
    """Go into another mount namespace, by its handle; from then on paths are those in it."""
    _done(_libc.setns(namespace, _NEW_NAMESPACE))


def copied(source: str) -> int:
    """Return a handle of what lies at a path with all that is mounted below; raises OSError."""
    flags = _CLONE | _RECURSIVE | os.O_CLOEXEC
    return _call(_OPEN_TREE, _HERE, os.fsencode(source), flags)


def empty(options: Iterable[str], kind: bytes = b"tmpfs") -> int:
    """Return a handle of an empty directory in memory; `options` as in mount(8).

    Of another ``kind`` it is what the kernel has of that, such as proc.
    """
    maker = _call(_FSOPEN, kind, 1)
    flags = _FLAGS["nosuid"] | _FLAGS["nodev"]
    try:
        for option in options:
            name, _, value = option.partition("=")
            if name in _FLAGS:
                # Of the mount, once all is in it.
                flags |= _FLAGS[name] & ~_READ_ONLY
            elif value:
                _call(_FSCONFIG, maker, _SET_STRING, name.encode(), value.encode(), 0)
            elif name not in _USUAL:
                _call(_FSCONFIG, maker, _SET_FLAG, name.encode(), None, 0)
        _call(_FSCONFIG, maker, _CREATE, None, None, 0)
        return _call(_FSMOUNT, maker, 1, flags)
    finally:
        os.close(maker)


def attach(tree: int, place: int) -> None:
    """Mount what `tree` holds over what `place` holds, both handles."""
    _call(_MOVE_MOUNT, tree, b"", place, b"", _FROM_HANDLE | _TO_HANDLE)


def close_writing(tree: int, below: bool = False) -> None:
    """Have a mount read-only, with all that is mounted below where that is said."""
    _set(tree, b"", _EMPTY_PATH | (_RECURSIVE if below else 0), _Attributes(_READ_ONLY))


def close_devices(tree: int) -> None:
    """Have nothing in a mount, and below it, be a device or make whoever runs it somebody else."""
    flags = _FLAGS["nosuid"] | _FLAGS["nodev"]
    _set(tree, b"", _EMPTY_PATH | _RECURSIVE, _Attributes(flags))


def close_writing_everywhere() -> None:
    """Have every mount that there is read-only."""
    _set(_HERE, b"/", _RECURSIVE, _Attributes(_READ_ONLY))


def _set(where: int, path: bytes, flags: int, attributes: _Attributes) -> None:
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    pointer = ctypes.byref(attributes)
    words = (ctypes.c_long(where), ctypes.c_char_p(path), ctypes.c_uint(flags), pointer, size)
    _done(_libc.syscall(ctypes.c_long(_SETATTR), *words))


def own_users(uid: int, groups: Iterable[int]) -> None:
    """Have a user namespace of one's own, with root, a user and its groups; raises OSError.

    So another process of that user is a stranger, and neither reads this one's memory nor reaches
    what it sees by way of /proc.
    """
    waits, tells = os.pipe()
    this, child = os.getpid(), os.fork()
    if child == 0:
        # Only who is outside may say who is who inside.
        status = 1
        try:
            os.close(tells)
            if os.read(waits, 1):
                for name, numbers in (("uid_map", {0, uid}), ("gid_map", {0, *groups})):
                    lines = "".join(f"{number} {number} 1\n" for number in sorted(numbers))
                    Path(f"/proc/{this}/{name}").write_text(lines, encoding="ascii")
                status = 0
        finally:
            os._exit(status)
    try:
        _done(_libc.unshare(_NEW_USERS))
        os.write(tells, b".")
    finally:
        os.close(tells)
        os.close(waits)
        _, status = os.waitpid(child, 0)
    if status != 0:
        raise OSError(1, "it gets no user namespace of its own")


def without_privileges(last_capability: int) -> None:
    """Have neither this process nor what it becomes gain a privilege ever again; see prctl(2)."""
    for capability in range(last_capability + 1):
        _done(_libc.prctl(24, capability, 0, 0, 0))
    _done(_libc.prctl(38, 1, 0, 0, 0))
