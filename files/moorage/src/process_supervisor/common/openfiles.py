"""Open files: a supervisor needs some for each process, which may be more than a soft limit allows.

So guardian and supervisor have the hard limit, and programs the soft one that there was.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Protocol

    class Logged(Protocol):
        """What is counted of a process; ProcessConfig has it."""

        stdout_logfile: str | None
        stderr_logfile: str | None


OWN = 64
"""For the supervisor itself: state, socket and its clients, log, event loop."""
# A kernel's table of open files is as long as the highest of them; nobody has more processes.
_MOST = 1 << 20
# What a program's start opens in this process: /dev/null, a pipe, the list of open files.
_OF_A_START = 6

_of_programs: list[int] = []
_spare: list[int] = []


def raise_limit() -> int:
    """Have the hard limit; return the soft one that there was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft


def keep_for_programs(soft: int) -> None:
    """Have programs get this soft limit; called before much is open."""
    if soft < resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
        _of_programs[:] = [soft]
        _fill()


def _fill() -> None:
    while len(_spare) < _OF_A_START:
        _spare.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


@contextmanager
def as_programs_have(opens: bool = True) -> Iterator[None]:
    """Have the limit of programs while one is started.

    Files that are open already may be more; new ones have to have a low number, so such are free
    then, where the start opens some.
    """
    if not _of_programs:
        yield
        return
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    while opens and _spare:
        os.close(_spare.pop())
    resource.setrlimit(resource.RLIMIT_NOFILE, (_of_programs[0], own[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, own)
        _fill()


def leave_some(fd: int) -> int:
    """Return a new file of a process's; raises OSError where it is one of the supervisor's last."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if fd < soft - OWN:
        return fd
    os.close(fd)
    raise OSError(
        errno.EMFILE,
        f"of {soft} open files the last {OWN} are the supervisor's own: raise the limit",
    )


def needed(processes: Iterable[Logged]) -> int:
    """Return how many open files a supervisor of these needs: a pidfd, a FIFO and a log each."""
    streams = ({config.stdout_logfile, config.stderr_logfile} - {None} for config in processes)
    return OWN * 2 + sum(1 + 2 * len(logs) for logs in streams)


def shortage(processes: Iterable[Logged]) -> str:
    """Say that this machine's limit is too low for these, nothing where it is not."""
    hard, wanted = resource.getrlimit(resource.RLIMIT_NOFILE)[1], needed(processes)
    if hard == resource.RLIM_INFINITY or wanted <= hard:
        return ""
    return f"needs about {wanted} open files, and the hard limit is {hard}: raise it (LimitNOFILE)"
