"""Files that lie over the host's own for a process alone, put back where the host has lost them.

Who replaces such a file on the host, as useradd does with /etc/passwd, takes away what is mounted
over it in every namespace: a database would no longer know its users, nor a service the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from moorage.launch import mounts
from moorage.release.native import Mount, Process

_SECONDS = 20.0


def over_files(process: Process) -> list[Mount]:
    """Return what a process has in the place of files, but for its secrets."""
    found = (m for m in process.mounts if m.source and not m.secret)
    return [mount for mount in found if Path(mount.source).is_file()]


def missing(wanted: Sequence[Mount], pid: int) -> list[Mount]:
    """Return those that are not mounted for a process; raises OSError where it has ended."""
    # The fifth word is where; format: proc_pid_mountinfo(5).
    lines = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8").splitlines()
    there = {line.split()[4] for line in lines}
    return [mount for mount in wanted if mount.target not in there]


def put_back(lost: Sequence[Mount], namespace: int) -> None:
    """Mount them in a mount namespace, by its handle; raises OSError, also for the host's own."""
    if os.fstat(namespace).st_ino in _of_others():
        raise OSError("the process sees what others do")
    words = [word for mount in lost for word in (mount.source, mount.target)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "moorage.watch.again", str(namespace), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
        pass_fds=(namespace,),
    )
    if done.returncode != 0:
        raise OSError(done.stderr.strip().rpartition("\n")[2])


def _of_others() -> set[int]:
    """The namespaces of the host, and of this process: whatever is put there, all would see."""
    found = {os.stat("/proc/self/ns/mnt").st_ino}
    with suppress(PermissionError):
        found.add(os.stat("/proc/1/ns/mnt").st_ino)
    return found


def main(argv: Sequence[str]) -> int:
    """Do it: in a process of its own, as a namespace cannot be left again."""
    pairs = list(zip(argv[1::2], argv[2::2], strict=True))
    try:
        trees = [mounts.copied(source) for source, _ in pairs]
        mounts.enter(int(argv[0]))
        # From here on paths are the process's, whose files may be an attacker's: none is read.
        for tree, (_, target) in zip(trees, pairs, strict=True):
            mounts.close_writing(tree)
            mounts.attach(tree, os.open(target, os.O_PATH | os.O_NOFOLLOW))
    except OSError as trouble:
        os.write(2, f"{trouble.strerror}\n".encode())
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
