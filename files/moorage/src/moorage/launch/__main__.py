"""Become a process: `python3 -P -m moorage.launch [--pace] /opt/STACK/processes/UNIT.json`.

The first half makes a scope of systemd for it, with its limits, and ends what an earlier one has
left; the second (`--inside`) takes the process's surroundings and user, and becomes its program.
The process keeps its id: whoever started it has the program's signals and exit status.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from moorage.common.shape import make
from moorage.launch import mounts
from moorage.launch.pace import next_start, pace_path, read_pace, wait, write_pace
from moorage.launch.surroundings import NoPlace, surround
from moorage.release.manifest import DEFAULT_PIDS
from moorage.release.native import GIVEN_UP, Process

# EX_SOFTWARE of sysexits.h.
_FAILED = 70
_LIMIT = "Limit"
_LOCKS = 10  # not named by the resource module


class Failed(Exception):
    """Why a process cannot be launched."""


def main(argv: Sequence[str] | None = None) -> int:
    """Become the process; return only with an exit status of failure."""
    parser = argparse.ArgumentParser(prog="moorage.launch", description=__doc__)
    parser.add_argument("--pace", action="store_true", help="pause before a start too soon")
    parser.add_argument("--once", action="store_true", help="take the file away")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("file", type=Path)
    given = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if given.pace and not given.file.exists():
        # A program in reserve, which a person has started with all of its group.
        print(f"{given.file.stem} has nothing to run", file=sys.stderr)
        return GIVEN_UP
    try:
        process = _read(given.file)
        if given.inside:
            if given.once:
                given.file.unlink()
            _become(process)
        if given.pace and (refused := _paced(given.file, process)):
            print(f"{given.file.stem} is not started again: {refused}", file=sys.stderr)
            return GIVEN_UP
        _enter_scope(given.file, process, ["--once"] if given.once else [])
    except (Failed, NoPlace) as trouble:
        print(f"cannot start {given.file.stem}: {trouble}", file=sys.stderr)
    return _FAILED


def _read(path: Path) -> Process:
    """The process of a file that is root's own and nobody else's to write."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, encoding="utf-8") as file:
            found = os.fstat(handle)
            if found.st_uid != 0 or found.st_mode & 0o022:
                raise Failed(f"{path} is not root's alone to write")
            return make(Process, json.load(file))
    except OSError as trouble:
        raise Failed(f"cannot read {path}: {trouble.strerror}") from None
    except ValueError as trouble:
        raise Failed(f"{path} is damaged: {trouble}") from None


def _paced(path: Path, process: Process) -> str:
    note = pace_path(path)
    pace = next_start(process, read_pace(note), time.time(), os.getpid())
    write_pace(note, pace)
    if not pace.refused:
        wait(pace)
    return pace.refused


def _enter_scope(path: Path, process: Process, more: Sequence[str]) -> None:
    scope = f"{process.unit}.scope"
    # With its own signal and grace, as its scope says; then by SIGKILL.
    for verb in ("stop", "reset-failed"):
        subprocess.run(
            ["systemctl", "--quiet", verb, scope],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    words = [word for line in _properties(process) for word in ("--property", line)]
    _execute(
        "systemd-run",
        ["systemd-run", "--scope", "--quiet", f"--unit={scope}", *words, "--",
         sys.executable, "-P", "-m", "moorage.launch", "--inside", *more, str(path)],
        os.environ,
    )  # fmt: skip


def _properties(process: Process) -> list[str]:
    found = [
        f"Description={process.service} ({process.unit})",
        f"TasksMax={process.pids or DEFAULT_PIDS}",
        f"KillSignal={process.stop_signal}",
        f"TimeoutStopSec={process.stop_seconds:.3f}s",
    ]
    if process.memory is not None:
        found += [f"MemoryMax={process.memory}", "MemorySwapMax=0"]
    if process.cpus is not None:
        found.append(f"CPUQuota={round(process.cpus * 100)}%")
    if manager := _own_unit():
        # At a shutdown it is for the manager to end it.
        found.append(f"Before={manager}")
    return found


def _own_unit() -> str:
    """The service of systemd that this process is in, empty without one."""
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        name = line.rpartition("/")[2]
        if name.endswith(".service"):
            return name
    return ""


def _become(process: Process) -> None:
    uid, _, gid = process.user.partition(":")
    _limit(process)
    _own_output(int(uid))
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    surround(process.mounts)
    try:
        os.setgroups(process.groups)
        mounts.own_users(int(uid), (int(gid), *process.groups))
        mounts.without_privileges(last)
        os.setresgid(int(gid), int(gid), int(gid))
        os.setresuid(int(uid), int(uid), int(uid))
    except (OSError, ValueError) as trouble:
        raise Failed(f"cannot become user {process.user}: {trouble}") from None
    try:
        os.chdir(process.directory)
    except OSError as trouble:
        raise Failed(f"cannot enter {process.directory}: {trouble.strerror}") from None
    os.umask(0o022)
    # Python ignores them, and what is ignored stays so in the program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    _execute(process.command[0], process.command, {"PATH": process.path, **process.environment})


def _own_output(uid: int) -> None:
    # A program may open /dev/stdout again, which checks the owner, as an engine has it.
    for handle in (1, 2):
        if stat.S_ISFIFO(os.fstat(handle).st_mode):
            os.fchown(handle, uid, -1)


def _limit(process: Process) -> None:
    for name, value in process.limits.items():
        word = name.removeprefix(_LIMIT)
        number = _LOCKS if word == "LOCKS" else getattr(resource, f"RLIMIT_{word}")
        soft, _, hard = value.partition(":")
        pair = (_amount(soft), _amount(hard or soft))
        try:
            resource.setrlimit(number, pair)
        except (OSError, ValueError) as trouble:
            raise Failed(f"cannot set {name}={value}: {trouble}") from None
    if process.oom_score is not None:
        Path("/proc/self/oom_score_adj").write_text(f"{process.oom_score}", encoding="ascii")


def _amount(word: str) -> int:
    return resource.RLIM_INFINITY if word == "infinity" else int(word)


def _execute(program: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        os.execvpe(program, list(argv), dict(environment))
    except OSError as trouble:
        raise Failed(f"cannot run {program}: {trouble.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
